"""A modulus that is not what it should be is refused, each for its own reason, and safe primes are what they say."""

import itertools
import math
import random as seeded
import secrets
from collections.abc import Callable

import gmpy2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import labels, modulus
from protocol.codec import i2osp, os2ip
from protocol.errors import ModulusError
from protocol.modulus import (
    PROOF_ROOTS,
    SECURITY_BITS,
    SMALL_PRIMES,
    TRIAL_BOUND,
    check_modulus,
    hash_to_modulus,
    is_unit,
    prove_coprime,
    safe_prime_candidates,
    verify_coprime,
)
from tests.parties import FULL_SIZE_PRIMES, small_primes

P, Q = small_primes()
N, PHI = P * Q, (P - 1) * (Q - 1)
ROOT_EXPONENT = pow(N, -1, PHI)
WIDTH = 64
TEST = labels.INSECURE_TEST_SUITE


def prime_of(bits: int, residue: int = 11) -> int:
    """A random prime of exactly these bits, top two set, that is `residue` mod 12; not a safe one."""
    while True:
        candidate = (secrets.randbits(bits) | 3 << (bits - 2)) // 12 * 12 + residue
        if candidate.bit_length() == bits and gmpy2.is_prime(candidate):
            return candidate


@settings(deadline=None, max_examples=15)
@given(st.integers(24, 120))
def test_safe_primes_have_exactly_the_requested_bits(bits: int) -> None:
    prime = next(int(found) for found in safe_prime_candidates(bits, secrets.token_bytes) if found)
    assert gmpy2.is_prime(prime)
    assert gmpy2.is_prime(prime // 2)
    assert prime >> (bits - 2) == 3  # so the product of two has exactly twice the bits
    assert prime % 12 == 11


def test_the_search_misses_no_safe_prime_of_its_span() -> None:
    """The sieve crosses out composites only; trial over the whole span agrees."""
    start = os2ip(b"\x80" + bytes(7)) >> 1 | 3 << 61 | 1
    found = modulus._search_span(gmpy2.mpz(start), 64)
    halves = (start + 2 * k for k in range(modulus._SIEVE_SPAN))
    assert found == next(2 * half + 1 for half in halves if gmpy2.is_prime(half) and gmpy2.is_prime(2 * half + 1))


def test_a_span_without_a_safe_prime_is_told_and_the_search_goes_on() -> None:
    source = iter([b"\xff\xff", b"\x80\0"])  # the first start is the last number of 15 bits: no prime of 16 bits beyond
    search = safe_prime_candidates(16, lambda _: next(source))
    assert next(search) is None
    assert next(search) == next(p for p in range(0xC003, 1 << 16, 4) if gmpy2.is_prime(p) and gmpy2.is_prime(p // 2))


def test_the_search_starts_where_its_source_says() -> None:
    first, second = (next(safe_prime_candidates(48, seeded.Random(7).randbytes)) for _ in range(2))  # noqa: S311
    assert first == second


def test_trial_division_covers_its_bound() -> None:
    assert len(SMALL_PRIMES) == 6542
    assert SMALL_PRIMES[:5] == (2, 3, 5, 7, 11)
    assert SMALL_PRIMES[-1] == 65521
    assert gmpy2.next_prime(65521) > TRIAL_BOUND
    assert TRIAL_BOUND**PROOF_ROOTS >= 1 << SECURITY_BITS


def test_products_of_two_safe_primes_pass() -> None:
    check_modulus(N, TEST)
    check_modulus(math.prod(FULL_SIZE_PRIMES), labels.SUITE)


def with_factor(factor: int) -> int:
    """A modulus of the right size and residue with one small factor."""
    other = prime_of(512 - factor.bit_length(), residue=pow(factor, -1, 12) if factor > 3 else 1)
    while (product := other * factor).bit_length() != 512:
        other = prime_of(513 - factor.bit_length(), residue=pow(factor, -1, 12))
    return product


FOURTH_ROOT = next(p for p in iter(lambda: prime_of(128), None) if (p**4).bit_length() == 512)

BAD = {
    "small factor 5": (with_factor(5), "small prime factor"),
    "small factor 65521": (with_factor(65521), "small prime factor"),
    "prime": (prime_of(512, residue=1), "prime$"),
    "even": (N + 1, "even"),
    "square": (P * P, "perfect power"),
    "fourth power": (FOURTH_ROOT**4, "perfect power"),
    "too short": (small_primes()[0] * prime_of(240), "shorter"),
    "one": (1, "shorter"),
    "zero": (0, "shorter"),
    "odd length": (P * prime_of(257), "multiple of 16"),
    "5 mod 12": (P * prime_of(256, residue=7), "12"),
    "a prime that is 1 mod 4": (P * prime_of(256, residue=5), "12"),
}


@pytest.mark.parametrize(("n", "reason"), BAD.values(), ids=BAD)
def test_a_bad_modulus_is_refused_for_its_reason(n: int, reason: str) -> None:
    with pytest.raises(ModulusError, match=reason):
        check_modulus(n, TEST)


def test_a_hundred_random_bad_moduli_are_refused() -> None:
    kinds: list[Callable[[], int]] = [
        lambda: with_factor(secrets.choice(SMALL_PRIMES[2:])),
        lambda: prime_of(512, residue=1),
        lambda: 2 * (N // 2 - secrets.randbits(200)),
        lambda: prime_of(256) ** 2,
        lambda: prime_of(250) * prime_of(250),
    ]
    for bad in kinds * 20:
        with pytest.raises(ModulusError):
            check_modulus(bad(), TEST)


def test_a_test_modulus_is_refused_in_the_real_suite_and_any_in_an_unknown_one() -> None:
    with pytest.raises(ModulusError, match="shorter"):
        check_modulus(N, labels.SUITE)
    with pytest.raises(ModulusError, match="unknown suite"):
        check_modulus(N, "concordat-v0")


def test_the_proof_verifies() -> None:
    proof = prove_coprime(N, ROOT_EXPONENT, b"context")
    assert len(proof) == PROOF_ROOTS == 8
    verify_coprime(N, proof, b"context")


@pytest.mark.parametrize("position", range(PROOF_ROOTS))
def test_each_altered_root_is_refused(position: int) -> None:
    proof = prove_coprime(N, ROOT_EXPONENT, b"context")
    root = os2ip(proof[position])
    for altered in (root ^ 1, N - root, 0, 1, root * root % N):
        changed = (*proof[:position], i2osp(altered, WIDTH), *proof[position + 1 :])
        with pytest.raises(ModulusError, match="does not verify"):
            verify_coprime(N, changed, b"context")
    swapped = (*proof[position:], *proof[:position])
    if position:
        with pytest.raises(ModulusError, match="does not verify"):
            verify_coprime(N, swapped, b"context")


def test_a_root_has_one_encoding() -> None:
    context = next(
        context
        for context in (bytes([k]) for k in range(256))
        if os2ip(prove_coprime(N, ROOT_EXPONENT, context)[0]) + N < 1 << (8 * WIDTH)
    )
    proof = prove_coprime(N, ROOT_EXPONENT, context)
    for first in (i2osp(os2ip(proof[0]) + N, WIDTH), b"\0" + proof[0], proof[0][1:], b""):
        with pytest.raises(ModulusError, match="malformed"):
            verify_coprime(N, (first, *proof[1:]), context)


def test_a_proof_is_whole_and_for_its_context_and_modulus() -> None:
    proof = prove_coprime(N, ROOT_EXPONENT, b"context")
    for short in ((), proof[:-1], (*proof, proof[0])):
        with pytest.raises(ModulusError, match="malformed"):
            verify_coprime(N, short, b"context")
    with pytest.raises(ModulusError, match="does not verify"):
        verify_coprime(N, proof, b"another")
    other = P * prime_of(256)
    with pytest.raises(ModulusError):
        verify_coprime(other, proof, b"context")


def not_coprime() -> tuple[int, int]:
    """Primes p and q = 2kp + 1, so that p divides N and φ(N), of a size and residue that pass every other check."""
    while True:
        p = prime_of(250)
        k = secrets.randbits(11) | 1 << 4
        q = 2 * k * p + 1
        if q % 12 == 11 and gmpy2.is_prime(q) and (p * q).bit_length() == 512:
            return p, q


def test_a_modulus_that_shares_a_factor_with_its_order_cannot_be_proven() -> None:
    """The twin of soundness: nothing but the proof notices this modulus, and every honest-looking prover fails."""
    p, q = not_coprime()
    n, phi = p * q, (p - 1) * (q - 1)
    assert math.gcd(n, phi) == p
    check_modulus(n, TEST)
    for exponent in (pow(n, -1, phi // p), pow(q, -1, (p - 1) * ((q - 1) // p)), ROOT_EXPONENT):
        with pytest.raises(ModulusError, match="does not verify"):
            verify_coprime(n, prove_coprime(n, exponent, b"context"), b"context")
    rooted = [pow(int(modulus._challenge(n, k, b"context")), (q - 1) // p, q) == 1 for k in range(PROOF_ROOTS)]
    assert not any(rooted)  # no root exists that any prover could have sent


def test_a_modulus_with_a_square_factor_cannot_be_proven() -> None:
    p = prime_of(170)
    q = next(q for q in iter(lambda: prime_of(172, residue=1), None) if (p * p * q).bit_length() == 512)
    n, phi = p * p * q, p * (p - 1) * (q - 1)
    check_modulus(n, TEST)
    with pytest.raises(ModulusError, match="does not verify"):
        verify_coprime(n, prove_coprime(n, pow(n, -1, phi // p), b"context"), b"context")


def test_below_the_trial_bound_a_false_proof_can_be_ground_out() -> None:
    """Why `check_modulus` comes first: for N = 3q with 3 | q - 1, one context in 3^8 has roots for every challenge."""
    q = next(q for q in iter(lambda: prime_of(60, residue=7), None) if (q - 1) % 9)
    n, third = 3 * q, (q - 1) // 3
    context = next(
        context
        for context in (i2osp(k, 4) for k in itertools.count())
        if all(pow(int(modulus._challenge(n, k, context)), third, q) == 1 for k in range(PROOF_ROOTS))
    )
    forged = prove_coprime(n, pow(n, -1, 2 * third), context)
    verify_coprime(n, forged, context)
    assert math.gcd(n, 2 * (q - 1)) == 3
    with pytest.raises(ModulusError):
        check_modulus(n, TEST)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_hashing_to_the_modulus_separates_inputs_and_stays_below(first: bytes, second: bytes) -> None:
    hashed = [hash_to_modulus(N, b"label", first), hash_to_modulus(N, b"label", second)]
    assert (hashed[0] == hashed[1]) == (first == second)
    assert all(0 <= value < N for value in hashed)
    assert hash_to_modulus(N, b"other", first) != hashed[0] != hash_to_modulus(N + 2, b"label", first)


def test_a_unit_is_canonical_and_shares_no_factor() -> None:
    assert all(is_unit(N, value) for value in (1, 2, N - 1))
    assert not any(is_unit(N, value) for value in (0, -1, N, N + 1, P, 3 * Q))
