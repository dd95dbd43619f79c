"""Tables of the listings database: listings, and by agreement and epoch what is sealed and what waits for it."""

from datetime import date

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class Table(SQLModel, registry=registry()):
    """The listings database's tables, apart from every other database's."""


class ListingRow(Table, table=True):
    """`content` is the keyed digest of what was decided; `identifiers` their number; a dispute is all that changes."""

    __tablename__ = "listing"
    number: int = Field(default=None, primary_key=True)
    register_id: str = Field(index=True)
    content: bytes = Field(unique=True)
    identifiers: int
    disputed_since: date | None = None
    payload: bytes


class SealRow(Table, table=True):
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
    prefix: int = Field(sa_type=BigInteger)
    pseudonym: bytes


class PendingRow(Table, table=True):
    """A listing that waits to be sealed in an epoch; kept apart so that asking whether there is one is one look-up."""

    __tablename__ = "pending"
    __table_args__ = (
        ForeignKeyConstraint(["listing"], ["listing.number"], ondelete="CASCADE"),
        Index("pending_listing", "listing"),
    )
    agreement: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True)
    listing: int = Field(primary_key=True)


class CanaryRow(Table, table=True):
    """The agency's canary in one epoch: its bucket in clear, its pseudonym encrypted. It marks the epoch as opened."""

    __tablename__ = "canary"
    agreement: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True)
    prefix: int = Field(sa_type=BigInteger)
    pseudonym: bytes


# The same as plain tables: queries over them build no objects, which would take longer than decrypting a bucket.
LISTING, SEAL, PENDING, CANARY = (Table.metadata.tables[name] for name in ("listing", "seal", "pending", "canary"))
