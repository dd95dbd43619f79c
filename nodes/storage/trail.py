"""The audit trail: every step of every listing, appended, chained by hashes, never changed.

An entry's hash covers the one before and all of the entry but its details, of which it covers a keyed digest: so
details that must be erased can be, and whatever else is added, changed, moved or taken out of the middle is found. What
was cut off at the end is found by whoever kept the number and hash of a later entry. Every method works inside the
transaction of the connection it is given.
"""

from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from hmac import compare_digest
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, exists, func, select, text, update

from nodes.life import Act, Transition
from nodes.storage.cipher import ColumnCipher
from nodes.storage.rows import decode_step, encode_step
from nodes.storage.tables import EVENT, LISTING
from protocol import labels
from protocol.codec import concat
from protocol.errors import ConcordatError, SealError

_BATCH: Final = 500
_NOTHING: Final = bytes(32)


class TrailError(ConcordatError):
    """The audit trail does not verify; says from which entry on."""


class Head(NamedTuple):
    """The last entry of a trail: its number and hash. Kept elsewhere, it shows later whether the end was cut off."""

    number: int
    hash: bytes


class Noted(NamedTuple):
    """A step as the trail has it: of which listing, by its content's digest, in which register."""

    number: int
    register: str
    content: bytes
    step: Transition
    is_erased: bool


_ADD: Final = text(  # as in records.py
    "INSERT INTO event (number, time, register_id, content, act, actor, digest, details, hash) "
    "VALUES (:number, :time, :register_id, :content, :act, :actor, :digest, :details, :hash)"
)


