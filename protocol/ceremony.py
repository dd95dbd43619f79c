"""The opening key's ceremony: on one machine a dealer makes N, shares D = N^-1 mod p'q', proves what can be proven.

Trust in the dealer, in words: who keeps p and q can open every sum of this key, and so learn lanes of anonymous
subjects if it also sees the coordinator's ciphertexts. From this key it never learns a name, and it cannot make a sum
open to another value. The dealer's machine forgets p and q when the shares are sealed.
"""

from dataclasses import dataclass
from functools import cached_property

import gmpy2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from gmpy2 import mpz

from protocol import labels
from protocol.codec import Random, i2osp, os2ip
from protocol.errors import ModulusError, UsageError
from protocol.hpke import seal, unseal
from protocol.modulus import check_modulus, hash_to_modulus, is_unit, prove_coprime, verify_coprime
from protocol.opening import OpeningKey, OpeningShare
from protocol.paillier import PublicKey
from protocol.shamir import split


@dataclass(frozen=True)
class Ceremony:
    """What the dealer publishes: N, Feldman-style values V_k = v^(a_k) mod N of the sharing polynomial, the proof.

    The base v is hashed from N and the context, so the dealer cannot choose it.
    """

    modulus: int
    keyholders: int
    commitments: tuple[int, ...]
    proof: tuple[bytes, ...]
    context: bytes

    @cached_property
    def key(self) -> OpeningKey:
        """The opening key that follows from the published values (verify first)."""
        n = mpz(self.modulus)
        verification = []
        for index in range(1, self.keyholders + 1):
            value = mpz(1)
            for commitment in reversed(self.commitments):
                value = gmpy2.powmod(value, index, n) * commitment % n
            verification.append(int(value))
        base = int(_base(self.modulus, self.context))
        return OpeningKey(PublicKey(self.modulus), len(self.commitments), base, tuple(verification))

    def verify(self, suite: str) -> None:
        """Check everything a receiver can check without a share.

        Raises:
            ModulusError: the modulus, the proof gcd(N, φ(N)) = 1, the degree, or D = N^-1 (V_0^N = v) does not hold.
        """
        check_modulus(self.modulus, suite)
        verify_coprime(self.modulus, self.proof, self.context)
        if not 1 <= len(self.commitments) <= self.keyholders:
            raise ModulusError("threshold is outside 1 to the number of keyholders")
        if not all(is_unit(self.modulus, value) for value in self.commitments):
            raise ModulusError("a verification value is outside Z_N*")
        # A leading coefficient of zero would let fewer than the threshold open.
        if self.commitments[-1] == 1:
            raise ModulusError("the sharing polynomial has a lower degree")
        if gmpy2.powmod(self.commitments[0], self.modulus, self.modulus) != _base(self.modulus, self.context):
            raise ModulusError("the shared exponent is not the inverse of N")

    def verify_share(self, share: OpeningShare) -> None:
        """Check a received share against its verification value.

        Raises:
            ModulusError: no keyholder's index, not of 1..N-1, or not on the committed polynomial.
        """
        if not (1 <= share.index <= self.keyholders and 0 < share.secret < self.modulus):
            raise ModulusError("opening share is out of range")
        if gmpy2.powmod_sec(self.key.base, share.secret, self.modulus) != self.key.verification[share.index - 1]:
            raise ModulusError("opening share does not match its verification value")

    def seal_share(self, share: OpeningShare, receiver: X25519PublicKey) -> bytes:
        """Seal a share to its keyholder, in N's width and bound to this ceremony and index."""
        return seal(i2osp(share.secret, self.key.public_key.modulus_bytes), receiver, *self._place(share.index))

    def unseal_share(self, index: int, sealed: bytes, receiver: X25519PrivateKey) -> OpeningShare:
        """Open keyholder `index`'s sealed share and verify it.

        Raises:
            SealError: it does not open under this key, for this ceremony and index.
            ModulusError: the share is not on the committed polynomial.
        """
        share = OpeningShare(index, os2ip(unseal(sealed, receiver, *self._place(index))))
        self.verify_share(share)
        return share

    def _place(self, index: int) -> tuple[bytes, ...]:
        return labels.SEALED_OPENING_SHARE, self.context, i2osp(index, 2)


def deal(
    primes: tuple[int, int], threshold: int, keyholders: int, context: bytes, random: Random
) -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    """Make the opening key of two distinct safe primes; returns what is published and the shares s_1 … s_n.

    Raises:
        UsageError: no such primes, one divides the other's order, or not 1 <= threshold <= keyholders.
    """
    p, q = (mpz(prime) for prime in primes)
    if p == q or not all(gmpy2.is_prime(prime) and gmpy2.is_prime(prime // 2) for prime in (p, q)):
        raise UsageError("the ceremony needs two distinct safe primes")
    n, order = p * q, (p // 2) * (q // 2)
    if gmpy2.gcd(n, order) != 1:
        raise UsageError("one prime divides the other's order, so N has no inverse")
    sharing = split(int(gmpy2.invert(n, order)), threshold, keyholders, int(order), random)
    base = _base(int(n), context)
    ceremony = Ceremony(
        modulus=int(n),
        keyholders=keyholders,
        commitments=tuple(int(gmpy2.powmod_sec(base, coefficient, n)) for coefficient in sharing.coefficients),
        proof=prove_coprime(int(n), int(gmpy2.invert(n, 4 * order)), context),
        context=context,
    )
    return ceremony, tuple(OpeningShare(index, value) for index, value in enumerate(sharing.shares, start=1))


def _base(n: int, context: bytes) -> mpz:
    return hash_to_modulus(n, labels.CEREMONY_BASE, context) ** 2 % n
