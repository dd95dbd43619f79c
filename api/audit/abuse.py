"""Attempts to get from a party what it must refuse: sent over HTTP, judged by status, problem type and ledger."""

import asyncio
import itertools
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from api.audit.claim import Evidence
from api.audit.grounds import Clock
from api.home import read_urls
from api.node_app import LIMITS
from api.party_app import Role, create_party_app
from api.settings import Settings
from api.stage import Processes, StageError
from federation.problem import PREFIX, STATUS
from nodes.storage.engine import open_engine
from nodes.storage.state import ADMITTED, ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY, Terms
from protocol.codec import encode
from protocol.messages import Ask, Open, Prove
from protocol.rounds import requester as rounds
from protocol.rounds.party import Party
from protocol.wire import read

SERVED = ""
"""The problem type of an answer that is none."""
PSEUDONYM_BYTES = 64
_AT_ONCE = 8
_PATIENCE_SECONDS = 60.0
Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Attempt:
    """One HTTP request to a party, and the problem type that must come back (`SERVED`: none).

    `status` is the type's own unless said otherwise; `kind` is under which the party's ledger must have the refusal,
    empty where the request is none that a ledger knows.
    """

    name: str
    party: str
    path: str
    body: bytes = field(repr=False)
    problem: str
    kind: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"

    @property
    def expected(self) -> tuple[int, str]:
        """Status and problem type."""
        return self.status or STATUS.get(self.problem, httpx.codes.OK), self.problem


@dataclass(frozen=True)
class Answer:
    """What came back: status, problem type, seconds to wait as the header has them, and the body."""

    status: int
    problem: str
    retry_after: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Doors:
    """Ways to parties past everybody else, their ledgers, and the parties' keys to speak as any of them."""

    terms: Terms
    clients: Mapping[str, httpx.AsyncClient]
    ledgers: Mapping[str, ProtocolState]
    speak: Callable[[str], Party]
    clock: Callable[[], int]

    @property
    def requester(self) -> str:
        """The requester in whose name is asked: who may ask most, for whom a few subjects matter least."""
        return max(self.terms.agreement.requesters, key=lambda requester: requester.quota_per_day).id

    @property
    def purpose(self) -> str:
        """Its first purpose."""
        return self.terms.agreement.requester(self.requester).purposes[0]

    async def send(self, attempt: Attempt) -> Answer:
        """Send one request."""
        request = self.clients[attempt.party].build_request(
            attempt.method, attempt.path, content=attempt.body, headers=dict(attempt.headers)
        )
        reply = await self.clients[attempt.party].send(request)
        return Answer(reply.status_code, _problem(reply), reply.headers.get("retry-after", ""), reply.content)

    async def post(self, party: str, kind: str, data: bytes) -> Answer:
        """Send one signed message."""
        return await self.send(Attempt(kind, party, f"/v1/{kind}", data, SERVED))

    async def served(self, party: str, kind: str, data: bytes) -> None:
        """Have one signed message answered.

        Raises:
            StageError: it was refused, though nothing is wrong with it; then nothing can be tried with it.
        """
        answer = await self.post(party, kind, data)
        if answer.problem != SERVED:
            raise StageError(f"{kind} was not served by {party}: {answer.status} {answer.problem}")

    async def refused(self, attempts: Sequence[Attempt]) -> list[str]:
        """Send them all; returns in words what was not refused as expected, was charged, or is in no ledger.

        Charges for canaries are left out, for gateways ask for them at any time.
        """
        before = {party: self._snapshot(party) for party in self.ledgers}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(attempt: Attempt) -> Answer:
            async with gate:
                return await self.send(attempt)

        answers = await asyncio.gather(*map(one, attempts))
        found = [
            f"{attempt.name} at {attempt.party}: {answer.status} {answer.problem or 'answered'}"
            for attempt, answer in zip(attempts, answers, strict=True)
            if (answer.status, answer.problem) != attempt.expected
        ]
        expected = Counter((attempt.party, attempt.kind) for attempt in attempts if attempt.kind)
        for party, (spent, logged) in before.items():
            spent_now, logged_now = self._snapshot(party)
            if spent_now != spent:
                found.append(f"charged or opened at {party} by what was refused")
            found.extend(
                f"{party} did not log every refusal of {kind}"
                for (where, kind), count in expected.items()
                if where == party and (logged_now - logged)[kind] < count
            )
        return found

    def _snapshot(self, party: str) -> tuple[object, Counter[str]]:
        ledger = self.ledgers[party]
        charges = {key: used for key, used in ledger.charges().items() if not key[2].startswith(CANARY)}
        refusals = Counter(entry.kind for entry in ledger.entries() if entry.outcome != ADMITTED)
        return (charges, ledger.openings()), refusals


