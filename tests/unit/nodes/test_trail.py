"""The audit trail: what happened stays as it was noted, and whoever tampers with it is found out."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from nodes.life import Act
from nodes.storage.cipher import ColumnCipher
from nodes.storage.listings import ListingStore
from nodes.storage.tables import EVENT
from nodes.storage.trail import Head, TrailError
from tests.unit.nodes.builders import make_listing, sqlite_only
from tests.unit.nodes.stores import HERE, KEY, add, counter, entered, numbered, seals, step

DAY = date(2026, 3, 2)
ENTRIES = 8


@pytest.fixture
def full(store: ListingStore) -> ListingStore:
    """Two listings with an objection each, and one of which only that it was erased is left."""
    one, other, gone = numbered(3)
    add(store, one, other, gone)
    store.take([store.reference(gone)], step(Act.REVOKE, DAY))
    store.erase([store.reference(gone)], step(Act.ERASE, DAY))
    for listing in (one, other):
        store.take([store.reference(listing)], step(Act.OBJECT, DAY))
    store.take([store.reference(one)], step(Act.REJECT, DAY))
    return store


def rows(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(EVENT).order_by(EVENT.c.number)).mappings()]


def rewritten(engine: Engine, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Replace the whole trail by what somebody with the database's file makes of it."""
    made = change(rows(engine))
    with engine.begin() as connection:
        connection.execute(delete(EVENT))
        connection.execute(insert(EVENT), made)


def changed(engine: Engine, entry: int, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(EVENT).where(EVENT.c.number == entry).values(values))


def complaint(store: ListingStore, kept: Head | None = None) -> str:
    with pytest.raises(TrailError) as caught:
        store.verify_trail(kept)
    return str(caught.value)


class TestChain:
    def test_verifies_and_its_head_is_the_last_entry(self, full: ListingStore, engine: Engine) -> None:
        last = rows(engine)[-1]
        assert full.verify_trail() == Head(ENTRIES, last["hash"])
        assert [noted.number for noted in full.trail()] == list(range(1, ENTRIES + 1))
        assert full.trail(after=6, limit=1)[0].number == 7

    def test_an_empty_one_verifies(self, store: ListingStore) -> None:
        assert store.verify_trail() == Head(0, bytes(32)) == store.verify_trail(Head(0, bytes(32)))

    def test_goes_on_from_a_kept_head(self, store: ListingStore) -> None:
        kept = []
        for listing in numbered(3):
            add(store, listing)
            kept.append(store.verify_trail())
            for head in kept:
                assert store.verify_trail(head) == kept[-1]

    def test_tells_what_was_noted_who_by_and_why(self, full: ListingStore) -> None:
        reference = full.reference(numbered(1)[0])
        assert [
            (it.step.act, it.step.actor, it.step.reason, it.step.document, it.step.due) for it in full.steps(reference)
        ] == [
            (Act.ENTER, "clerk", "by decision", "", None),
            (Act.OBJECT, "head", "as decided", "D 9/2026", date(2026, 3, 11)),
            (Act.REJECT, "head", "as decided", "D 9/2026", None),
        ]

    def test_the_same_steps_chain_alike_whatever_the_nonces(self, engine: Engine, store: ListingStore) -> None:
        """So a trail that was put back from a backup, or brought to another database, has the same head."""
        add(store, *numbered(3))
        head = store.verify_trail()
        with engine.begin() as connection:
            for table in ("event", "identifier", "pending", "listing"):
                connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  # names of our own tables
        again = ListingStore(engine, ColumnCipher(KEY, counter()), 2)
        add(again, *numbered(3))
        assert again.verify_trail() == head


OTHERS = {
    "time": 1,
    "register_id": "elsewhere",
    "content": b"\1" * 32,
    "act": Act.REPAIR.value,
    "actor": "nobody",
    "digest": b"\1" * 32,
    "details": b"\1" * 60,
    "hash": b"\1" * 32,
}


