"""What a migration leaves to do because it takes the node's key: rows of version 0001 get digests and a first step."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, select, update

from nodes.life import Act, Transition
from nodes.storage.cipher import ColumnCipher
from nodes.storage.records import BATCH, Records, place
from nodes.storage.rows import decode, decode_life, encode, encode_life
from nodes.storage.tables import LISTING
from nodes.storage.trail import Trail

TO_BRING_OVER: Final = date(1, 1, 1)
"""The deadline that migration 0002 gives to rows that are not brought over yet."""

_ACTOR: Final = "migration"


def bring_over(
    engine: Engine,
    writing: Callable[[], AbstractContextManager[Connection]],
    cipher: ColumnCipher,
    records: Records,
    trail: Trail,
) -> None:
    """Bring all rows over that migration 0002 left, batch by batch; an interrupted run goes on where it stopped."""
    waiting = select(LISTING.c.number).where(LISTING.c.due_on == TO_BRING_OVER).limit(1)
    with engine.connect() as connection:
        is_done = connection.execute(waiting).first() is None
    while not is_done:
        with writing() as connection:
            is_done = not _bring_over(connection, cipher, records, trail)


def _bring_over(connection: Connection, cipher: ColumnCipher, records: Records, trail: Trail) -> int:
    columns = select(LISTING.c.number, LISTING.c.content, LISTING.c.payload, LISTING.c.life)
    waiting = columns.where(LISTING.c.due_on == TO_BRING_OVER).order_by(LISTING.c.number).limit(BATCH)
    rows = connection.execute(waiting).all()
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
            "due_on": lived.due,
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


def _noon(day: date) -> int:
    """When it happened is not known, but its day is."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
