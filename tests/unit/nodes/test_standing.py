"""What a subject's records amount to, register by register, on each day."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from nodes.catalogue import load_catalogue
from nodes.life import Act, Author, TransitionError
from nodes.lifecycle import Clock as Deadline
from nodes.lifecycle import Life, Record, State, record_of
from nodes.listings import Listing, ListingError
from nodes.register import Register
from nodes.standing import standings
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from protocol.identifiers import Identifier, canonical
from protocol.lanes import Standing
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import KEY, Clock, counter, open_register

PRESETS = {
    "jaywalking": "conduct-jaywalking",
    "ratings": "tax-rating",
    "praise": "red-list",
    "scheme": "civic-points",
    "judgments": "judgment-defaulters",
}
ENTRIES = {register: load_catalogue()[preset] for register, preset in PRESETS.items()}
SOMEBODY = canonical("zz.person", "somebody")
CLERK, HEAD, SUBJECT = Author("clerk", "entered"), Author("head", "as decided", "D 9"), Author("subject", "as I say")

LISTED = Standing("jaywalking", 1, disputed=False)
FLAGGED = Standing("jaywalking", 1, disputed=True)


def jaywalking(day: date, **changes: object) -> Listing:
    """One infringement, decided and served on a day."""
    made = make_listing(
        register="jaywalking",
        subject_kind="natural",
        identifiers=(SOMEBODY,),
        ground="jaywalking",
        decision_ref=f"J {day}",
        decided_on=day,
        served_on=day,
        severity=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def infringements(*days: date) -> list[Record]:
    return [record_of(jaywalking(day), f"{number}") for number, day in enumerate(days)]


def on(records: Iterable[Record], day: date) -> list[Standing]:
    return standings(records, ENTRIES, day)


def test_a_moratorium_takes_the_latest_rating_out_and_brings_no_older_one_back() -> None:
    entries = {"ratings": load_catalogue()["tax-rating"]}
    good, bad = (
        record_of(make_listing(register="ratings", ground=ground, decided_on=day, served_on=day, points=points), ground)
        for ground, day, points in (("grade-a", date(2026, 1, 5), 95), ("grade-d", date(2026, 3, 2), 20))
    )
    day = date(2026, 6, 1)
    assert [it.positive for it in standings([good, bad], entries, day)] == [False]
    assert standings([good, bad], entries, day, lambda listing: listing.ground == "grade-d") == []


def disputed(record: Record, since: date) -> Record:
    life = Life(record.life.served_on, dispute=Deadline("object", since, since + timedelta(days=9)))
    return replace(record, life=life)


MONTHLY = [date(2026, month, 5) for month in (1, 2, 3, 4, 5)]
JUNE = date(2026, 6, 1)


class TestCounted:
    """Five infringements within twelve months list for twelve months from the fifth; fewer have no effect."""

    def test_four_of_five_are_nothing(self) -> None:
        assert on(infringements(*MONTHLY[:4]), JUNE) == []

    def test_five_within_a_year_list_once(self) -> None:
        assert on(infringements(*MONTHLY), JUNE) == [LISTED]
        assert on(infringements(*MONTHLY, date(2026, 5, 6)), JUNE) == [LISTED]

    def test_from_the_day_after_the_fifth_s_window(self) -> None:
        """Served on Tuesday 5 May 2026: the tenth working day after is Tuesday 19 May."""
        assert on(infringements(*MONTHLY), date(2026, 5, 19)) == []
        assert on(infringements(*MONTHLY), date(2026, 5, 20)) == [LISTED]

    def test_until_twelve_months_after_the_fifth(self) -> None:
        assert on(infringements(*MONTHLY), date(2027, 5, 5)) == [LISTED]
        assert on(infringements(*MONTHLY), date(2027, 5, 6)) == []

    @pytest.mark.parametrize(("first", "expected"), [(date(2025, 5, 6), [LISTED]), (date(2025, 5, 5), [])])
    def test_five_spread_over_more_than_a_year_are_nothing(self, first: date, expected: list[Standing]) -> None:
        """A year that ends with 5 May 2026 begins with 6 May 2025."""
        assert on(infringements(first, *MONTHLY[1:]), JUNE) == expected

    def test_the_order_of_entry_does_not_matter(self) -> None:
        assert on(reversed(infringements(*MONTHLY)), date(2027, 5, 5)) == [LISTED]

    def test_a_later_five_list_longer(self) -> None:
        later = infringements(*MONTHLY, date(2026, 9, 1))  # the last five are from February to September
        assert on(later, date(2027, 9, 1)) == [LISTED]
        assert on(later, date(2027, 9, 2)) == []

    @pytest.mark.parametrize("number", range(5))
    def test_one_of_five_disputed_only_flags(self, number: int) -> None:
        records = infringements(*MONTHLY)
        records[number] = disputed(records[number], JUNE)
        assert on(records, JUNE) == [FLAGGED]

    def test_one_disputed_beyond_five_others_changes_nothing(self) -> None:
        first, *others = infringements(*MONTHLY, date(2026, 5, 6))
        assert on([disputed(first, JUNE), *others], JUNE) == [LISTED]

    def test_one_suspended_or_whose_objection_is_overdue_does_not_count(self) -> None:
        first, *others = infringements(*MONTHLY)
        assert on([replace(first, life=Life(MONTHLY[0], suspended_on=JUNE)), *others], JUNE) == []
        assert on([disputed(first, JUNE), *others], JUNE + timedelta(days=9)) == [FLAGGED]
        assert on([disputed(first, JUNE), *others], JUNE + timedelta(days=10)) == []

    def test_drafts_and_what_was_ended_do_not_count(self) -> None:
        first, *others = infringements(*MONTHLY)
        for life in (Life(None), *(Life(MONTHLY[0], ended=it, ended_on=JUNE) for it in State if it.name[:2] == "RE")):
            assert on([replace(first, life=life), *others], JUNE) == []


@pytest.fixture
def clock() -> Clock:
    return Clock(JUNE)


@pytest.fixture
def register(tmp_path: Path, clock: Clock) -> Iterator[Register]:
    engine = open_engine(f"sqlite:///{tmp_path}/node.db")
    yield open_register(ListingStore(engine, ColumnCipher(KEY, counter()), 99), ENTRIES, clock)
    engine.dispose()


def enter(register: Register, *listings: Listing) -> list[Record]:
    return [asyncio.run(register.enter(listing, CLERK, None)) for listing in listings]


def stands(register: Register, subject: Identifier = SOMEBODY) -> list[Standing]:
    return standings(register.find([subject]), ENTRIES, register.today)


class TestRepairOfWhatIsCounted:
    def test_clears_all_and_a_sixth_afterwards_starts_anew(self, register: Register, clock: Clock) -> None:
        records = enter(register, *map(jaywalking, MONTHLY))
        assert stands(register) == [LISTED]
        register.act(records[2].reference, Act.REQUEST_REPAIR, SUBJECT)
        assert stands(register) == [LISTED]
        assert {due.what for due in register.due()} == {"decide on repair"}
        register.act(records[4].reference, Act.REPAIR, HEAD)
        assert stands(register) == []
        assert {register.state(record) for record in register.find([SOMEBODY])} == {State.REPAIRED}
        assert register.due() == []
        sixth = date(2026, 6, 2)
        clock.day = date(2026, 7, 1)
        enter(register, jaywalking(sixth))
        assert stands(register) == []
        enter(register, *(jaywalking(sixth, decision_ref=f"again {number}") for number in range(4)))
        assert stands(register) == [LISTED]

    def test_a_refusal_leaves_them_as_they_were(self, register: Register) -> None:
        records = enter(register, *map(jaywalking, MONTHLY))
        register.act(records[0].reference, Act.REQUEST_REPAIR, SUBJECT)
        register.act(records[1].reference, Act.REFUSE_REPAIR, HEAD)
        assert stands(register) == [LISTED]
        assert register.find([SOMEBODY]) == records

    def test_nobody_decides_on_the_repair_of_what_they_entered_among_them(self, register: Register) -> None:
        """Whichever of them the decision is addressed to."""
        enter(register, *map(jaywalking, MONTHLY[:4]))
        last = asyncio.run(register.enter(jaywalking(MONTHLY[4]), Author("head", "entered"), None))
        register.act(last.reference, Act.REQUEST_REPAIR, SUBJECT)
        for record in register.find([SOMEBODY]):
            with pytest.raises(TransitionError, match="somebody else"):
                register.act(record.reference, Act.REPAIR, HEAD)
        assert stands(register) == [LISTED]

    def test_other_subjects_and_grounds_are_untouched(self, register: Register) -> None:
        other = canonical("zz.person", "other")
        enter(register, *map(jaywalking, MONTHLY))
        untouched = enter(register, *(jaywalking(day, identifiers=(other,)) for day in MONTHLY))
        register.act(register.find([SOMEBODY])[0].reference, Act.REQUEST_REPAIR, SUBJECT)
        assert register.find([other]) == untouched
        assert stands(register, other) == [LISTED]

    def test_what_still_counts_can_be_disputed_and_revoked_though_its_own_term_is_over(
        self, register: Register, clock: Clock
    ) -> None:
        """The first infringement's twelve months are over, and it counts with the others until the fifth's are."""
        first, *_ = enter(register, *map(jaywalking, MONTHLY))
        clock.day = date(2027, 2, 1)
        assert register.state(first) is State.EXPIRED
        assert stands(register) == [LISTED]
        register.act(first.reference, Act.OBJECT, SUBJECT)
        assert stands(register) == [FLAGGED]
        register.act(first.reference, Act.REVOKE, HEAD)
        assert stands(register) == []


def rating(grade: str, decided: date, points: int | None, **changes: object) -> Listing:
    made = make_listing(
        register="ratings",
        identifiers=(SOMEBODY,),
        ground=f"grade-{grade}",
        decision_ref=f"R {decided}",
        decided_on=decided,
        served_on=decided,
        severity=1,
        points=points,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


A = rating("a", date(2026, 1, 5), 95)
D = rating("d", date(2026, 3, 2), 12)


class TestRatings:
    """Of a subject's ratings the latest counts; only A and D leave the agency."""

    @pytest.mark.parametrize(
        ("grade", "points", "expected"),
        [
            ("a", 95, [Standing("ratings", 1, disputed=False, points=95, positive=True)]),
            ("b", 75, []),
            ("c", 50, []),
            ("m", None, []),
            ("d", 12, [Standing("ratings", 1, disputed=False)]),
            ("d-direct", None, [Standing("ratings", 1, disputed=False)]),
        ],
    )
    def test_a_rewards_d_lists_and_the_others_stay_at_home(
        self, grade: str, points: int | None, expected: list[Standing]
    ) -> None:
        assert on([record_of(rating(grade, date(2026, 1, 5), points))], JUNE) == expected

    @pytest.mark.parametrize(("grade", "points"), [("b", 75), ("c", 50), ("m", None)])
    def test_the_latest_replaces_the_one_before_also_if_it_stays_at_home(self, grade: str, points: int | None) -> None:
        for earlier in (A, D):
            assert on([record_of(rating(grade, date(2026, 4, 1), points)), record_of(earlier)], JUNE) == []

    def test_in_any_order(self) -> None:
        for records in ([record_of(A), record_of(D)], [record_of(D), record_of(A)]):
            assert on(records, JUNE) == [Standing("ratings", 1, disputed=False)]

    def test_while_the_newest_is_only_notified_the_one_before_counts(self) -> None:
        """Served on Monday 2 March 2026: the tenth working day after is Monday 16 March."""
        good = Standing("ratings", 1, disputed=False, points=95, positive=True)
        assert on([record_of(A), record_of(D)], date(2026, 3, 16)) == [good]
        assert on([record_of(A), record_of(D)], date(2026, 3, 17)) == [Standing("ratings", 1, disputed=False)]

    def test_while_the_newest_is_disputed_it_only_flags(self) -> None:
        assert on([record_of(A), disputed(record_of(D), JUNE)], JUNE) == [Standing("ratings", 1, disputed=True)]

    def test_once_the_newest_is_revoked_the_one_before_counts(self) -> None:
        revoked = Record(D, Life(D.served_on, ended=State.REVOKED, ended_on=JUNE))
        assert on([record_of(A), revoked], JUNE) == [Standing("ratings", 1, disputed=False, points=95, positive=True)]

    def test_a_rating_ends_with_its_year(self) -> None:
        assert on([record_of(A)], date(2027, 1, 5)) != []
        assert on([record_of(A)], date(2027, 1, 6)) == []

    def test_of_two_on_one_day_it_is_always_the_same_one(self) -> None:
        records = [record_of(A, "00"), record_of(replace(D, decided_on=A.decided_on, served_on=A.decided_on), "01")]
        assert on(records, JUNE) == on(records[::-1], JUNE) == [Standing("ratings", 1, disputed=False)]


