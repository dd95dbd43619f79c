"""An agency's own count for public figures: what happened to its listings in one quarter, from registers and trail.

One listing counts at most once in each kind, however often it was disputed: so what one of them can change is bounded
by what this module returns, not by what is entered. What a subject opts into (points) and what stays at home (grounds
without effect) is not counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from nodes.catalogue import CatalogueEntry, Ground, load_catalogue
from nodes.life import Act, Transition, replay
from nodes.lifecycle import ENDED, Record, State, last_day, state
from nodes.listings import ground_of
from nodes.storage.listings import ListingStore
from protocol.agreement.terms import Terms
from protocol.figures import FiguresLayout, Quarter

_DAY: Final = timedelta(days=1)
_DISPUTES: Final = frozenset({Act.OBJECT, Act.REQUEST_CORRECTION})
_REQUESTS: Final = _DISPUTES | {Act.REQUEST_REPAIR}
_OVERTURNED: Final = frozenset({Act.REVOKE, Act.CORRECT})


class Kind(StrEnum):
    """What is counted; of listings entered there is a cell a ground, of all others one."""

    LISTINGS = "listings"
    DISPUTES = "disputes"
    OVERTURNED = "overturned"
    LATE = "late answers"
    EXPIRIES = "expiries"


ERASED: Final = f"{Kind.LISTINGS} erased since"
"""The cell of listings that were entered in the quarter, and erased before it was counted: their ground is gone."""


def figures_layout(terms: Terms) -> FiguresLayout:
    """The cells of an agreement's figures: a ground each of its registers' presets, in the agreement's order.

    They are the catalogue's, which an agency's overlay adds nothing to, so every party comes to the same ones.
    """
    agreement, catalogue = terms.agreement, load_catalogue()
    presets = dict.fromkeys(register.preset for agency in agreement.agencies for register in agency.registers)
    grounds = [
        _listed(preset, ground)
        for preset in presets
        if catalogue[preset].kind != "points"
        for ground in catalogue[preset].grounds
        if ground.effect != "none"
    ]
    others = [kind.value for kind in Kind if kind is not Kind.LISTINGS]
    return FiguresLayout((*grounds, ERASED, *others), len(terms.agencies), terms.public_key.bits)


def count(
    store: ListingStore, entries: Mapping[str, CatalogueEntry], quarter: Quarter, cells: Sequence[str]
) -> list[int]:
    """Count a quarter in an agency's registers, a number a cell."""
    counts = dict.fromkeys(cells, 0)
    for register, entry in entries.items():
        for record, steps in store.lives(register):
            for cell in counted(record, steps, entry, quarter).values():
                counts[cell] += 1
    return list(counts.values())


def counted(
    record: Record | None, steps: Sequence[Transition], entry: CatalogueEntry, quarter: Quarter
) -> dict[Kind, str]:
    """In which cells one listing counts: at most one of each kind.

    `record` is None if it was erased; then only what the trail keeps is counted: that it was entered, disputed and
    overturned, but neither its ground nor its days.
    """
    if not _is_counted(record, entry):
        return {}
    found: dict[Kind, str] = {}
    *erased, last = _lives(steps)
    stored = record is not None
    for life, is_stored in ((last, stored), *((it, False) for it in reversed(erased))):
        taken = [step for step in life if step.today <= quarter.last]
        in_it = [step for step in taken if step.today >= quarter.first]
        if any(step.act is Act.ENTER for step in in_it) and not any(step.act is Act.REFUSE for step in life):
            cell = _listed(entry.id, ground_of(record.listing, entry)) if record and is_stored else ERASED
            found.setdefault(Kind.LISTINGS, cell)
        kinds = _by_acts(taken, in_it)
        if record is not None and is_stored and taken:
            kinds |= _by_days(record, taken, entry, quarter)
        found |= {kind: kind.value for kind in kinds}
    return found


def _by_acts(taken: Sequence[Transition], in_it: Iterable[Transition]) -> set[Kind]:
    """What the acts alone say: disputes of the quarter, and what was revoked or corrected in it after a dispute."""
    kinds = set()
    for step in in_it:
        if step.act in _DISPUTES:
            kinds.add(Kind.DISPUTES)
        elif step.act in _OVERTURNED and any(it.act in _DISPUTES for it in taken[: taken.index(step)]):
            kinds.add(Kind.OVERTURNED)
    return kinds


def _by_days(record: Record, taken: Sequence[Transition], entry: CatalogueEntry, quarter: Quarter) -> set[Kind]:
    """What days say: terms that ended in the quarter, and deadlines whose first day of delay is in it."""
    kinds = set()
    past = replay(record.listing, record.reference, taken)
    over = last_day(past, entry) + _DAY
    if (
        quarter.first <= over <= quarter.last
        and past.life.served_on is not None
        and state(past, entry, quarter.last) is State.EXPIRED
    ):
        kinds.add(Kind.EXPIRIES)
    dues = {step.due for step in taken if step.act in _REQUESTS and step.due is not None}
    if any(quarter.first <= due + _DAY <= quarter.last and _is_late(record, taken, entry, due) for due in dues):
        kinds.add(Kind.LATE)
    return kinds


def _is_late(record: Record, taken: Iterable[Transition], entry: CatalogueEntry, due: date) -> bool:
    """Whether what was to be answered by this day was still open at its end, and not over by itself."""
    then = replay(record.listing, record.reference, (step for step in taken if step.today <= due))
    if not any(clock is not None and clock.due == due for clock in (then.life.dispute, then.life.repair)):
        return False
    return ground_of(record.listing, entry).counted is not None or state(then, entry, due + _DAY) not in ENDED


def _lives(steps: Sequence[Transition]) -> Iterator[list[Transition]]:
    """The steps of each of a listing's lives: what was erased, or found no place, may come again."""
    life: list[Transition] = []
    for step in steps:
        life.append(step)
        if step.act in {Act.ERASE, Act.REFUSE}:
            yield life
            life = []
    yield life


def _is_counted(record: Record | None, entry: CatalogueEntry) -> bool:
    """Whether a listing is counted at all; an erased one only where every ground of its register is."""
    grounds = entry.grounds if record is None else [ground_of(record.listing, entry)]
    return entry.kind != "points" and all(ground.effect != "none" for ground in grounds)


def _listed(preset: str, ground: Ground) -> str:
    return f"{Kind.LISTINGS} {preset} {ground.id}"
