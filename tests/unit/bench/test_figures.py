"""Figures say what was reached; the floor computes a question; elements are counted as a question sends them."""

from dataclasses import replace

import pytest

from api.bench.agencies import line
from api.bench.figure import RATIO, Figure, ratio, share
from api.bench.floor import STEPS, Bare, laid
from api.bench.report import markdown, shown, spread
from api.bench.run import MEASUREMENTS, names
from api.bench.wire import Sizes
from protocol.lanes import decode
from tests.parties import REQUESTER, federation

SIZES = Sizes(subjects=1, agencies=5, threshold=3, openings=1, bucket_size=27, modulus_bytes=384)


def test_a_figure_is_judged_by_its_median() -> None:
    values = (1.0, 9.0, 2.0)
    assert (Figure("f", "ms", values).median, Figure("f", "ms", values).reached) == (2.0, None)
    for most, reached in ((2.0, True), (1.9, False)):
        assert Figure("f", "ms", values, most=most).reached is reached
    for least, reached in ((2.0, True), (2.1, False)):
        assert Figure("f", "ms", values, least=least).reached is reached
    assert (Figure("f", "", values, most=1.5).target, Figure("f", "", values, least=60).target) == ("≤ 1.5", "≥ 60")


def test_a_ratio_is_of_medians() -> None:
    ours, theirs = Figure("ours", "ms", (1.0, 3.0, 50.0)), Figure("theirs", "ms", (2.0, 2.0))
    made = ratio("ours / theirs", ours, theirs, most=1.4)
    assert (made.unit, made.median, made.reached) == (RATIO, 1.5, False)
    assert share("part", theirs, ours, least=60).median == pytest.approx(66.67, abs=0.01)


def test_numbers_are_shown_with_the_digits_that_count() -> None:
    assert [shown(it) for it in (0, 3.0, 0.01234, 1.5678, 12345.6)] == ["0", "3", "0.0123", "1.57", "12,346"]
    assert spread({"runs": 2, "low": 1.0, "high": 2.5}) == "1 to 2.5"
    assert spread({"runs": 1, "low": 1.0, "high": 1.0}) == ""


def test_a_run_on_a_busy_machine_says_so() -> None:
    run = {"began": "now", "scale": "quick", "seconds": 1.0, "machine": "2 × CPU", "processors": 2, "measurements": []}
    assert "was busy" not in markdown(run | {"load": 0.9})
    assert "was busy" in markdown(run | {"load": 12.0})


def test_measurements_are_named_p1_to_p10_and_the_soak() -> None:
    assert names() == [f"P{number}" for number in range(1, 11)] + ["soak"]
    assert len({it.name for it in MEASUREMENTS}) == len(MEASUREMENTS)


def test_a_line_goes_through_points_on_it_and_between_those_beside_it() -> None:
    assert line([(3, 10), (16, 36), (30, 64)]) == pytest.approx((2, 4))
    assert line([(0, 0), (1, 2), (2, 1)]) == pytest.approx((0.5, 0.5))


def test_parties_share_processors_and_none_is_faster_than_its_own_work() -> None:
    assert [laid(10, parties, 2) for parties in (1, 2, 3, 5)] == [10, 10, 15, 25]
    assert laid(10, 5, 8) == 10


@pytest.mark.parametrize("m", [1, 3])
def test_the_floor_is_a_whole_question_whose_sum_counts_every_agency(m: int) -> None:
    of = federation()
    layout = of.terms.layout(REQUESTER)
    bare = Bare(of, REQUESTER, m, entries=2)
    opened = [it for _ in range(2) for it in bare.run()]
    assert len(opened) == 2 * -(-m // of.terms.slots(REQUESTER))
    for it in opened:
        assert decode(layout, it % (1 << layout.width)) == (len(of.terms.agencies),) * len(layout.lanes)
    parties = {step.name: parties for step, parties in bare.steps()}
    assert list(parties) == list(STEPS)
    assert (parties["evaluate with proof"], parties["ζ and bucket"], parties["blind"]) == (3, 5, 1)
    assert len(bare.milliseconds.values) == 2
    once = sum(step.median * parties for step, parties in bare.steps())
    assert bare.floor(1).median == pytest.approx(once)
    assert bare.floor(2).median < once


def test_elements_of_a_question_by_hand() -> None:
    ask = 32 + 5 * (48 + 32 + 8) + 64
    evaluate, evaluated, look = 4 * (32 + 32 + 64), 6 * (32 + 64 + 64), 32 + 64 + 64
    answers, openings, decide = 5 * (48 + 27 * (16 + 768) + 64), 6 * (384 + 64), 32 + 64 + 64
    assert SIZES.elements() == evaluate + evaluated + 9 * ask + look + answers + openings + decide
    one_more = replace(SIZES, agencies=6).elements() - SIZES.elements()
    assert one_more > answers / 5
    assert replace(SIZES, openings=2).elements() - SIZES.elements() == 3 * ask + 6 * (384 + 64)
