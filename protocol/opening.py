"""Opening a Paillier ciphertext by the root of its randomness: threshold RSA (Shoup 2000) with public exponent N.

To open A, keyholder j gets only `x = A² mod N` and returns `P_j = x^(2Δ·s_j) mod N`, where the s_j share
`D = N^-1 mod p'q'` and Δ = n! for n keyholders. With integer Lagrange coefficients λ_j scaled by Δ,
`w = Π P_j^(2λ_j) mod N` satisfies `w^N = A^(8Δ²) mod N`, and N-th roots are unique, so no wrong share passes. Then
`A^(8Δ²)·w^(-N) = (1 + N)^(8Δ²·m) mod N²` gives m. x does not depend on m: keyholders read nothing, even together.

Share proofs (Shoup 2000, §2) are only made and checked to name who was wrong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import gmpy2
from gmpy2 import mpz

from protocol import halves, labels
from protocol.codec import Random, digest, i2osp, os2ip
from protocol.errors import CiphertextError, OpeningError, ProofError, QuorumError, UsageError
from protocol.modulus import is_unit
from protocol.paillier import PublicKey
from protocol.shamir import integer_lagrange

_CHALLENGE_BYTES = 32
_STATISTICAL_BYTES = 32


@dataclass(frozen=True)
class OpeningKey:
    """What everyone knows of an opening key: the modulus, the threshold and the verification values v, v_1 … v_n.

    `verification[j - 1]` is v^(s_j) mod N for keyholder j = 1..n, `base` is v, a square.
    """

    public_key: PublicKey
    threshold: int
    base: int
    verification: tuple[int, ...]

    @property
    def delta(self) -> int:
        """Δ = n!."""
        return math.factorial(len(self.verification))


@dataclass(frozen=True)
class OpeningShare:
    """Keyholder `index`'s secret share s_j of D."""

    index: int
    secret: int = field(repr=False)


def challenge(key: OpeningKey, ciphertext: int) -> int:
    """Return x = A² mod N, all that keyholders see of a ciphertext.

    The square matters: without it a keyholder that is an agency could mark its entries by a Jacobi symbol.
    """
    return int(mpz(ciphertext) ** 2 % key.public_key.n)


def check_challenge(key: OpeningKey, x: int) -> None:
    """Refuse what is no opening challenge.

    Raises:
        CiphertextError: x is outside 1..N-1 or shares a factor with N.
    """
    if not is_unit(key.public_key.n, x):
        raise CiphertextError("opening challenge is outside Z_N*")


def open_share(key: OpeningKey, share: OpeningShare, x: int) -> int:
    """Return P_j = x^(2Δ·s_j) mod N, in constant time for the length of s_j.

    Raises:
        CiphertextError: x is outside 1..N-1 or shares a factor with N.
    """
    check_challenge(key, x)
    # powmod_sec's time follows the exponent's number of machine words, and that only tells that s_j does not begin
    # with 64 zero bits. Nobody here knows the group's order, by which the exponent could be blinded.
    return int(gmpy2.powmod_sec(x, 2 * key.delta * share.secret, key.public_key.n))


def combine(key: OpeningKey, ciphertext: int, shares: Mapping[int, int]) -> int:
    """Open a ciphertext with the opening shares {j: P_j} of at least the threshold of keyholders.

    Returns the plaintext, 0 <= m < N. Exactly the first `threshold` indices in ascending order are used.

    Raises:
        QuorumError: fewer than the threshold.
        OpeningError: some share is wrong, whichever way it was altered (its sign alone changes nothing).
    """
    if len(shares) < key.threshold:
        raise QuorumError(f"{len(shares)} opening shares, {key.threshold} needed")
    if not all(1 <= index <= len(key.verification) for index in shares):
        raise UsageError("opening share of an unknown keyholder")
    n = mpz(key.public_key.n)
    quorum = sorted(shares)[: key.threshold]
    coefficients = integer_lagrange(quorum, key.delta)
    root = mpz(1)
    for index in quorum:
        if not is_unit(key.public_key.n, shares[index]):
            raise OpeningError("an opening share is outside Z_N*")
        root = root * gmpy2.powmod(shares[index], 2 * coefficients[index], n) % n
    scale = 8 * key.delta**2
    low, high = halves.power(halves.split(ciphertext, n), scale, n)
    power_low, power_high = halves.power(halves.split(root, n), key.public_key.n, n)
    if power_low != low:
        raise OpeningError("the combined root does not satisfy w^N = A^(8Δ²)")
    # With unique N-th roots w is the right one. With equal low halves, A^(8Δ²)·w^(-N) mod N² is 1 + N·(high -
    # power_high)/low, and that is (1 + N)^(8Δ²·m).
    return int((high - power_high) * gmpy2.invert(low * scale, n) % n)


def prove_share(key: OpeningKey, share: OpeningShare, x: int, random: Random) -> tuple[bytes, bytes]:
    """Prove that this keyholder's P_j has the same exponent as its v_j; returns (challenge, response)."""
    n = mpz(key.public_key.n)
    base, lifted = mpz(key.base), gmpy2.powmod(x, 4 * key.delta, n)
    squared = gmpy2.powmod(open_share(key, share, x), 2, n)
    nonce = os2ip(random(_response_bytes(key)))
    commitment = gmpy2.powmod_sec(base, nonce, n), gmpy2.powmod_sec(lifted, nonce, n)
    c = _proof_challenge(key, share.index, lifted, squared, commitment)
    return c, i2osp(share.secret * os2ip(c) + nonce, _response_bytes(key) + 1)


def verify_share(key: OpeningKey, index: int, x: int, opened: int, proof: tuple[bytes, bytes]) -> None:
    """Verify keyholder `index`'s share proof for P_j = `opened`.

    `combine` refuses no quorum whose proofs all verify, so where it refuses, some proof names a culprit.

    Raises:
        ProofError: the share is not the one its verification value commits to.
    """
    if not 1 <= index <= len(key.verification):
        raise UsageError("share proof of an unknown keyholder")
    n = mpz(key.public_key.n)
    c, response = proof
    if len(c) != _CHALLENGE_BYTES or len(response) != _response_bytes(key) + 1:
        raise ProofError("opening share proof is malformed")
    if not is_unit(key.public_key.n, opened):
        raise ProofError("opening share is outside Z_N*")
    lifted, squared = gmpy2.powmod(x, 4 * key.delta, n), gmpy2.powmod(opened, 2, n)
    z, minus_c = os2ip(response), -os2ip(c)
    commitment = (
        gmpy2.powmod(key.base, z, n) * gmpy2.powmod(key.verification[index - 1], minus_c, n) % n,
        gmpy2.powmod(lifted, z, n) * gmpy2.powmod(squared, minus_c, n) % n,
    )
    if _proof_challenge(key, index, lifted, squared, commitment) != c:
        raise ProofError("opening share proof does not verify")


def _response_bytes(key: OpeningKey) -> int:
    # The nonce hides s_j·c statistically: |N| + 256 bits of challenge + 256 bits of slack.
    return key.public_key.modulus_bytes + _CHALLENGE_BYTES + _STATISTICAL_BYTES


def _proof_challenge(key: OpeningKey, index: int, lifted: mpz, squared: mpz, commitment: Sequence[mpz]) -> bytes:
    width = key.public_key.modulus_bytes
    values = (key.public_key.n, key.base, key.verification[index - 1], lifted, squared, *commitment)
    return digest(labels.SHARE_PROOF, i2osp(index, 2), *(i2osp(value, width) for value in values))
