"""The DKG's messages between keyholders, signed and verified before there is a roster.

Every keyholder broadcasts one message a phase (`protocol.dkg`); each signs with the identity key that the roster will
name. `collect` verifies a whole phase, so that a key generation either goes on with everyone's message or aborts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.dkg import DkgConfig
from protocol.errors import DkgError, PeerError
from protocol.rounds.party import KEYHOLDERS
from protocol.wire import MAX_CLOCK_SKEW, MAX_LIFETIME, SESSION_BYTES, Body, Header, read, write

DKG = "dkg"

B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Keygen:
    """One run: which key is generated, for which agreement (id, version, epoch), and the keyholders' identity keys."""

    config: DkgConfig
    agreement: str
    version: int
    epoch: int
    identities: Mapping[str, Ed25519PublicKey] = field(repr=False)

    def header(self, sender: str, issued: int) -> Header:
        """The header of a keyholder's message; the run's binding is its session."""
        return Header(
            agreement=self.agreement,
            version=self.version,
            epoch=self.epoch,
            sender=sender,
            audience=KEYHOLDERS,
            session=self.config.binding[:SESSION_BYTES],
            purpose=DKG,
            m=0,
            issued=issued,
            expires=issued + MAX_LIFETIME,
            answers=b"",
        )

    def write(self, body: Body, sender: str, key: Ed25519PrivateKey, now: int) -> bytes:
        """Sign a keyholder's message of one phase."""
        return write(self.header(sender, now), body, key)

    def collect(self, messages: Mapping[str, bytes], kind: type[B], now: int) -> dict[str, B]:
        """Verify everybody's message of one phase, {keyholder: bytes}.

        Raises:
            DkgError: naming the keyholders whose message is malformed, not theirs, of another run or out of time.
        """
        bodies, culprits = {}, []
        for sender, data in messages.items():
            try:
                message = read(data, kind)
                message.envelope.verify(self.identities[sender])
            except (PeerError, KeyError):
                culprits.append(sender)
                continue
            if message.header != self.header(sender, message.header.issued) or not (
                message.header.issued - MAX_CLOCK_SKEW <= now < message.header.expires
            ):
                culprits.append(sender)
            bodies[sender] = message.body
        if culprits:
            raise DkgError("message of key generation is not as required", culprits)
        return bodies
