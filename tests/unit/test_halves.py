"""Arithmetic in halves is arithmetic modulo N²."""

from typing import Any

import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from protocol import halves

N = mpz(3 * 5 * 7 * 11 * 13 * (2**61 - 1))
VALUES = st.integers(0, int(N**2) - 1)


@given(VALUES)
def test_what_is_split_is_joined_again(value: int) -> None:
    low, high = halves.split(value, N)
    assert 0 <= low < N
    assert 0 <= high < N
    assert halves.join((low, high), N) == value


@given(VALUES, VALUES, st.integers(0, 9))
def test_products_and_squares(first: int, second: int, times: int) -> None:
    product = halves.product(halves.split(first, N), halves.split(second, N), N)
    assert halves.join(product, N) == first * second % N**2
    assert halves.join(halves.square(halves.split(first, N), N, times), N) == pow(first, 2**times, int(N**2))


@given(VALUES, st.one_of(st.integers(0, 300), st.integers(0, 2**256)))
def test_powers(base: int, exponent: int) -> None:
    assert halves.join(halves.power(halves.split(base, N), exponent, N), N) == pow(base, exponent, int(N**2))


@given(VALUES, VALUES, st.integers(1, 400), st.data())
def test_a_power_onto_what_the_same_squarings_raise(base: int, onto: int, bits: int, data: st.DataObject) -> None:
    exponent = data.draw(st.integers(0, (1 << bits) - 1))
    both = halves.power(halves.split(base, N), exponent, N, halves.split(onto, N), bits)
    assert halves.join(both, N) == pow(base, exponent, int(N**2)) * pow(onto, 1 << bits, int(N**2)) % N**2


@pytest.mark.parametrize("exponent", [1 << 64, (1 << 64) - 1, (1 << 64) + 1, 0b1000001 << 20, int(N)])
def test_powers_with_long_runs_of_one_digit(exponent: int) -> None:
    base = int(N) ** 2 // 3
    assert halves.join(halves.power(halves.split(base, N), exponent, N), N) == pow(base, exponent, int(N**2))


def without_carry(first: halves.Halves, second: halves.Halves, n: Any) -> halves.Halves:
    (a, b), (c, d) = first, second
    return a * c % n, (a * d + b * c) % n


def test_a_product_that_forgets_the_carry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "product", without_carry)
    with pytest.raises(AssertionError):
        test_products_and_squares()
