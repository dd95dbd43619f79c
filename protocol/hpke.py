"""Sealing to a party: HPKE base mode (RFC 9180), X25519, HKDF-SHA-256, ChaCha20-Poly1305."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from protocol.codec import concat
from protocol.errors import SealError

OVERHEAD = 48  # encapsulated key (32) and authentication tag (16)

_ANY = X25519PrivateKey.from_private_bytes(bytes(32))  # no secret: with any key, low order gives zero and is refused
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def receiver_key(encoded: bytes) -> X25519PublicKey:
    """Decode a key (32 bytes) to which something is to be sealed.

    Raises:
        SealError: it is of low order, so anybody could open what is sealed to it.
    """
    key = X25519PublicKey.from_public_bytes(encoded)
    try:
        _ANY.exchange(key)
    except ValueError as error:
        raise SealError("the receiver's key cannot be sealed to") from error
    return key


def seal(plaintext: bytes, receiver: X25519PublicKey, label: bytes, *context: bytes) -> bytes:
    """Seal `plaintext` to `receiver`; it opens only under the same label and context (OVERHEAD bytes longer).

    Raises:
        SealError: the receiver's key is of low order, so anybody could open what is sealed to it.
    """
    try:
        return _SUITE.encrypt(plaintext, receiver, info=concat(label, *context))
    except ValueError as error:
        raise SealError("the receiver's key cannot be sealed to") from error


def unseal(sealed: bytes, receiver: X25519PrivateKey, label: bytes, *context: bytes) -> bytes:
    """Open what was sealed to this key under this label and context.

    Raises:
        SealError: altered, for another key, or for another context.
    """
    try:
        return _SUITE.decrypt(sealed, receiver, info=concat(label, *context))
    except (InvalidTag, ValueError) as error:
        raise SealError("sealed part does not open under this party's key") from error
