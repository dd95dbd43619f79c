"""What a gateway's portfolios are, and the rows that they are kept in: what could tell of anybody is encrypted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKeyConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from nodes.storage.cipher import ColumnCipher


class Table(SQLModel, registry=registry()):
    """The portfolios database's tables, apart from every other database's."""


class PortfolioRow(Table, table=True):
    """`subjects` and `changes` are the highest numbers given so far, `delivered` how far the webhook got."""

    __tablename__ = "portfolio"
    id: str = Field(primary_key=True)
    ends: int = Field(sa_type=BigInteger)
    epoch: int
    subjects: int
    changes: int
    delivered: int | None = None
    failures: int
    retry_at: int = Field(sa_type=BigInteger)
    payload: bytes


class SubjectRow(Table, table=True):
    """`due` is when to ask about it next, `lapses` when its decision does; none has lapsed where that is empty."""

    __tablename__ = "subject"
    __table_args__ = (ForeignKeyConstraint(["portfolio"], ["portfolio.id"], ondelete="CASCADE"),)
    portfolio: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    epoch: int
    due: int = Field(sa_type=BigInteger, index=True)
    lapses: int | None = Field(default=None, sa_type=BigInteger, index=True)
    payload: bytes


class ChangeRow(Table, table=True):
    """One change, as it is told."""

    __tablename__ = "change"
    __table_args__ = (ForeignKeyConstraint(["portfolio"], ["portfolio.id"], ondelete="CASCADE"),)
    portfolio: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    time: int = Field(sa_type=BigInteger, index=True)
    payload: bytes


PORTFOLIO, SUBJECT, CHANGE = (Table.metadata.tables[name] for name in ("portfolio", "subject", "change"))


@dataclass(frozen=True)
class Portfolio:
    """What a requester has watched: for a purpose and case, so often (`every`, as 12h), until `ends` (Unix seconds).

    `webhook` is the URL that changes are sent to, if any, `secret` what signs them; `epoch` the last one in which its
    subjects were handed in, or whose beginning was told.
    """

    id: str
    ends: int
    epoch: int
    purpose: str
    every: str
    case: str = field(repr=False)
    webhook: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Watched:
    """A subject by its requester's reference and its pseudonym of an epoch; what was decided of it, and until when.

    `lapses` is None once the decision has lapsed. Times are Unix seconds.
    """

    number: int
    epoch: int
    due: int
    lapses: int | None
    scheme: str
    as_of: int
    reference: str = field(repr=False)
    pseudonym: bytes = field(repr=False)
    measures: Sequence[Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Counts:
    """How a portfolio stands: subjects, those due, lapsed, of another epoch than asked; changes told and delivered."""

    subjects: int
    due: int
    lapsed: int
    outdated: int
    changes: int
    delivered: int | None


_CLEAR: Final = frozenset({"id", "ends", "epoch"})
_CLEAR_OF_SUBJECT: Final = frozenset({"number", "epoch", "due", "lapses"})


def portfolio_row(cipher: ColumnCipher, portfolio: Portfolio) -> dict[str, Any]:
    """The columns of a portfolio's terms."""
    fields = asdict(portfolio)
    secret = {name: value for name, value in fields.items() if name not in _CLEAR}
    payload = cipher.encrypt(dump(secret), *place("portfolio", portfolio.id))
    return {name: fields[name] for name in _CLEAR} | {"payload": payload}


def to_portfolio(cipher: ColumnCipher, row: Any) -> Portfolio:
    """A portfolio from its row."""
    return Portfolio(**{name: row[name] for name in _CLEAR}, **load(cipher, "portfolio", row, row["id"]))


def subject_row(cipher: ColumnCipher, portfolio: str, subject: Watched) -> dict[str, Any]:
    """The columns of a subject."""
    fields = asdict(subject) | {"pseudonym": subject.pseudonym.hex()}
    secret = {name: value for name, value in fields.items() if name not in _CLEAR_OF_SUBJECT}
    payload = cipher.encrypt(dump(secret), *place("subject", portfolio, subject.number))
    return {name: fields[name] for name in _CLEAR_OF_SUBJECT} | {"portfolio": portfolio, "payload": payload}


def to_watched(cipher: ColumnCipher, row: Any) -> Watched:
    """A subject from its row."""
    secret = load(cipher, "subject", row, row["portfolio"], row["number"])
    clear = {name: row[name] for name in _CLEAR_OF_SUBJECT}
    return Watched(**clear, **secret | {"pseudonym": bytes.fromhex(secret["pseudonym"])})


def place(table: str, portfolio: str, number: int = 0) -> tuple[bytes, ...]:
    """Where a payload belongs: it does not decrypt elsewhere."""
    return table.encode(), b"payload", portfolio.encode(), number.to_bytes(8, "big")


def load(cipher: ColumnCipher, table: str, row: Any, portfolio: str, number: int = 0) -> dict[str, Any]:
    """A row's payload.

    Raises:
        SealError: it was altered, moved, or is under another key.
    """
    found: dict[str, Any] = json.loads(cipher.decrypt(row["payload"], *place(table, portfolio, number)))
    return found


def dump(document: Mapping[str, Any]) -> bytes:
    """A payload before it is encrypted."""
    return json.dumps(document, ensure_ascii=False).encode()
