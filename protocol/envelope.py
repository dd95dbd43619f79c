"""Signed envelopes: one mechanism for every message between parties.

A message travels as the deterministic CBOR array `[payloadType, payload, signature]`; the Ed25519 signature is over
DSSE's pre-authentication encoding of type and payload (DSSE v1.0.0), so a payload can never be read as another type.
The key is found through the sender named in the payload's header: the caller parses, looks it up in the roster,
verifies, and only then acts.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import labels
from protocol.codec import decode, digest, encode
from protocol.errors import DecodeError, SignatureError

SIGNATURE_BYTES = 64
_MAX_TYPE = 80


@dataclass(frozen=True)
class Envelope:
    """A payload, its type and one Ed25519 signature (64 bytes) over both."""

    payload_type: str
    payload: bytes
    signature: bytes

    def verify(self, key: Ed25519PublicKey) -> None:
        """Verify the signature under the sender's key.

        Raises:
            SignatureError: it does not verify.
        """
        try:
            key.verify(self.signature, pae(self.payload_type, self.payload))
        except InvalidSignature as error:
            raise SignatureError("signature does not verify under its sender's key") from error

    def to_bytes(self) -> bytes:
        """Encode for the wire."""
        return encode([self.payload_type, self.payload, self.signature])

    @staticmethod
    def from_bytes(data: bytes, limit: int) -> "Envelope":
        """Decode from the wire; the signature is not verified yet.

        Raises:
            DecodeError: not canonical, or longer than `limit` bytes.
        """
        match decode(data, limit):
            case [str() as payload_type, bytes() as payload, bytes() as signature] if (
                len(payload_type) <= _MAX_TYPE and len(signature) == SIGNATURE_BYTES
            ):
                return Envelope(payload_type, payload, signature)
        raise DecodeError("not a signed envelope")


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """Sign a payload under its type."""
    return Envelope(payload_type, payload, key.sign(pae(payload_type, payload)))


def message_hash(data: bytes) -> bytes:
    """Hash (32 bytes) of a whole message as it travelled; a reply signs the hash of what it answers."""
    return digest(labels.MESSAGE_HASH, data)
