"""Withdrawal: an agency's signed word from which day on an agreement holds no longer (specification §7.7).

It is of one version, named by its digest, and signed under the agency's roster key of one of that version's epochs. It
ends the version for everybody. Nothing takes it back but a new version, whatever agencies that has.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import labels
from protocol.agreement.terms import DAY, Terms
from protocol.codec import decode, encode
from protocol.envelope import Envelope, sign
from protocol.errors import AgreementError, SignatureError, UsageError
from protocol.wire import HASH_BYTES, MAX_ID, from_map, octets, text, to_map, whole

LIMIT: Final = 1024


@dataclass(frozen=True)
class Withdrawal:
    """`agreement` is the version's digest, `day` the first without it, in days since 1970-01-01, UTC."""

    agreement: bytes = octets(HASH_BYTES)
    epoch: int = whole(1 << 31)
    agency: str = text(MAX_ID)
    day: int = whole(1 << 20)

    @property
    def time(self) -> int:
        """When that day begins, in Unix seconds."""
        return self.day * DAY


def withdraw(terms: Terms, agency: str, day: int, key: Ed25519PrivateKey) -> bytes:
    """Sign an agency's withdrawal from this version, under its key in this epoch.

    Raises:
        UsageError: not an agency of this version.
    """
    if agency not in terms.agencies:
        raise UsageError("not an agency of this agreement")
    withdrawal = Withdrawal(terms.roster.agreement, terms.roster.epoch, agency, day)
    return sign(labels.WITHDRAWAL_PAYLOAD_TYPE, encode(to_map(withdrawal)), key).to_bytes()


def read_withdrawal(data: bytes) -> tuple[Withdrawal, Envelope]:
    """Decode a withdrawal; its signature is not verified yet.

    Raises:
        DecodeError, AgreementError: not the one encoding of a withdrawal.
    """
    envelope = Envelope.from_bytes(data, LIMIT)
    if envelope.payload_type != labels.WITHDRAWAL_PAYLOAD_TYPE:
        raise AgreementError("not a withdrawal")
    return from_map(Withdrawal, decode(envelope.payload, LIMIT)), envelope


def verify_withdrawal(terms: Terms, data: bytes) -> Withdrawal:
    """Verify a withdrawal by the terms of its epoch.

    1. it is one; 2. of this version and epoch; 3. by one of its agencies; 4. under that agency's key in the roster.

    Raises:
        DecodeError, AgreementError: a step fails.
    """
    withdrawal, envelope = read_withdrawal(data)
    if (withdrawal.agreement, withdrawal.epoch) != (terms.roster.agreement, terms.roster.epoch):
        raise AgreementError("a withdrawal from another version or epoch of the agreement")
    if withdrawal.agency not in terms.agencies:
        raise AgreementError("a withdrawal by no agency of the agreement")
    try:
        envelope.verify(terms.signing_key(withdrawal.agency))
    except SignatureError as error:
        raise AgreementError("a withdrawal whose signature does not verify") from error
    return withdrawal
