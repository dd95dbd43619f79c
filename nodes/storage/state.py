"""Protocol state: what a node must remember across restarts and workers so that nothing is answered twice or too often.

Every claim is a statement whose uniqueness the database enforces, and is committed before its method returns; callers
claim before they compute an answer (specification §8). This database has no identifier, prefix or pseudonym: senders
and requesters are ids, sessions 16 bytes, times Unix seconds.
"""

from hashlib import sha256
from typing import Final

from sqlalchemy import BigInteger, Engine, delete, insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from nodes.storage.engine import writing
from protocol.errors import QuotaError, ReplayedError, SpentError
from protocol.messages import Open
from protocol.wire import Header


class _Table(SQLModel, registry=registry()):
    """Tables of the protocol state, apart from every other database's."""


class _SessionRow(_Table, table=True):
    __tablename__ = "session"
    kind: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    session: bytes = Field(primary_key=True)
    expires: int = Field(sa_type=BigInteger, index=True)


class _OpeningRow(_Table, table=True):
    __tablename__ = "opening"
    requester: str = Field(primary_key=True)
    session: bytes = Field(primary_key=True)
    chunk: int = Field(primary_key=True)
    x_digest: bytes


class _ChargeRow(_Table, table=True):
    __tablename__ = "charge"
    kind: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    day: int = Field(primary_key=True)  # days since 1 January 1970, UTC
    used: int


class LogEntry(_Table, table=True):
    """One request, served or refused: who asked, when, for what purpose, never about whom. `m` counts subjects."""

    __tablename__ = "log"
    number: int | None = Field(default=None, primary_key=True)
    time: int = Field(sa_type=BigInteger)
    kind: str
    sender: str
    purpose: str
    m: int
    outcome: str


ADMITTED: Final = "admitted"

_DAY: Final = 86_400

# The condition and the addition are one statement, so concurrent workers cannot both take what is left.
_CHARGE: Final = text(
    "INSERT INTO charge (kind, sender, day, used) VALUES (:kind, :sender, :day, :amount) "
    "ON CONFLICT (kind, sender, day) DO UPDATE SET used = charge.used + excluded.used "
    "WHERE charge.used + excluded.used <= :limit"
)


class ProtocolState:
    """The only code that queries sessions, openings, quotas and the log: a party's `protocol.rounds.ledger.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _Table.metadata.create_all(engine)

    def admit(self, kind: str, header: Header, limit: int, now: int) -> None:
        """Record a request's session, charge it and log it, in one transaction.

        Raises:
            ReplayedError: this sender's session of this kind was recorded before.
            QuotaError: what is left of the quota does not cover it; `retry_after` runs to the next UTC midnight.
        """
        with writing(self._engine) as database:
            session = {"sender": header.sender, "session": header.session, "expires": header.expires}
            if not _inserted(database, _SessionRow, {"kind": kind, **session}):
                raise ReplayedError("this session was used before")
            _charge(database, kind, header.sender, header.m, limit, now)
            _log(database, kind, header, header.m, ADMITTED, now)

    def admit_opening(self, ask: Header, chunk: int, x: bytes, m: int, limit: int, now: int) -> None:
        """Record that a chunk is opened for x and nothing else, charge and log it. Openings are never forgotten.

        Raises:
            SpentError: it was opened before, be it for the same x.
            QuotaError: what is left of the quota does not cover it.
        """
        with writing(self._engine) as database:
            opening = {"requester": ask.sender, "session": ask.session, "chunk": chunk, "x_digest": _digest(x)}
            if not _inserted(database, _OpeningRow, opening):
                raise SpentError("this chunk was opened before")
            _charge(database, Open.TYPE, ask.sender, m, limit, now)
            _log(database, Open.TYPE, ask, m, ADMITTED, now)

    def is_opened(self, requester: str, session: bytes, chunk: int, x: bytes) -> bool:
        """Whether this chunk was opened for exactly this x."""
        with Session(self._engine) as database:
            row = database.get(_OpeningRow, (requester, session, chunk))
            return row is not None and row.x_digest == _digest(x)

    def refuse(self, kind: str, header: Header | None, reason: str, now: int) -> None:
        """Log a refused request; without a header its sender is not known."""
        with writing(self._engine) as database:
            _log(database, kind, header, header.m if header else 0, reason, now)

    def forget_expired(self, now: int) -> None:
        """Forget sessions that expired before `now`: messages so old are refused for their age."""
        with writing(self._engine) as database:
            database.execute(delete(_SessionRow).where(col(_SessionRow.expires) < now))

    def entries(self) -> list[LogEntry]:
        """The log, oldest first."""
        with Session(self._engine) as database:
            return list(database.exec(select(LogEntry).order_by(col(LogEntry.number))))


def _inserted(database: Session, table: type[SQLModel], values: dict[str, object]) -> bool:
    try:
        database.execute(insert(table).values(values))
    except IntegrityError:
        return False
    return True


def _charge(database: Session, kind: str, sender: str, amount: int, limit: int, now: int) -> None:
    day = now // _DAY
    values = {"kind": kind, "sender": sender, "day": day, "amount": amount, "limit": limit}
    if amount > limit or database.connection().execute(_CHARGE, values).rowcount != 1:
        raise QuotaError("the daily quota does not cover this request", retry_after=(day + 1) * _DAY - now)


def _log(database: Session, kind: str, header: Header | None, m: int, outcome: str, now: int) -> None:
    sender, purpose = (header.sender, header.purpose) if header else ("", "")
    entry = {"time": now, "kind": kind, "sender": sender, "purpose": purpose, "m": m, "outcome": outcome}
    database.execute(insert(LogEntry).values(entry))


def _digest(x: bytes) -> bytes:
    return sha256(x).digest()
