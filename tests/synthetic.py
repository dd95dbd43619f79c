"""Registers of any size, sealed without keyholders, and how the database answers from them.

`python -m tests.synthetic URL COUNT` fills an empty database on PostgreSQL, and prints what was measured:
`.ci/postgres sh -c '.venv/bin/python -m tests.synthetic $CONCORDAT_TEST_POSTGRES 1000000'`.
"""

import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine, event

from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.identifiers import Identifier, canonical
from tests.killed import say
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import CANARY, HERE, KEY, entered

BITS: Final = 15
PLACES: Final = 99
BATCH: Final = 500
REAL: Final = 6_000
REAL_BUCKETS: Final = 200  # thirty listings each, as a million in all of them
NEXT: Final = ("procurement", 2)
REGISTER: Final = "exclusions"

Statement = tuple[str, Any]


def subject(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:09d}")


def listing(number: int) -> Listing:
    return make_listing(identifiers=(subject(number),), decision_ref=f"D {number}", name=f"Firm {number} Ltd")


def seal() -> Seal:
    """A seal in one of the buckets that hold real listings."""
    return Seal(secrets.randbelow(REAL_BUCKETS), secrets.token_bytes(64))


def fill(engine: Engine, store: ListingStore, count: int) -> None:
    """Enter and seal REAL listings, and as many as are left of `count` that only look like listings to the database.

    Then the next epoch is opened, in which all of them wait.
    """
    store.open_epoch(*HERE, [REGISTER], CANARY)
    for start in range(0, REAL, BATCH):
        numbers = range(start, start + BATCH)
        store.add_sealed(*HERE, [(listing(number), [seal()]) for number in numbers[1:]], entered())
        store.add_sealed(*HERE, [(listing(numbers[0]), [seal()])], entered(due=date(2026, 3, 1)))
    with engine.begin() as connection:
        [(first,)] = connection.exec_driver_sql("SELECT max(number) FROM listing").all()
        for statement in _LOOK_ALIKES:
            connection.exec_driver_sql(statement.format(more=count - REAL, first=first))
    store.open_epoch(*NEXT, [REGISTER], CANARY)


_BYTES: Final = " || ".join(f"sha256((n || ' {part}')::bytea)" for part in range(24))
_IDENTIFIERS: Final = """
INSERT INTO identifier (listing, digest)
SELECT number, sha256(number::text::bytea) FROM listing WHERE number > {first}"""
_LISTINGS: Final = f"""
INSERT INTO listing (register_id, content, identifiers, payload)
SELECT '{REGISTER}', sha256(n::text::bytea), 1, substr({_BYTES}, 1, (SELECT octet_length(payload) FROM listing LIMIT 1))
FROM generate_series(1, {{more}}) AS series(n)"""  # noqa: S608  # our own tables, here and below
_EVENTS: Final = f"""
INSERT INTO event (number, time, register_id, content, act, actor, digest, details, hash)
SELECT number, 1800000000, '{REGISTER}', content, 'enter', 'clerk', sha256(content),
substr(payload, 1, (SELECT octet_length(details) FROM event LIMIT 1)), sha256(payload)
FROM listing WHERE number > {{first}} ORDER BY number"""  # noqa: S608
_SEALS: Final = f"""
INSERT INTO seal (listing, position, agreement, epoch, prefix, entry)
SELECT number, 0, '{HERE[0]}', {HERE[1]}, {REAL_BUCKETS} + mod(number, {(1 << BITS) - REAL_BUCKETS}),
substr(payload, 1, (SELECT octet_length(entry) FROM seal LIMIT 1)) FROM listing WHERE number > {{first}}
"""  # noqa: S608
_LOOK_ALIKES: Final = (_LISTINGS, _IDENTIFIERS, _EVENTS, _SEALS)