def balance(points: int, decided: date, **changes: object) -> Listing:
    made = make_listing(
        register="scheme",
        subject_kind="natural",
        identifiers=(SOMEBODY,),
        ground="enrolled",
        decision_ref=f"P {decided}",
        decided_on=decided,
        served_on=decided,
        severity=1,
        points=points,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def points(value: int) -> list[Standing]:
    return [Standing("scheme", 1, disputed=False, points=value, positive=True)]


class TestPoints:
    """The latest balance counts, for whoever opted in; leaving erases."""

    def test_the_latest_balance_counts_at_once(self) -> None:
        records = [record_of(balance(700, date(2026, 1, 5))), record_of(balance(300, JUNE))]
        assert on(records, JUNE - timedelta(days=1)) == points(700)
        assert on(records, JUNE) == on(records[::-1], JUNE) == points(300)

    def test_leaving_erases_all_and_the_old_file_does_not_bring_it_back(self, register: Register) -> None:
        old = [balance(700, date(2026, 1, 5)), balance(300, date(2026, 2, 5))]
        *_, last = enter(register, *old)
        enter(register, rating("a", date(2026, 1, 5), 95))
        assert Standing("scheme", 1, disputed=False, points=300, positive=True) in stands(register)
        register.act(last.reference, Act.LEAVE, SUBJECT)
        assert {record.listing.register for record in register.find([SOMEBODY])} == {"ratings"}
        for listing in old:
            with pytest.raises(ListingError, match="was erased"):
                enter(register, listing)
        refused = [entered.refused for entered in register.registrar.enter_unsealed(old)]
        assert [set(it) for it in refused] == [{0, 1}]
        assert {record.listing.register for record in register.find([SOMEBODY])} == {"ratings"}

    def test_who_joins_again_has_a_new_balance(self, register: Register) -> None:
        (first,) = enter(register, balance(700, date(2026, 1, 5)))
        register.act(first.reference, Act.LEAVE, SUBJECT)
        enter(register, balance(10, JUNE))
        assert stands(register) == points(10)

    def test_who_had_a_balance_corrected_or_revoked_leaves_all_the_same(self, register: Register) -> None:
        wrong, other = enter(register, balance(700, date(2026, 1, 5)), balance(20, date(2026, 1, 6)))
        right = asyncio.run(register.correct(wrong.reference, balance(70, date(2026, 1, 5)), HEAD, None))
        register.act(other.reference, Act.REVOKE, HEAD)
        assert stands(register) == points(70)
        register.act(right.reference, Act.LEAVE, SUBJECT)
        assert register.find([SOMEBODY]) == []


class TestPositive:
    def test_a_red_list_only_rewards(self) -> None:
        praise = [
            make_listing(register="praise", identifiers=(SOMEBODY,), ground=ground, decided_on=JUNE, served_on=JUNE)
            for ground in ("award", "volunteering", "compliance")
        ]
        assert on(map(record_of, praise), JUNE) == [Standing("praise", 2, disputed=False, positive=True)] * 3

    def test_registers_stand_side_by_side(self) -> None:
        records = [*infringements(*MONTHLY), record_of(A), record_of(balance(300, JUNE))]
        assert on(records, JUNE) == [
            LISTED,
            Standing("ratings", 1, disputed=False, points=95, positive=True),
            *points(300),
        ]