class TestTampering:
    @pytest.mark.parametrize("column", OTHERS)
    @pytest.mark.parametrize("number", [1, 5, ENTRIES])
    def test_with_any_column_is_found(self, full: ListingStore, engine: Engine, column: str, number: int) -> None:
        changed(engine, number, **{column: OTHERS[column]})
        expected = f"details of entry {number}" if column == "details" else f"does not verify from entry {number} on"
        assert expected in complaint(full)

    def test_every_column_is_tampered_with_here(self) -> None:
        assert set(EVENT.columns.keys()) == {*OTHERS, "number"}

    @pytest.mark.parametrize("number", [0, -1, 100])
    def test_with_a_number_is_found(self, full: ListingStore, engine: Engine, number: int) -> None:
        changed(engine, 3, number=number)
        assert "does not verify from entry" in complaint(full)

    @pytest.mark.parametrize("time", [-1, 2**63 - 1, -(2**63)])
    def test_with_a_time_that_there_is_not_is_found_too(self, full: ListingStore, engine: Engine, time: int) -> None:
        changed(engine, 3, time=time)
        assert "does not verify from entry 3 on" in complaint(full)

    @sqlite_only
    @pytest.mark.parametrize("column", ["time", "register_id", "act", "digest", "content", "details", "hash"])
    @pytest.mark.parametrize("value", ["'text'", "x'ff00'", "1.5"])
    def test_with_a_column_s_type_is_found(self, full: ListingStore, engine: Engine, column: str, value: str) -> None:
        """SQLite holds any type in any column."""
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE event SET {column} = {value} WHERE number = 3")  # noqa: S608
        assert "entry 3" in complaint(full)

    @pytest.mark.parametrize("number", [1, 4, ENTRIES - 1])
    def test_an_entry_taken_out_is_found(self, full: ListingStore, engine: Engine, number: int) -> None:
        with engine.begin() as connection:
            connection.execute(delete(EVENT).where(EVENT.c.number == number))
        assert f"from entry {number} on" in complaint(full)

    def test_and_closing_the_gap_does_not_hide_it(self, full: ListingStore, engine: Engine) -> None:
        rewritten(engine, lambda them: [it | {"number": at} for at, it in enumerate(them[:3] + them[4:], 1)])
        assert "from entry 4 on" in complaint(full)

    def test_another_order_is_found(self, full: ListingStore, engine: Engine) -> None:
        def swapped(them: list[dict[str, Any]]) -> list[dict[str, Any]]:
            them[1], them[2] = them[2] | {"number": 2}, them[1] | {"number": 3}
            return them

        rewritten(engine, swapped)
        assert "from entry 2 on" in complaint(full)

    def test_an_entry_put_in_is_found(self, full: ListingStore, engine: Engine) -> None:
        def inserted(them: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [it | {"number": at} for at, it in enumerate([*them[:4], them[3], *them[4:]], 1)]

        rewritten(engine, inserted)
        assert "from entry 5 on" in complaint(full)

    def test_details_of_another_entry_are_found(self, full: ListingStore, engine: Engine) -> None:
        """Though both are of the same step and digest."""
        first, second = rows(engine)[:2]
        assert first["digest"] == second["digest"]
        changed(engine, 2, details=first["details"])
        assert "details of entry 2" in complaint(full)

    @pytest.mark.parametrize("number", [1, 2, 6, 7, ENTRIES])
    def test_details_that_nobody_erased_are_missed(self, full: ListingStore, engine: Engine, number: int) -> None:
        changed(engine, number, details=None)
        assert "nobody erased its listing" in complaint(full)

    def test_so_are_those_of_the_erasure_itself(self, full: ListingStore, engine: Engine) -> None:
        """They say why it was erased, and by which document."""
        (number,) = (row["number"] for row in rows(engine) if row["act"] == Act.ERASE)
        changed(engine, number, details=None)
        assert f"details of entry {number}" in complaint(full)

    def test_an_end_cut_off_is_found_by_a_kept_head_alone(self, full: ListingStore, engine: Engine) -> None:
        """The twin: without the head that somebody kept, what is left is a whole trail."""
        kept = full.verify_trail()
        with engine.begin() as connection:
            connection.execute(delete(EVENT).where(EVENT.c.number > ENTRIES - 2))
        assert full.verify_trail().number == ENTRIES - 2
        assert f"ends with entry {ENTRIES - 2}, before the one that was kept" in complaint(full, kept)

    def test_an_end_written_anew_is_found_by_a_kept_head(self, full: ListingStore, engine: Engine) -> None:
        kept = full.verify_trail()
        with engine.begin() as connection:
            connection.execute(delete(EVENT).where(EVENT.c.number > ENTRIES - 1))
        full.take([full.reference(numbered(1)[0])], step(Act.ACCESS, DAY))
        assert full.verify_trail().number == ENTRIES
        assert f"entry {ENTRIES} of the audit trail is not the one that was kept" in complaint(full, kept)
        full.take([full.reference(numbered(1)[0])], step(Act.ACCESS, DAY))
        assert "not the one that was kept" in complaint(full, kept)


class TestErasure:
    def test_keeps_the_chain_and_every_head_that_was_kept(self, store: ListingStore, engine: Engine) -> None:
        one, other = numbered(2)
        add(store, one, other)
        store.take([store.reference(one)], step(Act.REVOKE, DAY))
        kept = store.verify_trail()
        store.erase([store.reference(one)], step(Act.ERASE, DAY))
        assert store.verify_trail(kept).number == kept.number + 1
        assert [row["number"] for row in rows(engine) if row["details"] is None] == [1, 3]
        assert [(it.step.act, it.step.reason, it.is_erased) for it in store.trail()] == [
            (Act.ENTER, "", True),
            (Act.ENTER, "by decision", False),
            (Act.REVOKE, "", True),
            (Act.ERASE, "as decided", False),
        ]

    def test_of_what_found_its_bucket_full_too_and_it_may_come_again(self, store: ListingStore) -> None:
        listing = make_listing()
        for _ in range(2):
            (number,) = add(store, listing)
            assert store.seal(*HERE, {number: seals(7, "a", "b", "c")}, entered()) == {number: 2}
        assert [(it.step.act, it.is_erased) for it in store.trail()] == [
            (Act.ENTER, True),
            (Act.REFUSE, True),
            (Act.ENTER, True),
            (Act.REFUSE, False),
        ]
        store.verify_trail()
        add(store, listing)
        store.verify_trail()
        assert store.were_erased([listing]) == [False]
