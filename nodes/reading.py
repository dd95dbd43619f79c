"""Listings on their way in: what is known is passed over, what an official list names again renewed, the others go on.

What was erased is refused when it comes again: a stale copy must not bring back what was removed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from nodes.catalogue import CatalogueEntry
from nodes.life import Act, Author, Transition, TransitionError, apply
from nodes.lifecycle import Life, Record, term_start
from nodes.listings import Listing
from nodes.storage.listings import ListingStore

T = TypeVar("T")

ERASED: Final = "was erased: it takes a new decision"
CHUNK: Final = 500


class Refusal(NamedTuple):
    """Why a listing was not entered, and for which of its identifiers, if it is one of them."""

    reason: str
    identifier: int | None = None


class Reading:
    """One pass over listings; `done` are looked at, and `refused` tells of those among them that do not go on."""

    def __init__(
        self,
        store: ListingStore,
        entries: Mapping[str, CatalogueEntry],
        author: Author,
        now: int,
        listings: Iterable[Listing],
    ) -> None:
        self._store = store
        self._entries = entries
        self._author = author
        self._now = now
        self._listings = listings
        self._refused: dict[int, Refusal] = {}
        self.done = 0

    def new(self, are_known: Callable[[Sequence[Listing]], Sequence[bool]]) -> Iterator[tuple[int, Listing]]:
        """Those that go on, with their positions."""
        for chunk in chunks(self._listings):
            known, erased = are_known(chunk), self._store.were_erased(chunk)
            refused = {at: Refusal(ERASED) for at, was_erased in enumerate(erased) if was_erased}
            refused |= self._renew(chunk)
            self._refused |= {self.done + at: refusal for at, refusal in refused.items()}
            for at, listing in enumerate(chunk):
                if at not in refused and not known[at]:
                    yield self.done + at, listing
            self.done += len(chunk)

    def refused(self) -> dict[int, Refusal]:
        """What was refused since this was last asked, by position."""
        refused, self._refused = self._refused, {}
        return refused

    def _renew(self, chunk: Sequence[Listing]) -> dict[int, Refusal]:
        """Renew those rows of an official snapshot that are stored, in one transaction; returns the refused."""
        published = [at for at, listing in enumerate(chunk) if listing.published]
        if not published:
            return {}
        stored = self._store.are_stored([chunk[at] for at in published])
        positions = {
            self._store.reference(chunk[at]): at for at, is_stored in zip(published, stored, strict=True) if is_stored
        }
        refused: dict[int, Refusal] = {}

        def step(record: Record) -> tuple[Transition, Life] | None:
            at = positions[record.reference]
            listing = chunk[at]
            if listing.decided_on == term_start(record) and record.life.ended is None:
                return None
            renewal = self._author.step(Act.RENEW, self._now, on=listing.decided_on)
            try:
                return apply(record, renewal, self._entries[listing.register])
            except TransitionError as error:
                refused[at] = Refusal(error.reason)
                return None

        self._store.take(positions, step)
        return refused


def chunks(them: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Cut into lists of at most `size`."""
    rest = iter(them)
    while chunk := list(islice(rest, size)):
        yield chunk
