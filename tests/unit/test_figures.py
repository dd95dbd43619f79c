"""A quarter's days, the cells of its figures in plaintexts, and the noise that is stated of them."""

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import DecodeError, LaneError, UsageError
from protocol.figures import MAX_COUNT, FiguresLayout, Quarter, noise_scale, within

CELLS = tuple(f"cell {number}" for number in range(40))


def layout(cells: int = 40, agencies: int = 5, bits: int = 512) -> FiguresLayout:
    return FiguresLayout(CELLS[:cells], agencies, bits)


class TestQuarter:
    @pytest.mark.parametrize(
        ("text", "first", "last"),
        [
            ("2026-Q1", date(2026, 1, 1), date(2026, 3, 31)),
            ("2028-Q1", date(2028, 1, 1), date(2028, 3, 31)),
            ("2026-Q3", date(2026, 7, 1), date(2026, 9, 30)),
            ("2026-Q4", date(2026, 10, 1), date(2026, 12, 31)),
        ],
    )
    def test_it_has_its_days_and_reads_as_it_is_written(self, text: str, first: date, last: date) -> None:
        quarter = Quarter.parse(text)
        assert (quarter.first, quarter.last, str(quarter)) == (first, last, text)

    @pytest.mark.parametrize("text", ["", "2026-Q5", "2026-Q0", "2026Q3", "1999-Q1", "2026-q3", "٢026-Q3", "2026-Q3 "])
    def test_anything_else_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(DecodeError, match="not of the form") as caught:
            Quarter.parse(text)
        assert not text or text not in str(caught.value)


numbers = st.integers(-MAX_COUNT, MAX_COUNT)


class TestLayout:
    @given(
        st.integers(1, 40).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1)),
        st.sampled_from([512, 2048, 3072]),
    )
    def test_the_sum_of_all_agencies_plaintexts_is_the_sum_of_their_numbers(
        self, given_: list[list[int]], bits: int
    ) -> None:
        of = layout(len(given_[0]), len(given_), bits)
        encoded = [of.encode(own) for own in given_]
        sums = [sum(column) for column in zip(*encoded, strict=True)]
        assert len(sums) == of.plaintexts
        assert all(0 <= it < 1 << (bits - 2) for it in sums)
        assert of.decode(sums) == tuple(map(sum, zip(*given_, strict=True)))

    def test_what_lies_beyond_the_bound_is_cut(self) -> None:
        of = layout(2, 1)
        assert of.decode(of.encode([MAX_COUNT + 7, -MAX_COUNT - 7])) == (MAX_COUNT, -MAX_COUNT)

    def test_a_sum_that_agencies_cannot_have_brought_is_refused(self) -> None:
        of = layout(2, 1)
        with pytest.raises(LaneError, match="above the last cell"):
            of.decode([1 << (2 * of.width)])
        with pytest.raises(LaneError, match="more than all agencies"):
            of.decode([2 * MAX_COUNT + 1])

    def test_as_many_numbers_as_cells_and_sums_as_plaintexts(self) -> None:
        with pytest.raises(UsageError, match="cell"):
            layout(2).encode([1])
        with pytest.raises(UsageError, match="plaintext"):
            layout(2).decode([1, 1])

    def test_the_digest_tells_other_names_and_another_order(self) -> None:
        names = [CELLS[:3], CELLS[:2], (CELLS[1], CELLS[0], CELLS[2])]
        assert len({FiguresLayout(cells, 5, 512).digest for cells in names}) == 3


def inside(scale: float, draws: int, h: int) -> float:
    """P(|X| ≤ h) by convolution: the plain way."""
    reach = 40 * math.ceil(scale)
    weights = {x: math.exp(-abs(x) / scale) for x in range(-reach, reach + 1)}
    whole = sum(weights.values())
    total = {0: 1.0}
    for _ in range(draws):
        after: dict[int, float] = {}
        for x, p in total.items():
            for y, weight in weights.items():
                after[x + y] = after.get(x + y, 0.0) + p * weight / whole
        total = after
    return sum(p for x, p in total.items() if abs(x) <= h)


@pytest.mark.parametrize(("scale", "draws"), [(0.5, 1), (1.0, 2), (5.0, 1), (3.0, 3)])
def test_the_stated_interval_is_the_least_that_holds_95_of_100(scale: float, draws: int) -> None:
    h = within(scale, draws)
    assert inside(scale, draws, h) >= 0.95
    assert inside(scale, draws, h - 1) < 0.95


def test_noise_without_deviation_needs_no_interval() -> None:
    assert within(0.01, 5) == 0


def test_the_scale_is_the_sensitivity_over_epsilon() -> None:
    assert [noise_scale(epsilon) for epsilon in (100, 1000, 10_000)] == [50.0, 5.0, 0.5]
