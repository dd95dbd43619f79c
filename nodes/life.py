"""The life of a listing: what may happen to it, each step with actor, reason, document and time.

`apply` is the state machine. A `Life` is what the steps so far came to; folding the same steps again gives the same
life, so any past state can be replayed. What only time does (a window ends, a deadline passes, a term ends) is no step:
`nodes.lifecycle` computes it when somebody asks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from nodes.catalogue import CatalogueEntry
from nodes.dates import working_days_after
from nodes.lifecycle import ENDED, Clock, Life, Record, State, standing_apart_from_term, state, term_start
from nodes.listings import Listing, ground_of
from protocol.errors import PeerError

MAX_TEXT: Final = 2_000


class Act(StrEnum):
    """What may be done to a listing, or is noted of it."""

    ENTER = "enter"
    SERVE = "serve"
    OBJECT = "object"
    REQUEST_CORRECTION = "request-correction"
    REJECT = "reject"
    CORRECT = "correct"
    REVOKE = "revoke"
    REQUEST_REPAIR = "request-repair"
    REFUSE_REPAIR = "refuse-repair"
    REPAIR = "repair"
    SUSPEND = "suspend"
    RESUME = "resume"
    RENEW = "renew"
    LEAVE = "leave"
    ACCESS = "access"
    ERASE = "erase"
    REFUSE = "refuse"
    RESTORE = "restore"


class TransitionError(PeerError):
    """A step that the life of this listing does not allow; `act` and `reason` say which and why."""

    def __init__(self, act: Act, reason: str) -> None:
        self.act = act
        self.reason = reason
        super().__init__(f"{act}: {reason}")


@dataclass(frozen=True)
class Transition:
    """One step: who did what, when (Unix seconds), why, and by which document.

    `on` is the day that the step is about: of service, of the receipt of an objection or request, of a new publication.
    `due` is the deadline that the step sets, `replacement` the reference of the listing that corrects this one.
    """

    act: Act
    actor: str
    time: int
    reason: str = ""
    document: str = ""
    on: date | None = None
    due: date | None = None
    replacement: str = ""

    @property
    def today(self) -> date:
        """The day of the step, UTC."""
        return datetime.fromtimestamp(self.time, UTC).date()


@dataclass(frozen=True)
class Author:
    """Who takes a step, why, and by which document."""

    actor: str
    reason: str = ""
    document: str = ""

    def step(self, act: Act, now: int, on: date | None = None, due: date | None = None) -> Transition:
        """A step of this author's."""
        return Transition(act, self.actor, now, self.reason, self.document, on, due)


_IN_FORCE: Final = frozenset({State.NOTIFIED, State.ACTIVE, State.DISPUTED, State.SUSPENDED})
_FROM: Final[dict[Act, frozenset[State]]] = {
    Act.SERVE: frozenset({State.DRAFT}),
    Act.OBJECT: _IN_FORCE,
    Act.REQUEST_CORRECTION: _IN_FORCE,
    Act.REJECT: _IN_FORCE,
    Act.CORRECT: _IN_FORCE | {State.DRAFT},
    Act.REVOKE: _IN_FORCE | {State.DRAFT},
    Act.REQUEST_REPAIR: _IN_FORCE - {State.NOTIFIED},
    Act.REFUSE_REPAIR: _IN_FORCE - {State.NOTIFIED},
    Act.REPAIR: _IN_FORCE - {State.NOTIFIED},
    Act.SUSPEND: _IN_FORCE,
    Act.RESUME: frozenset({State.SUSPENDED}),
    Act.RENEW: _IN_FORCE | {State.EXPIRED, State.REVOKED},
    Act.LEAVE: _IN_FORCE | {State.EXPIRED},
    Act.ACCESS: frozenset(State),
    Act.ERASE: ENDED,
}
"""From which states a step leads on.

ENTER makes a listing; REFUSE is noted of one whose bucket turned out full, RESTORE of a database put back.
"""

