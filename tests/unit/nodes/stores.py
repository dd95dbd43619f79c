"""What tests of the node's databases do with them: made listings and seals, steps, and a look at what lies at rest."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, inspect, select

from nodes.catalogue import CatalogueEntry, load_catalogue
from nodes.entry import Registrar
from nodes.life import Act, Author, Transition, apply
from nodes.listings import Listing
from nodes.register import Register
from nodes.storage.listings import ListingStore
from nodes.storage.records import Step
from nodes.storage.seals import Seal
from nodes.storage.tables import EVENT, IDENTIFIER, LISTING, SEAL
from protocol.codec import Random
from protocol.errors import ConcordatError
from tests.parties import federation, party
from tests.unit.nodes.builders import make_listing

KEY = bytes(range(32))
HERE = ("procurement", 1)
NOON = 20_000 * 86_400 + 43_200
DEBARMENT = load_catalogue()["debarment"]


def counter() -> Random:
    """Bytes that never repeat, as nonces must not."""
    state = iter(range(1 << 32))
    return lambda n: hashlib.shake_256(b"%d" % next(state)).digest(n)


def pseudonym(name: str) -> bytes:
    return hashlib.sha512(name.encode()).digest()


CANARY = Seal(7, pseudonym("canary"))


def seals(prefix: int, *names: str) -> list[Seal]:
    return [Seal(prefix, pseudonym(name)) for name in names]


def noon(day: date) -> int:
    """Noon of a day, in Unix seconds."""
    return int(datetime.combine(day, time(12), UTC).timestamp())


def entered(day: date = date(2026, 1, 12), by: str = "clerk", due: date | None = None) -> Transition:
    """The first step of a listing."""
    return Author(by, "by decision").step(Act.ENTER, noon(day), due=due)


def step(
    act: Act, day: date, on: date | None = None, by: str = "head", entry: CatalogueEntry = DEBARMENT, **details: Any
) -> Step:
    """A step as a store takes it, with a reason and document unless said otherwise."""
    given: dict[str, Any] = {"reason": "as decided", "document": "D 9/2026"} | details
    taken = Transition(act, by, noon(day), on=on, **given)
    return lambda record: apply(record, taken, entry)


def add(store: ListingStore, *listings: Listing) -> list[int]:
    return store.add_pending(*HERE, listings, entered())


def add_sealed(store: ListingStore, entries: Sequence[tuple[Listing, Sequence[Seal]]]) -> dict[int, int]:
    return store.add_sealed(*HERE, entries, entered())


def load(store: ListingStore, prefix: int) -> int:
    """How many of a bucket's places are taken."""
    return len(store.bucket(*HERE, prefix))


def stored(store: ListingStore) -> list[Listing]:
    return [record.listing for record in store.all()]


def references(store: ListingStore) -> list[str]:
    return [listing.decision_ref for listing in stored(store)]


def numbered(count: int, **changes: Any) -> list[Listing]:
    return [make_listing(decision_ref=f"D {number}", **changes) for number in range(count)]


def at_rest(engine: Engine) -> bytes:
    """What lies in SQLite's files; on PostgreSQL every value of every table."""
    if engine.url.database and engine.dialect.name == "sqlite":
        return b"".join(file.read_bytes() for file in sorted(Path(engine.url.database).parent.iterdir()))
    with engine.connect() as connection:
        rows = [row for name in tables(engine) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")]  # noqa: S608  # names of our own tables
    return b" ".join(it if isinstance(it, bytes) else str(it).encode() for row in rows for it in row)


def of_listing(engine: Engine, reference: str) -> list[bytes]:
    """What is stored of a listing and its erasure must erase: payload, seals, identifiers, details of steps."""
    with engine.connect() as connection:
        rows = connection.execute(select(LISTING.c.number, LISTING.c.content, LISTING.c.payload)).all()
        (number, content, payload) = next(row for row in rows if row.content.hex().startswith(reference))
        own = (
            select(SEAL.c.entry).where(SEAL.c.listing == number),
            select(IDENTIFIER.c.digest).where(IDENTIFIER.c.listing == number),
            select(EVENT.c.details).where(EVENT.c.content == content),
        )
        return [payload, *(bytes(it) for query in own for it in connection.execute(query).scalars())]


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def refusals(attempts: Sequence[Callable[[], object]], expected: type[ConcordatError]) -> int:
    """Run all attempts at once; how many were refused with the expected error."""

    def run(attempt: Callable[[], object]) -> int:
        try:
            attempt()
        except expected:
            return 1
        return 0

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(run, attempts))


@dataclass
class Clock:
    """A clock that stands at noon of a day until a test moves it."""

    day: date

    def __call__(self) -> int:
        return noon(self.day)


def open_register(
    store: ListingStore, entries: Mapping[str, CatalogueEntry], clock: Callable[[], int], agency: str = "tax"
) -> Register:
    """An agency's own work on registers of any kind."""
    registrar = Registrar(party(agency, federation()), store, entries, clock, secrets.token_bytes)
    return Register(store, registrar, entries, clock)
