"""An agency as the door of a subject: it asks all agencies what they hold of somebody it has authenticated.

Like a requester it comes to the subject's pseudonyms with the keyholders, for a purpose and under a quota of their own;
then all agencies answer the subject alone (specification §4.11). The door passes on what it cannot read.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import ACCESS
from protocol.codec import Random
from protocol.errors import DecodeError, IndeterminateError
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import Access, Evaluate
from protocol.rounds import access, requester
from protocol.rounds.party import Party

Ask = Callable[[str, bytes], Awaitable[bytes]]
"""Takes a signed message of a type to the coordinator and returns its reply."""


@dataclass(frozen=True)
class Passed:
    """What the subject's client gets: the `access` it opens the answers by, these by agency, and who gave none."""

    request: bytes = field(repr=False)
    answers: dict[str, bytes] = field(repr=False)
    missing: tuple[str, ...]


async def ask_all(
    party: Party, identifiers: Sequence[Identifier], key: bytes, ask: Ask, clock: Callable[[], int], random: Random
) -> Passed:
    """Ask all agencies for the subject of these identifiers; `key` is the X25519 public key of its own client.

    Raises:
        SealError: the key is of low order.
        IndeterminateError: the coordinator or a quorum did not answer, or not rightly.
        QuotaError: this door's allowance for the day is spent.
    """
    inputs = list(map(to_bytes, dict.fromkeys(identifiers)))
    blinding, evaluate = requester.evaluate(party, inputs, purpose=ACCESS, case=ACCESS, now=clock(), random=random)
    evaluated = await ask(Evaluate.TYPE, evaluate)
    try:
        pseudonyms = requester.pseudonyms(party, blinding, evaluated, clock())
        state, request = access.ask(party, pseudonyms, key=key, now=clock(), random=random)
        answers, missing = access.answers(party, state, await ask(Access.TYPE, request), clock())
    except DecodeError as error:
        raise IndeterminateError([COORDINATOR], "wrong answer from") from error
    return Passed(request, answers, missing)
