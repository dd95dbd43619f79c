"""What limits a party's answers, committed durably before any answer leaves (specification §8).

The rounds compute; whoever runs them keeps a ledger in its own database. Restarting a process, running several, or
going round the coordinator resets nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from protocol.agreement.terms import Terms
from protocol.wire import Header


class Ledger(Protocol):
    """A party's durable memory of sessions, quotas and openings."""

    def claim_session(self, kind: str, sender: str, session: bytes, expires: int) -> None:
        """Record a session once.

        Raises:
            ReplayedError: this sender's session of this kind was recorded before.
        """

    def charge(self, kind: str, sender: str, amount: int, limit: int, now: int) -> None:
        """Charge `amount` subjects to the sender's quota of `limit` a UTC day; all or nothing.

        Raises:
            QuotaError: it would exceed the limit; nothing is charged.
        """

    def claim_opening(self, requester: str, session: bytes, chunk: int, x: bytes) -> None:
        """Record that this chunk of this session is opened, for x and nothing else.

        Raises:
            SpentError: it was recorded before, whatever the x.
        """

    def is_opened(self, requester: str, session: bytes, chunk: int, x: bytes) -> bool:
        """Whether this chunk was opened for exactly this x."""

    def log(self, kind: str, sender: str, purpose: str, m: int, outcome: str, now: int) -> None:
        """Append a served or refused request to the log; there is no field that could carry an identifier."""


@dataclass
class Entry:
    """A request on its way through a handler; `header` is set once it is verified."""

    header: Header | None = None


@contextmanager
def logged(ledger: Ledger, kind: str, now: int) -> Iterator[Entry]:
    """Log the request handled inside, served or refused; a refusal by the name of its error alone."""
    entry = Entry()
    outcome = "served"
    try:
        yield entry
    except Exception as error:
        outcome = type(error).__name__
        raise
    finally:
        header = entry.header
        sender, purpose, m = (header.sender, header.purpose, header.m) if header else ("", "", 0)
        ledger.log(kind, sender, purpose, m, outcome, now)


def admit(ledger: Ledger, terms: Terms, kind: str, header: Header, now: int) -> None:
    """Claim a verified request's session, then charge its sender's quota; both are committed when this returns.

    Raises:
        ReplayedError: the session was seen before.
        QuotaError: the sender's quota does not cover it.
    """
    ledger.claim_session(kind, header.sender, header.session, header.expires)
    ledger.charge(kind, header.sender, header.m, terms.quota(header.sender), now)
