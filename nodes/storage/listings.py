"""The listings of one agency and, by agreement and epoch, the seals under which questions find them.

Everything about a subject is one encrypted column. Seals are encrypted with random nonces, so equal pseudonyms are
only seen once a bucket is decrypted, and no index or join in the database pairs them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, ForeignKeyConstraint, Index, delete, func, update
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import writing
from protocol.codec import decode, encode
from protocol.errors import BucketOverflowError, UsageError
from protocol.identifiers import Identifier

_PAYLOAD_LIMIT: Final = 1 << 20
_BATCH: Final = 500


class _Table(SQLModel, registry=registry()):
    """Tables of the listings database, apart from every other database's."""


class _ListingRow(_Table, table=True):
    """`content` is the keyed digest of what was decided; `identifiers` their number; a dispute is all that changes."""

    __tablename__ = "listing"
    number: int | None = Field(default=None, primary_key=True)
    register_id: str = Field(index=True)
    content: bytes = Field(unique=True)
    identifiers: int
    disputed_since: date | None = None
    payload: bytes


class _SealRow(_Table, table=True):
    """One identifier of a listing in one epoch: its bucket in clear, its pseudonym encrypted."""

    __tablename__ = "seal"
    __table_args__ = (
        ForeignKeyConstraint(["listing"], ["listing.number"], ondelete="CASCADE"),
        Index("seal_bucket", "agreement", "epoch", "prefix"),
    )
    listing: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    agreement: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True)
    prefix: int
    pseudonym: bytes


class Unsealed(NamedTuple):
    """An identifier that has no seal yet: the listing's number and the identifier's position in it."""

    number: int
    position: int
    identifier: Identifier


class Seal(NamedTuple):
    """What sealing made of an identifier: its bucket and its pseudonym t."""

    number: int
    position: int
    prefix: int
    pseudonym: bytes