@dataclass(frozen=True)
class Messages:
    """Signed requests of one question about a subject that nobody lists, made to be accepted where they are new."""

    evaluate: bytes = field(repr=False)
    ask: bytes = field(repr=False)
    look: bytes = field(repr=False)
    session: bytes
    x: bytes = field(repr=False)

    @property
    def pair(self) -> bytes:
        """What the coordinator is asked with."""
        return encode([self.ask, self.look])

    @staticmethod
    def make(doors: Doors, *, m: int = 1, purpose: str = "", session: bytes = b"") -> "Messages":
        """Sign as the requester; `session` is the `ask`'s, if not a new one."""
        party, now, purpose = doors.speak(doors.requester), doors.clock(), purpose or doors.purpose
        subjects = [secrets.token_bytes(16) for _ in range(m)]
        _, evaluate = rounds.evaluate(
            party, subjects, purpose=purpose, case="audit", now=now, random=secrets.token_bytes
        )
        known = [secrets.token_bytes(PSEUDONYM_BYTES) for _ in range(m)]
        asking, ask, look = rounds.ask(party, known, purpose=purpose, now=now, random=_fixed(session))
        return Messages(evaluate, ask, look, asking.ask.header.session, challenge(doors.terms))

    def open(self, doors: Doors, holder: str, *, chunk: int = 0, x: bytes = b"", ask: bytes = b"") -> bytes:
        """The coordinator's request to open a chunk, for any x."""
        return _about(ask or self.ask, Open(ask or self.ask, chunk, x or self.x), doors, holder)

    def prove(self, doors: Doors, holder: str, *, chunk: int = 0, x: bytes = b"", requester: str = "") -> bytes:
        """The coordinator's request to prove a share."""
        return _about(self.ask, Prove(requester or doors.requester, chunk, x or self.x), doors, holder)


def _about(ask: bytes, body: Open | Prove, doors: Doors, holder: str) -> bytes:
    """A request to a keyholder that the coordinator signs, of the session of an `ask`."""
    asked, now = read(ask, Ask).header, doors.clock()
    return doors.speak(COORDINATOR).send(
        body, audience=holder, session=asked.session, purpose=asked.purpose, m=asked.m, now=now
    )


def challenge(terms: Terms, root: int = 2) -> bytes:
    """An opening challenge of nothing that was ever encrypted: a small square."""
    return (root * root).to_bytes(terms.public_key.modulus_bytes)


@asynccontextmanager
async def over_http(processes: Processes, parties: Iterable[str]) -> AsyncIterator[Doors]:
    """Doors to running processes, past the recorder; speaking as a party needs its directory, as insiders have it."""
    terms, home = processes.terms, processes.home

    @cache
    def settings(party: str) -> Settings:
        return Settings(party=party, directory=processes.path(party), roster=home.roster_path, urls=home.urls_path)

    @cache
    def speak(party: str) -> Party:
        return settings(party).secrets()[0].party(party, terms)

    parties = list(parties)
    async with AsyncExitStack() as stack:
        urls = read_urls(home.urls_path)
        clients = {
            party: await stack.enter_async_context(
                httpx.AsyncClient(base_url=urls[party], timeout=_PATIENCE_SECONDS, trust_env=False)
            )
            for party in parties
        }
        engines = {party: open_engine(settings(party).database("state")) for party in parties}
        for engine in engines.values():
            stack.callback(engine.dispose)
        ledgers = {party: ProtocolState(engine) for party, engine in engines.items()}
        yield Doors(terms, clients, ledgers, speak, lambda: int(time.time()))


Handle = Callable[[str, bytes], bytes]


@asynccontextmanager
async def in_process(
    apps: Mapping[str, ASGIApp], ledgers: Mapping[str, ProtocolState], speak: Callable[[str], Party], clock: Clock
) -> AsyncIterator[Doors]:
    """Doors to services of this process, by the same HTTP without a network."""
    async with AsyncExitStack() as stack:
        stack.enter_context(capture_logs())  # these services' request logs are nobody's
        clients = {
            party: await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{party}")
            )
            for party, app in apps.items()
        }
        terms = speak(COORDINATOR).terms
        yield Doors(terms, clients, ledgers, speak, clock)


def serve(handles: Sequence[Handle]) -> FastAPI:
    """A node's service whose requests go in turn to handlers that stand for its workers; each does one at a time."""
    busy = [asyncio.Lock() for _ in handles]
    turns = itertools.count()

    async def handle(kind: str, data: bytes) -> bytes:
        turn = next(turns) % len(handles)
        async with busy[turn]:
            return await asyncio.to_thread(handles[turn], kind, data)

    return service(handle, LIMITS)


def service(handle: Callable[[str, bytes], Awaitable[bytes]], limits: Mapping[str, int]) -> FastAPI:
    """The service of a party that speaks signed messages, in this process."""

    async def ready() -> bool:
        return True

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    return create_party_app(Role(handle, limits, ready), lifespan, "audited")


def caught(tried: Sequence[tuple[str, str, Evidence]]) -> Evidence:
    """Judge a control: (party, the guard it lacks, what the attack found); who lacks nothing must not be accused."""
    missed = [f"{party} without {lack} was not caught" for party, lack, found in tried if lack and not found.breached]
    accused = [f"honest {party}: {finding}" for party, lack, found in tried if not lack for finding in found.findings]
    planted = sum(bool(lack) for _, lack, _ in tried)
    figures = {"planted": planted, "caught": planted - len(missed)}
    return Evidence(planted > 0 and not missed and not accused, figures, [*missed, *accused])


def _fixed(session: bytes) -> Random:
    """Randomness whose next bytes of a session's length are this session, if one is given."""
    return lambda count: session if session and count == len(session) else secrets.token_bytes(count)


def _problem(reply: httpx.Response) -> str:
    if reply.status_code == httpx.codes.OK:
        return SERVED
    try:
        return str(json.loads(reply.content)["type"]).removeprefix(PREFIX)
    except (ValueError, KeyError, TypeError):
        return "no problem document"
