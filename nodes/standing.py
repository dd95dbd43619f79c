"""What a subject's records at one agency amount to: the standings that its answer to a question is made of.

Ordinary listings stand for themselves. Infringements that are counted stand for nothing until a ground's number of them
is reached; of ratings and points only the latest counts; what stays at home never becomes a standing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from nodes.catalogue import CatalogueEntry, Ground
from nodes.lifecycle import Record, State, standing_apart_from_term, state
from nodes.listings import Listing, ground_of
from protocol.lanes import Standing

_EFFECTIVE: Final = frozenset({State.ACTIVE, State.DISPUTED})


Suspends = Callable[[Listing], bool]
"""Whether a moratorium takes a listing's effect."""


def standings(
    records: Iterable[Record],
    entries: Mapping[str, CatalogueEntry],
    today: date,
    suspends: Suspends = lambda _: False,
) -> list[Standing]:
    """The standings of one subject's records on a day; `entries` are the agency's registers' catalogue entries.

    What the records say is all that it depends on, and their order where several are of one day and have no reference.
    A register that is not among them is none of this agreement's, and has no effect in it.
    """
    by_register: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.listing.register in entries:
            by_register[record.listing.register].append(record)
    return [
        standing
        for register, own in by_register.items()
        for standing in _of_register(own, entries[register], today, suspends)
    ]


def _of_register(records: Sequence[Record], entry: CatalogueEntry, today: date, suspends: Suspends) -> list[Standing]:
    if entry.kind in {"rating", "points"}:
        records = _latest(records, entry, today)
    # After the latest is known: an older rating must not come back because a moratorium takes the newer one out.
    records = [record for record in records if not suspends(record.listing)]
    counted: dict[str, tuple[Ground, list[Record]]] = {}
    found = []
    for record in records:
        ground = ground_of(record.listing, entry)
        current = state(record, entry, today)
        if ground.counted:
            counted.setdefault(ground.id, (ground, []))[1].append(record)
        elif ground.effect != "none" and current in _EFFECTIVE:
            found.append(_standing(record, ground, current is State.DISPUTED))
    for ground, infringements in counted.values():
        found += _counted(infringements, entry, ground, today)
    return found


def _latest(records: Sequence[Record], entry: CatalogueEntry, today: date) -> Sequence[Record]:
    """The latest decided of those that have effect: a new rating or balance replaces the one before."""
    effective = [record for record in records if state(record, entry, today) in _EFFECTIVE]
    return sorted(effective, key=_in_order)[-1:]


def _counted(records: Sequence[Record], entry: CatalogueEntry, ground: Ground, today: date) -> list[Standing]:
    """One standing where enough infringements hold, undisputed if they are enough without the disputed ones."""
    holding = [(record, standing_apart_from_term(record, entry, today)) for record in records]
    undisputed = [record for record, current in holding if current is State.ACTIVE]
    with_disputed = [record for record, current in holding if current in _EFFECTIVE]
    for some, disputed in ((undisputed, False), (with_disputed, True)):
        if completing := completed_by(some, ground, today):
            return [_standing(completing, ground, disputed)]
    return []


def completed_by(records: Iterable[Record], ground: Ground, today: date) -> Record | None:
    """The latest infringement, of a term that still runs, that completed the number within the ground's time."""
    if ground.counted is None:
        return None
    ordered = sorted(records, key=_in_order)
    for position in range(len(ordered) - 1, -1, -1):
        last = ordered[position].listing
        end = last.expires_on or ground.default_term.after(last.decided_on)
        since = ground.counted.within.before(last.decided_on)
        number = sum(since < record.listing.decided_on for record in ordered[: position + 1])
        if number >= ground.counted.threshold.value and today <= end:
            return ordered[position]
    return None


def _in_order(record: Record) -> tuple[date, str]:
    """Of two of one day the one with the greater reference is the later: so every copy of a register says the same.

    Records without references stay as they were given, which is in that order.
    """
    return record.listing.decided_on, record.reference


def _standing(record: Record, ground: Ground, disputed: bool) -> Standing:
    listing, positive = record.listing, ground.effect == "positive"
    points = (listing.points or 0) if positive else 0
    return Standing(listing.register, listing.severity, disputed, points, positive=positive)
