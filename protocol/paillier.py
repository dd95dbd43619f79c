"""Paillier ciphertexts of `phe` on raw integers, and fast fresh randomisers.

A ciphertext of m is `(1 + mN)·r^N mod N²` (Paillier 1999, generator N + 1), exactly what `phe` makes, so `phe`'s
private keys open ours and ours open `phe`'s. Randomisers follow Damgård, Jurik and Nielsen (2010, §4.2):
`ζ = (h^N)^s mod N²` for h = -x² mod N and a short uniform s of |N|/2 bits, by a fixed-base table.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import gmpy2
from gmpy2 import mpz
from phe import PaillierPublicKey
from phe.util import mulmod

from protocol import halves
from protocol.codec import Random, i2osp, os2ip
from protocol.errors import CiphertextError, UsageError
from protocol.halves import Halves

_WINDOW_BITS = 8


@dataclass(frozen=True)
class PublicKey:
    """A Paillier modulus N and the sizes that follow from it."""

    n: int

    @cached_property
    def phe(self) -> PaillierPublicKey:
        """The same key as `phe` holds it."""
        return PaillierPublicKey(self.n)

    @cached_property
    def n_squared(self) -> int:
        """N², the ciphertexts' modulus."""
        return self.n * self.n

    @property
    def bits(self) -> int:
        """|N| in bits."""
        return self.n.bit_length()

    @property
    def modulus_bytes(self) -> int:
        """Width of an element modulo N."""
        return -(-self.bits // 8)

    @property
    def ciphertext_bytes(self) -> int:
        """Width of a ciphertext on the wire: an element modulo N²."""
        return 2 * self.modulus_bytes

    def encrypt(self, plaintext: int, zeta: int) -> int:
        """Encrypt 0 <= plaintext < N under the randomiser ζ; ζ must be fresh for everyone who can compare."""
        if not 0 <= plaintext < self.n:
            raise UsageError("plaintext is outside 0..N-1")
        return self.add(self.phe.raw_encrypt(plaintext, r_value=1), zeta)

    def add(self, first: int, second: int) -> int:
        """Ciphertext of the sum of two ciphertexts' plaintexts."""
        return int(mulmod(first, second, self.n_squared))

    def pack(self, ciphertexts: Iterable[int], factors: Iterable[int], stride: int) -> int:
        """Ciphertext of Σ plaintext_k · factor_k · 2^(stride·k), for factors below 2^stride.

        By Horner's rule from the last to the first: to move what is packed up by a slot squares as often as to multiply
        the next plaintext, so both are done by the same squarings.
        """
        n = mpz(self.n)
        packed = halves.ONE
        for ciphertext, factor in reversed(list(zip(ciphertexts, factors, strict=True))):
            if factor >> stride:
                raise UsageError("a factor is wider than its slot")
            packed = halves.power(halves.split(ciphertext, n), factor, n, packed, stride)
        return halves.join(packed, n)

    def check(self, ciphertext: int) -> None:
        """Refuse what is no ciphertext.

        Raises:
            CiphertextError: outside 1..N²-1, or sharing a factor with N.
        """
        if not 0 < ciphertext < self.n_squared:
            raise CiphertextError("ciphertext is outside 1..N²-1")
        if gmpy2.gcd(ciphertext, self.n) != 1:
            raise CiphertextError("ciphertext shares a factor with N")


class Zetas(Protocol):
    """Where fresh randomisers come from; no ζ is ever given out twice."""

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ, an encryption of zero."""


@dataclass(frozen=True)
class Randomiser:
    """A fixed-base table for ζ = (h^N)^s; `fresh` draws a new one at each call.

    The exponent is read in base 256; digit d at position k picks the entry `base^((d+1)·256^k)`. The offset of one in
    every digit shifts s by a public constant, so no entry is 1 and every ζ costs the same multiplications. Which
    entries were read can show in a processor cache: a party does not share its machine with strangers.
    """

    public_key: PublicKey
    _table: tuple[tuple[Halves, ...], ...] = field(repr=False)

    @staticmethod
    def create(public_key: PublicKey, random: Random) -> "Randomiser":
        """Draw this party's own x and build the table (about 45 MB at 3072 bits).

        The base is never taken from another party: whoever chose x could recognise or unmask every ζ made with it.
        """
        n = mpz(public_key.n)
        x = mpz(os2ip(random(public_key.modulus_bytes + 16))) % n
        if gmpy2.gcd(x, n) != 1:
            raise UsageError("the random source gave no unit modulo N")
        base = halves.power(halves.split(-x * x % n, n), public_key.n, n)
        table = []
        for _ in range(-(-_exponent_bytes(public_key) * 8 // _WINDOW_BITS)):
            row = [base]
            for _ in range((1 << _WINDOW_BITS) - 1):
                row.append(halves.product(row[-1], base, n))
            table.append(tuple(row))
            base = row[-1]
        return Randomiser(public_key, tuple(table))

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ, an encryption of zero."""
        n = mpz(self.public_key.n)
        zeta = halves.ONE
        for row, digit in zip(self._table, random(_exponent_bytes(self.public_key)), strict=True):
            zeta = halves.product(zeta, row[digit], n)
        return halves.join(zeta, n)


def _exponent_bytes(public_key: PublicKey) -> int:
    return -(-public_key.bits // 16)


def ciphertext_to_bytes(public_key: PublicKey, ciphertext: int) -> bytes:
    """Encode a ciphertext in its fixed width."""
    return i2osp(ciphertext, public_key.ciphertext_bytes)


def ciphertext_from_bytes(public_key: PublicKey, data: bytes) -> int:
    """Decode and check a ciphertext.

    Raises:
        CiphertextError: wrong width, out of range, or sharing a factor with N.
    """
    if len(data) != public_key.ciphertext_bytes:
        raise CiphertextError("ciphertext has the wrong width")
    ciphertext = os2ip(data)
    public_key.check(ciphertext)
    return ciphertext
