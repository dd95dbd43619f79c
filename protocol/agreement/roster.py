"""The roster: who takes part in an agreement's epoch, under which keys, signed by every agency.

It binds the agreement (by digest), every party's Ed25519 and X25519 public key, the OPRF public key with each
keyholder's public share, and the opening key's published values. Whoever holds it can verify every message.

A roster that follows another is also endorsed: signed by the agencies of the one before, under their keys in that one.
So whoever holds the one before need trust nobody else to go on to it (`protocol.agreement.succession`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import labels
from protocol.codec import decode, encode
from protocol.envelope import SIGNATURE_BYTES, pae
from protocol.errors import AgreementError, DecodeError
from protocol.messages import MAX_MODULUS_BYTES
from protocol.wire import (
    HASH_BYTES,
    MAX_PARTIES,
    array,
    by_id,
    from_map,
    is_octets,
    octets,
    to_map,
    whole,
)

COORDINATOR = "coordinator"
LIMIT = 256 << 10


@dataclass(frozen=True)
class Roster:
    """Public keys of one agreement and epoch.

    `signing` (Ed25519) and `sealing` (X25519) map every party's id to 32 bytes. `oprf_shares[j - 1]` is keyholder j's
    K_j; `modulus`, `commitments` and `coprime_proof` are the ceremony's published values, big-endian in N's width.
    """

    agreement: bytes = octets(HASH_BYTES)
    epoch: int = whole(1 << 31)
    signing: Mapping[str, bytes] = by_id(is_octets(32))
    sealing: Mapping[str, bytes] = by_id(is_octets(32))
    oprf_public: bytes = octets(32)
    oprf_shares: tuple[bytes, ...] = array(is_octets(32), MAX_PARTIES)
    modulus: bytes = octets(1, MAX_MODULUS_BYTES)
    commitments: tuple[bytes, ...] = array(is_octets(1, MAX_MODULUS_BYTES), MAX_PARTIES)
    coprime_proof: tuple[bytes, ...] = array(is_octets(1, MAX_MODULUS_BYTES), MAX_PARTIES)

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """One agency's signature over the roster."""
        return key.sign(self._signed())

    def is_signed(self, key: bytes | None, signature: bytes) -> bool:
        """Whether a signature over the roster verifies under a raw Ed25519 key; never under none."""
        try:
            Ed25519PublicKey.from_public_bytes(key or b"").verify(signature, self._signed())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _signed(self) -> bytes:
        return pae(labels.ROSTER_PAYLOAD_TYPE, encode(to_map(self)))


@dataclass(frozen=True)
class SignedRoster:
    """A roster, the agencies' signatures over it, and those of the agencies of the roster before, if it follows one."""

    roster: Roster
    signatures: Mapping[str, bytes]
    endorsements: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Encode for file and wire."""
        endorsed = [dict(self.endorsements)] if self.endorsements else []
        return encode([labels.ROSTER_PAYLOAD_TYPE, encode(to_map(self.roster)), dict(self.signatures), *endorsed])

    @staticmethod
    def from_bytes(data: bytes) -> "SignedRoster":
        """Decode; the signatures are not verified yet.

        Raises:
            DecodeError: not the canonical encoding of a signed roster.
        """
        match decode(data, LIMIT):
            case [labels.ROSTER_PAYLOAD_TYPE, bytes() as payload, signatures, *endorsed] if (
                all(map(_are_signatures, [signatures, *endorsed])) and len(endorsed) <= 1 and all(endorsed)
            ):
                return SignedRoster(from_map(Roster, decode(payload, LIMIT)), signatures, *endorsed)
        raise DecodeError("not a signed roster")

    def verify(self, agencies: tuple[str, ...]) -> None:
        """Verify that exactly these agencies signed, each under its own key in the roster.

        Raises:
            AgreementError: a signature is missing, too many, or does not verify.
        """
        if not _LOW_ORDER.isdisjoint(map(_without_sign, self.roster.signing.values())):
            raise AgreementError("a signing key in the roster is of low order: it would verify any message")
        if set(self.signatures) != set(agencies):
            raise AgreementError("the roster is not signed by exactly the agreement's agencies")
        for agency in agencies:
            if not self.roster.is_signed(self.roster.signing.get(agency), self.signatures[agency]):
                raise AgreementError(f"the roster's signature by {agency} does not verify")


def _are_signatures(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_octets(SIGNATURE_BYTES), value.values()))


def _without_sign(key: bytes) -> bytes:
    return key[:31] + bytes([key[31] & 0x7F])


# The y-coordinates of edwards25519's points of order 1, 2, 4 and 8, and their second encodings (y + p below 2^255).
_LOW_ORDER = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
