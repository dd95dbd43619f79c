"""Parties that lack one guard each: what a control plants."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from threading import Lock
from typing import TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from api.audit.dishonest import Scene
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Allowance, Terms
from protocol.errors import HeaderError, QuotaError, ReplayedError, SignatureError, SpentError
from protocol.messages import Ask, Open, Prove
from protocol.rounds.ledger import Ledger
from protocol.rounds.party import Party
from protocol.wire import MAX_CLOCK_SKEW, MAX_LIFETIME, SESSION_BYTES, Body, Header, Signed, read

B = TypeVar("B", bound=Body)

IN_HEADERS = ("agreement", "version", "epoch", "signature", "audience", "future", "expiry", "lifetime")
"""Guards of `Party.receive`."""
IN_ROUNDS = ("right", "role", "chunk", "binding")
"""Guards of the rounds: R's purpose; who may ask for openings; which chunks there are; the opening's own `ask`."""
IN_LEDGER = ("session", "opening", "any x", "opened", "proof", "log")
"""Guards of the ledger: a session once; a chunk once; for one x; proofs of what was opened, once; the log."""


class CarelessTerms(Terms):
    """Terms that grant every purpose."""

    def require_right(self, party: str, purpose: str, time: int) -> None:
        """Grant it."""


class EndlessTerms(Terms):
    """Terms under which every question has every chunk."""

    def slots(self, requester: str) -> int:
        """Return none, so that no chunk is beyond the last."""
        del requester
        return 0


@dataclass(frozen=True)
class CarelessParty(Party):
    """A party that verifies all of a message but what it lacks."""

    lack: str = ""

    def receive(
        self, data: bytes, kind: type[B], now: int, *, audience: str | None = None, limit: int | None = None
    ) -> Signed[B]:
        """Verify as the honest party does, without one step."""
        message = read(data, kind, limit)
        header, body = message.header, message.body
        guards: Mapping[str, Callable[[], bool]] = {
            "agreement": lambda: header.agreement == self.terms.agreement.id,
            "version": lambda: header.version == self.terms.agreement.version,
            "epoch": lambda: header.epoch == self.terms.roster.epoch,
            "roster": lambda: header.sender in self.terms.roster.signing,
            "signature": lambda: self._is_signed(message),
            "audience": lambda: header.audience == (audience or self.id),
            "future": lambda: header.issued <= now + MAX_CLOCK_SKEW,
            "expiry": lambda: now < header.expires,
            "lifetime": lambda: header.expires <= header.issued + MAX_LIFETIME,
        }
        for guard, holds in guards.items():
            if guard != self.lack and not holds():
                raise HeaderError(guard)
        if self.lack == "role" and isinstance(body, (Open, Prove)):
            header = replace(header, sender=COORDINATOR)
        if self.lack == "binding" and isinstance(body, Open):
            asked = read(body.ask, Ask).header
            header = replace(header, session=asked.session, m=asked.m)
        return replace(message, header=header)

    def _is_signed(self, message: Signed[B]) -> bool:
        try:
            message.envelope.verify(self.terms.signing_key(message.header.sender))
        except SignatureError:
            return False
        return True


@dataclass(frozen=True)
class CarelessLedger:
    """A ledger in front of an honest one, without what it lacks."""

    honest: Ledger
    lack: str

    def admit(self, kind: str, header: Header, allowance: Allowance, now: int) -> None:
        """Admit; without its guard every session is new."""
        if self.lack == "session":
            header = replace(header, session=secrets.token_bytes(SESSION_BYTES))
        self.honest.admit(kind, header, allowance, now)

    def admit_opening(self, ask: Header, chunk: int, x: bytes, m: int, allowance: Allowance, now: int) -> None:
        """Admit; without its guard every opening is the first, or the first for this x."""
        if self.lack == "opening":
            ask = replace(ask, session=secrets.token_bytes(SESSION_BYTES))
        if self.lack == "any x":
            ask = replace(ask, session=sha256(ask.session + x).digest()[:SESSION_BYTES])
        self.honest.admit_opening(ask, chunk, x, m, allowance, now)

    def admit_figures(self, request: Header, xs: Sequence[bytes], now: int) -> None:
        """Admit; without its guard every sum is the first."""
        if self.lack == "any sum":
            request = replace(request, session=secrets.token_bytes(SESSION_BYTES))
        self.honest.admit_figures(request, xs, now)

    def admit_proof(self, request: Header, requester: str, chunk: int, x: bytes, now: int) -> None:
        """Admit; without its guards also what was not opened, or was proven before."""
        with suppress(*{"opened": (SpentError,), "proof": (ReplayedError,)}.get(self.lack, ())):
            self.honest.admit_proof(request, requester, chunk, x, now)

    def refuse(self, kind: str, header: Header | None, reason: str, now: int) -> None:
        """Log a refusal, unless that is what it lacks."""
        if self.lack != "log":
            self.honest.refuse(kind, header, reason, now)


class MemoryLedger:
    """A ledger in one worker's memory: gone with it, and unknown to the others.

    With `pause` it reads what was used, waits as a slow disk would, and then writes: check, then act.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause
        self._lock = Lock()
        self._seen: set[tuple[object, ...]] = set()
        self._used: dict[tuple[str, str, str], int] = {}

    def admit(self, kind: str, header: Header, allowance: Allowance, now: int) -> None:
        """Claim the session and charge."""
        self._admit(
            (kind, header.sender, header.session), ReplayedError("seen"), kind, header, header.m, allowance, now
        )

    def admit_opening(self, ask: Header, chunk: int, x: bytes, m: int, allowance: Allowance, now: int) -> None:
        """Claim the chunk and charge."""
        del x
        self._admit((ask.sender, ask.session, chunk), SpentError("spent"), Open.TYPE, ask, m, allowance, now)

    def admit_figures(self, request: Header, xs: Sequence[bytes], now: int) -> None:
        """Claim the sums."""
        del now
        for chunk, x in enumerate(xs):
            opening = request.sender, request.session, chunk
            with self._lock:
                if opening in self._seen and (opening, x) not in self._seen:
                    raise SpentError("spent")
                self._seen |= {opening, (opening, x)}

    def admit_proof(self, request: Header, requester: str, chunk: int, x: bytes, now: int) -> None:
        """Claim the proof of what was opened."""
        del x, now
        opening = requester, request.session, chunk
        with self._lock:
            if opening not in self._seen:
                raise SpentError("not opened")
            if (Prove.TYPE, *opening) in self._seen:
                raise ReplayedError("seen")
            self._seen.add((Prove.TYPE, *opening))

    def refuse(self, kind: str, header: Header | None, reason: str, now: int) -> None:
        """Keep no log."""

    def _admit(
        self,
        claim: tuple[object, ...],
        seen: ReplayedError | SpentError,
        kind: str,
        header: Header,
        m: int,
        allowance: Allowance,
        now: int,
    ) -> None:
        account = kind, header.sender, allowance.period
        with self._lock:
            if claim in self._seen:
                raise seen
            used = self._used.get(account, 0)
            if not self._pause:
                self._write(claim, account, used + m, allowance, now)
        if self._pause:
            time.sleep(self._pause)
            self._write(claim, account, used + m, allowance, now)

    def _write(
        self, claim: tuple[object, ...], account: tuple[str, str, str], used: int, allowance: Allowance, now: int
    ) -> None:
        if used > allowance.limit:
            raise QuotaError("spent", max(1, allowance.ends - now))
        self._seen.add(claim)
        self._used[account] = used


@dataclass
class CarelessScene(Scene):
    """A federation in this process whose parties lack a guard of `IN_HEADERS` or `IN_ROUNDS`."""

    lack: str = ""

    def party(self, name: str) -> Party:
        """A party that lacks it."""
        terms = self.federation.terms
        kind = {"right": CarelessTerms, "chunk": EndlessTerms}.get(self.lack, Terms)
        held = self.federation.established.secrets[name]
        return CarelessParty(
            name, kind(terms.agreement, terms.roster, terms.ceremony), held.signing_key, held.sealing_key, self.lack
        )


def where(trusted: Callable[[Mapping[bytes, bytes]], bool], careless: ASGIApp, honest: ASGIApp) -> ASGIApp:
    """A service that is careless where it trusts a request's headers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (careless if trusted(dict(scope["headers"])) else honest)(scope, receive, send)

    return app


def with_header(app: ASGIApp, name: bytes, value: bytes) -> ASGIApp:
    """A service to which every request comes with this header."""

    async def changed(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*(it for it in scope["headers"] if it[0] != name), (name, value)]
        await app({**scope, "headers": headers}, receive, send)

    return changed