_REASONED: Final = frozenset(_FROM) - {Act.SERVE, Act.RENEW, Act.ACCESS}
_DOCUMENTED: Final = frozenset({Act.SERVE, Act.REJECT, Act.CORRECT, Act.REVOKE, Act.REFUSE_REPAIR, Act.REPAIR})


def apply(record: Record, step: Transition, entry: CatalogueEntry) -> tuple[Transition, Life]:
    """Take a step; returns it with the deadline that it sets, and the life after it.

    Raises:
        TransitionError: the listing's state, or what the step lacks, does not allow it.
    """
    check_form(step)
    before = state(record, entry, step.today)
    if before is State.EXPIRED and step.act is not Act.ERASE and ground_of(record.listing, entry).counted:
        before = standing_apart_from_term(record, entry, step.today)  # as it still counts with others
    if before not in _FROM.get(step.act, frozenset()):
        raise TransitionError(step.act, f"not from the state {before.value}")
    _check(record, step, entry, before)
    step = replace(step, due=_due(step, entry))
    return step, _after(record.life, step)


def check_form(step: Transition) -> None:
    """Check what every step must bring.

    Raises:
        TransitionError: it lacks a reason or document, or is about a day to come.
    """
    for name, text, needed in (
        ("actor", step.actor, True),
        ("reason", step.reason, step.act in _REASONED),
        ("document", step.document, step.act in _DOCUMENTED),
    ):
        if needed and not text.strip():
            raise TransitionError(step.act, f"{name} is missing")
        if len(text) > MAX_TEXT or not text.replace("\n", " ").isprintable():
            raise TransitionError(step.act, f"{name} is longer than {MAX_TEXT} characters, or not printable")
    if step.on is not None and step.on > step.today:
        raise TransitionError(step.act, "on is a day to come")


def replay(listing: Listing, reference: str, steps: Iterable[Transition]) -> Record:
    """The record that these steps, recorded as they were taken, came to."""
    life = entered = Life(served_on=listing.served_on)
    for step in steps:
        # What was erased may be published again; then its life begins anew.
        life = entered if step.act is Act.ERASE else _after(life, step)
    return Record(listing, life, reference)


def _check(record: Record, step: Transition, entry: CatalogueEntry, before: State) -> None:
    """What single steps demand beyond the state they start from."""
    if step.act is Act.REQUEST_REPAIR:
        _check_repair(record, step, entry)
    if step.act is Act.RENEW:
        _check_renewal(record, step, before)
    for refused, reason in _demands(record, step, entry):
        if refused:
            raise TransitionError(step.act, reason)


def _demands(record: Record, step: Transition, entry: CatalogueEntry) -> list[tuple[bool, str]]:
    """What a step demands: whether it is not so, and the reason to give."""
    listing, life = record.listing, record.life
    received_before_service = (_received(step) < (life.served_on or listing.decided_on), "on is before the service")
    is_open = (life.dispute is not None, "an objection or request for correction is open already")
    is_no_repair_open = (life.repair is None, "no request for repair is open")
    return {
        Act.SERVE: [(step.on is None or step.on < listing.decided_on, "on is missing, or before the decision")],
        Act.OBJECT: [is_open, received_before_service],
        Act.REQUEST_CORRECTION: [is_open, received_before_service],
        Act.REQUEST_REPAIR: [received_before_service],
        Act.REJECT: [(life.dispute is None, "no objection or request for correction is open")],
        Act.CORRECT: [(not step.replacement, "the corrected listing is missing")],
        Act.REPAIR: [is_no_repair_open],
        Act.REFUSE_REPAIR: [is_no_repair_open],
        Act.SUSPEND: [(life.suspended_on is not None, "it is suspended already")],
        Act.RESUME: [(life.suspended_on is None, "it is suspended because an objection is overdue: answer that")],
        Act.LEAVE: [
            (not listing.published and entry.kind != "points", "only an opt-in scheme or an official list is left")
        ],
    }.get(step.act, [])


