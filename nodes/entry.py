"""Entry: how listings come under seal, so that questions find them.

An agency is a client of the keyholders like any requester, with the purpose SEAL and a quota of its own. A listing is
stored together with the seals of all its identifiers in one transaction: it counts wholly or not at all. What was
stored while no federation was running waits, and the node answers no question until it is sealed (specification §3).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from nodes.catalogue import CatalogueEntry
from nodes.life import Act, Author, Transition
from nodes.lifecycle import Record
from nodes.listings import Listing
from nodes.reading import CHUNK, Reading, Refusal, chunks
from nodes.storage.listings import ListingStore
from nodes.storage.records import Step
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

OVERFLOW: Final = "cannot be entered: its bucket is full"
"""Why a listing is refused: with one more entry than B, a bucket could not be answered from."""

IMPORT: Final = Author("import", "loaded from a file")
_UNSEALED: Final = 4 * CHUNK  # what is not sealed costs little, and a commit waits for the disk
SEALING: Final = Author("sealing", "sealed when its turn came")


Send = Callable[[bytes], Awaitable[bytes]]
"""Takes a signed `evaluate` to the coordinator and returns its reply."""


@dataclass(frozen=True)
class Entered:
    """How far an entry has come: the first `done` listings are committed, but for those in `refused`, by position."""

    done: int
    refused: Mapping[int, Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Sealed:
    """A batch of sealing: how many identifiers and listings, and the numbers of those erased as a bucket was full."""

    identifiers: int
    refused: frozenset[int] = frozenset()
    listings: int = 0


class Registrar:
    """Enters the listings of one agency of one agreement and epoch; `entries` are its registers' catalogue entries."""

    def __init__(
        self,
        party: Party,
        listings: ListingStore,
        entries: Mapping[str, CatalogueEntry],
        clock: Callable[[], int],
        random: Random,
    ) -> None:
        self._party = party
        self._listings = listings
        self._entries = entries
        self._clock = clock
        self._random = random
        self._epoch = party.terms.agreement.id, party.terms.roster.epoch

    @property
    def is_open(self) -> bool:
        """Whether its epoch is open: the agency's canary is sealed in it, or it has no register to seal."""
        return not self._entries or self._listings.is_open(*self._epoch)

    @property
    def is_ready(self) -> bool:
        """Whether its epoch is open and nothing waits to be sealed in it: then the agency's node answers."""
        return self._listings.is_ready(*self._epoch)

    async def enter(
        self, listings: Iterable[Listing], send: Send, by: Author = IMPORT, due: date | None = None
    ) -> AsyncIterator[Entered]:
        """Seal and store checked listings of this agency's registers, batch by batch, as they are read.

        Each batch is committed before it is yielded, so an interrupted entry goes on where it stopped: what is stored
        and sealed is known by its content and costs nothing, but that a new edition of an official list renews it.
        `due` is the deadline of drafts.

        Raises:
            IndeterminateError: no quorum of right evaluations; what was yielded stays.
            QuotaError: the agency's own quota for sealing is spent; likewise.
        """
        reading = self._reading(by, listings)
        entered = by.step(Act.ENTER, self._clock(), due=due)
        for batch in _batches(reading.new(lambda chunk: self._listings.are_sealed(*self._epoch, chunk))):
            seals = await self._evaluate([listing.identifiers for _, listing in batch], send)
            full = self._listings.add_sealed(
                *self._epoch,
                [(listing, given) for (_, listing), given in zip(batch, seals, strict=True)],
                entered,
            )
            overflow = {batch[at][0]: Refusal(OVERFLOW, identifier) for at, identifier in full.items()}
            yield Entered(batch[-1][0] + 1, overflow | reading.refused())
        if refused := reading.refused():
            yield Entered(reading.done, refused)

    def enter_unsealed(
        self, listings: Iterable[Listing], by: Author = IMPORT, due: date | None = None
    ) -> Iterator[Entered]:
        """Store checked listings while no federation is running; they wait to be sealed. Batches as in `enter`."""
        reading = self._reading(by, listings)
        entered = by.step(Act.ENTER, self._clock(), due=due)
        for batch in chunks(reading.new(lambda chunk: [False] * len(chunk)), _UNSEALED):
            self._listings.add_pending(*self._epoch, [listing for _, listing in batch], entered)
            yield Entered(batch[-1][0] + 1, reading.refused())
        if refused := reading.refused():
            yield Entered(reading.done, refused)

    async def seals(self, listing: Listing, send: Send) -> list[Seal]:
        """The seals of a listing's identifiers.

        Raises:
            IndeterminateError, QuotaError: as `enter`.
        """
        [given] = await self._evaluate([listing.identifiers], send)
        return given

    def correct(
        self, reference: str, step: Step, corrected: tuple[Listing, Sequence[Seal] | None], entered: Transition
    ) -> Record:
        """End a listing and enter the corrected one with its seals, if it has any (`ListingStore.correct`)."""
        return self._listings.correct(*self._epoch, reference, step, corrected, entered)

    def progress(self) -> tuple[int, int]:
        """How many listings are sealed in its epoch, and how many wait."""
        return self._listings.progress(*self._epoch)

    def partitions(self, size: int) -> list[tuple[int, int]]:
        """What waits, cut into parts of so many listings: the numbers of the first and last of each."""
        return self._listings.partitions(*self._epoch, size)

    async def seal_pending(self, send: Send, part: tuple[int, int] | None = None) -> AsyncIterator[Sealed]:
        """Seal the agency's canary and all that waits, or a part of it, in batches; then its node may answer.

        A listing whose bucket is full is erased: until it is, the node answers nothing. Each batch is committed before
        it is yielded.

        Raises:
            IndeterminateError, QuotaError: as `enter`.
            BucketOverflowError: the canary finds no place.
        """
        if not self._entries or self.is_ready:  # a look that every node takes twice a second
            return
        if not self._listings.is_open(*self._epoch):
            ((seal,),) = await self._evaluate([(canary(self._party.id),)], send)
            self._listings.open_epoch(*self._epoch, tuple(self._entries), seal)
            yield Sealed(1)
        while waiting := self._listings.pending(*self._epoch, MAX_SUBJECTS, part):
            batch = next(_batches(waiting))
            seals = await self._evaluate([listing.identifiers for _, listing in batch], send)
            refused = self._listings.seal(
                *self._epoch,
                {number: given for (number, _), given in zip(batch, seals, strict=True)},
                SEALING.step(Act.ENTER, self._clock()),
            )
            yield Sealed(sum(map(len, seals)), frozenset(refused), len(batch))

    def _reading(self, by: Author, listings: Iterable[Listing]) -> Reading:
        return Reading(self._listings, self._entries, by, self._clock(), listings)

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


def _batches(numbered: Iterable[tuple[int, Listing]]) -> Iterator[list[tuple[int, Listing]]]:
    """Cut into batches of at most 120 identifiers and 500 listings; a longer listing makes a batch of its own."""
    batch: list[tuple[int, Listing]] = []
    identifiers: set[Identifier] = set()
    for number, listing in numbered:
        if batch and (len(batch) == CHUNK or len(identifiers.union(listing.identifiers)) > MAX_SUBJECTS):
            yield batch
            batch, identifiers = [], set()
        batch.append((number, listing))
        identifiers.update(listing.identifiers)
    if batch:
        yield batch
