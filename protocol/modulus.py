"""Moduli of two safe primes: the search, the checks every receiver makes, and the proof gcd(N, φ(N)) = 1.

The proof is Goldberg, Reyzin, Sagga and Baldimtsi (2018, "Efficient noninteractive certification of RSA moduli and
beyond", §3.2 with e = N): the prover returns N-th roots of hashed challenges. If N has no prime factor below α and some
prime divides both N and φ(N), a random element of Z_N* has an N-th root with probability at most 1/α, so
⌈κ / log2 α⌉ roots convince with error 2^-κ.
"""

import math
from collections.abc import Iterator
from hashlib import shake_256

import gmpy2
from gmpy2 import mpz

from protocol import labels
from protocol.codec import Random, concat, i2osp, os2ip
from protocol.errors import ModulusError

SECURITY_BITS = 128
TRIAL_BOUND = 1 << 16
PROOF_ROOTS = SECURITY_BITS // 16  # log2 TRIAL_BOUND = 16
MIN_BITS = {labels.SUITE: 2048, labels.INSECURE_TEST_SUITE: 512}

_SIEVE_SPAN = 1 << 15
_MILLER_RABIN_ROUNDS = 40


def _primes_below(bound: int) -> tuple[int, ...]:
    sieve = bytearray([1]) * bound
    sieve[:2] = b"\0\0"
    for k in range(2, math.isqrt(bound) + 1):
        if sieve[k]:
            sieve[k * k :: k] = bytes(len(range(k * k, bound, k)))
    return tuple(k for k in range(bound) if sieve[k])


SMALL_PRIMES = _primes_below(TRIAL_BOUND)
_PRIMORIAL = gmpy2.primorial(TRIAL_BOUND - 1)


def safe_prime_candidates(bits: int, random: Random) -> Iterator[mpz | None]:
    """Search a safe prime p = 2p' + 1 of exactly `bits` bits with its top two bits set.

    Yields None after every span of candidates without success, so a caller can show progress, stop, or search in
    several processes; yields p when found. Each span starts at a fresh random point and is sieved for p' and p alike.
    """
    while True:
        start = mpz(os2ip(random(-(-bits // 8)))) >> (-bits % 8 + 1)
        start |= mpz(3) << (bits - 3)
        start |= 1
        yield _search_span(start, bits)


def _search_span(start: mpz, bits: int) -> mpz | None:
    composite = bytearray(_SIEVE_SPAN)
    for prime in SMALL_PRIMES[1:]:
        if prime.bit_length() * 2 > bits:
            break
        half = (prime + 1) // 2
        residue = int(start % prime)
        # p' = start + 2k is divisible by prime where k = -start/2; p = 2p' + 1 where k = (-1/2 - start)/2.
        for k in (-residue * half % prime, (-half - residue) * half % prime):
            composite[k::prime] = b"\1" * len(range(k, _SIEVE_SPAN, prime))
    for k in range(_SIEVE_SPAN):
        if composite[k]:
            continue
        candidate = start + 2 * k
        prime = 2 * candidate + 1
        # One Fermat test each weeds out almost every composite before the full Miller-Rabin rounds. Neither is in
        # constant time: the search runs once, on the dealer's own machine, on numbers that are mostly thrown away.
        if (
            gmpy2.powmod(2, candidate - 1, candidate) == 1
            and gmpy2.powmod(2, prime - 1, prime) == 1
            and prime.bit_length() == bits
            and gmpy2.is_prime(candidate, _MILLER_RABIN_ROUNDS)
            and gmpy2.is_prime(prime, _MILLER_RABIN_ROUNDS)
        ):
            return prime
    return None


def check_modulus(n: int, suite: str) -> None:
    """Check what a receiver can see of a modulus without its factors.

    Raises:
        ModulusError: unknown suite, too short for it, of an odd length, even, not 1 mod 12 (as every product of two
            safe primes is), with a prime factor below 2^16, a perfect power, or prime.
    """
    if suite not in MIN_BITS:
        raise ModulusError("unknown suite")
    if n.bit_length() < MIN_BITS[suite]:
        raise ModulusError("modulus is shorter than its suite allows")
    if n.bit_length() % 16:
        raise ModulusError("modulus length is not a multiple of 16 bits")
    if n % 2 == 0:
        raise ModulusError("modulus is even")
    if n % 12 != 1:
        raise ModulusError("modulus is not 1 mod 12, so not a product of two safe primes")
    if gmpy2.gcd(n, _PRIMORIAL) != 1:
        raise ModulusError("modulus has a small prime factor")
    if gmpy2.is_power(n):
        raise ModulusError("modulus is a perfect power")
    if gmpy2.is_prime(n, _MILLER_RABIN_ROUNDS):
        raise ModulusError("modulus is prime")


def prove_coprime(n: int, root_exponent: int, context: bytes) -> tuple[bytes, ...]:
    """Prove gcd(N, φ(N)) = 1 with the secret exponent N^-1 mod φ(N) (or mod any multiple of the group's exponent)."""
    width = -(-n.bit_length() // 8)
    return tuple(
        i2osp(int(gmpy2.powmod_sec(_challenge(n, k, context), root_exponent, n)), width) for k in range(PROOF_ROOTS)
    )


def verify_coprime(n: int, proof: tuple[bytes, ...], context: bytes) -> None:
    """Verify a proof that gcd(N, φ(N)) = 1; `check_modulus` must have passed (its trial bound carries the soundness).

    Raises:
        ModulusError: a root is missing, not canonical or wrong.
    """
    width = -(-n.bit_length() // 8)
    if len(proof) != PROOF_ROOTS or any(len(root) != width or os2ip(root) >= n for root in proof):
        raise ModulusError("coprimality proof is malformed")
    if any(gmpy2.powmod(os2ip(root), n, n) != _challenge(n, k, context) for k, root in enumerate(proof)):
        raise ModulusError("coprimality proof does not verify")


def is_unit(n: int, value: int) -> bool:
    """Tell whether a value is the one canonical representative, 1..N-1, of an element of Z_N*."""
    return 0 < value < n and gmpy2.gcd(value, n) == 1


def hash_to_modulus(n: int, label: bytes, *parts: bytes) -> mpz:
    """Hash to Z_N, statistically close to uniform (128 bits beyond |N|)."""
    width = -(-n.bit_length() // 8)
    stream = shake_256(concat(label, i2osp(n, width), *parts)).digest(width + 16)
    return mpz(os2ip(stream)) % n


def _challenge(n: int, k: int, context: bytes) -> mpz:
    return hash_to_modulus(n, labels.COPRIME_CHALLENGE, context, i2osp(k, 4))
