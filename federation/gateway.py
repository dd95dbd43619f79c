"""The gateway: a requester's own service, from many subjects to answers that its users can act on.

Up to 1,000 subjects are asked in arrays of at most 120, a few at once, each array in a session of its own. What one
array comes to, no other is told. Who is not heard within `patience` seconds is missing: then there is no decision, and
never a partial one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from federation.canaries import CanaryWatch
from federation.changes import timestamp
from federation.problem import UnknownAgreementError
from federation.requester import Known, Requester
from federation.room import Room
from federation.transport import Transport, UnreachableError
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.certificate import standing_to_json, to_json
from protocol.codec import Random
from protocol.errors import IndeterminateError, NotGrantedError, PeerError, QuotaError, UsageError
from protocol.identifiers import Identifier
from protocol.messages import Decision, Effect
from protocol.rounds.ledger import Ledger, refusals_logged
from protocol.rounds.party import Party
from protocol.wire import MAX_LIFETIME, MAX_SUBJECTS, SESSION_BYTES, Signed

QUESTION: Final = "question"
"""Under this kind the ledger counts what the gateway's users ask."""
PATIENCE = 27.0
"""Seconds; with what is around a question, it is decided or indeterminate within 30."""
ARRAYS_AT_ONCE = 6
"""Of all who ask; the others wait here, where nothing has begun that could time out elsewhere."""
ROOM: Final = 2_600
"""Subjects under way, of all who ask: what all parties on two processors answer within PATIENCE."""
ARRAY: Final = 10
"""An array takes as much as so many subjects more."""
PAUSES: Final = (0.0, 0.3, 1.5)
"""Seconds before each session that a question is tried in."""

LEGAL_ONLY: Final = frozenset({"cn.uscc", "lei"})
"""Schemes that only legal persons have: no natural person is decided about, whatever the agreement covers."""

Answer = dict[str, Any]
S = TypeVar("S")
R = TypeVar("R")


