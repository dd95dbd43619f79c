"""Public figures at rest: an agency's contribution of a quarter, drawn once and paid for; what a coordinator published.

Both lie beside the protocol state, in the database that is never put back: a contribution that was forgotten would be
drawn again, and two draws of one quarter have half the noise between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlmodel import Field, Session, col, select

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import migrate, run, writing
from nodes.storage.state import ADMITTED, Table, charge, log
from protocol.agreement.terms import FIGURES, Allowance
from protocol.errors import NotGrantedError
from protocol.figures import Quarter
from protocol.messages import Tally
from protocol.wire import Header


class _ContributionRow(Table, table=True):
    __tablename__ = "contribution"
    agreement: str = Field(primary_key=True)
    quarter: str = Field(primary_key=True)
    cells: bytes
    version: int
    epoch: int
    numbers: bytes
    message: bytes


class _PublishedRow(Table, table=True):
    __tablename__ = "published"
    agreement: str = Field(primary_key=True)
    quarter: str = Field(primary_key=True)
    message: bytes


@dataclass(frozen=True)
class Asked:
    """What is contributed to: a quarter of an agreement, in which cells (by digest), under which epoch's keys."""

    agreement: str
    quarter: Quarter
    cells: bytes
    version: int
    epoch: int

    @property
    def key(self) -> dict[str, object]:
        """What there is one contribution to."""
        return {"agreement": self.agreement, "quarter": str(self.quarter)}


@dataclass(frozen=True)
class Price:
    """What a quarter costs an agency, and what it may spend in the quarter's calendar year: ε in thousandths."""

    agency: str
    epsilon: int
    budget: int


_WIDTH: Final = 8  # bytes, as wide as what is drawn

# The primary key decides who draws, whatever runs at the same time: the others wait for that transaction's end.
_CLAIM: Final = text(
    "INSERT INTO contribution (agreement, quarter, cells, version, epoch, numbers, message) "
    "VALUES (:agreement, :quarter, :cells, :version, :epoch, :empty, :empty) ON CONFLICT DO NOTHING"
)
_FIND: Final = text(
    "SELECT cells, version, epoch, numbers, message FROM contribution "
    "WHERE agreement = :agreement AND quarter = :quarter"
)
_KEEP: Final = text(
    "UPDATE contribution SET epoch = :epoch, numbers = :numbers, message = :message "
    "WHERE agreement = :agreement AND quarter = :quarter"
)
_PUBLISH: Final = text(
    "INSERT INTO published (agreement, quarter, message) VALUES (:agreement, :quarter, :message) ON CONFLICT DO NOTHING"
)


class Contributions:
    """What an agency contributed; the only way by which noise is drawn."""

    def __init__(self, engine: Engine, cipher: ColumnCipher) -> None:
        self._engine = engine
        self._cipher = cipher
        migrate(engine, "state")

    def is_drawn(self, asked: Asked) -> bool:
        """Whether there is a contribution to this quarter; then nothing is counted or drawn any more."""
        with self._engine.connect() as connection:
            return connection.execute(_FIND, asked.key).first() is not None

    def contribute(
        self,
        asked: Asked,
        price: Price,
        draw: Callable[[], Sequence[int]],
        write: Callable[[Sequence[int]], bytes],
        request: Header,
        now: int,
    ) -> bytes:
        """The contribution to a quarter: drawn and paid for if it is the first time, else the same as ever.

        `draw` gives counts with their noise, `write` the message that holds them. All is committed before this
        returns; if it fails nothing is, neither the price nor what was drawn. In another epoch the same numbers are
        written anew, under that epoch's key. The request is logged.

        Raises:
            QuotaError: the year's budget does not cover it.
            NotGrantedError: it was drawn under another version of the agreement, or for other cells.
        """
        with writing(self._engine) as connection:
            log(partial(run, connection), Tally.TYPE, request, request.m, ADMITTED, now)
            if connection.execute(_CLAIM, self._claim(asked)).rowcount == 1:
                charge(partial(run, connection), FIGURES, price.agency, price.epsilon, _allowance(asked, price), now)
                return self._keep(connection, asked, draw(), write)
            row = connection.execute(_FIND, asked.key).one()
            if (row.version, row.cells) != (asked.version, asked.cells):
                raise NotGrantedError("this quarter was counted under another version of the agreement")
            if row.epoch == asked.epoch:
                return bytes(row.message)
            numbers = _decode(self._cipher.decrypt(row.numbers, *self._place(asked)))
            return self._keep(connection, asked, numbers, write)

    def _keep(
        self,
        connection: Connection,
        asked: Asked,
        numbers: Sequence[int],
        write: Callable[[Sequence[int]], bytes],
    ) -> bytes:
        message = write(numbers)
        encrypted = self._cipher.encrypt(_encode(numbers), *self._place(asked))
        connection.execute(_KEEP, asked.key | {"epoch": asked.epoch, "numbers": encrypted, "message": message})
        return message

    def _claim(self, asked: Asked) -> dict[str, object]:
        own = {"cells": asked.cells, "version": asked.version, "epoch": asked.epoch, "empty": b""}
        return asked.key | own

    def _place(self, asked: Asked) -> tuple[bytes, ...]:
        return b"contribution", b"numbers", asked.agreement.encode(), str(asked.quarter).encode()


class Publications:
    """What a coordinator published: one signed message a quarter, as it was first signed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        migrate(engine, "state")

    def publish(self, agreement: str, quarter: Quarter, message: bytes) -> bytes:
        """Keep what is published of a quarter; returns what was published first."""
        row = {"agreement": agreement, "quarter": str(quarter), "message": message}
        with writing(self._engine) as connection:
            connection.execute(_PUBLISH, row)
        return self.all(agreement)[str(quarter)]

    def all(self, agreement: str) -> dict[str, bytes]:
        """All that was published of an agreement, by quarter, the oldest first."""
        of_it = select(_PublishedRow).where(col(_PublishedRow.agreement) == agreement)
        with Session(self._engine) as database:
            rows = database.exec(of_it.order_by(col(_PublishedRow.quarter)))
            return {row.quarter: row.message for row in rows}


def _encode(numbers: Sequence[int]) -> bytes:
    """In a fixed width: what is encrypted must not tell small numbers by its length."""
    return b"".join(number.to_bytes(_WIDTH, "big", signed=True) for number in numbers)


def _decode(encoded: bytes) -> list[int]:
    places = range(0, len(encoded), _WIDTH)
    return [int.from_bytes(encoded[at : at + _WIDTH], "big", signed=True) for at in places]


def _allowance(asked: Asked, price: Price) -> Allowance:
    year = asked.quarter.year
    return Allowance(price.budget, f"year {year}", int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()))
