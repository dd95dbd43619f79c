"""β and B against an independent computation in exact fractions, and against the figures of the specification."""

from fractions import Fraction
from math import comb

import gmpy2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.errors import UsageError


def below(trials: int, bits: int, bound: int) -> Fraction:
    """P[Bin(trials, 2^-bits) < bound], exactly."""
    p = Fraction(1, 2**bits)
    masses = (comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(bound))
    return sum(masses, Fraction(0))


def plain_bits(population: int, k_min: int) -> int:
    fits = [(1 << bits) * below(population, bits, k_min) < Fraction(1, 2**20) for bits in range(12)]
    assert fits == sorted(fits, reverse=True)  # so "the largest" is where it first fails
    return sum(fits) - 1


def plain_size(max_listings: int, bits: int) -> int:
    size = 0
    while (1 << bits) * (1 - below(max_listings, bits, size + 1)) >= Fraction(1, 2**40):
        size += 1
    return size


def test_the_figures_of_the_specification() -> None:
    assert bucket_bits(20_000_000, 1000) == 14
    assert bucket_size(50_000, 14) == 27


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 30))
def test_bits_equal_the_exact_computation(population: int, k_min: int) -> None:
    k_min = min(k_min, population)
    assert bucket_bits(population, k_min) == plain_bits(population, k_min)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 120), st.integers(0, 8))
def test_size_equals_the_exact_computation(max_listings: int, bits: int) -> None:
    assert bucket_size(max_listings, bits) == plain_size(max_listings, bits)


def test_bounds_are_strict() -> None:
    # 2 · P[Bin(n, 1/2) < 1] = 2^(1-n): exactly 2^-20 at n = 21 does not do.
    assert [bucket_bits(21, 1), bucket_bits(22, 1)] == [0, 1]
    # 2 · P[Bin(n, 1/2) > n - 1] = 2^(1-n): exactly 2^-40 at n = 41 does not do.
    assert [bucket_size(41, 1), bucket_size(42, 1)] == [41, 41]


def test_one_bit_more_would_break_the_bound() -> None:
    for population, k_min in ((300, 2), (300, 20), (400, 7)):
        bits = bucket_bits(population, k_min)
        assert 2 ** (bits + 1) * below(population, bits + 1, k_min) >= Fraction(1, 2**20)


def test_a_tiny_population_is_one_bucket_of_every_listing() -> None:
    assert bucket_bits(2, 2) == 0
    assert bucket_size(2, 0) == 2
    assert bucket_size(50_000, 0) == 50_000


def test_the_callers_precision_does_not_matter() -> None:
    with gmpy2.context(precision=10):
        assert bucket_bits.__wrapped__(20_000_000, 1000) == 14
        assert bucket_size.__wrapped__(50_000, 14) == 27


@pytest.mark.parametrize(("population", "k_min"), [(0, 2), (1, 2), (10, 0)])
def test_fewer_people_than_k_min_is_a_bug(population: int, k_min: int) -> None:
    with pytest.raises(UsageError):
        bucket_bits(population, k_min)
