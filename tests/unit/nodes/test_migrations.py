"""Every version of a schema goes up and down, arrives at what the models say, and travels with the package."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, func, inspect, select, text

from nodes import lifecycle
from nodes.life import Act, Transition, replay
from nodes.lifecycle import Clock, Life, State
from nodes.listings import Listing
from nodes.storage import migrations, portfolio_rows, state, tables
from nodes.storage.bring_over import TO_BRING_OVER, TO_SUMMARISE
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import VERSIONS, Database, migrate, open_engine, version, version_table
from nodes.storage.listings import ListingStore, record_of_told
from nodes.storage.records import BATCH
from nodes.storage.rows import from_summary, summary
from nodes.storage.seals import Seal, Seals
from nodes.storage.tables import LISTING, PENDING, SEAL
from nodes.storage.trail import Trail
from protocol.errors import SealError
from protocol.sealing import session_key
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import DEBARMENT, HERE, KEY, add, counter, entered, numbered, pseudonym, step

METADATA: dict[Database, MetaData] = {
    "listings": tables.Table.metadata,
    "portfolios": portfolio_rows.Table.metadata,
    "state": state.Table.metadata,
}
ROOT = Path(migrations.__file__).parents[3]
both = pytest.mark.parametrize("database", VERSIONS)


def differences(engine: Engine, database: Database, metadata: MetaData) -> list[Any]:
    with engine.connect() as connection:
        options = {"version_table": version_table(database), "compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def scripts(database: Database) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / database))
    return ScriptDirectory.from_config(config)


def names(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


@both
def test_the_newest_version_is_what_the_models_say(engine: Engine, database: Database) -> None:
    migrate(engine, database)
    assert differences(engine, database, METADATA[database]) == []


@both
def test_a_model_that_no_migration_knows_would_be_seen(engine: Engine, database: Database) -> None:
    """The twin."""
    migrate(engine, database)
    changed = MetaData()
    for table in METADATA[database].tables.values():
        table.to_metadata(changed)
    next(iter(changed.tables.values())).append_column(Column("more", Integer))
    (difference,) = differences(engine, database, changed)
    assert difference[0] == "add_column"


@both
def test_every_version_goes_down_and_up_again(engine: Engine, database: Database) -> None:
    migrate(engine, database)
    made = names(engine)
    for script in scripts(database).walk_revisions():
        migrations.downgrade(engine, database, script.down_revision or "base")  # type: ignore[arg-type]
        assert version(engine, database) == script.down_revision
    assert names(engine) == {version_table(database)}
    migrate(engine, database)
    assert names(engine) == made
    assert differences(engine, database, METADATA[database]) == []


@both
def test_the_version_in_the_code_is_the_last_script(database: Database) -> None:
    assert scripts(database).get_heads() == [VERSIONS[database]]


def test_all_databases_may_share_one(engine: Engine) -> None:
    for database in VERSIONS:
        migrate(engine, database)
    assert [version(engine, database) for database in VERSIONS] == list(VERSIONS.values())


@both
def test_threads_that_open_at_once_agree(engine: Engine, database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: migrate(engine, database), range(8)))
    assert differences(engine, database, METADATA[database]) == []


def migrate_in_another_process(url: str, database: Database) -> None:
    engine = open_engine(url)
    migrate(engine, database)
    engine.dispose()


def test_processes_that_open_at_once_agree(engine: Engine, url: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        pool.starmap(migrate_in_another_process, [(url, database) for database in VERSIONS] * 4, chunksize=1)
    for database in VERSIONS:
        assert version(engine, database) == VERSIONS[database]
    assert names(engine) == {table for it in VERSIONS for table in (*METADATA[it].tables, version_table(it))}


@both
def test_a_migration_that_fails_leaves_nothing(engine: Engine, database: Database) -> None:
    with engine.begin() as connection:
        last = list(METADATA[database].tables)[-1]
        connection.exec_driver_sql(f"CREATE TABLE {last} (in_the_way INTEGER)")
    with pytest.raises(Exception, match="already exists"):
        migrate(engine, database)
    assert version(engine, database) is None
    assert names(engine) == {last}


@both
def test_opening_what_is_up_to_date_is_fast_and_loads_no_alembic(engine: Engine, url: str, database: Database) -> None:
    migrate(engine, database)
    started = time.perf_counter()
    migrate(engine, database)
    assert time.perf_counter() - started < 0.15
    program = (
        "import sys; from nodes.storage.engine import migrate, open_engine; "
        f"migrate(open_engine({url!r}), {database!r}); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})  # noqa: S603


# What version 0001 wrote, as it wrote it: an open epoch, one sealed listing, one in dispute, and one that waits.
SINCE = date(2026, 3, 2)
PLAIN, DISPUTED, WAITING = (make_listing(decision_ref=f"old {number}", raw={"note": "n"}) for number in range(3))
T = Seal(8, pseudonym("t"))
OLD = {PLAIN.decision_ref: None, DISPUTED.decision_ref: SINCE, WAITING.decision_ref: None}


def old_payload(listing: Listing) -> bytes:
    fields = {name: value for name, value in asdict(listing).items() if name not in {"points", "published"}}
    return json.dumps(fields | {"disputed_since": None}, default=date.isoformat, sort_keys=True).encode()


def old_rows(engine: Engine, listings: Sequence[Listing]) -> None:
    """Write listings as version 0001 did; the last of them waits to be sealed."""
    migrations.upgrade(engine, "listings", "0001")
    cipher = ColumnCipher(KEY, counter())
    with engine.begin() as connection:
        for number, listing in enumerate(listings, 1):
            content = cipher.digest(old_payload(listing))
            row = {
                "number": number,
                "register_id": listing.register,
                "content": content,
                "identifiers": len(listing.identifiers),
                "disputed_since": OLD.get(listing.decision_ref),
                "payload": cipher.encrypt(old_payload(listing), b"listing", b"payload", content),
            }
            columns = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO listing ({columns}) VALUES ({values})"), row)  # noqa: S608  # our own columns
        Seals(cipher, 99, *HERE).open(connection, ["exclusions"], Seal(7, pseudonym("canary")))
        old_seals(connection, cipher, range(1, len(listings)))


def old_seals(connection: Connection, cipher: ColumnCipher, numbers: Sequence[int]) -> None:
    """Seal listings as versions before 0003 did."""
    for number in numbers:
        place = b"seal", b"pseudonym", b"procurement", b"1", b"%d" % number, b"0", b"8"
        seal = {"listing": number, "sealed": cipher.encrypt(pseudonym("t"), *place)}
        connection.execute(text("INSERT INTO seal VALUES (:listing, 0, 'procurement', 1, 8, :sealed)"), seal)
        connection.execute(text("DELETE FROM pending WHERE listing = :listing"), seal)


def open_store(engine: Engine) -> ListingStore:
    return ListingStore(engine, ColumnCipher(KEY, counter()), 99)


def sealed_under(store: ListingStore) -> list[str]:
    """What is found under the one pseudonym, each as it is summarised."""
    (entry,) = store.bucket(*HERE, 8)
    assert entry.key == session_key(pseudonym("t"))
    records = [store.get(reference) for reference in entry.references]
    assert [(it.listing, it.life) for it in map(record_of_told, entry.told)] == [
        (from_summary(summary(it.listing)), it.life) for it in records
    ]
    return sorted(record.listing.decision_ref for record in records)


class TestFromTheFirstVersion:
    def test_listings_come_over_with_their_seals_digests_and_a_first_step(self, engine: Engine) -> None:
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        store = open_store(engine)
        assert [record.listing for record in store.all()] == [PLAIN, DISPUTED, WAITING]
        assert store.find(PLAIN.identifiers) == list(store.all())
        assert [store.get(store.reference(it.listing)) for it in store.all()] == list(store.all())
        assert store.are_stored([PLAIN, DISPUTED, WAITING]) == [True] * 3
        assert store.are_sealed(*HERE, [PLAIN, DISPUTED, WAITING]) == [True, True, False]
        assert sealed_under(store) == ["old 0", "old 1"]
        assert [listing for _, listing in store.pending(*HERE, 10)] == [WAITING]
        store.verify_trail()
        assert [(it.step.act, it.step.actor, it.step.today) for it in store.trail()] == [
            (Act.ENTER, "migration", date(2026, 1, 9)),
            (Act.ENTER, "migration", date(2026, 1, 9)),
            (Act.OBJECT, "migration", SINCE),
            (Act.ENTER, "migration", date(2026, 1, 9)),
        ]

    def test_a_second_import_of_the_same_file_changes_nothing(self, engine: Engine) -> None:
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        store = open_store(engine)
        before = list(store.all()), store.verify_trail()
        assert add(store, PLAIN, DISPUTED, WAITING) == [1, 2, 3]
        assert (list(store.all()), store.verify_trail()) == before

    def test_a_dispute_is_carried_over_with_a_clock(self, engine: Engine) -> None:
        """Seven working days after Monday 2 March 2026; then it is suspended, not forgotten."""
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        store = open_store(engine)
        record = store.get(store.reference(DISPUTED))
        assert record.life == Life(DISPUTED.served_on, dispute=Clock("object", SINCE, date(2026, 3, 11)))
        assert store.due() == [record]
        days = (date(2026, 3, 2), date(2026, 3, 11), date(2026, 3, 12))
        expected = [State.DISPUTED, State.DISPUTED, State.SUSPENDED]
        assert [lifecycle.state(record, DEBARMENT, day) for day in days] == expected
        steps = [noted.step for noted in store.steps(record.reference)]
        assert replay(record.listing, record.reference, steps) == record
        (answered,) = store.take([record.reference], step(Act.REJECT, SINCE))
        assert lifecycle.state(answered, DEBARMENT, SINCE) is State.ACTIVE

    def test_an_interrupted_bring_over_goes_on_where_it_stopped(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        many = numbered(BATCH + 20)
        old_rows(engine, many)
        append, calls = Trail.append, iter((True, False))

        def failing(trail: Trail, connection: Connection, steps: Sequence[tuple[str, bytes, Transition]]) -> None:
            append(trail, connection, steps)
            if not next(calls):
                raise KeyboardInterrupt

        monkeypatch.setattr(Trail, "append", failing)
        assert left_when_interrupted(engine, TO_BRING_OVER) == 20
        monkeypatch.undo()
        store = open_store(engine)
        assert [record.listing for record in store.all()] == many
        assert len(store.find(many[0].identifiers)) == len(many)
        assert store.verify_trail().number == len(many)
        assert store.due() == []

    def test_another_nodes_key_opens_nothing_and_changes_nothing(self, engine: Engine) -> None:
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        with pytest.raises(SealError):
            ListingStore(engine, ColumnCipher(bytes(32), counter()), 99)
        assert [record.listing for record in open_store(engine).all()] == [PLAIN, DISPUTED, WAITING]


class TestBackToTheFirstVersion:
    """What 0001 has no word for does not count again; what it can say, it says."""

    def test_an_open_dispute_is_a_day_again_and_what_ended_is_gone(self, engine: Engine) -> None:
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        store = open_store(engine)
        for listing, act in ((PLAIN, Act.REVOKE), (WAITING, Act.OBJECT)):
            store.take([store.reference(listing)], step(act, date(2026, 3, 9)))
        migrations.downgrade(engine, "listings", "0001")
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT number, disputed_since FROM listing ORDER BY number")).all()
            sealed, waiting = (
                connection.execute(select(table.c.listing).order_by(table.c.listing)).scalars().all()
                for table in (SEAL, PENDING)
            )
        assert [(number, str(since)) for number, since in rows] == [(2, "2026-03-02"), (3, "2026-03-09")]
        assert sealed == []  # what was sealed waits to be sealed again, for its pseudonym is not known any more
        assert waiting == [2, 3]
        assert names(engine) == {"listing", "seal", "pending", "canary", "listings_version"}

    @pytest.mark.parametrize(("served", "act"), [(date(2026, 1, 9), Act.SUSPEND), (None, None)])
    def test_what_it_would_count_again_is_gone(self, engine: Engine, served: date | None, act: Act | None) -> None:
        """What is suspended, and a draft."""
        store, listing = open_store(engine), make_listing(served_on=served)
        store.add_pending(*HERE, [listing], entered(due=None if served else SINCE))
        if act:
            store.take([store.reference(listing)], step(act, SINCE))
        migrations.downgrade(engine, "listings", "0001")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM listing")).scalar_one() == 0

    def test_and_up_again_it_is_whole(self, engine: Engine) -> None:
        old_rows(engine, [PLAIN, DISPUTED, WAITING])
        before = list(open_store(engine).all())
        migrations.downgrade(engine, "listings", "0001")
        store = open_store(engine)
        assert list(store.all()) == before
        assert [listing for _, listing in store.pending(*HERE, 10)] == [PLAIN, DISPUTED, WAITING]
        assert store.seal(*HERE, {1: [T], 2: [T]}, entered()) == {}
        assert sealed_under(store) == ["old 0", "old 1"]
        assert [entry.key for entry in store.bucket(*HERE, 7)] == [session_key(pseudonym("canary"))]
        store.verify_trail()


class TestFromTheSecondVersion:
    """Seals come over with their key and summary; lives and deadlines stay as they are."""

    def test_seals_are_encrypted_anew_and_deadlines_stay(self, engine: Engine) -> None:
        listings = numbered(BATCH + 20)
        store = open_store(engine)
        store.open_epoch(*HERE, ["exclusions"], Seal(7, pseudonym("canary")))
        store.add_sealed(*HERE, [(listing, [T]) for listing in listings], entered())
        store.take([store.reference(listings[1])], step(Act.OBJECT, SINCE))
        store.add_pending(*HERE, [WAITING], entered())
        before = list(store.all()), store.due(), store.bucket(*HERE, 8), store.verify_trail()
        as_before(engine)
        store = open_store(engine)
        assert (list(store.all()), store.due(), store.bucket(*HERE, 8), store.verify_trail()) == before
        assert len(store.due()) == 1
        assert len(sealed_under(store)) == len(listings)

    def test_an_interrupted_one_goes_on_where_it_stopped(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(engine)
        store.add_sealed(*HERE, [(listing, [T]) for listing in numbered(BATCH + 20)], entered())
        before = store.bucket(*HERE, 8)
        as_before(engine)
        encrypt, left = ColumnCipher.encrypt_at, iter(range(BATCH + 10))

        def failing(cipher: ColumnCipher, plaintext: bytes, at: bytes) -> bytes:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return encrypt(cipher, plaintext, at)

        monkeypatch.setattr(ColumnCipher, "encrypt_at", failing)
        assert left_when_interrupted(engine, TO_SUMMARISE) == 20
        monkeypatch.undo()
        assert open_store(engine).bucket(*HERE, 8) == before


def left_when_interrupted(engine: Engine, due: date) -> int:
    """Open the store, which somebody interrupts; returns how many rows still wait to be brought over."""
    with pytest.raises(KeyboardInterrupt):
        open_store(engine)
    with engine.connect() as connection:
        waiting = select(func.count()).select_from(LISTING).where(LISTING.c.due_on == due)
        return int(connection.execute(waiting).scalar_one())


def as_before(engine: Engine) -> None:
    """Write the store's seals as version 0002 did, and say that the database is of that version."""
    cipher = ColumnCipher(KEY, secrets.token_bytes)
    with engine.connect() as connection:
        sealed = connection.execute(text("SELECT listing FROM seal")).scalars().all()
    migrations.downgrade(engine, "listings", "0002")
    with engine.begin() as connection:
        old_seals(connection, cipher, sealed)