class Trail:
    """The audit trail of one agency."""

    def __init__(self, cipher: ColumnCipher) -> None:
        self._cipher = cipher

    def append(self, connection: Connection, steps: Sequence[tuple[str, bytes, Transition]]) -> None:
        """Append steps, each with the register and content's digest of its listing."""
        number, previous = self.head(connection)
        rows = []
        encoded: dict[Transition, tuple[bytes, bytes]] = {}  # an import's rows share one step
        for register, content, step in steps:
            number += 1
            if step not in encoded:
                details = encode_step(step)
                encoded[step] = details, self._cipher.digest(details)
            details, digest = encoded[step]
            row = {
                "number": number,
                "time": step.time,
                "register_id": register,
                "content": content,
                "act": step.act.value,
                "actor": step.actor,
                "digest": digest,
            }
            row["hash"] = previous = _hash(previous, row)
            row["details"] = self._cipher.encrypt(details, *_place(number))
            rows.append(row)
        if rows:
            connection.execute(_ADD, rows)

    def head(self, connection: Connection) -> Head:
        """The last entry; number 0 while there is none."""
        last = select(EVENT.c.number, EVENT.c.hash).order_by(EVENT.c.number.desc()).limit(1)
        row = connection.execute(last).first()
        return Head(*row) if row else Head(0, _NOTHING)

    def of(self, connection: Connection, content: bytes) -> list[Noted]:
        """The steps of one listing, in order."""
        statement = select(EVENT).where(EVENT.c.content == content).order_by(EVENT.c.number)
        return [self._noted(row) for row in connection.execute(statement).mappings()]

    def of_each(self, connection: Connection, contents: Collection[bytes]) -> dict[bytes, list[Transition]]:
        """The steps of several listings, each's in order."""
        statement = select(EVENT).where(EVENT.c.content.in_(contents)).order_by(EVENT.c.number)
        found: dict[bytes, list[Transition]] = {content: [] for content in contents}
        for row in connection.execute(statement).mappings():
            found[bytes(row["content"])].append(self._noted(row).step)
        return found

    def of_erased(self, connection: Connection, register: str) -> Iterator[list[Transition]]:
        """The steps of each listing of a register that is not stored any more; their details are erased."""
        is_stored = exists().where(LISTING.c.content == EVENT.c.content)
        statement = select(EVENT).where(EVENT.c.register_id == register, ~is_stored)
        statement = statement.order_by(EVENT.c.content, EVENT.c.number).execution_options(yield_per=_BATCH)
        with connection.execute(statement) as found:
            for _, rows in groupby(found.mappings(), lambda row: bytes(row["content"])):
                yield [self._noted(row).step for row in rows]

    def standing(self, connection: Connection) -> int:
        """How many listings were entered, less those that were erased, or refused when their turn to be sealed came."""
        statement = select(EVENT.c.act, func.count()).group_by(EVENT.c.act)
        counts = {act: int(count) for act, count in connection.execute(statement)}
        return counts.get(Act.ENTER.value, 0) - counts.get(Act.ERASE.value, 0) - counts.get(Act.REFUSE.value, 0)

    def after(self, connection: Connection, number: int, limit: int) -> list[Noted]:
        """The next entries after a number."""
        statement = select(EVENT).where(EVENT.c.number > number).order_by(EVENT.c.number).limit(limit)
        return [self._noted(row) for row in connection.execute(statement).mappings()]

    def erased(self, connection: Connection, contents: Collection[bytes]) -> dict[bytes, int]:
        """Which of these listings were erased, and when last (Unix seconds)."""
        statement = select(EVENT.c.content, func.max(EVENT.c.time)).group_by(EVENT.c.content)
        which = EVENT.c.content.in_(contents), EVENT.c.act == Act.ERASE.value
        return {bytes(content): time for content, time in connection.execute(statement.where(*which))}

    def forget(self, connection: Connection, contents: Collection[bytes]) -> None:
        """Erase the details of these listings' entries; the chain goes on holding."""
        statement = update(EVENT).where(EVENT.c.content.in_(contents)).values(details=None)
        connection.execute(statement)

    def verify(self, connection: Connection, kept: Head | None = None) -> Head:
        """Recompute the whole chain; `kept` is a head that was noted elsewhere. Returns the head.

        Raises:
            TrailError: an entry was changed, added, or left out, or the trail ends before the kept head.
        """
        number, previous = 0, _NOTHING
        bare: dict[bytes, int] = {}  # listings with an entry without details, and its number
        for row in self._rows(connection):
            if row["number"] != number + 1 or not _is_chained(previous, row):
                raise TrailError(f"the audit trail does not verify from entry {number + 1} on")
            number, previous = row["number"], row["hash"]
            if row["act"] in {Act.ERASE, Act.REFUSE}:
                bare.pop(row["content"], None)  # what was noted before; why it was erased stays
            if row["details"] is None:
                bare[row["content"]] = number
            elif not self._are_noted(row):
                raise TrailError(f"the details of entry {number} of the audit trail are not those that were noted")
            if kept is not None and number == kept.number and previous != kept.hash:
                raise TrailError(f"entry {number} of the audit trail is not the one that was kept")
        if kept is not None and number < kept.number:
            raise TrailError(f"the audit trail ends with entry {number}, before the one that was kept")
        for entry in bare.values():
            raise TrailError(f"the details of entry {entry} of the audit trail are gone, and nobody erased its listing")
        return Head(number, previous)

    def _are_noted(self, row: Any) -> bool:
        try:
            return compare_digest(self._cipher.digest(self._details(row)), row["digest"])
        except (SealError, TypeError):  # SQLite holds any type in any column
            return False

    def _rows(self, connection: Connection) -> Iterator[Any]:
        statement = select(EVENT).order_by(EVENT.c.number).execution_options(yield_per=_BATCH)
        with connection.execute(statement) as found:
            yield from found.mappings()

    def _noted(self, row: Any) -> Noted:
        details = None if row["details"] is None else self._details(row)
        step = decode_step(row["act"], row["actor"], row["time"], details)
        return Noted(row["number"], row["register_id"], row["content"], step, details is None)

    def _details(self, row: Any) -> bytes:
        return self._cipher.decrypt(row["details"], *_place(row["number"]))


def _is_chained(previous: bytes, row: Any) -> bool:
    try:
        return compare_digest(_hash(previous, row), row["hash"])
    except (AttributeError, OverflowError, TypeError):  # a value that no entry has: SQLite holds any type in any column
        return False


def _hash(previous: bytes, row: Any) -> bytes:
    numbers = row["number"].to_bytes(8, "big") + row["time"].to_bytes(8, "big")
    texts = concat(row["register_id"].encode(), row["act"].encode(), row["actor"].encode())
    return sha256(concat(labels.AUDIT_TRAIL, previous, numbers, texts, row["content"], row["digest"])).digest()


def _place(number: int) -> tuple[bytes, ...]:
    return b"event", b"details", b"%d" % number
