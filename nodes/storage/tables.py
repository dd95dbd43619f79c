"""Tables of the listings database: listings with their audit trail, what is sealed and what waits for it, access."""

from datetime import date

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class Table(SQLModel, registry=registry()):
    """The listings database's tables, apart from every other database's."""


class ListingRow(Table, table=True):
    """`content` is the keyed digest of what was decided, and the listing's reference; `identifiers` their number.

    `life` is what has happened since, `due_on` the first deadline of what is open: neither tells of the subject.
    """

    __tablename__ = "listing"
    number: int = Field(default=None, primary_key=True)
    register_id: str = Field(index=True)
    content: bytes = Field(unique=True)
    identifiers: int
    life: str | None = None
    due_on: date | None = Field(default=None, index=True)
    payload: bytes


class IdentifierRow(Table, table=True):
    """The keyed digest of one of a listing's identifiers, by which the agency finds its own listings of a subject."""

    __tablename__ = "identifier"
    __table_args__ = (ForeignKeyConstraint(["listing"], ["listing.number"], ondelete="CASCADE"),)
    listing: int = Field(primary_key=True)
    digest: bytes = Field(primary_key=True, index=True)


class EventRow(Table, table=True):
    """One entry of the audit trail; `hash` chains it to the one before, over the keyed `digest` of its details.

    So details may be erased, and the chain still shows that nothing was added, changed or left out.
    """

    __tablename__ = "event"
    number: int = Field(primary_key=True)
    time: int = Field(sa_type=BigInteger)
    register_id: str
    content: bytes = Field(index=True)
    act: str
    actor: str
    digest: bytes
    details: bytes | None = None
    hash: bytes


class CredentialRow(Table, table=True):
    """Who may speak to this node: the digest of a token, its role and name, and whose identifiers it stands for."""

    __tablename__ = "credential"
    digest: bytes = Field(primary_key=True)
    role: str
    name: str
    expires: int = Field(sa_type=BigInteger)
    identifiers: bytes | None = None


class SealRow(Table, table=True):
    """One identifier of a listing in one epoch: its bucket in clear; encrypted, its key and the listing's summary."""

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
    entry: bytes


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
LISTING, IDENTIFIER, EVENT, CREDENTIAL, SEAL, PENDING, CANARY = (
    Table.metadata.tables[name]
    for name in ("listing", "identifier", "event", "credential", "seal", "pending", "canary")
)