def _check_repair(record: Record, step: Transition, entry: CatalogueEntry) -> None:
    if entry.repair is None or ground_of(record.listing, entry).effect != "listing":
        raise TransitionError(step.act, "there is nothing to repair in this register")
    if record.life.repair is not None:
        raise TransitionError(step.act, "a request for repair is open already")
    earliest = earliest_repair(record, entry)
    if earliest is not None and step.today < earliest:
        raise TransitionError(step.act, f"not before {earliest}: the minimum time has not elapsed")


def _check_renewal(record: Record, step: Transition, before: State) -> None:
    if not record.listing.published or step.on is None:
        raise TransitionError(step.act, "only a new official publication renews; otherwise it takes a new decision")
    if step.on < term_start(record):
        raise TransitionError(step.act, "on is before the last publication")
    if before is State.REVOKED and record.life.ended_by != Act.LEAVE:
        raise TransitionError(step.act, "it was revoked by a decision of this agency")
    if record.life.ended_on is not None and step.on < record.life.ended_on:
        raise TransitionError(step.act, "on is before the publication that named it no more")


def earliest_repair(record: Record, entry: CatalogueEntry) -> date | None:
    """The first day on which repair may be asked for: the preset's share of the term after its beginning."""
    if entry.repair is None:
        return None
    start = term_start(record)
    last = record.listing.expires_on or ground_of(record.listing, entry).default_term.after(start)
    share = entry.repair.earliest.value
    return start + (last - start) * share.numerator // share.denominator


def _received(step: Transition) -> date:
    return step.on or step.today


def _due(step: Transition, entry: CatalogueEntry) -> date | None:
    within = {
        Act.OBJECT: entry.objection.answered_within,
        Act.REQUEST_CORRECTION: entry.objection.corrected_within,
        Act.REQUEST_REPAIR: entry.repair.decided_within if entry.repair else None,
    }.get(step.act)
    return working_days_after(_received(step), within.value, entry.calendar) if within else None


def _after(life: Life, step: Transition) -> Life:
    """The life after a step that was allowed."""
    change = _CHANGES.get(step.act)
    return change(life, step) if change else life


def _clock(step: Transition) -> Clock | None:
    return Clock(step.act, _received(step), step.due) if step.due else None


def _ended(life: Life, into: State, step: Transition) -> Life:
    """An ended life has no open request: what was asked for is answered by the end."""
    closed = replace(life, dispute=None, repair=None, serve_by=None)
    return replace(closed, ended=into, ended_on=step.today, ended_by=step.act.value)


_CHANGES: Final[dict[Act, Callable[[Life, Transition], Life]]] = {
    Act.ENTER: lambda life, step: replace(life, serve_by=step.due),
    Act.SERVE: lambda life, step: replace(life, served_on=step.on, serve_by=None),
    Act.OBJECT: lambda life, step: replace(life, dispute=_clock(step)),
    Act.REQUEST_CORRECTION: lambda life, step: replace(life, dispute=_clock(step)),
    Act.REJECT: lambda life, _step: replace(life, dispute=None),
    Act.REQUEST_REPAIR: lambda life, step: replace(life, repair=_clock(step)),
    Act.REFUSE_REPAIR: lambda life, _step: replace(life, repair=None),
    Act.SUSPEND: lambda life, step: replace(life, suspended_on=step.today),
    Act.RESUME: lambda life, _step: replace(life, suspended_on=None),
    Act.RENEW: lambda life, step: replace(life, renewed_on=step.on, ended=None, ended_on=None, ended_by=""),
    Act.REPAIR: lambda life, step: _ended(life, State.REPAIRED, step),
    Act.REVOKE: lambda life, step: _ended(life, State.REVOKED, step),
    Act.LEAVE: lambda life, step: replace(_ended(life, State.REVOKED, step), ended_on=_received(step)),
    Act.CORRECT: lambda life, step: replace(_ended(life, State.CORRECTED, step), replaced_by=step.replacement),
}
