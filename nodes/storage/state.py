"""Protocol state: what a node must remember across restarts and workers so that nothing is answered twice or too often.

Every claim is a statement whose uniqueness the database enforces, and is committed before its method returns; callers
claim before they compute an answer (specification §8). This database has no identifier, prefix or pseudonym: senders
and requesters are ids, sessions 16 bytes, times Unix seconds.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import BigInteger, Engine
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, col, select

from nodes.storage.engine import Run, claiming, forget_log, migrate
from protocol.agreement.terms import Allowance
from protocol.errors import QuotaError, ReplayedError, SpentError
from protocol.messages import Open, OpenFigures, Prove
from protocol.wire import Header


class Table(SQLModel, registry=registry()):
    """Tables of the protocol state, apart from every other database's."""


class _SessionRow(Table, table=True):
    __tablename__ = "session"
    kind: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    session: bytes = Field(primary_key=True)
    expires: int = Field(sa_type=BigInteger, index=True)


class _OpeningRow(Table, table=True):
    __tablename__ = "opening"
    requester: str = Field(primary_key=True)
    session: bytes = Field(primary_key=True)
    chunk: int = Field(primary_key=True)
    x_digest: bytes


class _ChargeRow(Table, table=True):
    __tablename__ = "charge"
    kind: str = Field(primary_key=True)
    sender: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    used: int = Field(sa_type=BigInteger)


class LogEntry(Table, table=True):
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
GRACE: Final = 3_600
"""Seconds beyond its expiry for which a session is remembered: a clock set back must not make it new."""
EMPTYING: Final = 60
"""Seconds between two times that the write-ahead log is emptied of sessions that were forgotten."""

# Each claim is one statement: the database decides who was first, whatever runs at the same time.
_CLAIM_SESSION: Final = (
    "INSERT INTO session (kind, sender, session, expires) VALUES (:kind, :sender, :session, :expires) "
    "ON CONFLICT DO NOTHING"
)
_CLAIM_OPENING: Final = (
    "INSERT INTO opening (requester, session, chunk, x_digest) VALUES (:requester, :session, :chunk, :x_digest) "
    "ON CONFLICT DO NOTHING"
)
_OPENED: Final = (
    "SELECT 1 FROM opening WHERE requester = :requester AND session = :session AND chunk = :chunk "
    "AND x_digest = :x_digest"
)
_CHARGE: Final = (
    "INSERT INTO charge (kind, sender, period, used) VALUES (:kind, :sender, :period, :amount) "
    "ON CONFLICT (kind, sender, period) DO UPDATE SET used = charge.used + excluded.used "
    "WHERE charge.used + excluded.used <= :limit"
)
# On PostgreSQL what another request is forgetting just now is left to it: waiting for each other might be a deadlock.
_FORGET: Final = "DELETE FROM session WHERE expires < :before"
_FORGET_ON_POSTGRESQL: Final = (
    "DELETE FROM session WHERE (kind, sender, session) IN "
    "(SELECT kind, sender, session FROM session WHERE expires < :before FOR UPDATE SKIP LOCKED)"
)
_LOG: Final = (
    "INSERT INTO log (time, kind, sender, purpose, m, outcome) VALUES (:time, :kind, :sender, :purpose, :m, :outcome)"
)


