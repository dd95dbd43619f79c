"""The listings of one agency and, by agreement and epoch, the seals under which questions find them.

Everything about a subject is one encrypted column. In an epoch that is opened every listing is sealed under all its
identifiers, or waits to be: a change is one transaction, and one process changes at a time, so nobody finds it
otherwise.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cache, partial
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, text, update

from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import forget_erased, migrate, writing
from nodes.storage.rows import decode, encode
from nodes.storage.seals import Seal, Seals
from nodes.storage.tables import LISTING
from protocol.errors import UsageError

_BATCH: Final = 500


class Entry(NamedTuple):
    """One of a bucket's places: a pseudonym, the listings under it, and whether it is the agency's canary."""

    pseudonym: bytes
    listings: tuple[Listing, ...]
    is_canary: bool = False


class ListingStore:
    """The only code that queries listings and seals; `bucket_size` is the agreement's B."""

    def __init__(self, engine: Engine, cipher: ColumnCipher, bucket_size: int) -> None:
        self._engine = engine
        self._cipher = cipher
        self._seals = cache(partial(Seals, cipher, bucket_size))
        migrate(engine, "listings")

    # Entry.

    def add_sealed(
        self, agreement: str, epoch: int, entries: Sequence[tuple[Listing, Sequence[Seal]]]
    ) -> dict[int, int]:
        """Store checked listings, each with one seal an identifier, in the same order; what is stored only gets seals.

        One pseudonym may belong to several listings and fills one place of its bucket. A listing that would overflow a
        bucket is refused: it is not stored, or erased if it waited to be sealed.

        Returns the refused: {its position in `entries`: the position of the identifier that finds no place}.
        """
        seals = self._seals(agreement, epoch)
        with self._writing() as connection:
            refused = seals.overflows(connection, [given for _, given in entries])
            kept = [entry for at, entry in enumerate(entries) if at not in refused]
            numbers = self._add(connection, [listing for listing, _ in kept])
            seals.add(connection, dict(zip(numbers, (given for _, given in kept), strict=True)))
            erased = self._erase(connection, LISTING.c.content.in_([self._content(entries[at][0]) for at in refused]))
        if erased:
            forget_erased(self._engine)
        return refused

    def add_pending(self, agreement: str, epoch: int, listings: Sequence[Listing]) -> list[int]:
        """Store checked listings, all or none; those not sealed wait to be. Returns their numbers in order.

        A listing that is stored already keeps its number.
        """
        with self._writing() as connection:
            numbers = self._add(connection, listings)
            self._seals(agreement, epoch).wait(connection, LISTING.c.number.in_(numbers))
        return numbers

    def are_sealed(self, agreement: str, epoch: int, listings: Sequence[Listing]) -> list[bool]:
        """Which of these listings are stored and sealed."""
        contents = [self._content(listing) for listing in listings]
        with self._engine.connect() as connection:
            sealed = self._seals(agreement, epoch).sealed(connection, contents)
        return [content in sealed for content in contents]

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

    def pending(self, agreement: str, epoch: int, limit: int) -> list[tuple[int, Listing]]:
        """The next listings that wait to be sealed, with their numbers."""
        with self._engine.connect() as connection:
            numbers = self._seals(agreement, epoch).waiting(connection, limit)
            return list(self._read(connection, LISTING.c.number.in_(numbers)))

    def seal(self, agreement: str, epoch: int, given: Mapping[int, Sequence[Seal]]) -> dict[int, int]:
        """Seal listings by their numbers; one that would overflow a bucket is erased.

        Returns the erased: {its number: the position of the identifier that finds no place}.
        """
        seals, numbers = self._seals(agreement, epoch), list(given)
        with self._writing() as connection:
            refused = {numbers[at]: it for at, it in seals.overflows(connection, list(given.values())).items()}
            seals.add(connection, {number: them for number, them in given.items() if number not in refused})
            self._erase(connection, LISTING.c.number.in_(refused))
        if refused:
            forget_erased(self._engine)
        return refused

    def bucket(self, agreement: str, epoch: int, prefix: int) -> list[Entry]:
        """The entries of one bucket."""
        found: dict[bytes, list[Listing]] = defaultdict(list)
        canaries = set()
        with self._engine.connect() as connection:
            places = self._seals(agreement, epoch).bucket(connection, prefix)
        for pseudonym, content, payload, disputed_since in places:
            listings = found[pseudonym]
            if content is None or payload is None:
                canaries.add(pseudonym)
            else:
                listings.append(self._listing(content, payload, disputed_since))
        return [Entry(pseudonym, tuple(listings), pseudonym in canaries) for pseudonym, listings in found.items()]

    # Life.

    def dispute(self, number: int, on: date | None) -> None:
        """Flag a listing as disputed from the day `on`; None ends the dispute.

        Raises:
            UsageError: there is no such listing.
        """
        statement = update(LISTING).where(LISTING.c.number == number).values(disputed_since=on)
        with self._writing() as connection:
            if connection.execute(statement).rowcount != 1:
                raise UsageError("no listing has this number")

    def remove(self, numbers: Collection[int]) -> None:
        """Erase listings and their seals."""
        with self._writing() as connection:
            self._erase(connection, LISTING.c.number.in_(numbers))
        forget_erased(self._engine)

    def count(self, register: str) -> int:
        """How many listings a register holds, whatever their state."""
        with self._engine.connect() as connection:
            statement = select(func.count()).where(LISTING.c.register_id == register)
            return int(connection.execute(statement).scalar_one())

    def all(self, register: str | None = None) -> Iterator[tuple[int, Listing]]:
        """Every listing, or every one of a register, with its number, in order."""
        which = LISTING.c.register_id == register if register else LISTING.c.number > 0
        with self._engine.connect() as connection:
            yield from self._read(connection, which)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                # As on SQLite, where a writer is alone: or two could each take the last place of a bucket.
                connection.execute(text("LOCK TABLE listing IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    def _add(self, connection: Connection, listings: Sequence[Listing]) -> list[int]:
        """Store those listings that are not stored yet; the numbers of all."""
        payloads = [encode(listing) for listing in listings]
        contents = [self._cipher.digest(payload) for payload in payloads]
        known = self._numbers(connection, contents)
        rows = {
            content: {
                "register_id": listing.register,
                "content": content,
                "identifiers": len(listing.identifiers),
                "disputed_since": listing.disputed_since,
                "payload": self._cipher.encrypt(payload, *_place(content)),
            }
            for listing, payload, content in zip(listings, payloads, contents, strict=True)
            if content not in known
        }
        if rows:
            connection.execute(insert(LISTING), list(rows.values()))
            known |= self._numbers(connection, list(rows))
        return [known[content] for content in contents]

    def _numbers(self, connection: Connection, contents: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those listings that are stored."""
        numbers: dict[bytes, int] = {}
        for start in range(0, len(contents), _BATCH):
            some = LISTING.c.content.in_(contents[start : start + _BATCH])
            found = connection.execute(select(LISTING.c.content, LISTING.c.number).where(some))
            numbers.update((row.content, row.number) for row in found)
        return numbers

    def _erase(self, connection: Connection, which: ColumnElement[bool]) -> bool:
        return connection.execute(delete(LISTING).where(which)).rowcount > 0

    def _read(self, connection: Connection, which: ColumnElement[bool]) -> Iterator[tuple[int, Listing]]:
        columns = select(LISTING.c.number, LISTING.c.content, LISTING.c.payload, LISTING.c.disputed_since)
        statement = columns.where(which).order_by(LISTING.c.number).execution_options(yield_per=_BATCH)
        with connection.execute(statement) as found:  # a reader that goes no further leaves no cursor on the server
            for number, *stored in found:
                yield number, self._listing(*stored)

    def _content(self, listing: Listing) -> bytes:
        return self._cipher.digest(encode(listing))

    def _listing(self, content: bytes, payload: bytes, disputed_since: date | None) -> Listing:
        return decode(self._cipher.decrypt(payload, *_place(content)), disputed_since)


def _place(content: bytes) -> tuple[bytes, ...]:
    return b"listing", b"payload", content
