"""Records: listings with what has happened to them, and the trail of it. Every change is noted as it is made.

Every method works inside the transaction of the connection it is given.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Date, bindparam, delete, select, text, update

from nodes.life import Transition, replay
from nodes.lifecycle import Life, Record
from nodes.listings import Listing, UnknownListingError
from nodes.storage.cipher import ColumnCipher
from nodes.storage.rows import content, decode, decode_life, encode, encode_life, summary
from nodes.storage.tables import IDENTIFIER, LISTING
from nodes.storage.trail import Trail, TrailError
from protocol.identifiers import Identifier, to_bytes

BATCH: Final = 500
REFERENCE_DIGITS: Final = 32
SHORTEST_REFERENCE: Final = 8

Step = Callable[[Record], tuple[Transition, Life] | None]
"""Takes a record to the step to note and the life after it; None leaves the record as it is."""


# As texts: what SQLAlchemy does with each value of an insert by its type takes longer than storing it.
_ADD: Final = text(
    "INSERT INTO listing (register_id, content, identifiers, life, due_on, payload) "
    "VALUES (:register_id, :content, :identifiers, :life, :due_on, :payload)"
).bindparams(bindparam("due_on", type_=Date))
_ADD_IDENTIFIER: Final = text("INSERT INTO identifier (listing, digest) VALUES (:listing, :digest)")


class Records:
    """The listings of one agency, their identifiers' digests and their trail."""

    def __init__(self, cipher: ColumnCipher, trail: Trail) -> None:
        self._cipher = cipher
        self._trail = trail

    def content(self, listing: Listing) -> bytes:
        """The keyed digest (32 bytes) by which a listing is known; its reference is the first half."""
        return self._digest(listing, encode(listing))

    def _digest(self, listing: Listing, encoded: bytes) -> bytes:
        return self._cipher.digest(content(listing) if listing.published else encoded)

    def reference(self, listing: Listing) -> str:
        """The reference under which a listing is, or would be, stored."""
        return reference_of(self.content(listing))

    def add(self, connection: Connection, listings: Sequence[Listing], entered: Transition) -> list[int]:
        """Store those listings that are not stored yet, and note `entered` of them; the numbers of all."""
        encoded = [encode(listing) for listing in listings]
        contents = [self._digest(listing, payload) for listing, payload in zip(listings, encoded, strict=True)]
        known = self.numbers(connection, contents)
        both = zip(listings, encoded, strict=True)
        new = {digest: it for digest, it in zip(contents, both, strict=True) if digest not in known}
        if new:
            connection.execute(_ADD, [self._row(digest, *it, entered) for digest, it in new.items()])
            known |= self.numbers(connection, list(new))
            self.index(connection, [(known[digest], listing) for digest, (listing, _) in new.items()])
            self._trail.append(connection, [(listing.register, it, entered) for it, (listing, _) in new.items()])
        return [known[digest] for digest in contents]

    def index(self, connection: Connection, numbered: Sequence[tuple[int, Listing]]) -> None:
        """Store the digests of listings' identifiers."""
        rows = [
            {"listing": number, "digest": self._cipher.digest(to_bytes(identifier))}
            for number, listing in numbered
            for identifier in listing.identifiers
        ]
        connection.execute(_ADD_IDENTIFIER, rows)

    def take(self, connection: Connection, reference: str, step: Step) -> Record:
        """Take a step with a record; returns it as it is then.

        Raises:
            UnknownListingError: no listing, or more than one, has this reference.
            TransitionError: what `step` raises.
        """
        found = self._one(connection, reference)
        record = self._record(*found)
        taken = step(record)
        if taken is None:
            return record
        noted, life = taken
        self._trail.append(connection, [(record.listing.register, found.content, noted)])
        values = {"life": encode_life(life, record.listing), "due_on": life.due}
        connection.execute(update(LISTING).where(LISTING.c.content == found.content).values(values))
        return Record(record.listing, life, record.reference)

    def erase(self, connection: Connection, which: ColumnElement[bool], erased: Transition) -> int:
        """Erase listings with all that hangs on them and the details of their steps; note `erased` of each."""
        columns = select(LISTING.c.register_id, LISTING.c.content).where(which)
        lost = [(register, bytes(digest), erased) for register, digest in connection.execute(columns)]
        self._trail.forget(connection, [digest for _, digest, _ in lost])
        connection.execute(delete(LISTING).where(which))
        self._trail.append(connection, lost)
        return len(lost)

    def get(self, connection: Connection, reference: str) -> Record:
        """The record of a reference, or of its first digits, at least eight.

        Raises:
            UnknownListingError: no listing, or more than one, has it.
        """
        return self._record(*self._one(connection, reference))

    def content_of(self, connection: Connection, reference: str) -> bytes:
        """The whole digest of a reference.

        Raises:
            UnknownListingError: as `get`.
        """
        return bytes(self._one(connection, reference).content)

    def having(self, identifiers: Collection[Identifier]) -> ColumnElement[bool]:
        """The condition of having any of these identifiers."""
        digests = [self._cipher.digest(to_bytes(identifier)) for identifier in identifiers]
        return LISTING.c.number.in_(select(IDENTIFIER.c.listing).where(IDENTIFIER.c.digest.in_(digests)))

    def read(
        self, connection: Connection, which: ColumnElement[bool], order: Any = LISTING.c.number
    ) -> Iterator[tuple[int, Record]]:
        """The records `which`, with their numbers, as they are read."""
        for row in self._rows(connection, which, order):
            yield row.number, self._record(*row)

    def with_steps(
        self, connection: Connection, which: ColumnElement[bool]
    ) -> Iterator[tuple[Record, list[Transition]]]:
        """The records `which` with their steps, as they are read."""
        rows = self._rows(connection, which, LISTING.c.number)
        while some := list(islice(rows, BATCH)):
            steps = self._trail.of_each(connection, [bytes(row.content) for row in some])
            for row in some:
                yield self._record(*row), steps[bytes(row.content)]

    def verify(self, connection: Connection) -> None:
        """Check that every listing is as its steps left it, and that none came or went without one.

        Raises:
            TrailError: one is otherwise, or some are too many or missing.
            SealError: one does not open in its place.
        """
        stored = 0
        for record, steps in self.with_steps(connection, LISTING.c.number > 0):
            if not steps or replay(record.listing, record.reference, steps) != record:
                raise TrailError(f"the listing {record.reference} is not as the audit trail says")
            stored += 1
        if stored != self._trail.standing(connection):
            raise TrailError("there are more listings, or fewer, than the audit trail says")

    def summaries(self, connection: Connection, numbers: Iterable[int]) -> dict[int, bytes]:
        """The summaries of listings as they are stored, by their numbers.

        An official list names a listing again on another day: it is not summarised as it was given, but as it is kept.
        """
        found = self.read(connection, LISTING.c.number.in_(numbers))
        return {number: summary(record.listing) for number, record in found}

    def _record(self, _number: int, digest: bytes, payload: bytes, life: str | None) -> Record:
        listing = decode(self._cipher.decrypt(payload, *place(digest)))
        return Record(listing, decode_life(life, listing), reference_of(digest))

    def _row(self, digest: bytes, listing: Listing, encoded: bytes, entered: Transition) -> dict[str, Any]:
        life = replay(listing, "", [entered]).life
        return {
            "register_id": listing.register,
            "content": digest,
            "identifiers": len(listing.identifiers),
            "life": encode_life(life, listing),
            "due_on": life.due,
            "payload": self._cipher.encrypt(encoded, *place(digest)),
        }

    def numbers(self, connection: Connection, contents: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those listings that are stored."""
        numbers: dict[bytes, int] = {}
        for start in range(0, len(contents), BATCH):
            some = LISTING.c.content.in_(contents[start : start + BATCH])
            found = connection.execute(select(LISTING.c.content, LISTING.c.number).where(some))
            numbers.update((row.content, row.number) for row in found)
        return numbers

    def _one(self, connection: Connection, reference: str) -> Any:
        if not SHORTEST_REFERENCE <= len(reference) <= REFERENCE_DIGITS or set(reference) - set("0123456789abcdef"):
            raise UnknownListingError(f"a reference is {SHORTEST_REFERENCE} to {REFERENCE_DIGITS} hexadecimal digits")
        first, last = (bytes.fromhex(reference.ljust(64, digit)) for digit in "0f")
        found = list(self._rows(connection, LISTING.c.content.between(first, last), LISTING.c.number))
        if len(found) != 1:
            raise UnknownListingError("no listing, or more than one, has this reference")
        return found[0]

    def _rows(self, connection: Connection, which: ColumnElement[bool], order: Any) -> Iterator[Any]:
        columns = select(LISTING.c.number, LISTING.c.content, LISTING.c.payload, LISTING.c.life)
        statement = columns.where(which).order_by(order, LISTING.c.number).execution_options(yield_per=BATCH)
        with connection.execute(statement) as found:  # a reader that goes no further leaves no cursor on the server
            yield from found


def place(digest: bytes) -> tuple[bytes, ...]:
    """Where a listing's payload stands, for its encryption."""
    return b"listing", b"payload", digest


def reference_of(digest: bytes) -> str:
    """The reference of the listing of a digest."""
    return digest.hex()[:REFERENCE_DIGITS]
