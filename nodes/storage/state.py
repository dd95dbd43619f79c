"""Protocol state: what a node must remember across restarts and workers so that nothing is answered twice or too often.

Every claim is one statement whose uniqueness the database enforces, and is committed before its method returns; callers
claim before they compute an answer (protocol.md §8). This database has no identifier, prefix or pseudonym. Senders and
requesters are ids, sessions 16 bytes, times Unix seconds.
"""

from hashlib import sha256
from typing import Final

from sqlalchemy import Engine, delete, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from nodes.storage.engine import writing
from protocol.errors import QuotaError, ReplayedError, SpentError


class _Table(SQLModel, registry=registry()):
    """Tables of the protocol state, apart from every other database's."""


class _SessionRow(_Table, table=True):
    __tablename__ = "session"
    kind: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    session: bytes = Field(primary_key=True)
    expires: int = Field(index=True)


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
    time: int
    kind: str
    sender: str
    purpose: str
    m: int
    outcome: str


_DAY: Final = 86_400

# The condition and the addition are one statement, so concurrent workers cannot both take what is left.
_CHARGE: Final = text(
    "INSERT INTO charge (kind, sender, day, used) VALUES (:kind, :sender, :day, :amount) "
    "ON CONFLICT (kind, sender, day) DO UPDATE SET used = charge.used + excluded.used "
    "WHERE charge.used + excluded.used <= :limit"
)


class ProtocolState:
    """The only code that queries sessions, openings, quotas and the log: a node's `protocol.rounds.ledger.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _Table.metadata.create_all(engine)

    def claim_session(self, kind: str, sender: str, session: bytes, expires: int) -> None:
        """Record that this session was used for a message of this kind; it is remembered until `expires`.

        Raises:
            ReplayedError: it was used before.
        """
        if not self._inserted(_SessionRow(kind=kind, sender=sender, session=session, expires=expires)):
            raise ReplayedError("this session was used before")

    def forget_expired(self, now: int) -> None:
        """Forget sessions that expired before `now`: messages so old are refused for their age."""
        with writing(self._engine) as database:
            database.execute(delete(_SessionRow).where(col(_SessionRow.expires) < now))

    def claim_opening(self, requester: str, session: bytes, chunk: int, x: bytes) -> None:
        """Record that this chunk of a session is opened for x and nothing else. Openings are never forgotten.

        Raises:
            SpentError: it was opened before, be it for the same x.
        """
        row = _OpeningRow(requester=requester, session=session, chunk=chunk, x_digest=sha256(x).digest())
        if not self._inserted(row):
            raise SpentError("this chunk was opened before")

    def is_opened(self, requester: str, session: bytes, chunk: int, x: bytes) -> bool:
        """Whether this chunk was opened for exactly this x."""
        with Session(self._engine) as database:
            row = database.get(_OpeningRow, (requester, session, chunk))
            return row is not None and row.x_digest == sha256(x).digest()

    def charge(self, kind: str, sender: str, amount: int, limit: int, now: int) -> None:
        """Charge `amount` subjects to the sender's quota of `limit` a UTC day: all of it or nothing.

        Raises:
            QuotaError: what is left does not cover it; `retry_after` are the seconds to the next UTC midnight.
        """
        day = now // _DAY
        values = {"kind": kind, "sender": sender, "day": day, "amount": amount, "limit": limit}
        if amount <= limit:
            with writing(self._engine) as database:
                if database.connection().execute(_CHARGE, values).rowcount == 1:
                    return
        raise QuotaError("the daily quota does not cover this request", retry_after=(day + 1) * _DAY - now)

    def log(self, kind: str, sender: str, purpose: str, m: int, outcome: str, now: int) -> None:
        """Append a served or refused request to the log; `outcome` is "served" or the name of an error."""
        with writing(self._engine) as database:
            database.add(LogEntry(time=now, kind=kind, sender=sender, purpose=purpose, m=m, outcome=outcome))

    def entries(self) -> list[LogEntry]:
        """The log, oldest first."""
        with Session(self._engine) as database:
            return list(database.exec(select(LogEntry).order_by(col(LogEntry.number))))

    def _inserted(self, row: SQLModel) -> bool:
        try:
            with writing(self._engine) as database:
                database.add(row)
        except IntegrityError:
            return False
        return True
