"""What was erased leaves SQLite's files: the freed pages, the write-ahead log."""

import secrets
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine

from nodes.life import Act, Transition
from nodes.lifecycle import Life, Record
from nodes.listings import Listing
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.state import EMPTYING, GRACE, ProtocolState
from protocol.agreement.terms import Allowance
from protocol.identifiers import Identifier
from protocol.wire import Header
from tests.unit.nodes.stores import entered

NOON = 1_795_000_000
DAY = date(2026, 1, 15)


def pragma(engine: Engine, statement: str) -> int:
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA {statement}")
        (value,) = cursor.fetchone() or (0,)
        return int(value)


def store(path: Path) -> tuple[Engine, ListingStore, list[str]]:
    """A store of 300 listings and their references."""
    engine = open_engine(f"sqlite:///{path}")
    made = ListingStore(engine, ColumnCipher(secrets.token_bytes(KEY_BYTES), secrets.token_bytes), 27)
    listings = [
        Listing("r", "legal", f"Firm {n}", (Identifier("cn.firm", f"F{n}"),), "debarred", f"D{n}", DAY, DAY, 2)
        for n in range(300)
    ]
    made.add_pending("procurement", 1, listings, entered())
    return engine, made, [made.reference(listing) for listing in listings]


def erased(record: Record) -> tuple[Transition, Life]:
    """The last step, whatever the state."""
    return Transition(Act.ERASE, "head", NOON, "its time is over"), record.life


def header(session: bytes, now: int) -> Header:
    return Header("procurement", 1, 1, "bank", "agencies", session, "lend", 1, now, now + 60, b"")


def test_erasure_rewrites_the_database(tmp_path: Path) -> None:
    engine, made, references = store(tmp_path / "listings.sqlite")
    made.erase(references[::2], erased)
    assert pragma(engine, "freelist_count") == 0
    assert (tmp_path / "listings.sqlite-wal").stat().st_size == 0
    assert [record.reference for record in made.all()] == references[1::2]


def test_erasure_says_so_where_a_reader_keeps_the_log(tmp_path: Path) -> None:
    engine, made, references = store(tmp_path / "listings.sqlite")
    with closing(sqlite3.connect(tmp_path / "listings.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM listing").fetchall()
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
        with pytest.raises(TimeoutError, match="write-ahead log"):
            made.erase(references[:1], erased)
    made.erase(references[1:2], erased)
    assert (tmp_path / "listings.sqlite-wal").stat().st_size == 0


def test_forgotten_sessions_leave_the_log(tmp_path: Path) -> None:
    state = ProtocolState(open_engine(f"sqlite:///{tmp_path / 'state.sqlite'}"))
    sessions = [secrets.token_bytes(16) for _ in range(20)]

    def admit(session: bytes, now: int) -> bytes:
        state.admit("ask", header(session, now), Allowance(100, "day", now + 86_400), now)
        return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))

    for second, session in enumerate(sessions):
        assert session in admit(session, NOON + second)
    left = admit(secrets.token_bytes(16), NOON + 60 + GRACE + 10)
    assert [session in left for session in sessions] == [False] * 10 + [True] * 10
    left = admit(secrets.token_bytes(16), NOON + 60 + GRACE + 10 + EMPTYING)
    assert not any(session in left for session in sessions)
