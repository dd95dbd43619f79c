"""A listing's state follows from its dates and the day of the question, exactly to the day."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.catalogue import load_catalogue
from nodes.dates import months_after, working_days_after
from nodes.lifecycle import Clock, Life, Record, State, last_day, record_of, state
from nodes.listings import Listing, ListingError
from tests.unit.nodes.builders import make_listing

DEBARMENT = load_catalogue()["debarment"]
SANCTIONS = load_catalogue()["sanctions"]
DATES = st.dates(date(2000, 1, 1), date(2090, 1, 1))


def disputed(listing: Listing, since: date, due: date) -> Record:
    return Record(listing, Life(listing.served_on, dispute=Clock("object", since, due)))


class TestBoundaries:
    """Served on Friday 9 January 2026: the tenth working day after it is Friday 23 January."""

    @pytest.mark.parametrize(
        ("on", "expected"),
        [
            (date(2026, 1, 9), State.NOTIFIED),
            (date(2026, 1, 23), State.NOTIFIED),
            (date(2026, 1, 24), State.ACTIVE),
            (date(2029, 1, 5), State.ACTIVE),
            (date(2029, 1, 6), State.EXPIRED),
        ],
    )
    def test_window_and_default_term(self, on: date, expected: State) -> None:
        assert state(record_of(make_listing()), DEBARMENT, on) is expected

    def test_an_expiry_of_its_own_is_inclusive(self) -> None:
        listing = make_listing(expires_on=date(2026, 6, 30))
        assert state(record_of(listing), DEBARMENT, date(2026, 6, 30)) is State.ACTIVE
        assert state(record_of(listing), DEBARMENT, date(2026, 7, 1)) is State.EXPIRED

    def test_a_term_can_end_within_the_window(self) -> None:
        listing = make_listing(expires_on=date(2026, 1, 15))
        assert state(record_of(listing), DEBARMENT, date(2026, 1, 15)) is State.NOTIFIED
        assert state(record_of(listing), DEBARMENT, date(2026, 1, 16)) is State.EXPIRED

    def test_publication_counts_as_service(self) -> None:
        listing = make_listing(ground="designated", decided_on=date(2026, 1, 9))
        assert state(record_of(listing), SANCTIONS, date(2026, 1, 8)) is State.NOTIFIED
        assert state(record_of(listing), SANCTIONS, date(2026, 1, 9)) is State.ACTIVE
        assert (
            state(record_of(listing), DEBARMENT.model_copy(update={"grounds": SANCTIONS.grounds}), date(2026, 1, 9))
            is State.NOTIFIED
        )

    def test_a_dispute_shows_only_while_the_listing_has_effect(self) -> None:
        """From when it began: what stood before is replayed from the steps, not computed from this life."""
        assert state(record_of(make_listing()), DEBARMENT, date(2026, 2, 1)) is State.ACTIVE
        record = disputed(make_listing(), date(2026, 2, 2), date(2026, 2, 11))
        assert state(record, DEBARMENT, date(2026, 2, 2)) is State.DISPUTED
        assert state(record, DEBARMENT, date(2030, 1, 1)) is State.EXPIRED
        early = disputed(make_listing(), date(2026, 1, 9), date(2026, 1, 20))
        assert state(early, DEBARMENT, date(2026, 1, 12)) is State.NOTIFIED

    def test_an_objection_that_is_overdue_suspends_by_itself(self) -> None:
        record = disputed(make_listing(), date(2026, 2, 2), date(2026, 2, 11))
        assert state(record, DEBARMENT, date(2026, 2, 11)) is State.DISPUTED
        assert state(record, DEBARMENT, date(2026, 2, 12)) is State.SUSPENDED
        early = disputed(make_listing(), date(2026, 1, 9), date(2026, 1, 20))
        assert state(early, DEBARMENT, date(2026, 1, 23)) is State.NOTIFIED
        assert state(early, DEBARMENT, date(2026, 1, 24)) is State.SUSPENDED

    def test_without_service_it_is_a_draft_until_its_term_ends(self) -> None:
        draft = record_of(make_listing(served_on=None))
        assert state(draft, DEBARMENT, date(2029, 1, 5)) is State.DRAFT
        assert state(draft, DEBARMENT, date(2029, 1, 6)) is State.EXPIRED

    def test_a_ground_outside_the_catalogue_has_no_term(self) -> None:
        with pytest.raises(ListingError):
            last_day(record_of(make_listing(ground="gossip")), DEBARMENT)

    @given(DATES, st.integers(-4000, 4000))
    def test_states_follow_one_another(self, served: date, days: int) -> None:
        listing = make_listing(decided_on=served, served_on=served)
        order = [State.NOTIFIED, State.ACTIVE, State.EXPIRED]
        on = served + timedelta(days)
        assert order.index(state(record_of(listing), DEBARMENT, on)) <= order.index(
            state(record_of(listing), DEBARMENT, on + timedelta(1))
        )


class TestClocks:
    @given(DATES, st.integers(1, 60))
    def test_working_days_are_monday_to_friday(self, day: date, count: int) -> None:
        last = working_days_after(day, count, None)
        passed = [day + timedelta(n) for n in range(1, (last - day).days + 1)]
        assert sum(each.weekday() < 5 for each in passed) == count
        assert last.weekday() < 5

    def test_a_calendar_adds_its_holidays(self) -> None:
        """National Day week 2026 in China: without the calendar the window would end a week early."""
        assert working_days_after(date(2026, 9, 28), 10, None) == date(2026, 10, 12)
        assert working_days_after(date(2026, 9, 28), 10, "CN") > date(2026, 10, 12)
        listing = make_listing(decided_on=date(2026, 9, 28), served_on=date(2026, 9, 28))
        chinese = DEBARMENT.model_copy(update={"calendar": "CN"})
        assert state(record_of(listing), DEBARMENT, date(2026, 10, 13)) is State.ACTIVE
        assert state(record_of(listing), chinese, date(2026, 10, 13)) is State.NOTIFIED

    @pytest.mark.parametrize(
        ("start", "months", "end"),
        [
            (date(2026, 1, 31), 1, date(2026, 2, 28)),
            (date(2028, 1, 31), 1, date(2028, 2, 29)),
            (date(2028, 2, 29), 12, date(2029, 2, 28)),
            (date(2026, 12, 15), 1, date(2027, 1, 15)),
            (date(2026, 11, 30), 0, date(2026, 11, 30)),
        ],
    )
    def test_months_are_calendar_months(self, start: date, months: int, end: date) -> None:
        assert months_after(start, months) == end
