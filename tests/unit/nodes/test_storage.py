"""What is stored comes back as it was, stays encrypted and in its place, once; what happens to it stays with it."""

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Engine, update

from nodes.life import Act, TransitionError
from nodes.lifecycle import Clock, Life, Record, State, record_of
from nodes.listings import Listing, UnknownListingError
from nodes.storage.cipher import ColumnCipher
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from nodes.storage.tables import LISTING
from protocol.errors import SealError
from protocol.identifiers import canonical
from protocol.sealing import session_key
from tests.unit.nodes.builders import LEI, USCC, make_listing
from tests.unit.nodes.stores import (
    CANARY,
    HERE,
    KEY,
    add,
    add_sealed,
    at_rest,
    counter,
    entered,
    numbered,
    of_listing,
    pseudonym,
    references,
    seals,
    step,
    stored,
    tables,
)

DAY, DUE = date(2026, 3, 2), date(2026, 3, 11)


def with_two_identifiers() -> Listing:
    return make_listing(identifiers=(canonical("lei", LEI), canonical("zz.free", "1")))


class TestEntry:
    def test_listings_come_back_as_they_were(self, store: ListingStore) -> None:
        """A draft, points, a row of a snapshot among them; nothing has happened to any yet."""
        listings = [
            make_listing(raw={"note": "n"}, expires_on=date(2026, 12, 31)),
            with_two_identifiers(),
            make_listing(served_on=None),
            make_listing(points=17),
            make_listing(published=True),
        ]
        add(store, *listings)
        found = [record_of(listing, store.reference(listing)) for listing in listings]
        assert list(store.all()) == list(store.all("exclusions")) == found
        assert [store.get(record.reference) for record in found] == found
        assert list(store.all("elsewhere")) == []
        assert store.count("exclusions") == 5
        assert store.count("elsewhere") == 0

    def test_a_second_import_changes_nothing(self, store: ListingStore) -> None:
        one, other = make_listing(), make_listing(decision_ref="D 18/2026")
        first = add(store, one, one)
        assert first[0] == first[1]
        store.take([store.reference(one)], step(Act.OBJECT, DAY))
        assert add(store, one, other)[0] == first[0]
        assert add_sealed(store, [(one, seals(7, "t"))]) == {}
        assert [record.life.dispute for record in store.all()] == [Clock("object", DAY, DUE), None]
        assert store.count("exclusions") == 2
        assert [noted.step.act for noted in store.trail()] == [Act.ENTER, Act.OBJECT, Act.ENTER]

    def test_many_are_numbered_in_order(self, store: ListingStore) -> None:
        assert add(store, *numbered(1_200)) == list(range(1, 1_201))
        assert store.count("exclusions") == 1_200

    def test_a_replaced_listing_is_another(self, store: ListingStore) -> None:
        one = make_listing()
        assert len(set(add(store, one, replace(one, severity=3)))) == 2

    def test_a_row_of_a_snapshot_is_the_same_in_the_next_edition_and_a_decision_is_not(
        self, store: ListingStore
    ) -> None:
        for published, count in ((True, 1), (False, 2)):
            one = make_listing(published=published, decision_ref=f"published: {published}")
            assert len(set(add(store, one, replace(one, decided_on=DAY, served_on=DAY)))) == count

    def test_a_draft_has_a_deadline_until_it_is_served(self, store: ListingStore) -> None:
        draft = make_listing(served_on=None)
        store.add_pending(*HERE, [draft], entered(due=date(2026, 1, 19)))
        ((record,),) = [store.due()]
        assert record.life == Life(None, serve_by=date(2026, 1, 19))
        (served,) = store.take([record.reference], step(Act.SERVE, date(2026, 1, 14), on=date(2026, 1, 13)))
        assert served.life == Life(date(2026, 1, 13)) == store.get(record.reference).life
        assert store.due() == []


