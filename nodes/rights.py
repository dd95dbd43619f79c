"""A subject's rights: what an agency tells of its listings, and which of them a subject may act on.

Everything here is computed from records, their steps, the agreement and the catalogue, as JSON that people read: dates
are ISO days, times UTC. Who is told, and that it is the subject, is decided before.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from nodes.catalogue import CatalogueEntry, Ground
from nodes.life import Act, Transition, TransitionError, earliest_repair
from nodes.lifecycle import Clock, Record, last_day, state, term_start, window_end
from nodes.listings import UnknownListingError, ground_of
from protocol.agreement.limits import condition
from protocol.agreement.model import Agreement

WAYS: Final[Mapping[str, Act]] = {
    "objection": Act.OBJECT,
    "correction": Act.REQUEST_CORRECTION,
    "repair": Act.REQUEST_REPAIR,
    "leaving": Act.LEAVE,
}
"""What a subject may do about a listing of its own, by the last part of its path."""

DOOR: Final = (
    "The portal of any agency of the agreement, under /subject, takes your objection to a listing of its own, and asks "
    "all agencies at once what they hold of you."
)
_HOW: Final[Mapping[str, str]] = {
    "objection": "Say why the listing should not be: until it is answered it restricts nothing; if that is late, it is "
    "suspended by itself.",
    "correction": "Say what is wrong and what is right; it is answered within the time of a correction.",
    "repair": "Where the listing has duties of repair, and its earliest day is there: say how they were done.",
    "leaving": "A scheme that you opted into you leave at any time; what it holds of you is erased.",
}
_TOO_LONG: Final = "This is longer than one answer can be: ask this agency at its own portal for the whole file."


def described(record: Record, entry: CatalogueEntry, today: date) -> dict[str, Any]:
    """One listing as it stands: reasons, basis, term and clocks; nothing of whom it is about.

    Raises:
        ListingError: its ground is not in the catalogue.
    """
    listing, life, ground = record.listing, record.life, ground_of(record.listing, entry)
    repair = entry.repair if ground.effect == "listing" else None
    return {
        "reference": record.reference,
        "register": listing.register,
        "title": entry.title,
        "state": state(record, entry, today).value,
        "ground": {"id": ground.id, "text": ground.text},
        "legal_basis_rank": ground.basis_rank,
        "decision_ref": listing.decision_ref,
        "decided_on": listing.decided_on.isoformat(),
        "served_on": _day(life.served_on),
        "objection_window_ends": _day(window_end(record, entry)),
        "term": {"from": term_start(record).isoformat(), "last_day": last_day(record, entry).isoformat()},
        "severity": listing.severity,
        "points": listing.points,
        "dispute": _clock(life.dispute),
        "repair": {
            "request": _clock(life.repair),
            "earliest": _day(earliest_repair(record, entry)),
            "duties": repair.duties,
        }
        if repair
        else None,
        "suspended_on": _day(life.suspended_on),
        "ended": {"as": life.ended.value, "on": _day(life.ended_on), "by": life.ended_by} if life.ended else None,
        "replaced_by": life.replaced_by or None,
    }


def identified(record: Record) -> dict[str, Any]:
    """Whom a listing is about."""
    listing = record.listing
    return {
        "kind": listing.subject_kind,
        "name": listing.name,
        "identifiers": [{"scheme": it.scheme, "value": it.value} for it in listing.identifiers],
    }


def step_of(step: Transition) -> dict[str, Any]:
    """One step of a listing's life; of an erased listing only act, actor and time are left."""
    return {
        "act": step.act.value,
        "actor": step.actor,
        "time": instant(step.time),
        "reason": step.reason,
        "document": step.document,
        "on": _day(step.on),
        "due": _day(step.due),
        "replacement": step.replacement or None,
    }


def instant(seconds: int) -> str:
    """Unix seconds as people read them: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def subject_file(
    agency: str,
    records: Sequence[Record],
    histories: Mapping[str, Sequence[Transition]],
    agreement: Agreement,
    entries: Mapping[str, CatalogueEntry],
    today: date,
) -> dict[str, Any]:
    """All that an agency holds of one subject: `histories` are the records' steps by reference."""
    name = next(it.name for it in agreement.agencies if it.id == agency)
    return {
        **_heading(agreement, agency, name, today),
        "whole": True,
        "listings": [
            _whole(record, histories[record.reference], agreement, entries[record.listing.register], today)
            for record in records
        ],
        "rights": dict(_HOW),
        "door": DOOR,
    }


def encoded(file: Mapping[str, Any], limit: int) -> bytes:
    """A file as JSON; where that is longer than `limit` bytes, nothing is cut: it says how many listings and where."""
    content = json.dumps(file, ensure_ascii=False).encode()
    if len(content) <= limit:
        return content
    short = {name: file[name] for name in ("agreement", "agency", "as_of")}
    short |= {"whole": False, "listings": [], "number": len(file["listings"]), "how": _TOO_LONG}
    return json.dumps(short, ensure_ascii=False).encode()


def own(records: Sequence[Record], reference: str) -> Record:
    """The one of a subject's own records that has this reference.

    Raises:
        UnknownListingError: it has none; whether somebody else has, is not told.
    """
    for record in records:
        if record.reference == reference:
            return record
    raise UnknownListingError("no listing of yours has this reference")


def check_way(act: Act, entry: CatalogueEntry) -> None:
    """Check that a subject, and not only its agency, may take a step in a register.

    Raises:
        TransitionError: it would leave what it never opted into: an official list is left by publication alone.
    """
    if act is Act.LEAVE and entry.kind != "points":
        raise TransitionError(act, "only an opt-in scheme is left by its subject")


def seen_by(agreement: Agreement, register: str, ground: Ground) -> list[dict[str, Any]]:
    """Which measures a listing counts for, and which requesters may so see its effect, for which purposes.

    A positive record counts for incentives only, a listing for the others only; what stays at home for none.
    """
    if ground.effect == "none":
        return []
    named = {rule.measure for rule in agreement.rules if register in condition(agreement, rule)}
    return [
        {
            "measure": measure.id,
            "effect": measure.effect,
            "legal_basis": measure.legal_basis,
            "requesters": [
                {"id": it.id, "name": it.name, "purposes": list(it.purposes)}
                for it in agreement.requesters
                if measure.id in it.implements
            ],
        }
        for measure in agreement.measures
        if measure.id in named and measure.positive == (ground.effect == "positive")
    ]


def _whole(
    record: Record, steps: Sequence[Transition], agreement: Agreement, entry: CatalogueEntry, today: date
) -> dict[str, Any]:
    return {
        **described(record, entry, today),
        "subject": identified(record),
        "notice": entry.notice.text,
        "seen_by": seen_by(agreement, record.listing.register, ground_of(record.listing, entry)),
        "asked_for": [
            {"through": step["actor"], "time": step["time"]}
            for step in map(step_of, steps)
            if step["act"] == Act.ACCESS.value
        ],
        "history": [step_of(step) for step in steps if step.act is not Act.ACCESS],
    }


def _heading(agreement: Agreement, agency: str, name: str, today: date) -> dict[str, Any]:
    return {
        "agreement": {
            "id": agreement.id,
            "version": agreement.version,
            "title": agreement.title,
            "legal_basis": agreement.legal_basis.model_dump(),
        },
        "agency": {"id": agency, "name": name},
        "as_of": today.isoformat(),
    }


def _clock(clock: Clock | None) -> dict[str, str] | None:
    if clock is None:
        return None
    return {"asked": clock.asked, "since": clock.since.isoformat(), "due": clock.due.isoformat()}


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None
