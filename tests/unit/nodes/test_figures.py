"""What one listing can change in an agency's figures, and what is not counted; all else is `tests.property.test_lives`.

The noise is held to what is stated of it by as many draws as tell it from half of it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date
from importlib import import_module

import pytest

from nodes import noise as noise_module
from nodes.catalogue import load_catalogue
from nodes.figures import ERASED, count, counted, figures_layout
from nodes.life import Act, Author, Transition
from nodes.lifecycle import Life, Record
from nodes.listings import Listing
from nodes.noise import NoiseError, laplace
from nodes.storage.listings import ListingStore
from protocol.figures import MAX_COUNT, SENSITIVITY, FiguresLayout, Quarter, noise_scale, within
from tests.parties import AGENCIES, federation
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import DEBARMENT, HERE, add, entered, noon, step

QUARTER = Quarter(2026, 1)
CELLS = ("listings debarment debarred", ERASED, "disputes", "overturned", "late answers", "expiries")
EVERYTHING = [
    (Act.ENTER, date(2026, 1, 12), None),
    (Act.OBJECT, date(2026, 1, 13), date(2026, 1, 20)),
    (Act.REJECT, date(2026, 1, 30), None),
    (Act.REQUEST_CORRECTION, date(2026, 2, 1), date(2026, 2, 8)),
    (Act.REVOKE, date(2026, 3, 1), None),
]


def steps(*taken: tuple[Act, date, date | None]) -> list[Transition]:
    return [Author("clerk", "r", "d").step(act, noon(day), due=due) for act, day, due in taken]


def cells_of(listing: Listing | None, *taken: tuple[Act, date, date | None]) -> set[str]:
    record = None if listing is None else Record(listing, Life(listing.served_on), "1" * 32)
    return set(counted(record, steps(*taken), DEBARMENT, QUARTER).values())


class TestOneListing:
    def test_it_counts_once_in_each_kind_however_often_it_occurs(self) -> None:
        found = counted(
            Record(make_listing(), Life(date(2026, 1, 9)), "1" * 32),
            steps(*EVERYTHING, *EVERYTHING),
            DEBARMENT,
            QUARTER,
        )
        assert len(found) <= SENSITIVITY
        assert set(found.values()) == {CELLS[0], "disputes", "overturned", "late answers"}

    def test_what_is_answered_on_the_last_day_is_not_late(self) -> None:
        asked = (Act.OBJECT, date(2026, 1, 13), date(2026, 1, 20))
        in_time, late = ((Act.REJECT, date(2026, 1, day), None) for day in (20, 21))
        assert "late answers" not in cells_of(make_listing(), EVERYTHING[0], asked, in_time)
        assert "late answers" in cells_of(make_listing(), EVERYTHING[0], asked, late)

    @pytest.mark.parametrize(("due", "is_late"), [(date(2026, 3, 30), True), (date(2026, 3, 31), False)])
    def test_what_is_never_answered_is_late_in_the_quarter_of_its_first_day_of_delay(
        self, due: date, is_late: bool
    ) -> None:
        asked = (Act.OBJECT, date(2026, 3, 20), due)
        assert ("late answers" in cells_of(make_listing(), EVERYTHING[0], asked)) is is_late

    def test_what_is_revoked_without_a_dispute_is_not_overturned(self) -> None:
        assert "overturned" not in cells_of(make_listing(), EVERYTHING[0], EVERYTHING[-1])

    def test_of_what_was_erased_the_acts_are_left(self) -> None:
        erased = (Act.ERASE, date(2026, 4, 1), None)
        bare = [(act, day, None) for act, day, _ in EVERYTHING]
        assert cells_of(None, *bare, erased) == {ERASED, "disputes", "overturned"}

    def test_what_found_no_place_was_not_entered(self) -> None:
        refused = (Act.REFUSE, date(2026, 1, 13), None)
        assert cells_of(None, EVERYTHING[0], refused) == set()
        assert cells_of(make_listing(), EVERYTHING[0], refused, (Act.ENTER, date(2026, 1, 14), None)) == {CELLS[0]}

    def test_what_was_erased_and_entered_again_is_one_listing(self) -> None:
        again = (Act.ERASE, date(2026, 2, 1), None), (Act.ENTER, date(2026, 2, 2), None)
        assert cells_of(make_listing(), EVERYTHING[0], *again) == {CELLS[0]}

    @pytest.mark.parametrize(
        ("preset", "ground", "is_counted"),
        [
            ("civic-points", "enrolled", False),
            ("tax-rating", "grade-b", False),
            ("tax-rating", "grade-d", True),
            ("red-list", "award", True),
        ],
    )
    def test_what_stays_at_home_and_what_people_opt_into_is_not_counted(
        self, preset: str, ground: str, is_counted: bool
    ) -> None:
        record = Record(make_listing(ground=ground, points=0), Life(date(2026, 1, 9)), "1" * 32)
        entry = load_catalogue()[preset]
        assert bool(counted(record, steps(EVERYTHING[0]), entry, QUARTER)) is is_counted
        assert bool(counted(None, steps(EVERYTHING[0]), entry, QUARTER)) is (preset == "red-list")


def test_one_listing_more_changes_no_cell_by_more_than_one(store: ListingStore) -> None:
    """On a real register: the sensitivity, by neighbours."""
    entries = {"exclusions": DEBARMENT}
    listings = [make_listing(decision_ref=f"D {number}") for number in range(8)]
    add(store, *listings[:5])
    for listing in listings[:5:2]:
        store.take([store.reference(listing)], step(Act.OBJECT, date(2026, 1, 19)))
        store.take([store.reference(listing)], step(Act.REVOKE, date(2026, 2, 25)))
    before = count(store, entries, QUARTER, CELLS)
    assert before == [5, 0, 3, 3, 3, 0]
    add(store, listings[5])
    store.take([store.reference(listings[5])], step(Act.OBJECT, date(2026, 1, 19)))
    changes = [after - it for after, it in zip(count(store, entries, QUARTER, CELLS), before, strict=True)]
    assert max(map(abs, changes)) <= 1
    assert sum(map(abs, changes)) <= SENSITIVITY


def test_erased_listings_are_counted_from_the_trail(store: ListingStore) -> None:
    listing = make_listing()
    store.add_pending(*HERE, [listing], entered())
    store.take([store.reference(listing)], step(Act.OBJECT, date(2026, 1, 19)))
    store.take([store.reference(listing)], step(Act.REVOKE, date(2026, 2, 25)))
    before = count(store, {"exclusions": DEBARMENT}, QUARTER, CELLS)
    store.erase([store.reference(listing)], step(Act.ERASE, date(2026, 5, 1)))
    after = count(store, {"exclusions": DEBARMENT}, QUARTER, CELLS)
    assert (before, after) == ([1, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0])


def test_the_cells_follow_from_the_agreement() -> None:
    layout = figures_layout(federation().terms)
    assert layout.cells == CELLS
    assert layout.agencies == len(AGENCIES)


# The noise.

COUNTS = {agency: [7 * number + 3 * at for number in range(len(CELLS))] for at, agency in enumerate(AGENCIES)}
TRUTH = [sum(column) for column in zip(*COUNTS.values(), strict=True)]
DRAWS = 400
FALSE_ALARM = 1e-3


def drawn(epsilon: int, *, of: Sequence[str] = AGENCIES, shift: int = 0) -> list[list[int]]:
    """What is opened of many quarters: each agency's counts, with its noise, packed and added."""
    layout, add_noise = FiguresLayout(CELLS, len(AGENCIES), 512), laplace(len(CELLS), epsilon)
    opened = []
    for _ in range(DRAWS):
        packed = [layout.encode(add_noise(COUNTS[agency][shift:] + COUNTS[agency][:shift])) for agency in of]
        sums = [sum(column) + (len(AGENCIES) - len(of)) * _zero(layout) for column in zip(*packed, strict=True)]
        opened.append(list(layout.decode(sums)))
    return opened


