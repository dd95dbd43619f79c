"""What was erased is in no file: not in the database, nor in its write-ahead log, nor in a backup made afterwards."""

import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from api.audit.claim import Claim, Evidence
from api.audit.grounds import ENTERED, Grounds, firm, listing
from federation.audit.search import Fragments
from nodes.life import Act, Transition
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from nodes.storage.state import GRACE, ProtocolState
from protocol.agreement.terms import Allowance
from protocol.identifiers import Identifier
from protocol.messages import Ask
from protocol.sealing import PSEUDONYM_BYTES
from protocol.wire import MAX_LIFETIME, SESSION_BYTES, Header

_EPOCH = ("procurement", 1)
_BUCKET_BITS = 14
_SPENT = 1_800_000_000
_SPLIT_PAGES = 0.01
_CHOOSE = """CREATE TEMP TABLE erased AS SELECT number, content FROM listing
WHERE lower(substr(hex(content), 1, 32)) IN (SELECT value FROM json_each(?))"""

Erase = Callable[[ListingStore, Path, Sequence[str]], None]


def _erased(grounds: Grounds, erase: Erase) -> tuple[dict[str, int], int]:
    """Erase every second of many listings; returns of how many blobs something is left, by file, and how many they are.

    The blobs are each listing's content, seals and digests of identifiers, and the details of its steps.
    """
    path = grounds.folder("residue") / "listings.sqlite"
    count = grounds.pick(200, 1000, 1000)
    store = ListingStore(
        open_engine(f"sqlite:///{path}"), ColumnCipher(secrets.token_bytes(KEY_BYTES), secrets.token_bytes), count
    )
    for start in range(0, 2 * count, 100):
        entered = [listing("tax", firm(number), _other(number)) for number in range(start, start + 100)]
        store.add_sealed(*_EPOCH, [(it, [_seal(), _seal()]) for it in entered], ENTERED)
    references = [record.reference for record in store.all()][::2]
    blobs = _blobs(path, references)
    erase(store, path, references)
    if left := {record.reference for record in store.all()}.intersection(references):
        raise AssertionError(f"{len(left)} listings are not erased")
    return _left(path, blobs), len(blobs)


def _other(number: int) -> Identifier:
    return Identifier("de.firm", f"D{number:06}")


def _seal() -> Seal:
    return Seal(secrets.randbits(_BUCKET_BITS), secrets.token_bytes(PSEUDONYM_BYTES))


def _blobs(path: Path, references: Sequence[str]) -> list[bytes]:
    """What of these listings must go: payloads, pseudonyms, identifiers' digests, the details of their steps."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(_CHOOSE, (json.dumps(references),))
        return [
            blob
            for statement in (
                "SELECT payload FROM listing WHERE number IN (SELECT number FROM erased)",
                "SELECT entry FROM seal WHERE listing IN (SELECT number FROM erased)",
                "SELECT digest FROM identifier WHERE listing IN (SELECT number FROM erased)",
                "SELECT details FROM event WHERE content IN (SELECT content FROM erased)",
            )
            for (blob,) in database.execute(statement)
        ]


def _left(path: Path, blobs: Sequence[bytes]) -> dict[str, int]:
    """Of how many blobs something is left: in each of the database's files, and in a backup made now."""
    backup = path.with_name(f"{path.stem}-backup")
    with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(backup)) as copy:
        database.backup(copy)
    fragments = Fragments(blobs)
    left = {file.name: len(fragments.search(file.read_bytes())) for file in sorted(path.parent.iterdir())}
    backup.unlink()
    return left


def _forgotten(grounds: Grounds) -> tuple[dict[str, int], int]:
    """Admit sessions, and another when half of them have long expired; returns how many of these are left, by file."""
    path = grounds.folder("residue") / "state.sqlite"
    state, count = ProtocolState(open_engine(f"sqlite:///{path}")), grounds.pick(100, 1000, 1000)
    sessions = [secrets.token_bytes(SESSION_BYTES) for _ in range(count)]
    for session in sessions:
        _admit(state, session, _SPENT)
        _admit(state, secrets.token_bytes(SESSION_BYTES), _SPENT + GRACE)
    _admit(state, secrets.token_bytes(SESSION_BYTES), _SPENT + GRACE + 2 * MAX_LIFETIME)
    return _left(path, sessions), count