class TestSteps:
    def test_disputes_begin_and_end(self, store: ListingStore) -> None:
        add(store, make_listing())
        reference = store.reference(make_listing())
        for act, open_ in ((Act.OBJECT, Clock("object", DAY, DUE)), (Act.REJECT, None)):
            (record,) = store.take([reference], step(act, DAY))
            assert record.life.dispute == open_
            assert list(store.all()) == [record]
        with pytest.raises(UnknownListingError):
            store.take(["0" * 32], step(Act.OBJECT, DAY))

    def test_all_are_taken_or_none(self, store: ListingStore) -> None:
        one, other = numbered(2)
        add(store, one, other)
        store.take([store.reference(other)], step(Act.OBJECT, DAY))
        before = list(store.all()), store.trail(), store.verify_trail()
        with pytest.raises(TransitionError, match="open already"):
            store.take([store.reference(one), store.reference(other)], step(Act.OBJECT, DAY))
        assert (list(store.all()), store.trail(), store.verify_trail()) == before

    def test_a_step_that_is_none_notes_nothing(self, store: ListingStore) -> None:
        add(store, make_listing())
        store.take([store.reference(make_listing())], lambda _: None)
        assert [noted.step.act for noted in store.trail()] == [Act.ENTER]

    def test_what_is_due_comes_first_deadline_first(self, store: ListingStore) -> None:
        listings = numbered(3)
        add(store, *listings)
        for listing, on in zip(listings, (date(2026, 3, 4), date(2026, 3, 2), None), strict=True):
            if on:
                store.take([store.reference(listing)], step(Act.OBJECT, date(2026, 3, 4), on=on))
        assert [record.listing.decision_ref for record in store.due()] == ["D 1", "D 0"]

    def test_a_correction_ends_one_and_enters_the_other_at_once(self, store: ListingStore) -> None:
        wrong, right = numbered(2)
        add_sealed(store, [(wrong, seals(8, "t"))])
        reference = store.reference(right)
        taken = step(Act.CORRECT, DAY, replacement=reference)
        corrected = store.correct(*HERE, store.reference(wrong), taken, (right, seals(8, "t")), entered(DAY))
        assert corrected == record_of(right, reference)
        old = store.get(store.reference(wrong)).life
        assert (old.ended, old.ended_on, old.replaced_by) == (State.CORRECTED, DAY, reference)
        assert store.are_sealed(*HERE, [wrong, right]) == [True, True]
        assert [noted.step.act for noted in store.trail()] == [Act.ENTER, Act.CORRECT, Act.ENTER]

    def test_a_correction_that_cannot_be_made_leaves_all_as_it_was(self, store: ListingStore) -> None:
        wrong, right = numbered(2)
        add(store, wrong)
        before = list(store.all()), store.trail()
        refused = step(Act.CORRECT, DAY)
        with pytest.raises(TransitionError, match="corrected listing is missing"):
            store.correct(*HERE, store.reference(wrong), refused, (right, None), entered(DAY))
        assert (list(store.all()), store.trail()) == before


class TestReferences:
    def test_the_first_eight_digits_are_enough_and_seven_are_not(self, store: ListingStore) -> None:
        add(store, make_listing())
        reference = store.reference(make_listing())
        assert len(reference) == 32
        assert store.get(reference[:8]).reference == reference
        for wrong in (reference[:7], reference + "0", "g" * 8, "", "0" * 32):
            with pytest.raises(UnknownListingError):
                store.get(wrong)

    def test_two_that_begin_alike_are_told_apart_by_more_digits(self, store: ListingStore, engine: Engine) -> None:
        """No two do so soon, so one is made by hand; its payload is not read, since neither is meant."""
        add(store, *numbered(2))
        first = store.reference(numbered(1)[0])
        with engine.begin() as connection:
            alike = update(LISTING).where(LISTING.c.number == 2)
            connection.execute(alike.values(content=bytes.fromhex(first[:8]) + bytes(28)))
        with pytest.raises(UnknownListingError, match="more than one"):
            store.get(first[:8])
        assert store.get(first[:16]).reference == first

    def test_a_subject_is_found_by_any_of_its_identifiers(self, store: ListingStore) -> None:
        add(store, make_listing(), with_two_identifiers())
        one, two = store.all()
        assert store.find([canonical("cn.uscc", USCC)]) == [one]
        assert store.find([canonical("zz.free", "1")]) == store.find([canonical("lei", LEI)]) == [two]
        assert store.find([canonical("zz.free", "1"), canonical("cn.uscc", USCC)]) == [one, two]
        assert store.find([canonical("zz.free", "2")]) == store.find([]) == []


