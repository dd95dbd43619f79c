"""How listings, their summaries, lives and steps are stored: as JSON texts, of which only the life is not encrypted."""

import json
from datetime import date
from functools import lru_cache
from typing import Any, Final

from pydantic_core import from_json

from nodes.life import Act, Transition
from nodes.lifecycle import Clock, Life, State
from nodes.listings import Listing
from protocol.identifiers import Identifier

_ENCODE: Final = json.JSONEncoder(sort_keys=True).encode
_DATES: Final = ("decided_on", "served_on", "expires_on")
_SUMMARY_BYTES: Final = 192


def encode(listing: Listing) -> bytes:
    """Encode a listing; equal listings give equal bytes."""
    return _dump(_fields(listing))


def content(listing: Listing) -> bytes:
    """What tells one listing from another: of a row of official snapshots, all but the day of publication."""
    fields = _fields(listing)
    if listing.published:
        del fields["decided_on"], fields["served_on"]
    return _dump(fields)


def decode(payload: bytes) -> Listing:
    """Decode what `encode` made."""
    fields: dict[str, Any] = from_json(payload)
    for name in _DATES:
        fields[name] = fields[name] and date.fromisoformat(fields[name])
    fields["identifiers"] = tuple(Identifier(**identifier) for identifier in fields["identifiers"])
    return Listing(**fields)


def summary(listing: Listing) -> bytes:
    """What a listing's standing depends on, and nothing that tells whose it is: all that a question needs of it.

    Of multiples of 192 bytes, so that the length of its ciphertext does not tell its ground.
    """
    days = (_day(day) for day in (listing.decided_on, listing.served_on, listing.expires_on))
    of_subject = listing.register, listing.subject_kind, listing.ground
    encoded = _dump([*of_subject, *days, listing.severity, listing.points])
    return encoded + b" " * (-len(encoded) % _SUMMARY_BYTES)


def from_summary(encoded: bytes) -> Listing:
    """The listing of a summary, with everything left out that its standing does not depend on."""
    register, kind, ground, decided, served, expires, severity, points = from_json(encoded)
    decided_on, served_on, expires_on = date.fromisoformat(decided), _read_day(served), _read_day(expires)
    return Listing(register, kind, "", (), ground, "", decided_on, served_on, severity, expires_on, points)


def encode_life(life: Life, listing: Listing) -> str | None:
    """Encode what has happened to a listing; None where nothing has since it was entered."""
    if life == Life(listing.served_on):
        return None
    fields = {
        "served_on": _day(life.served_on),
        "serve_by": _day(life.serve_by),
        "dispute": _clock(life.dispute),
        "repair": _clock(life.repair),
        "suspended_on": _day(life.suspended_on),
        "renewed_on": _day(life.renewed_on),
        "ended": life.ended and life.ended.value,
        "ended_on": _day(life.ended_on),
        "ended_by": life.ended_by,
        "replaced_by": life.replaced_by,
    }
    return json.dumps({name: value for name, value in fields.items() if value}, sort_keys=True)


def decode_life(text: str | None, listing: Listing) -> Life:
    """Decode what `encode_life` made."""
    if text is None:
        return _begun(listing.served_on)
    fields: dict[str, Any] = json.loads(text)
    for name in ("served_on", "serve_by", "suspended_on", "renewed_on", "ended_on"):
        fields[name] = _read_day(fields.get(name))
    for name in ("dispute", "repair"):
        clock = fields.get(name)
        fields[name] = clock and Clock(clock[0], date.fromisoformat(clock[1]), date.fromisoformat(clock[2]))
    fields["ended"] = State(fields["ended"]) if "ended" in fields else None
    return Life(**fields)


@lru_cache
def _begun(served_on: date | None) -> Life:
    return Life(served_on)


def encode_step(step: Transition) -> bytes:
    """Encode what of a step may tell of its subject: reason, document, days, replacement."""
    fields = {
        "reason": step.reason,
        "document": step.document,
        "on": _day(step.on),
        "due": _day(step.due),
        "replacement": step.replacement,
    }
    return _dump({name: value for name, value in fields.items() if value})


def decode_step(act: str, actor: str, time: int, details: bytes | None) -> Transition:
    """Decode a step; without its details, which were erased, only act, actor and time are left."""
    fields: dict[str, Any] = json.loads(details) if details else {}
    for name in ("on", "due"):
        fields[name] = _read_day(fields.get(name))
    return Transition(Act(act), actor, time, **fields)


def _fields(listing: Listing) -> dict[str, Any]:
    fields = {
        "register": listing.register,
        "subject_kind": listing.subject_kind,
        "name": listing.name,
        "identifiers": [{"scheme": it.scheme, "value": it.value} for it in listing.identifiers],
        "ground": listing.ground,
        "decision_ref": listing.decision_ref,
        "decided_on": _day(listing.decided_on),
        "served_on": _day(listing.served_on),
        "severity": listing.severity,
        "expires_on": _day(listing.expires_on),
        "raw": dict(listing.raw),
    }
    if listing.points is not None:
        fields["points"] = listing.points
    if listing.published:
        fields["published"] = True
    return fields


def _dump(fields: dict[str, Any] | list[Any]) -> bytes:
    return _ENCODE(fields).encode()


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _read_day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _clock(clock: Clock | None) -> list[str] | None:
    return [clock.asked, clock.since.isoformat(), clock.due.isoformat()] if clock else None