def _zero(layout: FiguresLayout) -> int:
    return sum(MAX_COUNT << (layout.width * at) for at in range(len(layout.cells)))


def wrong(opened: Sequence[Sequence[int]], epsilon: int) -> list[str]:
    """What does not fit the stated noise; something is found by chance with probability `FALSE_ALARM` at most.

    Of each cell, the sum of all errors against the exact quantile of as many draws. Over all cells, how many lie in the
    stated interval, by Hoeffding's bound on both sides: half the noise would put nearly all of them there.
    """
    scale, h = noise_scale(epsilon), within(noise_scale(epsilon), len(AGENCIES))
    errors = [[number - true for number, true in zip(row, TRUTH, strict=True)] for row in opened]
    bound = within(scale, len(AGENCIES) * len(opened), 1 - FALSE_ALARM / 2 / len(CELLS))
    found = [
        f"{cell} is off" for cell, own in zip(CELLS, zip(*errors, strict=True), strict=True) if abs(sum(own)) > bound
    ]
    inside = Counter(abs(error) <= h for row in errors for error in row)[True]
    trials = len(opened) * len(CELLS)
    slack = math.sqrt(math.log(4 / FALSE_ALARM) / 2 / trials)
    if not 0.95 - slack <= inside / trials <= _probability(scale, h) + slack:
        found.append("the noise is not of its scale")
    return found


def _probability(scale: float, h: int) -> float:
    """P(|noise| ≤ h), to three digits, by the same quantiles that are checked by convolution."""
    return next(p / 1000 for p in range(950, 1001) if p == 1000 or within(scale, len(AGENCIES), p / 1000) > h)


class TestNoise:
    def test_what_is_opened_is_right_within_the_stated_noise(self) -> None:
        assert wrong(drawn(1000), 1000) == []

    def test_half_the_noise_would_be_seen(self) -> None:
        assert "the noise is not of its scale" in wrong(drawn(2000), 1000)

    def test_twice_the_noise_would_be_seen(self) -> None:
        assert "the noise is not of its scale" in wrong(drawn(500), 1000)

    def test_numbers_in_their_neighbours_cell_would_be_seen(self) -> None:
        assert len(wrong(drawn(1000, shift=1), 1000)) >= len(CELLS)

    def test_a_missing_agency_would_be_seen(self) -> None:
        assert len(wrong(drawn(1000, of=AGENCIES[1:]), 1000)) >= len(CELLS) - 1

    @pytest.mark.parametrize("epsilon", [100, 1000, 10_000])
    def test_no_two_draws_are_the_same(self, epsilon: int) -> None:
        add_noise = laplace(40, epsilon)
        assert add_noise([0] * 40) != add_noise([0] * 40)

    def test_without_the_library_there_is_no_figure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(_name: str) -> object:
            raise ImportError

        monkeypatch.setattr(noise_module, "import_module", absent)
        with pytest.raises(NoiseError, match="extra"):
            laplace(6, 1000)

    def test_noise_that_is_worth_less_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import_module("opendp.prelude")
        monkeypatch.setattr(noise_module, "noise_scale", lambda epsilon: 4999 / epsilon)
        with pytest.raises(NoiseError, match="less"):
            laplace(6, 1000)
