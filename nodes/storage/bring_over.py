"""What migrations leave to do because it takes the node's key.

Rows of version 0001 get digests and a first step; seals of versions before 0003 are encrypted anew, with summaries.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, select, update

from nodes.life import Act, Transition
from nodes.storage.cipher import ColumnCipher
from nodes.storage.records import BATCH, Records, place
from nodes.storage.rows import decode, decode_life, encode, encode_life, summary
from nodes.storage.seals import SealPlaces, entry
from nodes.storage.tables import LISTING, SEAL
from nodes.storage.trail import Trail

TO_BRING_OVER: Final = date(1, 1, 1)
"""The deadline that migration 0002 gives to rows that are not brought over yet."""

TO_SUMMARISE: Final = date(1, 1, 2)
"""The deadline that migration 0003 gives to rows whose seals are not brought over yet."""

_ACTOR: Final = "migration"


def bring_over(
    engine: Engine,
    writing: Callable[[], AbstractContextManager[Connection]],
    cipher: ColumnCipher,
    records: Records,
    trail: Trail,
) -> None:
    """Bring all rows over that migrations left, batch by batch; an interrupted run goes on where it stopped."""
    waiting = select(LISTING.c.number).where(LISTING.c.due_on <= TO_SUMMARISE).limit(1)
    with engine.connect() as connection:
        is_done = connection.execute(waiting).first() is None
    while not is_done:
        with writing() as connection:
            is_done = not (_from_first(connection, cipher, records, trail) or _summarise(connection, cipher))


def _waiting(connection: Connection, due: date) -> Sequence[Any]:
    columns = select(LISTING.c.number, LISTING.c.content, LISTING.c.payload, LISTING.c.life)
    return connection.execute(columns.where(LISTING.c.due_on == due).order_by(LISTING.c.number).limit(BATCH)).all()


def _from_first(connection: Connection, cipher: ColumnCipher, records: Records, trail: Trail) -> int:
    rows = _waiting(connection, TO_BRING_OVER)
    indexed, steps = [], []
    for number, old, payload, life in rows:
        fields = json.loads(cipher.decrypt(payload, *place(old)))
        fields.pop("disputed_since", None)  # not there if the row was brought over once, and down again
        listing = decode(json.dumps(fields).encode())
        # The migration knew of a dispute, but not the day of service, which is encrypted.
        digest, lived = records.content(listing), replace(decode_life(life, listing), served_on=listing.served_on)
        values = {
            "content": digest,
            "life": encode_life(lived, listing),
            "due_on": TO_SUMMARISE,
            "payload": cipher.encrypt(encode(listing), *place(digest)),
        }
        connection.execute(update(LISTING).where(LISTING.c.number == number).values(values))
        indexed.append((number, listing))
        assert listing.served_on is not None  # noqa: S101  # version 0001 knew no drafts
        steps.append((listing.register, digest, Transition(Act.ENTER, _ACTOR, _noon(listing.served_on))))
        if lived.dispute is not None:
            since = lived.dispute.since
            disputed = Transition(Act.OBJECT, _ACTOR, _noon(since), "disputed before", on=since, due=lived.dispute.due)
            steps.append((listing.register, digest, disputed))
    if rows:
        records.index(connection, indexed)
        trail.append(connection, steps)
    return len(rows)


def _summarise(connection: Connection, cipher: ColumnCipher) -> int:
    rows = _waiting(connection, TO_SUMMARISE)
    for number, content, payload, life in rows:
        listing = decode(cipher.decrypt(payload, *place(content)))
        told = summary(listing)
        for seal in connection.execute(select(SEAL).where(SEAL.c.listing == number)).all():
            of_seal = [column == getattr(seal, column.name) for column in SEAL.primary_key.columns]
            sealed = cipher.encrypt_at(
                entry(cipher.decrypt(seal.entry, *_place_before(seal)), told),
                SealPlaces(seal.agreement, seal.epoch).of(number, seal.position, seal.prefix),
            )
            connection.execute(update(SEAL).where(*of_seal).values(entry=sealed))
        due = decode_life(life, listing).due
        connection.execute(update(LISTING).where(LISTING.c.number == number).values(due_on=due))
    return len(rows)


def _place_before(seal: Row[Any]) -> tuple[bytes, ...]:
    """Where versions before 0003 had a seal's pseudonym."""
    numbers = (b"%d" % it for it in (seal.epoch, seal.listing, seal.position, seal.prefix))
    return b"seal", b"pseudonym", seal.agreement.encode(), *numbers


def _noon(day: date) -> int:
    """When it happened is not known, but its day is."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
