"""PostgreSQL reads what is hot by indexes, however many listings there are; an index that is gone is noticed."""

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from tests.postgres import schema
from tests.synthetic import PLACES, analyze, fill, hot, plan, statements
from tests.unit.nodes.stores import KEY

pytestmark = pytest.mark.postgres

LISTINGS = 50_000
GROWING = {"listing", "identifier", "event", "seal", "pending"}
"""Tables that grow with the register; `canary` has a row an epoch."""


@pytest.fixture(scope="module")
def register() -> Iterator[tuple[Engine, ListingStore]]:
    with schema() as url:
        engine = open_engine(url)
        store = ListingStore(engine, ColumnCipher(KEY, secrets.token_bytes), PLACES)
        fill(engine, store, LISTINGS)
        analyze(engine)
        yield engine, store
        engine.dispose()


def read_whole(engine: Engine, store: ListingStore) -> set[tuple[str, str]]:
    """What is hot and has a growing table read from one end to the other: by name, and which table."""
    found = set()
    for name, action in hot(store).items():
        with statements(engine) as sent:
            action()
        assert sent
        for statement in sent:
            found |= {(name, what) for how, what in plan(engine, statement) if how == "Seq Scan" and what in GROWING}
    return found


def test_nothing_hot_reads_a_whole_table(register: tuple[Engine, ListingStore]) -> None:
    assert read_whole(*register) == set()


@pytest.mark.parametrize(
    ("index", "noticed"),
    [
        ("seal_bucket", {("bucket", "seal")}),
        ("ix_identifier_digest", {("find", "identifier")}),
        ("ix_listing_due_on", {("due", "listing")}),
        ("ix_event_content", {("steps", "event"), ("were 60 erased", "event")}),
    ],
)
def test_an_index_that_is_gone_is_noticed(
    register: tuple[Engine, ListingStore], index: str, noticed: set[tuple[str, str]]
) -> None:
    engine, store = register
    with engine.begin() as connection:
        [(definition,)] = connection.exec_driver_sql(f"SELECT pg_get_indexdef('{index}'::regclass)").all()
        connection.exec_driver_sql(f"DROP INDEX {index}")
    try:
        assert noticed <= read_whole(engine, store)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(definition)
