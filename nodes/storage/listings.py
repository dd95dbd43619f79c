"""The listings of one agency, their lives and, by agreement and epoch, the seals under which questions find them.

Everything about a subject is one encrypted column. In an epoch that is opened every listing is sealed under all its
identifiers, or waits to be. A change is one transaction with its entry in the audit trail, and one process changes at a
time, so nobody finds it otherwise.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache, partial
from operator import itemgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, func, select, text

from nodes.life import Act, Transition
from nodes.lifecycle import Record
from nodes.listings import Listing
from nodes.storage.bring_over import TO_SUMMARISE, bring_over
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import forget_erased, migrate, reading, writing
from nodes.storage.records import Records, Step, reference_of
from nodes.storage.rows import decode_life, from_summary
from nodes.storage.seals import Place, Seal, Seals
from nodes.storage.tables import LISTING
from nodes.storage.trail import Head, Noted, Trail
from protocol.errors import BucketOverflowError
from protocol.identifiers import Identifier

_PAGE: Final = 500


Told = tuple[bytes, str | None]
"""What a question needs of a listing, as it is stored: its summary and its life. It does not tell whose it is."""


class Entry(NamedTuple):
    """One of a bucket's places: the key of a pseudonym, and what is told of the listings under it.

    `told` stands in the order of their contents, as of their `references`. A canary has none.
    """

    key: bytes
    told: tuple[Told, ...]
    contents: tuple[bytes, ...]
    is_canary: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """The references of the listings."""
        return tuple(map(reference_of, self.contents))


def record_of_told(told: Told) -> Record:
    """The record of a listing as far as its standing depends on it; without a reference."""
    summary, life = told
    listing = from_summary(summary)
    return Record(listing, decode_life(life, listing))


class ListingStore:
    """The only code that opens transactions over listings, seals and the trail.

    `bucket_size` is the agreement's B, `registers` are those that the agency brings into it (None: all that are here).
    """

    def __init__(
        self, engine: Engine, cipher: ColumnCipher, bucket_size: int, registers: Collection[str] | None = None
    ) -> None:
        self._engine = engine
        self._trail = Trail(cipher)
        self._records = Records(cipher, self._trail)
        self._seals = cache(partial(Seals, cipher, bucket_size, registers=registers))
        migrate(engine, "listings")
        bring_over(engine, self._writing, cipher, self._records, self._trail)

    # Entry.

    def add_sealed(
        self, agreement: str, epoch: int, entries: Sequence[tuple[Listing, Sequence[Seal]]], entered: Transition
    ) -> dict[int, int]:
        """Store checked listings, each with one seal an identifier, in the same order; what is stored only gets seals.

        One pseudonym may belong to several listings and fills one place of its bucket. A listing that would overflow a
        bucket is refused: it is not stored, or erased if it waited to be sealed and no other epoch finds it. `entered`
        is noted of each new one.

        Returns the refused: {its position in `entries`: the position of the identifier that finds no place}.
        """
        seals = self._seals(agreement, epoch)
        with self._writing() as connection:
            refused = seals.overflows(connection, [given for _, given in entries])
            kept = [entry for at, entry in enumerate(entries) if at not in refused]
            numbers = self._records.add(connection, [listing for listing, _ in kept], entered)
            summaries = self._records.summaries(connection, numbers)
            seals.add(connection, dict(zip(numbers, (given for _, given in kept), strict=True)), summaries)
            waiting = self._records.numbers(connection, [self._records.content(entries[at][0]) for at in refused])
            lost = set(waiting.values()) - seals.sealed_elsewhere(connection, list(waiting.values()))
            erased = self._records.erase(connection, LISTING.c.number.in_(lost), overflown(entered))
        if erased:
            forget_erased(self._engine)
        return refused

    def add_pending(self, agreement: str, epoch: int, listings: Sequence[Listing], entered: Transition) -> list[int]:
        """Store checked listings, all or none; those not sealed wait to be. Returns their numbers in order.

        A listing that is stored already keeps its number.
        """
        with self._writing() as connection:
            numbers = self._records.add(connection, listings, entered)
            self._seals(agreement, epoch).wait(connection, LISTING.c.number.in_(numbers))
        return numbers

    def are_sealed(self, agreement: str, epoch: int, listings: Sequence[Listing]) -> list[bool]:
        """Which of these listings are stored and sealed."""
        contents = [self._records.content(listing) for listing in listings]
        with self._engine.connect() as connection:
            sealed = self._seals(agreement, epoch).sealed(connection, contents)
        return [content in sealed for content in contents]

    def are_stored(self, listings: Sequence[Listing]) -> list[bool]:
        """Which of these listings are stored, sealed or not."""
        contents = [self._records.content(listing) for listing in listings]
        with self._engine.connect() as connection:
            stored = self._records.numbers(connection, contents)
        return [content in stored for content in contents]

    def were_erased(self, listings: Sequence[Listing]) -> list[bool]:
        """Which of these listings were stored once, and erased, but for what was officially published since."""
        contents = [self._records.content(listing) for listing in listings]
        with self._engine.connect() as connection:
            erased = self._trail.erased(connection, contents)
        return [
            content in erased and not (listing.published and listing.decided_on > _day(erased[content]))
            for listing, content in zip(listings, contents, strict=True)
        ]

    # Sealing what is stored.

    def open_epoch(self, agreement: str, epoch: int, registers: Collection[str], canary: Seal) -> None:
        """Open an epoch, unless it is open: its canary takes its place, and all listings of `registers` wait.

        Raises:
            BucketOverflowError: the canary finds no place.
        """
        seals = self._seals(agreement, epoch)
        with self._writing() as connection:
            if not seals.is_open(connection):
                seals.open(connection, registers, canary)

    def is_open(self, agreement: str, epoch: int) -> bool:
        """Whether this epoch was opened."""
        with self._engine.connect() as connection:
            return self._seals(agreement, epoch).is_open(connection)

    def is_ready(self, agreement: str, epoch: int) -> bool:
        """Whether this epoch was opened and no listing waits to be sealed in it."""
        with self._engine.connect() as connection:
            return self._seals(agreement, epoch).is_ready(connection)

    def pending(
        self, agreement: str, epoch: int, limit: int, part: tuple[int, int] | None = None
    ) -> list[tuple[int, Listing]]:
        """The next listings that wait to be sealed, with their numbers, from the first to the last of a part."""
        with self._engine.connect() as connection:
            numbers = self._seals(agreement, epoch).waiting(connection, limit, part)
            found = self._records.read(connection, LISTING.c.number.in_(numbers))
            return [(number, record.listing) for number, record in found]

    def partitions(self, agreement: str, epoch: int, size: int) -> list[tuple[int, int]]:
        """What waits, in parts of `size`: the numbers of the first and last listing of each."""
        with self._engine.connect() as connection:
            return self._seals(agreement, epoch).partitions(connection, size)

    def seal(
        self, agreement: str, epoch: int, given: Mapping[int, Sequence[Seal]], sealing: Transition
    ) -> dict[int, int]:
        """Seal listings by their numbers; one that would overflow a bucket is erased, in the name of who is sealing.

        Returns the erased: {its number: the position of the identifier that finds no place}.

        Raises:
            BucketOverflowError: one would that another epoch finds: it is kept and waits on, the others are sealed.
        """
        seals, numbers = self._seals(agreement, epoch), list(given)
        with self._writing() as connection:
            refused = {numbers[at]: it for at, it in seals.overflows(connection, list(given.values())).items()}
            placed = {number: them for number, them in given.items() if number not in refused}
            seals.add(connection, placed, self._records.summaries(connection, placed))
            kept = seals.sealed_elsewhere(connection, refused)
            refused = {number: position for number, position in refused.items() if number not in kept}
            self._records.erase(connection, LISTING.c.number.in_(refused), overflown(sealing))
        if refused:
            forget_erased(self._engine)
        if kept:
            raise BucketOverflowError("a listing of another epoch finds no place in this one")
        return refused

    def progress(self, agreement: str, epoch: int) -> tuple[int, int]:
        """How many listings are sealed in this epoch, and how many wait to be; before it is open, all do."""
        with self._engine.connect() as connection:
            return self._seals(agreement, epoch).progress(connection)

    def forget_epochs_before(self, agreement: str, epoch: int) -> None:
        """Erase the seals, canaries and waits of all earlier epochs; nothing is sealed in them any more.

        Raises:
            TimeoutError: erased, but somebody reads for so long that the write-ahead log keeps it.
        """
        with self._writing() as connection:
            self._seals(agreement, epoch).forget_earlier(connection)
        forget_erased(self._engine)

    def bucket(self, agreement: str, epoch: int, prefix: int) -> list[Entry]:
        """The entries of one bucket."""
        return self.buckets(agreement, epoch, [prefix])[prefix]

    def buckets(self, agreement: str, epoch: int, prefixes: Collection[int]) -> dict[int, list[Entry]]:
        """The entries of each of these buckets, all as they stand at one moment."""
        with self._engine.connect() as connection:
            found = self._seals(agreement, epoch).buckets(connection, prefixes)
        return {prefix: _entries(places) for prefix, places in found.items()}

    # Life.

    def take(self, references: Collection[str], step: Step) -> list[Record]:
        """Take a step with each of these records, all or none; returns them as they are then.

        Raises:
            UnknownListingError: no listing, or more than one, has a reference.
            TransitionError: what `step` raises; nothing was done.
        """
        with self._writing() as connection:
            return [self._records.take(connection, reference, step) for reference in references]

    def correct(
        self,
        agreement: str,
        epoch: int,
        reference: str,
        step: Step,
        corrected: tuple[Listing, Sequence[Seal] | None],
        entered: Transition,
    ) -> Record:
        """End a listing by `step` and enter the corrected one, in one transaction; returns the latter.

        Without seals, since no federation is running, it waits to be sealed.

        Raises:
            UnknownListingError, TransitionError: as `take`.
            BucketOverflowError: the corrected one finds no place.
        """
        seals, (listing, given) = self._seals(agreement, epoch), corrected
        with self._writing() as connection:
            if given is not None and seals.overflows(connection, [given]):
                raise BucketOverflowError("the corrected listing finds no place: a bucket is full")
            self._records.take(connection, reference, step)
            (number,) = self._records.add(connection, [listing], entered)
            if given is None:
                seals.wait(connection, LISTING.c.number == number)
            else:
                seals.add(connection, {number: given}, self._records.summaries(connection, [number]))
            return self._records.get(connection, self.reference(listing))

    def erase(self, references: Collection[str], step: Step) -> None:
        """Take a last step with each of these records, and erase them, their seals and the details of all their steps.

        Raises:
            UnknownListingError, TransitionError: as `take`; nothing was erased.
        """
        with self._writing() as connection:
            for reference in references:
                taken = step(self._records.get(connection, reference))
                if taken is not None:
                    which = LISTING.c.content == self._records.content_of(connection, reference)
                    self._records.erase(connection, which, taken[0])
        forget_erased(self._engine)

    # Reading.

    def reference(self, listing: Listing) -> str:
        """The reference under which a listing is, or would be, stored."""
        return self._records.reference(listing)

    def get(self, reference: str) -> Record:
        """The record of a reference, or of its first digits, at least eight.

        Raises:
            UnknownListingError: no listing, or more than one, has it.
        """
        with self._engine.connect() as connection:
            return self._records.get(connection, reference)

    def find(self, identifiers: Collection[Identifier]) -> list[Record]:
        """The records that have any of these identifiers, in the order of entry."""
        with self._engine.connect() as connection:
            return [record for _, record in self._records.read(connection, self._records.having(identifiers))]

    def due(self) -> list[Record]:
        """The records of which something is open, the first deadline first."""
        with self._engine.connect() as connection:
            found = self._records.read(connection, LISTING.c.due_on > TO_SUMMARISE, LISTING.c.due_on)
            return [record for _, record in found]

    def all(self, register: str | None = None) -> Iterator[Record]:
        """Every record, or every one of a register, in the order of entry."""
        which = LISTING.c.register_id == register if register else LISTING.c.number > 0
        with self._engine.connect() as connection:
            for _, record in self._records.read(connection, which):
                yield record

    def all_with_steps(self, register: str) -> Iterator[tuple[Record, list[Transition]]]:
        """Every record of a register with what the trail has of it, in the order of entry."""
        with reading(self._engine) as connection:
            yield from self._records.with_steps(connection, LISTING.c.register_id == register)

    def lives(self, register: str) -> Iterator[tuple[Record | None, list[Transition]]]:
        """Every listing that a register ever had, with its steps: the record, or None of what was erased."""
        with reading(self._engine) as connection:
            yield from self._records.with_steps(connection, LISTING.c.register_id == register)
            for steps in self._trail.of_erased(connection, register):
                yield None, steps

    def count(self, register: str) -> int:
        """How many listings a register holds, whatever their state."""
        with self._engine.connect() as connection:
            statement = select(func.count()).where(LISTING.c.register_id == register)
            return int(connection.execute(statement).scalar_one())

    def steps(self, reference: str) -> list[Noted]:
        """What the trail has of a listing, in order.

        Raises:
            UnknownListingError: no listing, or more than one, has this reference.
        """
        with self._engine.connect() as connection:
            return self._trail.of(connection, self._records.content_of(connection, reference))

    def trail(self, after: int = 0, limit: int = _PAGE) -> list[Noted]:
        """The next entries of the audit trail after a number."""
        with self._engine.connect() as connection:
            return self._trail.after(connection, after, limit)

    def trail_head(self) -> Head:
        """The last entry of the audit trail, to be kept elsewhere."""
        with self._engine.connect() as connection:
            return self._trail.head(connection)

    def verify_trail(self, kept: Head | None = None) -> Head:
        """Verify the whole audit trail; `kept` is a head that was noted elsewhere. Returns the head.

        Raises:
            TrailError: it does not verify.
        """
        with self._engine.connect() as connection:
            return self._trail.verify(connection, kept)

    def verify(self, kept: Head | None = None) -> Head:
        """Verify the whole audit trail, and that every listing is as it says; returns the head.

        Raises:
            TrailError: as `verify_trail`, or a listing is otherwise, missing, or too many.
            SealError: a listing does not open in its place.
        """
        with reading(self._engine) as connection:
            head = self._trail.verify(connection, kept)
            self._records.verify(connection)
            return head

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                # As on SQLite, where a writer is alone: or two could each take the last place of a bucket.
                connection.execute(text("LOCK TABLE listing IN SHARE ROW EXCLUSIVE MODE"))
            yield connection


def _entries(places: Iterable[Place]) -> list[Entry]:
    found: dict[bytes, list[Place]] = {}
    for place in places:
        found.setdefault(place.key, []).append(place)
    return [_entry(key, under) for key, under in found.items()]


def _entry(key: bytes, under: list[Place]) -> Entry:
    listed = [(content, (summary, life)) for _, content, summary, life in under if content is not None]
    listed.sort(key=itemgetter(0))
    told = tuple([told for _, told in listed])
    return Entry(key, told, tuple([content for content, _ in listed]), len(listed) < len(under))


def overflown(step: Transition) -> Transition:
    """The step to note of a listing that finds no place, beside the one that was meant."""
    return Transition(Act.REFUSE, step.actor, step.time, "its bucket is full")


def _day(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()
