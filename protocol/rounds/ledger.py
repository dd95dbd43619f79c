"""What limits a party's answers, committed durably before any answer leaves (specification §8).

The rounds compute; whoever runs them keeps a ledger in its own database. Restarting a process, running several, or
going round the coordinator resets nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from protocol.agreement.terms import Allowance
from protocol.wire import Header


class Ledger(Protocol):
    """A party's durable memory of sessions, quotas and openings, and its log of requests.

    Each admission is one transaction: all of it is committed when the method returns, or nothing is and it raises.
    """

    def admit(self, kind: str, header: Header, allowance: Allowance, now: int) -> None:
        """Record a verified request's session, charge its m subjects to the sender's allowance, log it.

        Raises:
            ReplayedError: this sender's session of this kind was recorded before.
            QuotaError: what is left of the allowance does not cover it.
        """

    def admit_opening(self, ask: Header, chunk: int, x: bytes, m: int, allowance: Allowance, now: int) -> None:
        """Record that this chunk of R's session is opened, for x and nothing else, and charge its m subjects to R.

        Raises:
            SpentError: it was recorded before, whatever the x.
            QuotaError: what is left of the allowance does not cover it.
        """

    def admit_figures(self, request: Header, xs: Sequence[bytes], now: int) -> None:
        """Record that the sums of C's session are opened for these x and nothing else; the same x may come again.

        Raises:
            SpentError: one was opened before for another x.
        """

    def admit_proof(self, request: Header, requester: str, chunk: int, x: bytes, now: int) -> None:
        """Record that the share of R's chunk, opened for exactly this x, is proven; log it.

        Raises:
            SpentError: this chunk was not opened for this x.
            ReplayedError: its share was proven before.
        """

    def refuse(self, kind: str, header: Header | None, reason: str, now: int) -> None:
        """Log a refused request: by its header if it was verified, and by the name of the error, nothing more."""


@dataclass
class Request:
    """A request on its way through a handler; `header` is set once it is verified."""

    header: Header | None = None


@contextmanager
def refusals_logged(ledger: Ledger, kind: str, now: int) -> Iterator[Request]:
    """Log it if the request handled inside is refused; what is admitted, the admission logs."""
    request = Request()
    try:
        yield request
    except Exception as error:
        ledger.refuse(kind, request.header, type(error).__name__, now)
        raise
