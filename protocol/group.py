"""The group ristretto255 (RFC 9496) through libsodium, strictly decoded; hashing to it (RFC 9380, RFC 9497 §4.1).

libsodium computes without checking: on bytes that encode no element it answers zeros, it takes scalars at or above the
order, and the release that `rbcl` bundles ignores bit 255 of scalars and of elements. So an `Element` or a `Scalar`
comes only from decoding, sampling or hashing here, or from arithmetic on such values; the two types carry that promise.
All arithmetic is constant-time. Multiplication allows a zero scalar and the identity, which arise honestly in sums;
decoding refuses both where they would be forged.
"""

import hashlib
from collections.abc import Iterable
from functools import reduce
from typing import NewType

import rbcl

from protocol.codec import Random, i2osp
from protocol.errors import GroupElementError, ScalarError, UsageError

Element = NewType("Element", bytes)
"""The canonical encoding (32 bytes) of a group element."""

Scalar = NewType("Scalar", bytes)
"""An integer below ORDER, 32 bytes little-endian."""

ELEMENT_BYTES = 32
SCALAR_BYTES = 32
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = Element(bytes(ELEMENT_BYTES))
ZERO = Scalar(bytes(SCALAR_BYTES))

_HASH_BYTES = 64
_HASH_BLOCK_BYTES = 128


def decode_element(data: bytes) -> Element:
    """Decode an element that somebody sent (RFC 9497 §4.1, DeserializeElement).

    Raises:
        GroupElementError: not the canonical encoding of an element, or the identity.
    """
    # Bit 255 first: libsodium would ignore it and take two encodings for one element.
    if len(data) != ELEMENT_BYTES or data[-1] >> 7 or not rbcl.crypto_core_ristretto255_is_valid_point(data):
        raise GroupElementError("not the canonical encoding of a ristretto255 element")
    if data == IDENTITY:
        raise GroupElementError("element is the identity")
    return Element(data)


def decode_scalar(data: bytes, *, allow_zero: bool = False) -> Scalar:
    """Decode a scalar that somebody sent or stored (RFC 9497 §4.1, DeserializeScalar).

    Raises:
        ScalarError: not 32 bytes, not below the order, or zero where that is not allowed.
    """
    if len(data) != SCALAR_BYTES or int.from_bytes(data, "little") >= ORDER:
        raise ScalarError("not the canonical encoding of a scalar")
    if data == ZERO and not allow_zero:
        raise ScalarError("scalar is zero")
    return Scalar(data)


def scalar_from_int(value: int) -> Scalar:
    """Reduce a public integer (a share's index, a Lagrange coefficient) modulo the order."""
    return Scalar((value % ORDER).to_bytes(SCALAR_BYTES, "little"))


def random_scalar(random: Random) -> Scalar:
    """Draw a nonzero scalar, uniform to within 2^-259 by reducing 64 bytes (RFC 9497 §4.7.2)."""
    while (scalar := _reduce(random(_HASH_BYTES))) == ZERO:
        pass
    return scalar


def scalar_add(a: Scalar, b: Scalar) -> Scalar:
    """Compute a + b modulo the order."""
    return Scalar(rbcl.crypto_core_ristretto255_scalar_add(a, b))


def scalar_sub(a: Scalar, b: Scalar) -> Scalar:
    """Compute a - b modulo the order."""
    return Scalar(rbcl.crypto_core_ristretto255_scalar_sub(a, b))


def scalar_mul(a: Scalar, b: Scalar) -> Scalar:
    """Compute a·b modulo the order."""
    return Scalar(rbcl.crypto_core_ristretto255_scalar_mul(a, b))


def scalar_invert(a: Scalar) -> Scalar:
    """Compute 1/a modulo the order.

    Raises:
        UsageError: a is zero.
    """
    if a == ZERO:
        raise UsageError("zero has no inverse")
    return Scalar(rbcl.crypto_core_ristretto255_scalar_invert(a))


def element_add(a: Element, b: Element) -> Element:
    """Compute a + b."""
    return Element(rbcl.crypto_core_ristretto255_add(a, b))


def scalar_mult(scalar: Scalar, element: Element) -> Element:
    """Compute scalar·element."""
    return Element(rbcl.crypto_scalarmult_ristretto255_allow_scalar_zero(scalar, element))


def scalar_base_mult(scalar: Scalar) -> Element:
    """Compute scalar·G, G being the group's generator; about a third of the cost of `scalar_mult`."""
    return Element(rbcl.crypto_scalarmult_ristretto255_base_allow_scalar_zero(scalar))


def linear_combination(scalars: Iterable[Scalar], elements: Iterable[Element]) -> Element:
    """Compute the sum of scalar·element over two lists of one length, at least one."""
    return reduce(element_add, map(scalar_mult, scalars, elements))


def hash_to_group(data: bytes, dst: bytes) -> Element:
    """Hash to an element of unknown discrete logarithm (RFC 9380, Appendix B: hash_to_ristretto255).

    Raises:
        UsageError: the domain-separation tag is longer than 255 bytes.
    """
    return Element(rbcl.crypto_core_ristretto255_from_hash(_expand_message_xmd(data, dst)))


def hash_to_scalar(data: bytes, dst: bytes) -> Scalar:
    """Hash to a scalar (RFC 9497 §4.1, HashToScalar).

    Raises:
        UsageError: the domain-separation tag is longer than 255 bytes.
    """
    return _reduce(_expand_message_xmd(data, dst))


def _reduce(data: bytes) -> Scalar:
    """Read 64 little-endian bytes as an integer modulo the order."""
    return Scalar(rbcl.crypto_core_ristretto255_scalar_reduce(data))


def _expand_message_xmd(message: bytes, dst: bytes) -> bytes:
    """expand_message_xmd with SHA-512 (RFC 9380 §5.3.1) for 64 bytes, which take exactly one output block."""
    dst_prime = dst + i2osp(len(dst), 1)
    b_0 = hashlib.sha512(bytes(_HASH_BLOCK_BYTES) + message + i2osp(_HASH_BYTES, 2) + b"\x00" + dst_prime).digest()
    return hashlib.sha512(b_0 + b"\x01" + dst_prime).digest()
