"""Listings are held against the audit trail: none is otherwise than its steps left it, none is there without one."""

from datetime import date

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from nodes.life import Act
from nodes.storage.listings import ListingStore
from nodes.storage.tables import LISTING
from nodes.storage.trail import TrailError
from protocol.errors import SealError
from tests.unit.nodes.stores import add, numbered, step

DAY = date(2026, 3, 2)


@pytest.fixture
def full(store: ListingStore) -> ListingStore:
    """More than are read at a time, two of them with a life, and one erased."""
    listings = numbered(600)
    for start in range(0, 600, 100):
        add(store, *listings[start : start + 100])
    one, other, gone = (store.reference(listing) for listing in listings[:3])
    store.take([one, other], step(Act.OBJECT, DAY))
    store.take([other], step(Act.REJECT, DAY))
    store.take([gone], step(Act.REVOKE, DAY))
    store.erase([gone], step(Act.ERASE, DAY))
    return store


def test_what_is_as_it_was_noted_verifies(full: ListingStore) -> None:
    assert full.verify() == full.verify_trail() == full.trail_head()


def test_every_record_comes_with_its_steps(full: ListingStore) -> None:
    found = list(full.all_with_steps("exclusions"))
    assert [record for record, _ in found] == list(full.all())
    acts = [[it.act for it in steps] for _, steps in found]
    assert acts[:2] == [[Act.ENTER, Act.OBJECT], [Act.ENTER, Act.OBJECT, Act.REJECT]]
    assert all(them == [Act.ENTER] for them in acts[2:])


@pytest.mark.parametrize("life", [None, '{"ended": "repaired", "ended_by": "repair"}'])
def test_a_life_that_no_step_made_is_found(full: ListingStore, engine: Engine, life: str | None) -> None:
    first = next(full.all()).reference
    with engine.begin() as connection:
        connection.execute(update(LISTING).where(LISTING.c.number == 1).values(life=life))
    with pytest.raises(TrailError, match=f"{first} is not as the audit trail says"):
        full.verify()
    full.verify_trail()


def test_a_listing_that_is_gone_is_missed(full: ListingStore, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(LISTING).where(LISTING.c.number == 2))
    with pytest.raises(TrailError, match="more listings, or fewer"):
        full.verify()


def test_a_row_put_in_beside_the_agency_is_found(full: ListingStore, engine: Engine) -> None:
    """Under its own digest it does not open, and the digest of another is taken."""
    with engine.begin() as connection:
        row = dict(connection.execute(select(LISTING).limit(1)).mappings().one())
        connection.execute(insert(LISTING), row | {"number": 10_000, "content": bytes(32)})
    with pytest.raises(SealError):
        full.verify()