class TestAtRest:
    def test_nothing_of_a_subject_is_legible(self, store: ListingStore, engine: Engine) -> None:
        add_sealed(store, [(make_listing(raw={"note": "raw note"}), seals(7, "t"))])
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        store.take([store.reference(make_listing(raw={"note": "raw note"}))], step(Act.OBJECT, DAY, reason="not me"))
        found = at_rest(engine)
        assert b"exclusions" in found  # the twin: what is in clear would be seen
        secrets = (USCC.encode(), b"Acme", b"D 17/2026", b"raw note", pseudonym("t"), pseudonym("t")[:8], b"not me")
        for secret in (*secrets, b"D 9/2026", session_key(pseudonym("t"))[:8], b"debarred"):
            assert secret not in found
        assert CANARY.pseudonym[:8] not in found

    def test_what_is_erased_is_nowhere(self, store: ListingStore, engine: Engine) -> None:
        """What stays is the bare fact in the trail: which register, when, by whom; nothing of the subject."""
        gone, kept = make_listing(register="gone-register"), make_listing(decision_ref="D 18/2026", name="Other")
        add_sealed(store, [(gone, seals(7, "t"))])
        add(store, gone, kept)
        reference = store.reference(gone)
        store.take([reference], step(Act.REVOKE, DAY))
        traces = of_listing(engine, reference)
        assert len(traces) == 5
        assert all(trace in at_rest(engine) for trace in traces)
        store.erase([reference], step(Act.ERASE, DAY))
        assert references(store) == ["D 18/2026"]
        assert store.bucket(*HERE, 7) == []
        digest = traces[2]  # of the identifier, which the other listing has too
        assert [trace for trace in traces if trace in at_rest(engine)] == [digest]
        assert [(it.step.act, it.is_erased) for it in store.trail() if it.register == "gone-register"] == [
            (Act.ENTER, True),
            (Act.REVOKE, True),
            (Act.ERASE, False),
        ]

    def test_what_was_erased_is_remembered_as_erased(self, store: ListingStore) -> None:
        one, other = numbered(2)
        add(store, one, other)
        store.take([store.reference(one)], step(Act.REVOKE, DAY))
        store.erase([store.reference(one)], step(Act.ERASE, DAY))
        assert store.were_erased([one, other]) == [True, False]
        assert store.are_stored([one, other]) == [False, True]
        assert stored(store) == [other]

    def test_a_row_moved_to_another_is_noticed(self, store: ListingStore, engine: Engine) -> None:
        add(store, make_listing(), make_listing(decision_ref="D 18/2026"))
        moved = "UPDATE listing SET payload = (SELECT payload FROM listing WHERE number = 2) WHERE number = 1"
        with engine.begin() as connection:
            connection.exec_driver_sql(moved)
        with pytest.raises(SealError):
            list(store.all())


def test_a_record_shows_nothing_of_its_subject() -> None:
    shown = repr(Record(make_listing(raw={"note": "raw note"}), Life(None), "00"))
    assert "exclusions" in shown
    for secret in (USCC, "Acme", "D 17/2026", "raw note"):
        assert secret not in shown


def test_listings_and_state_have_no_table_in_common(engine: Engine) -> None:
    ListingStore(engine, ColumnCipher(KEY, counter()), 2)
    listings = tables(engine)
    ProtocolState(engine)
    own = {"listing", "identifier", "event", "credential", "seal", "pending", "canary", "listings_version"}
    assert listings == own
    assert tables(engine) - listings == {
        *("session", "opening", "charge", "log"),
        *("contribution", "published", "state_version"),
    }
