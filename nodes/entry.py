"""Entry: how listings come under seal, so that questions find them.

An agency is a client of the keyholders like any requester, with the purpose SEAL and a quota of its own. A listing is
stored together with the seals of all its identifiers in one transaction: it counts wholly or not at all. What was
stored while no federation was running waits, and the node answers no question until it is sealed (specification §3).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from nodes.listings import Listing
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import SEAL
from protocol.codec import Random
from protocol.errors import DecodeError, IndeterminateError
from protocol.identifiers import Identifier, canary, to_bytes
from protocol.rounds import requester
from protocol.rounds.party import Party
from protocol.sealing import bucket
from protocol.wire import MAX_SUBJECTS

OVERFLOW = "cannot be entered: its bucket is full"
"""Why a listing is refused: with one more entry than B, a bucket could not be answered from."""

_LISTINGS = 500

Send = Callable[[bytes], Awaitable[bytes]]
"""Takes a signed `evaluate` to the coordinator and returns its reply."""


@dataclass(frozen=True)
class Entered:
    """How far an entry has come: the first `done` listings are committed, but for the refused among them.

    `refused` maps a listing's position (from 0) to the position of its identifier whose bucket is full.
    """

    done: int
    refused: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sealed:
    """A batch of sealing: how many identifiers, and the numbers of listings erased since a bucket was full."""

    identifiers: int
    refused: frozenset[int] = frozenset()


class Registrar:
    """Enters the listings of one agency of one agreement and epoch."""

    def __init__(self, party: Party, listings: ListingStore, clock: Callable[[], int], random: Random) -> None:
        self._party = party
        self._listings = listings
        self._clock = clock
        self._random = random
        self._epoch = party.terms.agreement.id, party.terms.roster.epoch
        own = next(agency for agency in party.terms.agreement.agencies if agency.id == party.id)
        self._registers = tuple(register.id for register in own.registers)

    async def enter(self, listings: Iterable[Listing], send: Send) -> AsyncIterator[Entered]:
        """Seal and store checked listings of this agency's registers, batch by batch, as they are read.

        Each batch is committed before it is yielded, so an interrupted entry goes on where it stopped: what is stored
        and sealed is known by its content and costs nothing.

        Raises:
            IndeterminateError: no quorum of right evaluations; what was yielded stays.
            QuotaError: the agency's own quota for sealing is spent; likewise.
        """
        for batch in _batches(self._unsealed(listings)):
            seals = await self._evaluate([listing.identifiers for _, listing in batch], send)
            refused = self._listings.add_sealed(
                *self._epoch, [(listing, given) for (_, listing), given in zip(batch, seals, strict=True)]
            )
            yield Entered(batch[-1][0] + 1, {batch[at][0]: identifier for at, identifier in refused.items()})

    def enter_unsealed(self, listings: Iterable[Listing]) -> Iterator[Entered]:
        """Store checked listings while no federation is running; they wait to be sealed. Batches as in `enter`."""
        done = 0
        for batch in _chunks(listings):
            self._listings.add_pending(*self._epoch, batch)
            done += len(batch)
            yield Entered(done)

    async def seal_pending(self, send: Send) -> AsyncIterator[Sealed]:
        """Seal the agency's canary and every listing that waits, in batches; then its node may answer.

        A listing whose bucket is full is erased: until it is, the node answers nothing. Each batch is committed before
        it is yielded.

        Raises:
            IndeterminateError, QuotaError: as `enter`.
            BucketOverflowError: the canary finds no place.
        """
        if not self._registers:
            return
        if not self._listings.is_open(*self._epoch):
            ((seal,),) = await self._evaluate([(canary(self._party.id),)], send)
            self._listings.open_epoch(*self._epoch, self._registers, seal)
            yield Sealed(1)
        while waiting := self._listings.pending(*self._epoch, MAX_SUBJECTS):
            batch = next(_batches(waiting))
            seals = await self._evaluate([listing.identifiers for _, listing in batch], send)
            refused = self._listings.seal(
                *self._epoch, {number: given for (number, _), given in zip(batch, seals, strict=True)}
            )
            yield Sealed(sum(map(len, seals)), frozenset(refused))

    def _unsealed(self, listings: Iterable[Listing]) -> Iterator[tuple[int, Listing]]:
        """Those listings that are not stored and sealed, with their positions."""
        position = 0
        for chunk in _chunks(listings):
            for listing, is_sealed in zip(chunk, self._listings.are_sealed(*self._epoch, chunk), strict=True):
                if not is_sealed:
                    yield position, listing
                position += 1

    async def _evaluate(self, subjects: Sequence[Sequence[Identifier]], send: Send) -> list[list[Seal]]:
        """The seals of each subject's identifiers; each identifier is evaluated once."""
        identifiers = list(dict.fromkeys(identifier for subject in subjects for identifier in subject))
        sealed: dict[Identifier, Seal] = {}
        for start in range(0, len(identifiers), MAX_SUBJECTS):
            some = identifiers[start : start + MAX_SUBJECTS]
            sealed.update(zip(some, await self._seals(some, send), strict=True))
        return [[sealed[identifier] for identifier in subject] for subject in subjects]

    async def _seals(self, identifiers: Sequence[Identifier], send: Send) -> list[Seal]:
        blinding, request = requester.evaluate(
            self._party,
            list(map(to_bytes, identifiers)),
            purpose=SEAL,
            case=SEAL,
            now=self._clock(),
            random=self._random,
        )
        reply = await send(request)
        try:
            pseudonyms = requester.pseudonyms(self._party, blinding, reply, self._clock())
        except DecodeError as error:
            raise IndeterminateError([COORDINATOR], "wrong answer from") from error
        return [Seal(bucket(pseudonym, self._party.terms.bucket_bits), pseudonym) for pseudonym in pseudonyms]


def _chunks(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    rest = iter(listings)
    while chunk := list(islice(rest, _LISTINGS)):
        yield chunk


def _batches(numbered: Iterable[tuple[int, Listing]]) -> Iterator[list[tuple[int, Listing]]]:
    """Cut into batches of at most 120 identifiers and 500 listings; a longer listing makes a batch of its own."""
    batch: list[tuple[int, Listing]] = []
    identifiers: set[Identifier] = set()
    for number, listing in numbered:
        if batch and (len(batch) == _LISTINGS or len(identifiers.union(listing.identifiers)) > MAX_SUBJECTS):
            yield batch
            batch, identifiers = [], set()
        batch.append((number, listing))
        identifiers.update(listing.identifiers)
    if batch:
        yield batch
