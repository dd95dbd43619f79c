"""The requester's core: from identifiers to verified decisions, with whatever a reply is worth checked here.

Identifiers never leave this process: what travels is blinded, hashed under the joint key, or sealed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.transport import Transport
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random, encode
from protocol.errors import DecodeError, IndeterminateError, PeerError
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import Ask, Decision, Evaluate, Evaluated, Evidence
from protocol.rounds import requester as rounds
from protocol.rounds.party import Party
from protocol.wire import Signed


@dataclass(frozen=True)
class Known:
    """A subject by its pseudonym t, without its identifier: it can be asked about again while t's epoch lasts.

    The scheme is kept because it tells whether the subject may be a natural person.
    """

    epoch: int
    scheme: str
    pseudonym: bytes = field(repr=False)


@dataclass(frozen=True)
class Decided:
    """A question with its verified decisions, in the order of its subjects; its states are forgotten with it."""

    decisions: tuple[Signed[Decision], ...]
    blinding: rounds.Blinding = field(repr=False)
    quorum: Mapping[str, Evaluated] = field(repr=False)
    question: rounds.Question = field(repr=False)

    def evidence(self, subject: Identifier) -> Evidence:
        """What ties the decision to the one subject of the question."""
        return rounds.evidence(subject, self.blinding, self.quorum, self.question)


class Requester:
    """One requester of one agreement and epoch."""

    def __init__(self, party: Party, transport: Transport, clock: Callable[[], int], random: Random) -> None:
        self._party = party
        self._transport = transport
        self._clock = clock
        self._random = random

    async def check(self, subjects: Sequence[Identifier], purpose: str, case: str) -> tuple[Signed[Decision], ...]:
        """Ask as `ask` does; returns the decisions alone."""
        return (await self.ask(subjects, purpose, case)).decisions

    async def ask(self, subjects: Sequence[Identifier], purpose: str, case: str) -> Decided:
        """Ask about up to 120 subjects for one purpose and case.

        Raises:
            IndeterminateError: no decision; names who did not answer, or answered wrongly.
            PeerError: the question was refused.
        """
        blinding, quorum = await self._evaluate(subjects, purpose, case)
        question, decisions = await self._ask(rounds.unblind(self._party, blinding, quorum), purpose)
        return Decided(decisions, blinding, quorum, question)

    async def pseudonyms(self, subjects: Sequence[Identifier], purpose: str, case: str) -> tuple[bytes, ...]:
        """Come to the pseudonyms of up to 120 subjects, to ask about them while the epoch lasts; errors of `ask`."""
        return rounds.unblind(self._party, *await self._evaluate(subjects, purpose, case))

    async def ask_again(self, known: Sequence[Known], purpose: str) -> tuple[Signed[Decision], ...]:
        """Ask about up to 120 subjects whose pseudonyms are held, without the first round; errors of `ask`."""
        _, decisions = await self._ask([subject.pseudonym for subject in known], purpose)
        return decisions

    async def _evaluate(
        self, subjects: Sequence[Identifier], purpose: str, case: str
    ) -> tuple[rounds.Blinding, dict[str, Evaluated]]:
        blinding, request = rounds.evaluate(
            self._party,
            [to_bytes(subject) for subject in subjects],
            purpose=purpose,
            case=case,
            now=self._clock(),
            random=self._random,
        )
        evaluated = await self._transport.send(COORDINATOR, Evaluate.TYPE, request)
        try:
            return blinding, rounds.evaluations(self._party, blinding, evaluated, self._clock())
        except DecodeError as error:
            raise IndeterminateError([COORDINATOR], "wrong answer from") from error

    async def _ask(
        self, pseudonyms: Sequence[bytes], purpose: str
    ) -> tuple[rounds.Question, tuple[Signed[Decision], ...]]:
        question, asked, looked = rounds.ask(
            self._party, pseudonyms, purpose=purpose, now=self._clock(), random=self._random
        )
        reply = await self._transport.send(COORDINATOR, Ask.TYPE, encode([asked, looked]))
        try:
            return question, rounds.decisions(self._party, question, reply, self._clock())
        except PeerError as error:
            raise IndeterminateError([COORDINATOR], "wrong answer from") from error
