"""Secret sharing: Shamir's (1979) over any modulus, Feldman's (1987) verifiable form over ristretto255.

A secret is f(0) of a random polynomial f of degree threshold - 1; the share of index i >= 1 is f(i). Integers serve the
opening key, whose modulus is secret; scalars, in constant time, serve the key of the pseudonyms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from protocol.codec import Random, os2ip
from protocol.errors import CommitmentError, UsageError
from protocol.group import (
    Element,
    Scalar,
    element_add,
    scalar_add,
    scalar_base_mult,
    scalar_from_int,
    scalar_mul,
    scalar_mult,
)


@dataclass(frozen=True)
class Sharing:
    """A polynomial, lowest coefficient first, and the shares of the indices 1, 2, …, count in this order; secret."""

    coefficients: tuple[int, ...] = field(repr=False)
    shares: tuple[int, ...] = field(repr=False)


def split(secret: int, threshold: int, count: int, modulus: int, random: Random) -> Sharing:
    """Share a secret below `modulus` among `count` indices, any `threshold` of which determine it.

    Raises:
        UsageError: not 0 <= secret < modulus, or not 1 <= threshold <= count < modulus.
    """
    if not (0 <= secret < modulus and 1 <= threshold <= count < modulus):
        raise UsageError("secret or threshold is out of range")
    coefficients = (secret, *(random_below(modulus, random) for _ in range(threshold - 1)))
    shares = tuple(
        sum(coefficient * index**power for power, coefficient in enumerate(coefficients)) % modulus
        for index in range(1, count + 1)
    )
    return Sharing(coefficients, shares)


def random_below(bound: int, random: Random) -> int:
    """Draw a uniform integer of 0 … bound - 1, by rejection, so without the bias of a reduction.

    Raises:
        UsageError: `bound` is not positive.
    """
    if bound < 1:
        raise UsageError("nothing is below the bound")
    bits = (bound - 1).bit_length()
    while (value := os2ip(random((bits + 7) // 8)) & ((1 << bits) - 1)) >= bound:
        pass
    return value


def lagrange_at_zero(indices: Iterable[int], modulus: int) -> dict[int, int]:
    """Compute, for each index i, λ_i with f(0) = Σ λ_i·f(i) modulo a prime, for every f of degree below their number.

    Raises:
        UsageError: no indices, one twice, or one outside 1 … modulus - 1.
    """
    distinct = _distinct(indices)
    if max(distinct) >= modulus:
        raise UsageError("share index is not below the modulus")
    return {
        index: numerator * pow(denominator, -1, modulus) % modulus
        for index, (numerator, denominator) in _lagrange(distinct).items()
    }


def integer_lagrange(indices: Iterable[int], delta: int) -> dict[int, int]:
    """Compute, for each index i, the integer λ_i with Δ·f(0) = Σ λ_i·f(i) (Shoup 2000, §2.2).

    Over the integers nothing is inverted, so they serve where the modulus is secret. With Δ = n! they are exact for
    indices of 1 … n.

    Raises:
        UsageError: no indices, one twice, one below 1, or Δ does not clear a denominator.
    """
    coefficients = {}
    for index, (numerator, denominator) in _lagrange(_distinct(indices)).items():
        coefficients[index], remainder = divmod(delta * numerator, denominator)
        if remainder:
            raise UsageError("delta is not the factorial of the number of shares")
    return coefficients


def evaluate(coefficients: Sequence[Scalar], index: int) -> Scalar:
    """Compute the share f(index) of a polynomial of scalars, lowest coefficient first, by Horner's rule."""
    x = scalar_from_int(index)
    share = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        share = scalar_add(scalar_mul(share, x), coefficient)
    return share


def commit(coefficients: Sequence[Scalar]) -> tuple[Element, ...]:
    """Commit to each coefficient a_l as a_l·G (Feldman 1987); the first is the public key of the secret."""
    return tuple(map(scalar_base_mult, coefficients))


def public_share(commitments: Sequence[Element], index: int) -> Element:
    """Compute f(index)·G from commitments to f, by Horner's rule; one multiplication a degree."""
    x = scalar_from_int(index)
    share = commitments[-1]
    for commitment in reversed(commitments[:-1]):
        share = element_add(scalar_mult(x, share), commitment)
    return share


def verify_share(share: Scalar, index: int, commitments: Sequence[Element]) -> None:
    """Verify that `share` is f(index) of the polynomial committed to (Feldman 1987).

    Raises:
        CommitmentError: it is not.
    """
    if scalar_base_mult(share) != public_share(commitments, index):
        raise CommitmentError("share is not on the polynomial committed to")


def _lagrange(indices: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Compute numerator and denominator of each index's Lagrange coefficient at zero: Π j / Π (j - i) over j ≠ i."""
    return {i: (math.prod(j for j in indices if j != i), math.prod(j - i for j in indices if j != i)) for i in indices}


def _distinct(indices: Iterable[int]) -> list[int]:
    distinct = list(indices)
    if not distinct or min(distinct) < 1 or len(set(distinct)) < len(distinct):
        raise UsageError("share indices must be distinct and positive")
    return distinct
