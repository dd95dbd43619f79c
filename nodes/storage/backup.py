"""Backups of the listings database: one encrypted file, from either kind of database and back into either.

The file is a stream of chunks under the node's key, each bound to the file, its place and whether it is the last (as in
Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", STREAM):
altered, cut or put together from two, it does not open. Inside are JSON lines, one a row, compressed. What was erased
before is in no new backup. The state database is never copied: put back, it would let sums be opened twice.
"""

import base64
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Connection, Date, Engine, LargeBinary, func, insert, select, text

from nodes.life import Transition
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import VERSIONS, forget_erased, migrate, reading, writing
from nodes.storage.tables import LISTING, Table
from nodes.storage.trail import Head, Trail, TrailError
from protocol import labels
from protocol.errors import PeerError, SealError

_MAGIC: Final = b"concordat-backup 1\n"
_ID_BYTES: Final = 16
_CHUNK: Final = 1 << 20
_ROWS: Final = 500
_NO_LISTING: Final = bytes(32)


class BackupError(PeerError):
    """A backup cannot be put back; nothing was changed."""


def backup(engine: Engine, cipher: ColumnCipher, path: Path, id_: bytes) -> Head:
    """Write everything of the listings database into a new file, as it is at one moment; returns the trail's head.

    `id_` are 16 fresh random bytes. The file is there whole, or not at all.

    Raises:
        FileExistsError: there is such a file.
    """
    if path.exists():
        raise FileExistsError(path)
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_MAGIC + id_)
        with reading(engine) as connection:
            head = Trail(cipher).head(connection)
            chunks = _Sealing(file, cipher, id_)
            with gzip.GzipFile(fileobj=chunks, mode="wb", mtime=0) as lines:
                for line in _lines(connection):
                    lines.write(json.dumps(line).encode() + b"\n")
            chunks.finish()
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    return head


def restore(engine: Engine, cipher: ColumnCipher, path: Path, restored: Transition, *, replace: bool = False) -> Head:
    """Put a backup back, all of it or nothing; `restored` is noted in the trail. Returns the backup's own head.

    Raises:
        BackupError: not a backup of this node, of another version, damaged, or the database is not empty and not to be
            replaced.
    """
    migrate(engine, "listings")
    trail = Trail(cipher)
    try:
        with path.open("rb") as file, writing(engine) as connection:
            _make_room(connection, replace=replace)
            for table, rows in _batches(_opened(file, cipher)):
                connection.execute(insert(Table.metadata.tables[table]), rows)
            head = trail.verify(connection)
            trail.append(connection, [("", _NO_LISTING, restored)])
            if connection.dialect.name == "postgresql":
                last = select(
                    func.setval(text("pg_get_serial_sequence('listing', 'number')"), func.max(LISTING.c.number))
                )
                connection.execute(last)
    except (SealError, TrailError, EOFError, gzip.BadGzipFile, KeyError, TypeError, ValueError) as error:
        raise BackupError("not a whole backup of this node") from error
    if replace:
        forget_erased(engine)
    return head


def _make_room(connection: Connection, *, replace: bool) -> None:
    for table in reversed(Table.metadata.sorted_tables):
        if replace:
            connection.execute(table.delete())
        elif connection.execute(select(table).limit(1)).first() is not None:
            raise BackupError("the database is not empty")


def _lines(connection: Connection) -> Iterator[list[Any]]:
    yield ["version", VERSIONS["listings"]]
    for table in Table.metadata.sorted_tables:
        statement = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS)
        with connection.execute(statement) as found:
            for row in found.mappings():
                yield [table.name, {name: _plain(value) for name, value in row.items()}]


def _batches(lines: Iterable[list[Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of one table after another, as many at a time as are well inserted at once."""
    lines = iter(lines)
    if next(lines, None) != ["version", VERSIONS["listings"]]:
        raise BackupError("a backup of another version: put it back with that version, and bring the database up")
    name, rows = "", list[dict[str, Any]]()
    for table, row in lines:
        if rows and (table != name or len(rows) == _ROWS):
            yield name, rows
            rows = []
        name = table
        rows.append(_typed(table, row))
    if rows:
        yield name, rows


def _opened(file: BinaryIO, cipher: ColumnCipher) -> Iterator[list[Any]]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BackupError("not a backup")
    chunks = io.BufferedReader(_Unsealing(file, cipher, file.read(_ID_BYTES)))
    with gzip.GzipFile(fileobj=chunks, mode="rb") as lines:
        for line in lines:
            yield json.loads(line)


class _Sealing(io.RawIOBase):
    """Takes bytes, and writes them as sealed chunks."""

    def __init__(self, file: BinaryIO, cipher: ColumnCipher, id_: bytes) -> None:
        self._file, self._cipher, self._id = file, cipher, id_
        self._waiting = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        while len(self._waiting) > _CHUNK:
            self._put(bytes(self._waiting[:_CHUNK]), last=False)
            del self._waiting[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write what is left, as the last chunk."""
        self._put(bytes(self._waiting), last=True)

    def _put(self, chunk: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(chunk, *_place(self._id, self._number, last=last))
        self._file.write(len(sealed).to_bytes(4, "big") + bytes([last]) + sealed)
        self._number += 1


class _Unsealing(io.RawIOBase):
    """Reads sealed chunks, and gives the bytes; the end is the last chunk's, and nothing follows it."""

    def __init__(self, file: BinaryIO, cipher: ColumnCipher, id_: bytes) -> None:
        self._file, self._cipher, self._id = file, cipher, id_
        self._left = b""
        self._number = 0
        self._is_done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._is_done:
            self._left = self._next()
        given = self._left[: len(buffer)]
        buffer[: len(given)] = given
        self._left = self._left[len(given) :]
        return len(given)

    def _next(self) -> bytes:
        head = self._file.read(5)
        length, last = int.from_bytes(head[:4], "big"), head[4:] == b"\1"
        if len(head) < 5 or length > 2 * _CHUNK:
            raise SealError("a backup that is cut")
        chunk = self._cipher.decrypt(self._file.read(length), *_place(self._id, self._number, last=last))
        if last and self._file.read(1):
            raise SealError("a backup with something behind it")
        self._number += 1
        self._is_done = last
        return chunk


def _place(id_: bytes, number: int, *, last: bool) -> tuple[bytes, ...]:
    return labels.BACKUP, id_, b"%d" % number, b"last" if last else b"more"


def _plain(value: object) -> object:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case date():
            return value.isoformat()
    return value


def _typed(table: str, row: dict[str, Any]) -> dict[str, Any]:
    columns = Table.metadata.tables[table].columns
    return {name: _value(columns[name].type, value) for name, value in row.items()}


def _value(kind: object, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, LargeBinary):
        return base64.b64decode(value, validate=True)
    if isinstance(kind, Date):
        return date.fromisoformat(value)
    return value