class ListingStore:
    """The only code that queries listings and seals; `bucket_size` is the agreement's B."""

    def __init__(self, engine: Engine, cipher: ColumnCipher, bucket_size: int) -> None:
        self._engine = engine
        self._cipher = cipher
        self._bucket_size = bucket_size
        _Table.metadata.create_all(engine)

    def add_many(self, listings: Sequence[Listing]) -> list[int]:
        """Store checked listings, all or none; return their numbers in order. One that is stored keeps its number."""
        encoded = [_encode(listing) for listing in listings]
        contents = [self._cipher.digest(payload) for payload in encoded]
        with writing(self._engine) as session:
            numbers = self._numbers(session, contents)
            rows = {
                content: _ListingRow(
                    register_id=listing.register,
                    content=content,
                    identifiers=len(listing.identifiers),
                    disputed_since=listing.disputed_since,
                    payload=self._cipher.encrypt(payload, b"listing", b"payload", content),
                )
                for listing, payload, content in zip(listings, encoded, contents, strict=True)
                if content not in numbers
            }
            session.add_all(rows.values())
            session.flush()
            numbers |= {content: _number(row) for content, row in rows.items()}
        return [numbers[content] for content in contents]

    def remove(self, numbers: Collection[int]) -> None:
        """Erase listings and their seals, as when an identifier is refused because its bucket is full."""
        with writing(self._engine) as session:
            session.execute(delete(_ListingRow).where(col(_ListingRow.number).in_(numbers)))

    def dispute(self, number: int, on: date | None) -> None:
        """Flag a listing as disputed from the day `on`; None ends the dispute.

        Raises:
            UsageError: there is no such listing.
        """
        statement = update(_ListingRow).where(col(_ListingRow.number) == number).values(disputed_since=on)
        with writing(self._engine) as session:
            if session.connection().execute(statement).rowcount != 1:
                raise UsageError("no listing has this number")

    def unsealed(self, agreement: str, epoch: int, registers: Collection[str], limit: int) -> list[Unsealed]:
        """The next identifiers of these registers without a seal, of at most `limit` listings."""
        sealed = (
            select(_SealRow.listing, func.count().label("seals"))
            .where(_SealRow.agreement == agreement, _SealRow.epoch == epoch)
            .group_by(col(_SealRow.listing))
            .subquery()
        )
        statement = (
            select(_ListingRow)
            .outerjoin(sealed, col(_ListingRow.number) == sealed.c.listing)
            .where(col(_ListingRow.register_id).in_(registers))
            .where(func.coalesce(sealed.c.seals, 0) < col(_ListingRow.identifiers))
            .order_by(col(_ListingRow.number))
            .limit(limit)
        )
        with Session(self._engine) as session:
            rows = session.exec(statement).all()
            done = set(
                session.exec(
                    select(_SealRow.listing, _SealRow.position)
                    .where(_SealRow.agreement == agreement, _SealRow.epoch == epoch)
                    .where(col(_SealRow.listing).in_([row.number for row in rows]))
                )
            )
            return [
                Unsealed(_number(row), position, identifier)
                for row in rows
                for position, identifier in enumerate(self._listing(row).identifiers)
                if (row.number, position) not in done
            ]

    def record_seals(self, agreement: str, epoch: int, seals: Sequence[Seal]) -> None:
        """Store seals, all or none. One pseudonym may belong to several listings and fills one place of its bucket.

        Raises:
            BucketOverflowError: a bucket would hold more than B distinct pseudonyms.
        """
        with writing(self._engine) as session:
            for seal in seals:
                place = _place(agreement, epoch, seal.number, seal.position, seal.prefix)
                pseudonym = self._cipher.encrypt(seal.pseudonym, *place)
                session.add(_SealRow(agreement=agreement, epoch=epoch, **seal._replace(pseudonym=pseudonym)._asdict()))
            session.flush()
            for prefix in {seal.prefix for seal in seals}:
                if len(self._pseudonyms(session, agreement, epoch, prefix)) > self._bucket_size:
                    raise BucketOverflowError("a bucket would hold more entries than the agreement's bucket size")

    def bucket(self, agreement: str, epoch: int, prefix: int) -> list[tuple[bytes, tuple[Listing, ...]]]:
        """The pseudonyms of one bucket, each with its listings, by one indexed query."""
        with Session(self._engine) as session:
            return [
                (pseudonym, tuple(map(self._listing, rows)))
                for pseudonym, rows in self._pseudonyms(session, agreement, epoch, prefix).items()
            ]

    def bucket_load(self, agreement: str, epoch: int, prefix: int) -> int:
        """How many of a bucket's B places are taken."""
        with Session(self._engine) as session:
            return len(self._pseudonyms(session, agreement, epoch, prefix))

    def count(self, register: str) -> int:
        """How many listings a register holds, whatever their state."""
        with Session(self._engine) as session:
            return session.exec(
                select(func.count()).select_from(_ListingRow).where(_ListingRow.register_id == register)
            ).one()

    def all(self) -> Iterator[tuple[int, Listing]]:
        """Every listing with its number, in order."""
        with Session(self._engine) as session:
            for row in session.exec(
                select(_ListingRow).order_by(col(_ListingRow.number)).execution_options(yield_per=_BATCH)
            ):
                yield _number(row), self._listing(row)

    def _numbers(self, session: Session, contents: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those listings that are stored."""
        numbers: dict[bytes, int] = {}
        for start in range(0, len(contents), _BATCH):
            batch = col(_ListingRow.content).in_(contents[start : start + _BATCH])
            numbers |= {row.content: _number(row) for row in session.exec(select(_ListingRow).where(batch))}
        return numbers

    def _pseudonyms(self, session: Session, agreement: str, epoch: int, prefix: int) -> dict[bytes, list[_ListingRow]]:
        """Decrypt one bucket: its listings by pseudonym."""
        statement = (
            select(_SealRow, _ListingRow)
            .join(_ListingRow, col(_ListingRow.number) == _SealRow.listing)
            .where(_SealRow.agreement == agreement, _SealRow.epoch == epoch, _SealRow.prefix == prefix)
            .order_by(col(_SealRow.listing), col(_SealRow.position))
        )
        found: dict[bytes, list[_ListingRow]] = defaultdict(list)
        for seal, row in session.exec(statement):
            place = _place(agreement, epoch, seal.listing, seal.position, prefix)
            found[self._cipher.decrypt(seal.pseudonym, *place)].append(row)
        return found

    def _listing(self, row: _ListingRow) -> Listing:
        payload = self._cipher.decrypt(row.payload, b"listing", b"payload", row.content)
        return replace(_decode(payload), disputed_since=row.disputed_since)


def _number(row: _ListingRow) -> int:
    if row.number is None:
        raise UsageError("the row is not stored yet")
    return row.number


def _place(agreement: str, epoch: int, number: int, position: int, prefix: int) -> tuple[bytes, ...]:
    return (b"seal", b"pseudonym", agreement.encode(), *(b"%d" % part for part in (epoch, number, position, prefix)))


def _encode(listing: Listing) -> bytes:
    """What was decided, as bytes: everything but the dispute, which may change."""
    fields = asdict(replace(listing, disputed_since=None))
    dates = {name: value.isoformat() for name, value in fields.items() if isinstance(value, date)}
    return encode({**fields, **dates})


def _decode(payload: bytes) -> Listing:
    fields: dict[str, Any] = decode(payload, _PAYLOAD_LIMIT)
    dates = {
        name: date.fromisoformat(fields[name]) for name in ("decided_on", "served_on", "expires_on") if fields[name]
    }
    identifiers = tuple(Identifier(**identifier) for identifier in fields["identifiers"])
    return Listing(**{**fields, **dates, "identifiers": identifiers})
