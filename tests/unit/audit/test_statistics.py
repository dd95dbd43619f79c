from importlib import import_module
from pkgutil import iter_modules

import pytest
from scipy.stats import binom, binomtest

from api.audit import claims
from federation.audit import statistics
from federation.audit.statistics import ALPHA, CONFIDENCE, POWER, Score, detectable, effect_size, power, sample_size


def test_a_p_value_is_exact() -> None:
    assert Score(8, 10).p == pytest.approx((45 + 10 + 1) / 1024)
    assert Score(0, 10).p == 1


@pytest.mark.parametrize(("correct", "tried"), [(0, 10), (5, 10), (10, 10), (520, 1000)])
def test_an_upper_bound_is_clopper_and_pearsons(correct: int, tried: int) -> None:
    interval = binomtest(correct, tried, alternative="less").proportion_ci(CONFIDENCE, "exact")
    assert Score(correct, tried).upper_bound == pytest.approx(2 * interval.high - 1)


@pytest.mark.parametrize("tried", [10, 67, 1_000, 44_000])
def test_chance_raises_an_alarm_no_more_often_than_allowed(tried: int) -> None:
    alarms = [correct for correct in range(tried + 1) if tried < 2_000 and Score(correct, tried).found]
    assert binom.pmf(alarms, tried, 0.5).sum() <= ALPHA
    assert power(tried, 0.0) <= ALPHA


@pytest.mark.parametrize("advantage", [1.0, 0.7, 0.35, 0.1])
def test_a_sample_size_is_the_least_from_which_on_there_is_power(advantage: float) -> None:
    size = sample_size(advantage)
    assert power(size - 1, advantage) < POWER
    assert all(power(tried, advantage) >= POWER for tried in range(size, 2 * size))
    assert detectable(size) <= advantage + 0.001


def test_scores_of_several_federations_add_up() -> None:
    total = Score(30, 50) + Score(40, 50)
    assert (total.accuracy, round(total.advantage, 9)) == (0.7, 0.4)


def test_an_effect_size_is_in_standard_deviations() -> None:
    assert effect_size([1, 2, 3], [2, 3, 4]) == pytest.approx(-1)
    assert effect_size([1, 1], [1, 1]) == 0


def test_the_number_of_decisions_is_what_all_claims_make() -> None:
    modules = [import_module(f"{claims.__name__}.{it.name}") for it in iter_modules(claims.__path__)]
    assert sum(getattr(module, "DECISIONS", 0) for module in modules) == statistics.DECISIONS