class Gateway:
    """One requester of one agreement and epoch; `door` gives the URL at which subjects may object."""

    def __init__(
        self,
        party: Party,
        transport: Transport,
        ledger: Ledger,
        door: Callable[[], str],
        clock: Callable[[], int],
        random: Random,
        patience: float = PATIENCE,
    ) -> None:
        self._party = party
        self._agreement = party.terms.agreement
        self._own = self._agreement.requester(party.id)
        self._ledger = ledger
        self._door = door
        self._clock = clock
        self._random = random
        self._patience = patience
        self._at_once = asyncio.Semaphore(ARRAYS_AT_ONCE)
        self._room = Room(ROOM)
        self._requester = Requester(party, transport, clock, random)
        self._canaries = CanaryWatch(self._requester, transport, party.terms, party.id, clock)

    async def ask(
        self, agreement: str, subjects: Sequence[Identifier | PeerError], purpose: str, case: str
    ) -> list[Answer | PeerError]:
        """Ask about subjects; returns for each its answer, or why there is none. A subject in error stays as it is.

        Checked in this order: agreement, purpose, quota; what is asked is charged, durably, before it is asked.

        Raises:
            UnknownAgreementError: not this gateway's agreement.
            NotGrantedError: the purpose is not this requester's, or the agreement not in force.
            QuotaError: the day's remainder does not cover all subjects; none was asked.
            BusyError: too much is under way; nothing was looked at, charged or asked.
        """
        asked = {number: subject for number, subject in enumerate(subjects) if isinstance(subject, Identifier)}
        with self._room.taken(_size(len(asked))):
            await asyncio.to_thread(self._admit, agreement, purpose, len(asked))

            async def answers(array: Sequence[Identifier]) -> list[Answer]:
                decided = await self._tried(lambda: self._requester.ask(array, purpose, case))
                return self._answers(array, decided.decisions)

            decided = dict(zip(asked, await self._in_arrays(list(asked.values()), answers), strict=True))
        return [subject if isinstance(subject, PeerError) else decided[n] for n, subject in enumerate(subjects)]

    async def standing(self, agreement: str, subject: Identifier, purpose: str, case: str) -> Answer | PeerError:
        """Ask about one subject, as `ask` does, and add the certificate that names it: for the subject, to show.

        Nothing of it is kept here; a second one takes a second question.
        """
        with self._room.taken(_size(1)):
            await asyncio.to_thread(self._admit, agreement, purpose, 1)

            async def answers(array: Sequence[Identifier]) -> list[Answer]:
                decided = await self._tried(lambda: self._requester.ask(array, purpose, case))
                [answer], [decision] = self._answers(array, decided.decisions), decided.decisions
                return [{**answer, "standing": standing_to_json(decision.envelope, decided.evidence(subject))}]

            [answer] = await self._in_arrays([subject], answers)
        return answer

    async def hand_in(
        self, agreement: str, subjects: Sequence[Identifier], purpose: str, case: str
    ) -> list[tuple[Known, Answer]]:
        """Ask about subjects, as `ask` does, and keep what it takes to ask again; all are decided, or none is.

        Raises:
            UnknownAgreementError, NotGrantedError, QuotaError, BusyError: as `ask` does.
            IndeterminateError: there is a subject without a decision; names all who are missing.
        """
        with self._room.taken(_size(len(subjects))):
            await asyncio.to_thread(self._admit, agreement, purpose, len(subjects))

            async def pseudonyms(array: Sequence[Identifier]) -> Sequence[bytes]:
                return await self._tried(lambda: self._requester.pseudonyms(array, purpose, case))

            held = _whole(await self._in_arrays(subjects, pseudonyms))
            epoch = self.terms.roster.epoch
            known = [Known(epoch, subject.scheme, t) for subject, t in zip(subjects, held, strict=True)]
            return list(zip(known, _whole(await self._ask_known(known, purpose)), strict=True))

    async def ask_again(self, known: Sequence[Known], purpose: str) -> list[Answer | PeerError]:
        """Ask anew about subjects that were handed in during this epoch: checks, charge and answers as of `ask`.

        Raises:
            UsageError: one is of another epoch, in which nobody lists it.
            NotGrantedError, QuotaError, BusyError: as `ask` does.
        """
        if any(subject.epoch != self.terms.roster.epoch for subject in known):
            raise UsageError("a pseudonym of another epoch")
        with self._room.taken(_size(len(known))):
            await asyncio.to_thread(self._admit, self._agreement.id, purpose, len(known))
            return await self._ask_known(known, purpose)

    async def refuse(self, error: PeerError) -> None:
        """Log a request that was refused before it could be read as a question."""
        await asyncio.to_thread(self._ledger.refuse, QUESTION, None, type(error).__name__, self._clock())

    async def check_canaries(self) -> None:
        """Verify that all agencies answer, and their canaries rightly; free of the quota, and cached.

        Raises:
            IndeterminateError: names who did not.
        """
        try:
            await self._canaries.check(self._patience)
        except IndeterminateError as error:
            raise self._without_decision(error) from error

    @property
    def requester(self) -> str:
        """Whose gateway this is."""
        return self._own.id

    @property
    def terms(self) -> Terms:
        """The agreement and epoch that it asks in."""
        return self._party.terms

    def agreements(self) -> list[dict[str, Any]]:
        """What this requester may ask, and under which rules; the same for everybody."""
        shown = {"id", "version", "title", "legal_basis", "territory", "valid", "subject_kinds"}
        implemented = [measure for measure in self._agreement.measures if measure.id in self._own.implements]
        return [
            {
                **self._agreement.model_dump(mode="json", by_alias=True, include=shown),
                "agencies": [{"id": agency.id, "name": agency.name} for agency in self._agreement.agencies],
                "requester": self._own.id,
                "purposes": list(self._own.purposes),
                "quota_per_day": self._own.quota_per_day,
                "measures": [measure.model_dump(mode="json") for measure in implemented],
            }
        ]

    def _admit(self, agreement: str, purpose: str, m: int) -> None:
        """Check a question about m subjects and charge it; a purpose that is not granted is not kept in the log."""
        now = self._clock()
        with refusals_logged(self._ledger, QUESTION, now) as entry:
            if agreement != self._agreement.id:
                raise UnknownAgreementError("agreement: not one of this gateway")
            if purpose not in self._own.purposes:
                raise NotGrantedError("purpose: the agreement does not grant it to this requester")
            entry.header = self._party.header(
                audience=self._party.id,
                session=self._random(SESSION_BYTES),
                purpose=purpose,
                m=m,
                now=now,
                expires=now + MAX_LIFETIME,
            )
            self._party.terms.require_in_force(now)
            if m:
                self._ledger.admit(QUESTION, entry.header, self._party.terms.allowance(entry.header, now), now)

    async def _ask_known(self, known: Sequence[Known], purpose: str) -> list[Answer | PeerError]:
        async def answers(array: Sequence[Known]) -> list[Answer]:
            return self._answers(array, await self._tried(lambda: self._requester.ask_again(array, purpose)))

        return await self._in_arrays(known, answers)

    async def _in_arrays(
        self, subjects: Sequence[S], send: Callable[[Sequence[S]], Awaitable[Sequence[R]]]
    ) -> list[R | PeerError]:
        """Send all arrays; what hangs ends `patience` seconds after the last array that was answered."""
        results: dict[int, Sequence[R | PeerError]] = {}
        missing: set[str] = set()
        loop = asyncio.get_running_loop()
        arrays = {start: subjects[start : start + MAX_SUBJECTS] for start in range(0, len(subjects), MAX_SUBJECTS)}

        async def one(start: int) -> None:
            async with self._at_once:
                try:
                    results[start] = await send(arrays[start])
                except PeerError as error:
                    results[start] = [error] * len(arrays[start])
                    missing.update(error.missing if isinstance(error, IndeterminateError) else ())
                    return
            if not deadline.expired():
                deadline.reschedule(loop.time() + self._patience)

        try:
            async with asyncio.timeout(self._patience) as deadline:
                await asyncio.gather(*map(one, arrays))
        except TimeoutError:
            self._canaries.doubt()
        unheard = self._without_decision(IndeterminateError(missing or [COORDINATOR]))
        return [answer for start, array in arrays.items() for answer in results.get(start, [unheard] * len(array))]

    async def _tried(self, send: Callable[[], Awaitable[R]]) -> R:
        """Send one array; a reply that was lost means a new session, for the old one answers nothing any more.

        Raises:
            QuotaError, NotGrantedError: refused by a party that counts or reads otherwise than this gateway.
            IndeterminateError: no decision.
        """
        lost: IndeterminateError | None = None
        for pause in PAUSES:
            await asyncio.sleep(pause)
            try:
                reply = await send()
            except NotGrantedError:
                raise
            except QuotaError:
                # A session whose reply was lost was charged elsewhere; this gateway's users asked only once.
                raise lost or QuotaError("the quota is spent at another party", self._until_tomorrow()) from None
            except PeerError as error:
                lost = self._without_decision(error)
                self._canaries.doubt()
                # Only a lost reply is asked for again: to repeat what failed for another reason would tell more.
                if not isinstance(error, UnreachableError):
                    raise lost from error
            else:
                self._canaries.hope()
                return reply
        assert lost is not None  # noqa: S101  # every pause ends in a return, a raise, or a loss
        raise lost

    def _without_decision(self, error: PeerError) -> IndeterminateError:
        """Name who is missing: agencies where they are known, else C. What is no party's id is not passed on."""
        if not isinstance(error, IndeterminateError):
            return IndeterminateError([COORDINATOR])
        named = set(error.missing).intersection(self._party.terms.agencies) or {COORDINATOR}
        return error if named == set(error.missing) else IndeterminateError(named)

    def _until_tomorrow(self) -> int:
        return 86_400 - self._clock() % 86_400

    def _answers(self, subjects: Sequence[Identifier | Known], decisions: Sequence[Signed[Decision]]) -> list[Answer]:
        door = self._door()
        return [self._answer(subject, decision, door) for subject, decision in zip(subjects, decisions, strict=True)]

    def _answer(self, subject: Identifier | Known, decision: Signed[Decision], door: str) -> Answer:
        """Put a verified decision into words; nothing in it depends on who listed the subject."""
        effects = decision.body.measures
        listed = [it for it in self._agreement.measures if effects.get(it.id, Effect.NONE) != Effect.NONE]
        return {
            "outcome": "decided",
            "measures": [
                {"id": it.id, "effect": it.effect, "disputed": effects[it.id] == Effect.DISPUTED} for it in listed
            ],
            "requires_human_review": "natural" in self._agreement.subject_kinds and subject.scheme not in LEGAL_ONLY,
            "agreement_version": decision.header.version,
            "session": decision.header.session.hex(),
            "as_of": timestamp(decision.header.issued),
            "valid_until": timestamp(decision.header.expires),
            "agencies": {"required": len(self._party.terms.agencies), "answered": decision.body.agencies},
            "notice": [{"measure": it.id, "text": it.notice, "door": door} for it in listed],
            "certificate": to_json(decision.envelope),
        }


def _size(m: int) -> int:
    """How much room m subjects take."""
    return m + -(-m // MAX_SUBJECTS) * ARRAY


def _whole(results: Sequence[R | PeerError]) -> list[R]:
    """All results, or the error that stands for all: who is missing anywhere, else the first."""
    errors = [it for it in results if isinstance(it, PeerError)]
    missing = {party for error in errors if isinstance(error, IndeterminateError) for party in error.missing}
    if missing:
        raise IndeterminateError(missing)
    if errors:
        raise errors[0]
    return [it for it in results if not isinstance(it, PeerError)]