def hot(store: ListingStore) -> dict[str, Callable[[], object]]:
    """What questions, sealing and staff make the database do, by name."""

    def any_one() -> int:
        return secrets.randbelow(REAL)

    def seal_some() -> None:
        store.seal(*NEXT, {number: [seal()] for number, _ in store.pending(*NEXT, 60)}, entered())

    return {
        "bucket": lambda: store.bucket(*HERE, secrets.randbelow(REAL_BUCKETS)),
        "30 buckets": lambda: store.buckets(*HERE, range(30)),
        "is ready": lambda: store.is_ready(*HERE),
        "waiting": lambda: store.pending(*NEXT, 120),
        "waiting in a part": lambda: store.pending(*NEXT, 120, (REAL // 2, REAL // 2 + 1_200)),
        "seal 60": seal_some,
        "enter 20": lambda: store.add_sealed(
            *HERE, [(listing(REAL + secrets.randbelow(10**8)), [seal()]) for _ in range(20)], entered()
        ),
        "are 60 sealed": lambda: store.are_sealed(*HERE, [listing(any_one()) for _ in range(60)]),
        "were 60 erased": lambda: store.were_erased([listing(any_one()) for _ in range(60)]),
        "find": lambda: store.find([subject(any_one())]),
        "get": lambda: store.get(store.reference(listing(any_one()))),
        "steps": lambda: store.steps(store.reference(listing(any_one()))),
        "due": store.due,
        "trail": lambda: store.trail(secrets.randbelow(REAL // 2), 100),
        "trail's head": store.trail_head,
    }


@contextmanager
def statements(engine: Engine) -> Iterator[list[Statement]]:
    """What is sent to the database meanwhile, each statement once."""
    sent: dict[str, Statement] = {}

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        sent.setdefault(statement, (statement, parameters[0] if isinstance(parameters, list) else parameters))

    found: list[Statement] = []
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)
        found += sent.values()


def plan(engine: Engine, statement: Statement) -> list[tuple[str, str]]:
    """How PostgreSQL would run a statement: for each step that reads a table, how, and which index or table."""
    text, parameters = statement
    if not text.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
        return []
    with engine.connect() as connection:
        [[found]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", parameters).all()
    return list(_steps((json.loads(found) if isinstance(found, str) else found)[0]["Plan"]))


def _steps(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in node or "Index Name" in node:
        yield str(node["Node Type"]), str(node.get("Index Name", node.get("Relation Name")))
    for inner in node.get("Plans", ()):
        yield from _steps(inner)


def analyze(engine: Engine) -> None:
    """Let the database look at what is there, as PostgreSQL's own autovacuum does after a while."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("ANALYZE")


def main() -> None:
    """Fill, and measure."""
    url, count = sys.argv[1], int(sys.argv[2])
    engine = open_engine(url)
    store = ListingStore(engine, ColumnCipher(KEY, secrets.token_bytes), PLACES)
    fill(engine, store, count)
    analyze(engine)
    with engine.connect() as connection:
        for name in ("listing", "identifier", "event", "seal", "pending"):
            size = f"SELECT pg_table_size('{name}'), pg_indexes_size('{name}')"
            [(table, indexes)] = connection.exec_driver_sql(size).all()
            say(f"{name}: {table / count:.0f} bytes a listing, indexes {indexes / count:.0f}")
    for name, action in hot(store).items():
        with statements(engine) as sent:
            action()
        times, cpu = [], time.process_time()
        for _ in range(1_000 if name in {"bucket", "is ready", "find", "get"} else 50):
            began = time.perf_counter()
            action()
            times.append(1000 * (time.perf_counter() - began))
        percentile = statistics.quantiles(times, n=100)[98]
        cpu = 1000 * (time.process_time() - cpu) / len(times)
        say(f"{name}: p50 {statistics.median(times):.2f} ms, p99 {percentile:.2f} ms, CPU here {cpu:.2f} ms")
        for statement in sent:
            say("    " + "; ".join(" ".join(step) for step in plan(engine, statement)))


if __name__ == "__main__":
    main()
