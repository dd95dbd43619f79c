"""An agency's own work: what it enters and decides, by four eyes; what is due; what was, on any past day."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from nodes.catalogue import load_catalogue
from nodes.life import Act, Author, TransitionError
from nodes.lifecycle import Record, State
from nodes.listings import Listing, ListingError, UnknownListingError
from nodes.register import DECISIONS, Register
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import KEY, Clock, counter, open_register

ENTRIES = {
    "exclusions": load_catalogue()["debarment"],
    "judgments": load_catalogue()["judgment-defaulters"],
    "lists": load_catalogue()["sanctions"],
}
DAY = date(2027, 3, 1)  # a Monday
CLERK, HEAD = Author("clerk", "as decided", "D 8"), Author("head", "as decided", "D 9")
SUBJECT = Author("subject", "it was not me")


@pytest.fixture
def clock() -> Clock:
    return Clock(DAY)


@pytest.fixture
def register(tmp_path: Path, clock: Clock) -> Iterator[Register]:
    engine = open_engine(f"sqlite:///{tmp_path}/node.db")
    yield open_register(ListingStore(engine, ColumnCipher(KEY, counter()), 99), ENTRIES, clock)
    engine.dispose()


def enter(register: Register, listing: Listing, by: Author = CLERK) -> Record:
    return asyncio.run(register.enter(listing, by, None))


class TestEntry:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"register": "elsewhere"}, "register"),
            ({"ground": "gossip"}, "ground"),
            ({"decision_ref": ""}, "decision_ref"),
            ({"served_on": date(2026, 1, 4)}, "served_on"),
            ({"served_on": DAY + timedelta(days=1)}, "served_on"),
            ({"decided_on": DAY + timedelta(days=1), "served_on": None}, "decided_on"),
            ({"expires_on": date(2031, 1, 6)}, "expires_on"),
            ({"severity": 4}, "severity"),
            ({"points": 5}, "points"),
            ({"published": True}, "published"),
            ({"identifiers": ()}, "identifier"),
        ],
    )
    def test_what_its_register_does_not_allow_is_refused_and_not_stored(
        self, register: Register, changes: dict[str, object], field: str
    ) -> None:
        with pytest.raises(ListingError) as caught:
            enter(register, replace(make_listing(), **changes))  # type: ignore[arg-type]  # the fields' own types
        assert caught.value.field == field
        assert register.trail() == []

    def test_a_draft_is_served_within_ten_working_days(self, register: Register) -> None:
        record = enter(register, make_listing(served_on=None))
        assert register.state(record) is State.DRAFT
        assert [(due.what, due.by) for due in register.due()] == [("serve the notice", date(2027, 3, 15))]
        served = register.act(record.reference, Act.SERVE, CLERK, DAY)
        assert register.state(served) is State.NOTIFIED
        assert register.due() == []

    def test_the_same_again_is_the_same_record(self, register: Register) -> None:
        assert enter(register, make_listing()) == enter(register, make_listing())
        assert len(register.trail()) == 1


class TestFourEyes:
    """Nobody judges their own work."""

    def asked(self, register: Register, act: Act) -> Record:
        """A listing of which this may be decided."""
        record = enter(register, make_listing(served_on=None))
        register.act(record.reference, Act.SERVE, Author("bailiff", "", "delivery 5"), date(2027, 1, 5))
        before = {Act.REJECT: Act.OBJECT, Act.REPAIR: Act.REQUEST_REPAIR, Act.REFUSE_REPAIR: Act.REQUEST_REPAIR}
        if act in before:
            register.act(record.reference, before[act], SUBJECT)
        return record

    @pytest.mark.parametrize("act", sorted(DECISIONS - {Act.CORRECT}))
    @pytest.mark.parametrize("actor", ["clerk", "bailiff"])
    def test_who_entered_or_served_it_does_not_decide_on_it(self, register: Register, act: Act, actor: str) -> None:
        record = self.asked(register, act)
        with pytest.raises(TransitionError, match="somebody else than who entered or served"):
            register.act(record.reference, act, replace(CLERK, actor=actor))
        register.act(record.reference, act, HEAD)
        assert register.history(record.reference)[-1].actor == "head"

    @pytest.mark.parametrize("actor", ["clerk", "bailiff"])
    def test_nor_corrects_it(self, register: Register, actor: str) -> None:
        record, right = self.asked(register, Act.CORRECT), make_listing(decision_ref="right")
        with pytest.raises(TransitionError, match="somebody else"):
            asyncio.run(register.correct(record.reference, right, replace(CLERK, actor=actor), None))
        corrected = asyncio.run(register.correct(record.reference, right, HEAD, None))
        assert register.get(record.reference).life.replaced_by == corrected.reference

    def test_and_who_corrected_it_has_entered_the_new_one(self, register: Register) -> None:
        record = self.asked(register, Act.CORRECT)
        right = asyncio.run(register.correct(record.reference, make_listing(decision_ref="right"), HEAD, None))
        with pytest.raises(TransitionError, match="somebody else"):
            register.act(right.reference, Act.REVOKE, HEAD)
        register.act(right.reference, Act.REVOKE, CLERK)

    def test_a_draft_may_be_withdrawn_by_whoever_made_it(self, register: Register) -> None:
        record = enter(register, make_listing(served_on=None))
        assert register.state(register.act(record.reference, Act.REVOKE, CLERK)) is State.REVOKED


class TestCorrection:
    def test_is_of_the_same_register_and_not_stored_yet(self, register: Register) -> None:
        record = enter(register, make_listing())
        other = make_listing(register="judgments", ground="obstruction")
        for wrong, field in ((other, "register"), (make_listing(), "listing"), (make_listing(severity=9), "severity")):
            with pytest.raises(ListingError) as caught:
                asyncio.run(register.correct(record.reference, wrong, HEAD, None))
            assert caught.value.field == field
        assert register.get(record.reference) == record

    def test_of_one_that_nobody_knows_is_none(self, register: Register) -> None:
        with pytest.raises(UnknownListingError):
            asyncio.run(register.correct("0" * 32, make_listing(), HEAD, None))
        assert register.trail() == []


class TestLookingBack:
    def test_every_past_day_is_as_it_was(self, register: Register, clock: Clock) -> None:
        record = enter(register, make_listing(served_on=None))
        expected = {}
        for act, by, days in (
            (Act.SERVE, replace(CLERK, actor="bailiff"), 5),
            (Act.OBJECT, SUBJECT, 20),
            (Act.ACCESS, HEAD, 12),  # by then the objection is overdue
            (Act.REJECT, HEAD, 3),
            (Act.REVOKE, HEAD, 1),
        ):
            expected[clock.day] = register.get(record.reference), register.state(register.get(record.reference))
            clock.day += timedelta(days=days)
            register.act(record.reference, act, by, clock.day if act is Act.SERVE else None)
        assert [state.value for _, state in expected.values()] == [
            "draft",
            "notified",
            "disputed",
            "suspended",
            "active",
        ]
        for day, stood in expected.items():
            assert register.as_of(record.reference, day) == stood
        assert register.as_of(record.reference, clock.day)[1] is State.REVOKED

    def test_before_its_entry_there_is_nothing(self, register: Register) -> None:
        record = enter(register, make_listing())
        with pytest.raises(UnknownListingError, match="not entered by then"):
            register.as_of(record.reference, DAY - timedelta(days=1))


class TestDue:
    def test_comes_the_first_deadline_first_and_goes_with_the_answer(self, register: Register, clock: Clock) -> None:
        one, two = (enter(register, make_listing(decision_ref=f"D {number}")) for number in range(2))
        register.act(one.reference, Act.REQUEST_CORRECTION, SUBJECT)
        register.act(one.reference, Act.REQUEST_REPAIR, SUBJECT)
        register.act(two.reference, Act.OBJECT, SUBJECT)
        assert [(due.record.reference, due.what, due.by) for due in register.due()] == [
            (two.reference, "answer: object", date(2027, 3, 10)),
            (one.reference, "decide on repair", date(2027, 3, 15)),
            (one.reference, "answer: request-correction", date(2027, 3, 22)),
        ]
        clock.day = date(2027, 4, 1)
        assert len(register.due()) == 3  # overdue is due
        register.act(one.reference, Act.REPAIR, HEAD)
        assert [due.record.reference for due in register.due()] == [two.reference]

    def test_is_nothing_about_what_has_ended(self, register: Register, clock: Clock) -> None:
        record = enter(register, make_listing(expires_on=date(2027, 3, 5)))
        register.act(record.reference, Act.OBJECT, SUBJECT)
        clock.day = date(2027, 3, 6)
        assert register.due() == []


class TestRetention:
    """A year after it ended; the day after that it goes."""

    def test_of_what_expired_and_what_was_ended(self, register: Register, clock: Clock) -> None:
        expired = enter(register, make_listing(decision_ref="expires", expires_on=date(2027, 3, 5)))
        revoked = enter(register, make_listing(decision_ref="revoked"))
        kept = enter(register, make_listing(decision_ref="kept"))
        register.act(revoked.reference, Act.REVOKE, HEAD)
        for day, out in (
            (date(2028, 3, 1), []),
            (date(2028, 3, 2), [revoked.reference]),
            (date(2028, 3, 6), [expired.reference, revoked.reference]),
        ):
            clock.day = day
            assert [record.reference for record in register.out_of_retention()] == out
        assert register.erase_out_of_retention(HEAD) == 2
        assert register.erase_out_of_retention(HEAD) == 0
        assert register.find(make_listing().identifiers) == [kept]
        with pytest.raises(ListingError, match="was erased"):
            enter(register, make_listing(decision_ref="revoked"))
