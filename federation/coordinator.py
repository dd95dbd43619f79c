"""The coordinator: passes questions on, gathers answers, has sums opened, decides (specification §4).

It serves three calls: `evaluate`, which it forwards to a quorum of keyholders; `ask`, which it answers with one
signed decision a subject, or not at all; and `access`, by which an agency asks all of them for a subject.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from federation.transport import Transport
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random, decode, encode
from protocol.errors import (
    DecodeError,
    IndeterminateError,
    LaneError,
    OpeningError,
    PeerError,
)
from protocol.messages import Access, Accessed, Ask, Evaluate, Evaluated, Look, Open, Prove
from protocol.paillier import Zetas
from protocol.rounds import access, sieve
from protocol.rounds import coordinator as rounds
from protocol.rounds.keyholder import receive_evaluate
from protocol.rounds.ledger import Ledger, refusals_logged
from protocol.rounds.party import Party
from protocol.wire import read

T = TypeVar("T")


class Arithmetic:
    """The coordinator's heavy part, without I/O: run in place, or by a worker process that builds its own."""

    def __init__(self, party: Party, randomiser: Zetas, random: Random) -> None:
        self._party = party
        self._randomiser = randomiser
        self._random = random

    def add(self, session: rounds.Session, replies: Mapping[str, bytes], now: int) -> rounds.Sums:
        """Verify every agency's reply, lift what matches, and add under encryption.

        Raises:
            IndeterminateError: names every agency whose reply does not verify.
        """
        answers = self._accepted(rounds.accept, session, replies, now)
        return rounds.add(self._party, session, answers, self._randomiser, self._random)

    def sieve(self, session: rounds.Session, replies: Mapping[str, bytes], now: int) -> bytes:
        """Verify every agency's reply, look for what matches, and sign the decisions: by the sieve, that is all.

        Raises:
            IndeterminateError: names every agency whose reply does not verify.
        """
        return sieve.decide(self._party, session, self._accepted(sieve.accept, session, replies, now), now)

    def _accepted(
        self,
        accept: Callable[[Party, rounds.Session, str, bytes, int], Sequence[T]],
        session: rounds.Session,
        replies: Mapping[str, bytes],
        now: int,
    ) -> dict[str, Sequence[T]]:
        answers, failed = {}, set()
        for agency, reply in replies.items():
            try:
                answers[agency] = accept(self._party, session, agency, reply, now)
            except PeerError:
                failed.add(agency)
        if failed:
            raise IndeterminateError(failed, "wrong answer from")
        return answers

    def decide(
        self, session: rounds.Session, sums: rounds.Sums, shares: Sequence[Mapping[str, int]], now: int
    ) -> bytes:
        """Open the sums, apply the rules, and sign the decisions.

        Raises:
            OpeningError: a share is wrong.
            IndeterminateError: a lane is out of bound: an integrity failure.
        """
        try:
            lanes = rounds.opened(self._party, session, sums, shares)
        except LaneError as error:
            # Which agency put a lane out of bound cannot be said without telling who matched.
            raise IndeterminateError([COORDINATOR], "integrity failure at") from error
        return rounds.decide(self._party, session, lanes, now)


Run = Callable[..., Awaitable[Any]]
"""`run(method, *arguments)` of an `Arithmetic`, here or in a worker process."""


def in_place(arithmetic: Arithmetic) -> Run:
    """Run the arithmetic in this process."""

    async def run(method: str, *arguments: Any) -> Any:
        return getattr(arithmetic, method)(*arguments)

    return run


