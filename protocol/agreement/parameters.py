"""Bucket bits β and bucket size B, from an agreement's anonymity figures (specification §3).

Both bound the tail of a binomial: hashing spreads people, and an agency's sealed identifiers, over 2^β buckets. Terms
are computed in 256-bit floating point, whose operations MPFR rounds correctly: the same result on every machine, with
an error (below 2^-220) that no comparison here can see.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import gmpy2

from protocol.errors import UsageError

PRECISION = 256
FEW_PEOPLE = gmpy2.mpfr(2) ** -20  # probability that some bucket holds fewer than k_min people
OVERFLOW = gmpy2.mpfr(2) ** -40  # probability that some bucket of an agency overflows


@lru_cache
def bucket_bits(population: int, k_min: int) -> int:
    """Return β: the most bits with 2^β · P[Bin(population, 2^-β) < k_min] < 2^-20.

    Raises:
        UsageError: the population is smaller than k_min; no validated agreement says so.
    """
    if not 1 <= k_min <= population:
        raise UsageError("k_min is from 1 to the population")
    # With more bits than these the mean of a bucket is below k_min, and the tail nowhere near 2^-20.
    bits = (population // k_min).bit_length() - 1
    with gmpy2.context(precision=PRECISION):
        while bits and sum(islice(_masses(population, bits), k_min)) * 2**bits >= FEW_PEOPLE:
            bits -= 1
    return bits


@lru_cache
def bucket_size(max_listings: int, bits: int) -> int:
    """Return B: the least size with 2^β · P[Bin(max_listings, 2^-β) > B] < 2^-40; the work grows with B."""
    if bits == 0:
        return max_listings
    with gmpy2.context(precision=PRECISION):
        masses = _masses(max_listings, bits)
        size, tail = 0, 1 - next(masses)
        while tail * 2**bits >= OVERFLOW:
            size += 1
            tail -= next(masses)
    return size


def _masses(trials: int, bits: int) -> Iterator[Any]:
    """Yield P[Bin(trials, 2^-bits) = k] for k = 0, 1, …, in the caller's precision; bits >= 1."""
    k, mass = 0, (1 - gmpy2.mpfr(2) ** -bits) ** trials
    while True:
        yield mass
        mass = mass * (trials - k) / ((k + 1) * (2**bits - 1))
        k += 1
