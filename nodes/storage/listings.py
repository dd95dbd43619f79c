"""The listings of one agency and, by agreement and epoch, the seals under which questions find them.

Everything about a subject is one encrypted column. Seals are encrypted with random nonces, so equal pseudonyms are
only seen once a bucket is decrypted, and no index or join in the database pairs them.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, ForeignKeyConstraint, Index, delete, func, update
from sqlalchemy import select as columns
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import forget_log, writing
from protocol.errors import BucketOverflowError, UsageError
from protocol.identifiers import Identifier

_BATCH: Final = 500

_Stored = tuple[bytes, bytes, date | None]


class _Table(SQLModel, registry=registry()):
    """Tables of the listings database, apart from every other database's."""


class _ListingRow(_Table, table=True):
    """`content` is the keyed digest of what was decided; `identifiers` their number; a dispute is all that changes."""

    __tablename__ = "listing"
    number: int = Field(default=None, primary_key=True)
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
            numbers |= {content: row.number for content, row in rows.items()}
        return [numbers[content] for content in contents]

    def remove(self, numbers: Collection[int]) -> None:
        """Erase listings and their seals, as when an identifier is refused because its bucket is full."""
        with writing(self._engine) as session:
            session.execute(delete(_ListingRow).where(col(_ListingRow.number).in_(numbers)))
        forget_log(self._engine)

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
                Unsealed(row.number, position, identifier)
                for row in rows
                for position, identifier in enumerate(self._listing(row.content, row.payload, None).identifiers)
                if (row.number, position) not in done
            ]

    def record_seals(self, agreement: str, epoch: int, seals: Sequence[Seal]) -> None:
        """Store seals, all or none. One pseudonym may belong to several listings and fills one place of its bucket.

        Raises:
            BucketOverflowError: a bucket would hold more than B distinct pseudonyms.
        """
        with writing(self._engine) as session:
            for number, position, prefix, pseudonym in seals:
                place = _place(agreement, epoch, number, position, prefix)
                session.add(
                    _SealRow(
                        listing=number,
                        position=position,
                        agreement=agreement,
                        epoch=epoch,
                        prefix=prefix,
                        pseudonym=self._cipher.encrypt(pseudonym, *place),
                    )
                )
            session.flush()
            for prefix in {seal.prefix for seal in seals}:
                if self._load(session, agreement, epoch, prefix) > self._bucket_size:
                    raise BucketOverflowError("a bucket would hold more entries than the agreement's bucket size")

    def bucket(self, agreement: str, epoch: int, prefix: int) -> list[tuple[bytes, tuple[Listing, ...]]]:
        """The pseudonyms of one bucket, each with its listings, by one indexed query."""
        found: dict[bytes, list[Listing]] = defaultdict(list)
        with Session(self._engine) as session:
            for pseudonym, stored in self._entries(session, agreement, epoch, prefix):
                found[pseudonym].append(self._listing(*stored))
        return [(pseudonym, tuple(listings)) for pseudonym, listings in found.items()]

    def bucket_load(self, agreement: str, epoch: int, prefix: int) -> int:
        """How many of a bucket's B places are taken: its distinct pseudonyms."""
        with Session(self._engine) as session:
            return self._load(session, agreement, epoch, prefix)

    def count(self, register: str) -> int:
        """How many listings a register holds, whatever their state."""
        with Session(self._engine) as session:
            return session.exec(
                select(func.count()).select_from(_ListingRow).where(_ListingRow.register_id == register)
            ).one()

    def all(self) -> Iterator[tuple[int, Listing]]:
        """Every listing with its number, in order."""
        with Session(self._engine) as session:
            rows = session.exec(
                select(_ListingRow).order_by(col(_ListingRow.number)).execution_options(yield_per=_BATCH)
            )
            for row in rows:
                yield row.number, self._listing(row.content, row.payload, row.disputed_since)

    def _numbers(self, session: Session, contents: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those listings that are stored."""
        numbers: dict[bytes, int] = {}
        for start in range(0, len(contents), _BATCH):
            batch = col(_ListingRow.content).in_(contents[start : start + _BATCH])
            numbers |= {row.content: row.number for row in session.exec(select(_ListingRow).where(batch))}
        return numbers

    def _load(self, session: Session, agreement: str, epoch: int, prefix: int) -> int:
        return len({pseudonym for pseudonym, _ in self._entries(session, agreement, epoch, prefix)})

    def _entries(self, session: Session, agreement: str, epoch: int, prefix: int) -> Iterator[tuple[bytes, _Stored]]:
        """Decrypt one bucket: a pseudonym and the stored listing for each seal."""
        statement = (
            columns(
                col(_SealRow.listing),
                col(_SealRow.position),
                col(_SealRow.pseudonym),
                col(_ListingRow.content),
                col(_ListingRow.payload),
                col(_ListingRow.disputed_since),
            )
            .join(_ListingRow, col(_ListingRow.number) == col(_SealRow.listing))
            .where(col(_SealRow.agreement) == agreement, col(_SealRow.epoch) == epoch, col(_SealRow.prefix) == prefix)
            .order_by(col(_SealRow.listing), col(_SealRow.position))
        )
        # Plain columns over the connection: building objects would take longer than decrypting them.
        rows = session.connection().execute(statement)
        for number, position, sealed, content, payload, disputed_since in rows:
            place = _place(agreement, epoch, number, position, prefix)
            yield self._cipher.decrypt(sealed, *place), (content, payload, disputed_since)

    def _listing(self, content: bytes, payload: bytes, disputed_since: date | None) -> Listing:
        return _decode(self._cipher.decrypt(payload, b"listing", b"payload", content), disputed_since)


def _place(agreement: str, epoch: int, number: int, position: int, prefix: int) -> tuple[bytes, ...]:
    return (b"seal", b"pseudonym", agreement.encode(), *(b"%d" % part for part in (epoch, number, position, prefix)))


def _encode(listing: Listing) -> bytes:
    """What was decided, as one JSON text: everything but the dispute, which may change."""
    fields = asdict(replace(listing, disputed_since=None))
    return json.dumps(fields, default=date.isoformat, sort_keys=True).encode()


def _decode(payload: bytes, disputed_since: date | None) -> Listing:
    fields: dict[str, Any] = json.loads(payload)
    for name in ("decided_on", "served_on", "expires_on"):
        fields[name] = fields[name] and date.fromisoformat(fields[name])
    fields["identifiers"] = tuple(Identifier(**identifier) for identifier in fields["identifiers"])
    return Listing(**fields | {"disputed_since": disputed_since})