def _admit(state: ProtocolState, session: bytes, now: int) -> None:
    header = Header(
        agreement="procurement",
        version=1,
        epoch=1,
        sender="bank",
        audience="agencies",
        session=session,
        purpose="lend",
        m=1,
        issued=now,
        expires=now + MAX_LIFETIME,
        answers=b"",
    )
    state.admit(Ask.TYPE, header, Allowance(1 << 20, "2027-01-15", now + 86_400), now)


def _remove(store: ListingStore, _path: Path, references: Sequence[str]) -> None:
    store.erase(references, lambda record: (Transition(Act.ERASE, "audit", _SPENT), record.life))


def _measure(grounds: Grounds) -> Evidence:
    erased, blobs = _erased(grounds, _remove)
    forgotten, sessions = _forgotten(grounds)
    findings = [f"something is left of {count} blobs in {name}" for name, count in erased.items() if count]
    findings += [
        f"{count} of {sessions} forgotten sessions are left in {name}"
        for name, count in forgotten.items()
        if count > max(1, sessions * _SPLIT_PAGES)
    ]
    figures = {"blobs": blobs, "left": sum(erased.values())}
    figures |= {"sessions": sessions, "sessions left": max(forgotten.values())}
    return Evidence(bool(findings), figures, findings)


def _plainly(secure: str, after: str) -> Erase:
    """Erase by another connection, with or without overwriting, and with or without emptying the log."""

    def erase(_store: ListingStore, path: Path, references: Sequence[str]) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for statement in ("PRAGMA foreign_keys = ON", f"PRAGMA secure_delete = {secure}"):
                database.execute(statement)
            database.execute(_CHOOSE, (json.dumps(references),))
            database.execute("UPDATE event SET details = NULL WHERE content IN (SELECT content FROM erased)")
            database.execute("DELETE FROM listing WHERE number IN (SELECT number FROM erased)")
            for statement in after.split(";"):
                database.execute(statement)

    return erase


_DEFECTS = {
    "rows only unlinked": (_plainly("OFF", "PRAGMA wal_checkpoint(TRUNCATE)"), "listings.sqlite"),
    "rows only unlinked, in a backup": (_plainly("OFF", "PRAGMA wal_checkpoint(TRUNCATE)"), "listings-backup"),
    "the log kept": (_plainly("ON", ""), "listings.sqlite-wal"),
}


def _control(grounds: Grounds) -> Evidence:
    missed = []
    figures = {}
    for name, (erase, file) in _DEFECTS.items():
        left, blobs = _erased(grounds, erase)
        figures[f"left, {name}"] = left[file]
        missed += [f"not found: {name}"] if left[file] < blobs / 10 else []
    return Evidence(not missed, figures, missed)


CLAIM = Claim(
    number=3,
    name="deletion-residue",
    statement=(
        "Of an erased listing and its seals nothing is left in any file of SQLite; of forgotten sessions, which are "
        "random numbers, at most one in a hundred: where a page was split."
    ),
    attack=(
        "Every second listing is erased; the database, its write-ahead log and a backup made afterwards are searched "
        "for the beginning, middle and end of each encrypted content, pseudonym, digest and detail of a step. Likewise "
        "for sessions that expired. (PostgreSQL keeps what was erased until it vacuums and recycles its log: no "
        "claim is made there.)"
    ),
    sizing=(
        "Deterministic: the blobs are random, so 16 bytes of one turn up by chance in 10⁸ bytes with probability below "
        "10⁻²⁵; 1,000 listings with 2,000 seals and digests and 1,000 steps fill pages of every kind, split and merged "
        "in random order."
    ),
    planted="Rows that are only unlinked (secure_delete off), found in database and backup; a log that is not emptied.",
    measure=_measure,
    control=_control,
)
