"""One party of an epoch: its keys, and how it signs, sends and verifies every message.

`receive` follows these steps and raises at the first that fails:

1. decode: canonical, within the type's size limit, every field of its size;
2. header: this agreement, version and epoch; a sender of the roster;
3. signature: under the sender's key;
4. audience: this party, or the group it belongs to;
5. time: issued not in the future (5 s of clock skew allowed), not expired, lifetime at most 60 s;
6. a request answers nothing; a reply has the hash of exactly the message that was sent, is from the party it was sent
   to, and in the same session, for the same purpose and number of subjects.

What the sender may ask is the business of the role's round.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol.agreement.terms import Terms
from protocol.errors import ExpiredError, HeaderError
from protocol.wire import MAX_CLOCK_SKEW, MAX_LIFETIME, Body, Header, Signed, read, write

AGENCIES = "agencies"
KEYHOLDERS = "keyholders"

B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Party:
    """A party's id, the public terms, and its two private keys."""

    id: str
    terms: Terms
    signing_key: Ed25519PrivateKey = field(repr=False)
    sealing_key: X25519PrivateKey = field(repr=False)

    def header(
        self, *, audience: str, session: bytes, purpose: str, m: int, now: int, expires: int, answers: bytes = b""
    ) -> Header:
        """Fill in this party's header."""
        return Header(
            agreement=self.terms.agreement.id,
            version=self.terms.agreement.version,
            epoch=self.terms.roster.epoch,
            sender=self.id,
            audience=audience,
            session=session,
            purpose=purpose,
            m=m,
            issued=now,
            expires=expires,
            answers=answers,
        )

    def send(self, body: Body, *, audience: str, session: bytes, purpose: str, m: int, now: int) -> bytes:
        """Sign a request."""
        header = self.header(
            audience=audience, session=session, purpose=purpose, m=m, now=now, expires=now + MAX_LIFETIME
        )
        return write(header, body, self.signing_key)

    def reply(self, body: Body, request: Signed[B], now: int) -> bytes:
        """Sign a reply to a request: to its sender, in its session, over its hash."""
        asked = request.header
        header = self.header(
            audience=asked.sender,
            session=asked.session,
            purpose=asked.purpose,
            m=asked.m,
            now=now,
            expires=now + MAX_LIFETIME,
            answers=request.hash,
        )
        return write(header, body, self.signing_key)

    def receive(
        self, data: bytes, kind: type[B], now: int, *, audience: str | None = None, limit: int | None = None
    ) -> Signed[B]:
        """Decode and verify a request addressed to this party, or to `audience`.

        Raises:
            DecodeError, HeaderError, SignatureError, ExpiredError: see the module's steps.
        """
        message = self._receive(data, kind, now, audience or self.id, limit)
        if message.header.answers:
            raise HeaderError("a request answers no message")
        return message

    def _receive(self, data: bytes, kind: type[B], now: int, audience: str, limit: int | None) -> Signed[B]:
        """Steps 1 to 5."""
        message = read(data, kind, limit)
        header = message.header
        self._check_epoch(header)
        if header.sender not in self.terms.roster.signing:
            raise HeaderError("sender is not in the roster")
        message.envelope.verify(self.terms.signing_key(header.sender))
        if header.audience != audience:
            raise HeaderError("message is for another audience")
        if header.issued > now + MAX_CLOCK_SKEW:
            raise ExpiredError("message is issued in the future")
        if not now < header.expires <= header.issued + MAX_LIFETIME:
            raise ExpiredError("message has expired or lives too long")
        return message

    def receive_reply(
        self, data: bytes, kind: type[B], request: Signed[Body], sender: str, now: int, *, limit: int | None = None
    ) -> Signed[B]:
        """Decode and verify `sender`'s reply to a message this party sent or passed on.

        Raises:
            DecodeError, HeaderError, SignatureError, ExpiredError: see the module's steps.
        """
        message = self._receive(data, kind, now, request.header.sender, limit)
        header, asked = message.header, request.header
        if header.sender != sender:
            raise HeaderError("reply is from another party")
        if header.answers != request.hash or header.session != asked.session:
            raise HeaderError("reply answers another message")
        if (header.purpose, header.m) != (asked.purpose, asked.m):
            raise HeaderError("reply is for another purpose or number of subjects")
        return message

    def _check_epoch(self, header: Header) -> None:
        if header.agreement != self.terms.agreement.id:
            raise HeaderError("message is for another agreement")
        if header.version != self.terms.agreement.version:
            raise HeaderError("message is for another version of the agreement")
        if header.epoch != self.terms.roster.epoch:
            raise HeaderError("message is for another epoch")