class ProtocolState:
    """The only code that queries sessions, openings, quotas and the log: a party's `protocol.rounds.ledger.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._emptied = 0
        self._forget = _FORGET_ON_POSTGRESQL if engine.dialect.name == "postgresql" else _FORGET
        migrate(engine, "state")

    def admit(self, kind: str, header: Header, allowance: Allowance, now: int) -> None:
        """Record a request's session, charge it and log it, in one transaction; forget sessions long expired.

        Raises:
            ReplayedError: this sender's session of this kind was recorded before.
            QuotaError: what is left of the allowance does not cover it; `retry_after` is when its period ends.
        """
        session = {"kind": kind, "sender": header.sender, "session": header.session, "expires": header.expires}
        with claiming(self._engine) as run:
            forgotten = run(self._forget, {"before": now - GRACE}).rowcount
            if not _claimed(run, _CLAIM_SESSION, session):
                raise ReplayedError("this session was used before")
            charge(run, kind, header.sender, header.m, allowance, now)
            log(run, kind, header, header.m, ADMITTED, now)
        if forgotten and abs(now - self._emptied) >= EMPTYING:
            self._emptied = now
            forget_log(self._engine)

    def admit_opening(self, ask: Header, chunk: int, x: bytes, m: int, allowance: Allowance, now: int) -> None:
        """Record that a chunk is opened for x and nothing else, charge and log it. Openings are never forgotten.

        Raises:
            SpentError: it was opened before, be it for the same x.
            QuotaError: what is left of the allowance does not cover it.
        """
        opening = {"requester": ask.sender, "session": ask.session, "chunk": chunk, "x_digest": _digest(ask.epoch, x)}
        with claiming(self._engine) as run:
            if not _claimed(run, _CLAIM_OPENING, opening):
                raise SpentError("this chunk was opened before")
            charge(run, Open.TYPE, ask.sender, m, allowance, now)
            log(run, Open.TYPE, ask, m, ADMITTED, now)

    def admit_figures(self, request: Header, xs: Sequence[bytes], now: int) -> None:
        """Record that the sums of C's session are opened for these x and nothing else, and log it.

        What was opened for the same x may be opened again, for its shares are the same: an answer may have been lost.

        Raises:
            SpentError: one was opened before for another x.
        """
        with claiming(self._engine) as run:
            for chunk, x in enumerate(xs):
                opening: dict[str, object] = {
                    "requester": request.sender,
                    "session": request.session,
                    "chunk": chunk,
                    "x_digest": _digest(request.epoch, x),
                }
                if not _claimed(run, _CLAIM_OPENING, opening) and run(_OPENED, opening).fetchone() is None:
                    raise SpentError("these figures were opened before, for another sum")
            log(run, OpenFigures.TYPE, request, request.m, ADMITTED, now)

    def admit_proof(self, request: Header, requester: str, chunk: int, x: bytes, now: int) -> None:
        """Record that the share of a chunk, opened for exactly this x, is proven, and log it.

        Raises:
            SpentError: it was not opened for this x.
            ReplayedError: its share was proven before.
        """
        x_digest = _digest(request.epoch, x)
        opening = {"requester": requester, "session": request.session, "chunk": chunk, "x_digest": x_digest}
        kind = f"{Prove.TYPE} {chunk}"
        proof = {"kind": kind, "sender": requester, "session": request.session, "expires": request.expires}
        with claiming(self._engine) as run:
            if run(_OPENED, opening).fetchone() is None:
                raise SpentError("nothing was opened for this chunk and challenge")
            if not _claimed(run, _CLAIM_SESSION, proof):
                raise ReplayedError("this share was proven before")
            log(run, Prove.TYPE, request, request.m, ADMITTED, now)

    def charge(self, kind: str, sender: str, amount: int, allowance: Allowance, now: int) -> None:
        """Charge what is no message between parties, such as what a subject asks for at its door.

        Raises:
            QuotaError: what is left of the allowance does not cover it.
        """
        with claiming(self._engine) as run:
            charge(run, kind, sender, amount, allowance, now)

    def refuse(self, kind: str, header: Header | None, reason: str, now: int) -> None:
        """Log a refused request; without a header its sender is not known."""
        with claiming(self._engine) as run:
            log(run, kind, header, header.m if header else 0, reason, now)

    def charges(self) -> dict[tuple[str, str, str], int]:
        """Subjects charged so far, by kind, sender and period."""
        with Session(self._engine) as database:
            return {(row.kind, row.sender, row.period): row.used for row in database.exec(select(_ChargeRow))}

    def openings(self) -> set[tuple[str, bytes, int]]:
        """Requester, session and chunk of everything that was opened."""
        with Session(self._engine) as database:
            return {(row.requester, row.session, row.chunk) for row in database.exec(select(_OpeningRow))}

    def entries(self) -> list[LogEntry]:
        """The log, oldest first."""
        with Session(self._engine) as database:
            return list(database.exec(select(LogEntry).order_by(col(LogEntry.number))))


def _claimed(run: Run, claim: str, values: dict[str, object]) -> bool:
    return run(claim, values).rowcount == 1


def charge(run: Run, kind: str, sender: str, amount: int, allowance: Allowance, now: int) -> None:
    """Charge an amount inside a transaction; what was used never exceeds the allowance, whatever runs at once.

    Raises:
        QuotaError: what is left of the allowance does not cover it.
    """
    charge = {"kind": kind, "sender": sender, "period": allowance.period, "amount": amount, "limit": allowance.limit}
    if amount > allowance.limit or not _claimed(run, _CHARGE, charge):
        raise QuotaError("the quota does not cover this request", retry_after=max(1, allowance.ends - now))


def log(run: Run, kind: str, header: Header | None, m: int, outcome: str, now: int) -> None:
    """Log a request inside a transaction."""
    sender, purpose = (header.sender, header.purpose) if header else ("", "")
    entry = {"time": now, "kind": kind, "sender": sender, "purpose": purpose, "m": m, "outcome": outcome}
    run(_LOG, entry)


def _digest(epoch: int, x: bytes) -> bytes:
    """What was opened; with its epoch, since every one has a modulus and shares of its own."""
    return sha256(epoch.to_bytes(4, "big") + x).digest()
