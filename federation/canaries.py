"""Canaries: subjects whose answers every gateway knows, asked to find a party that lies always.

Each agency A has one, `xx.canary` with A's id, which at A alone counts as one undisputed listing and one positive
record, of severity 3, in each of A's registers; `xx.canary` with 0 is listed by nobody. What a party does to them it
does to every subject: blinded, they cannot be told from others. Only their purpose can, so they show a faulty party,
not a malicious one that spares them.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final

from federation.requester import Requester
from federation.transport import PROBE_SECONDS, Transport
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.rules import outcome
from protocol.agreement.terms import CANARY, Terms
from protocol.errors import IndeterminateError, PeerError
from protocol.identifiers import Identifier, canary
from protocol.lanes import canary_standings, vector
from protocol.messages import Effect

NOBODY: Final = "0"

RIGHT_SECONDS = 600
FIRST_PAUSE, LAST_PAUSE = 1, 300
"""Seconds between attempts that fail: doubled each time, so that a day of them stays within the nodes' 300 checks."""


def known_answers(terms: Terms, requester: str, day: date) -> list[tuple[str, Identifier, Mapping[str, int]]]:
    """What every canary must bring on a day: whose it is (C for nobody's), the identifier, each measure's effect.

    Two agencies whose ids differ by a hyphen share a canary; both list it. No moratorium on a register concerns one.
    """
    agreement, layout = terms.agreement, terms.layout(requester)
    vectors = {
        agency.id: vector(layout, agency.id, canary_standings(register.id for register in agency.registers))
        for agency in agreement.agencies
    }
    answers: list[tuple[str, Identifier, Mapping[str, int]]] = []
    for name in (*vectors, NOBODY):
        listed = [values for agency, values in vectors.items() if canary(agency) == canary(name)]
        sums = [sum(lane) for lane in zip(*listed, strict=True)] or [0] * len(layout.lanes)
        effects = dict.fromkeys(agreement.requester(requester).implements, int(Effect.NONE))
        for measure in outcome(agreement, layout, sums, requester, day):
            effects[measure.measure] = Effect.DISPUTED if measure.disputed else Effect.APPLIES
        answers.append((COORDINATOR if name == NOBODY else name, canary(name), effects))
    return answers


class CanaryWatch:
    """Whether the federation answers, and answers its canaries right; asks as seldom as that can be known."""

    def __init__(
        self, requester: Requester, transport: Transport, terms: Terms, party: str, clock: Callable[[], int]
    ) -> None:
        self._requester = requester
        self._transport = transport
        self._terms = terms
        self._party = party
        self._clock = clock
        self._lock = asyncio.Lock()
        self._right_until = 0
        self._failure: IndeterminateError | None = None
        self._retry_at = 0
        self._pause = FIRST_PAUSE

    async def check(self, patience: float) -> None:
        """Probe the coordinator, and ask the canaries if the last right answer is old or in doubt.

        Raises:
            IndeterminateError: who is not reachable, did not answer in `patience` seconds, or answered wrongly.
        """
        try:
            await self._transport.probe(COORDINATOR, 2 * PROBE_SECONDS)  # it probes all agencies meanwhile
        except IndeterminateError:
            self.doubt()
            self.hope()
            raise
        async with self._lock:
            now = self._clock()
            if now < self._right_until:
                return
            if self._failure and self._retry_at - LAST_PAUSE <= now < self._retry_at:
                raise self._failure.with_traceback(None)
            self._failure = await self._ask(patience)
            now = self._clock()
            if self._failure:
                self._retry_at, self._pause = now + self._pause, min(2 * self._pause, LAST_PAUSE)
                raise self._failure
            self._right_until = now + RIGHT_SECONDS
            self.hope()

    def doubt(self) -> None:
        """Ask again at the next check: a question was not decided."""
        self._right_until = 0

    def hope(self) -> None:
        """Expect an answer soon: a question was decided, or whoever was away may be back."""
        self._retry_at, self._pause = 0, FIRST_PAUSE

    def _known(self) -> list[tuple[str, Identifier, Mapping[str, int]]]:
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        return known_answers(self._terms, self._party, today)

    async def _ask(self, patience: float) -> IndeterminateError | None:
        before = self._known()
        try:
            async with asyncio.timeout(patience):
                decisions = await self._requester.check([subject for _, subject, _ in before], CANARY, CANARY)
        except IndeterminateError as error:
            return error
        except (PeerError, TimeoutError):
            return IndeterminateError([COORDINATOR])
        # If midnight passed meanwhile, the question's day was one of the two.
        wrong = [
            name
            for (name, _, old), (_, _, new), decision in zip(before, self._known(), decisions, strict=True)
            if decision.body.measures not in (old, new)
        ]
        return IndeterminateError(wrong, "canaries answered wrongly by") if wrong else None
