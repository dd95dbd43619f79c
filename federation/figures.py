"""The coordinator's part in public figures: gather every agency's contribution, have the sum opened, publish (§4.14).

It runs when its operator says so, once a quarter is over. Asked again it comes to the same numbers: agencies contribute
what they committed, and keyholders open no other sum.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

from federation.coordinator import gather
from federation.transport import Transport
from protocol.agreement.roster import COORDINATOR
from protocol.errors import IndeterminateError, LaneError, OpeningError
from protocol.figures import FiguresLayout, Quarter
from protocol.messages import OpenFigures, Prove, Tally
from protocol.rounds import coordinator, figures
from protocol.rounds.party import Party
from protocol.wire import read


class FiguresOpener:
    """Opens the figures of one agreement and epoch."""

    def __init__(self, party: Party, transport: Transport, layout: FiguresLayout, clock: Callable[[], int]) -> None:
        self._party = party
        self._transport = transport
        self._layout = layout
        self._clock = clock

    async def open(self, quarter: Quarter) -> bytes:
        """Return the signed figures of a quarter over all agencies; there are none over some.

        Raises:
            IndeterminateError: names who did not answer, or answered wrongly.
        """
        answers = await self._opened(quarter, await self._contributed(quarter))
        try:
            numbers = figures.opened(self._party, self._layout, answers)
        except OpeningError as error:
            culprits = await self._culprits(quarter, answers) or [COORDINATOR]
            raise IndeterminateError(culprits, "wrong opening share from") from error
        except LaneError as error:
            raise IndeterminateError([COORDINATOR], "integrity failure at") from error
        return figures.publish(self._party, quarter, self._layout, numbers, self._clock())

    async def _contributed(self, quarter: Quarter) -> dict[str, Mapping[str, bytes]]:
        """Every agency's boxes."""
        request = figures.tally(self._party, quarter, self._layout, self._clock())

        async def boxes(agency: str) -> Mapping[str, bytes]:
            reply = await self._transport.send(agency, Tally.TYPE, request)
            return figures.accept(self._party, read(request, Tally), agency, reply, self._clock())

        answers, failed = await gather(self._party.terms.agencies, boxes)
        if failed:
            raise IndeterminateError(failed)
        return answers

    async def _opened(self, quarter: Quarter, boxes: Mapping[str, Mapping[str, bytes]]) -> dict[str, figures.Opened]:
        """The answers of those keyholders that made one and the same sum; there are t of them, and 2t > l."""

        async def opened(keyholder: str) -> figures.Opened:
            request = figures.open_request(self._party, quarter, self._layout, boxes, keyholder, self._clock())
            reply = await self._transport.send(keyholder, OpenFigures.TYPE, request)
            return figures.accept_sums(
                self._party, read(request, OpenFigures), self._layout, keyholder, reply, self._clock()
            )

        terms = self._party.terms
        answers, failed = await gather(terms.keyholders, opened)
        by_sums: dict[tuple[bytes, ...], dict[str, figures.Opened]] = defaultdict(dict)
        for keyholder, answer in answers.items():
            by_sums[answer.sums][keyholder] = answer
        agreed = max(by_sums.values(), key=len, default={})
        if len(agreed) < terms.threshold:
            raise IndeterminateError(failed | (answers.keys() - agreed.keys()), "no quorum without")
        return agreed

    async def _culprits(self, quarter: Quarter, answers: Mapping[str, figures.Opened]) -> set[str]:
        """Ask for share proofs, and name the keyholders whose proof is missing or does not verify."""
        culprits = set[str]()
        for number in range(self._layout.plaintexts):

            async def prove(keyholder: str, number: int = number) -> None:
                answer, now = answers[keyholder], self._clock()
                request = figures.prove_request(self._party, quarter, answer, number, keyholder, now)
                reply = await self._transport.send(keyholder, Prove.TYPE, request)
                share = answer.shares[number]
                coordinator.accept_proof(self._party, read(request, Prove), keyholder, share, reply, self._clock())

            _, failed = await gather(answers, prove)
            culprits |= failed
        return culprits