class Coordinator:
    """One coordinator of one agreement and epoch."""

    def __init__(self, party: Party, transport: Transport, ledger: Ledger, run: Run, clock: Callable[[], int]) -> None:
        self._party = party
        self._transport = transport
        self._ledger = ledger
        self._run = run
        self._clock = clock

    async def handle(self, kind: str, data: bytes) -> bytes:
        """Serve one call of a requester, or of an agency that seals or asks for a subject.

        Raises:
            PeerError: refused, and nothing was computed; an IndeterminateError names who did not answer.
        """
        if kind == Evaluate.TYPE:
            return await self.evaluate(data)
        if kind == Ask.TYPE:
            return await self.ask(data)
        if kind == Access.TYPE:
            return await self.access(data)
        raise DecodeError("not a call that a coordinator serves")

    async def evaluate(self, data: bytes) -> bytes:
        """Pass `evaluate` on to keyholders; returns the map {keyholder: evaluated} of a quorum's replies.

        The replies are for the sender to verify; C only sees to it that there are t.
        """
        now = self._clock()
        with refusals_logged(self._ledger, Evaluate.TYPE, now) as entry:
            request = receive_evaluate(self._party, data, now)
            entry.header = request.header
            self._ledger.admit(
                Evaluate.TYPE,
                request.header,
                self._party.terms.allowance(request.header, now),
                now,
            )

            async def evaluated(keyholder: str) -> bytes:
                reply = await self._transport.send(keyholder, Evaluate.TYPE, data)
                self._party.receive_reply(reply, Evaluated, request, keyholder, self._clock())
                return reply

            return encode(await self._quorum(evaluated))

    async def ask(self, data: bytes) -> bytes:
        """Answer a question, the array [ask, look], with one signed decision a subject over all agencies."""
        now = self._clock()
        with refusals_logged(self._ledger, Ask.TYPE, now) as entry:
            session = rounds.receive(self._party, *_ask_and_look(data), now)
            entry.header = session.ask.header
            self._ledger.admit(Ask.TYPE, entry.header, self._party.terms.allowance(entry.header, now), now)
            agencies = self._party.terms.agencies
            replies, failed = await gather(
                agencies, lambda agency: self._transport.send(agency, Ask.TYPE, session.ask.raw)
            )
            if failed:
                raise IndeterminateError(failed)
            if self._party.terms.agreement.sieve:
                decided: bytes = await self._run("sieve", session, replies, self._clock())
                return decided
            sums: rounds.Sums = await self._run("add", session, replies, self._clock())
            return await self._decide(session, sums)

    async def access(self, data: bytes) -> bytes:
        """Pass a subject's `access` on to every agency; returns the map {agency: accessed} of those that answered.

        Unlike decisions, what some agencies answer is whole by itself: all answers are of one size, and sealed to the
        subject, so nothing is to be gained by leaving one out.
        """
        now = self._clock()
        with refusals_logged(self._ledger, Access.TYPE, now) as entry:
            request = access.verify(self._party, data, now)
            entry.header = request.header
            self._ledger.admit(Access.TYPE, entry.header, self._party.terms.allowance(entry.header, now), now)

            async def accessed(agency: str) -> bytes:
                reply = await self._transport.send(agency, Access.TYPE, data)
                self._party.receive_reply(reply, Accessed, request, agency, self._clock())
                return reply

            answers, _ = await gather(self._party.terms.agencies, accessed)
            return encode(answers)

    async def _decide(self, session: rounds.Session, sums: rounds.Sums) -> bytes:
        shares = await asyncio.gather(*(self._open_chunk(session, chunk) for chunk in sums.chunks))
        try:
            decided: bytes = await self._run("decide", session, sums, shares, self._clock())
        except OpeningError as error:
            culprits = await self._culprits(session, sums, shares) or [COORDINATOR]
            raise IndeterminateError(culprits, "wrong opening share from") from error
        return decided

    async def _open_chunk(self, session: rounds.Session, chunk: rounds.Chunk) -> dict[str, int]:
        async def share(keyholder: str) -> int:
            request = rounds.open_request(self._party, session, chunk, keyholder, self._clock())
            reply = await self._transport.send(keyholder, Open.TYPE, request)
            return rounds.accept_share(self._party, read(request, Open), keyholder, reply, self._clock())

        return await self._quorum(share)

    async def _culprits(self, session: rounds.Session, sums: rounds.Sums, shares: Iterable[dict[str, int]]) -> set[str]:
        """Ask for share proofs, and name the keyholders whose proof is missing or does not verify."""
        culprits: set[str] = set()
        for chunk, parts in zip(sums.chunks, shares, strict=True):

            async def prove(keyholder: str, chunk: rounds.Chunk = chunk, parts: dict[str, int] = parts) -> None:
                request = rounds.prove_request(self._party, session, chunk, keyholder, self._clock())
                reply = await self._transport.send(keyholder, Prove.TYPE, request)
                rounds.accept_proof(
                    self._party, read(request, Prove), keyholder, parts[keyholder], reply, self._clock()
                )

            _, failed = await gather(parts, prove)
            culprits.update(failed)
        return culprits

    async def _quorum(self, ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        """Ask t keyholders, and for each that fails one of the others, until t answered.

        Raises:
            IndeterminateError: too few are left; names all that failed.
        """
        waiting = list(self._party.terms.keyholders)
        answers: dict[str, T] = {}
        failed: set[str] = set()
        while needed := self._party.terms.threshold - len(answers):
            if len(waiting) < needed:
                raise IndeterminateError(failed, "no quorum without")
            batch, waiting = waiting[:needed], waiting[needed:]
            answered, missing = await gather(batch, ask)
            answers.update(answered)
            failed.update(missing)
        return answers


async def gather(parties: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> tuple[dict[str, T], set[str]]:
    """Ask all at once; returns {party: answer} and who gave none that verifies.

    C has checked R's right and quota itself, so a party that refuses all the same has not answered, whatever it says.
    """
    parties = list(parties)
    results = await asyncio.gather(*(ask(party) for party in parties), return_exceptions=True)
    answers: dict[str, T] = {}
    failed: set[str] = set()
    for party, result in zip(parties, results, strict=True):
        if isinstance(result, PeerError):
            failed.add(party)
        elif isinstance(result, BaseException):
            raise result
        else:
            answers[party] = result
    return answers, failed


def _ask_and_look(data: bytes) -> tuple[bytes, bytes]:
    match decode(data, Ask.LIMIT + Look.LIMIT + 64):
        case [bytes() as ask, bytes() as look]:
            return ask, look
    raise DecodeError("not an ask and a look")
