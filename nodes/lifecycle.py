"""Where a listing stands on one day: computed when a question comes, so nothing has to run for a term to end.

Draft until served; notified from service to the last day of the objection window; then active to the last day of its
term, unless disputed, suspended, or ended by a decision. An objection that is overdue suspends by itself.
"""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final

from nodes.catalogue import CatalogueEntry
from nodes.dates import working_days_after
from nodes.listings import Listing, ground_of


class State(Enum):
    """Only ACTIVE has effect, DISPUTED can at most flag, all others are invisible to every question."""

    DRAFT = "draft"
    NOTIFIED = "notified"
    ACTIVE = "active"
    DISPUTED = "disputed"
    SUSPENDED = "suspended"
    REPAIRED = "repaired"
    EXPIRED = "expired"
    REVOKED = "revoked"
    CORRECTED = "corrected"


ENDED: Final = frozenset({State.REPAIRED, State.EXPIRED, State.REVOKED, State.CORRECTED})


@dataclass(frozen=True)
class Clock:
    """An open request: what was asked for (an act), since when, and the last day on which to answer it."""

    asked: str
    since: date
    due: date


@dataclass(frozen=True)
class Life:
    """What has happened to a listing so far; the steps are in the audit trail (`nodes.life`).

    `serve_by` is a draft's deadline: the last day on which to serve its notice.
    """

    served_on: date | None
    serve_by: date | None = None
    dispute: Clock | None = None
    repair: Clock | None = None
    suspended_on: date | None = None
    renewed_on: date | None = None
    ended: State | None = None
    ended_on: date | None = None
    ended_by: str = ""
    replaced_by: str = ""

    @property
    def due(self) -> date | None:
        """The first deadline of what is open."""
        dues = [clock.due for clock in (self.dispute, self.repair) if clock]
        return min([*dues, *([self.serve_by] if self.serve_by else [])], default=None)


@dataclass(frozen=True)
class Record:
    """A listing with its life; `reference` names it among its agency's, and tells nothing of it."""

    listing: Listing
    life: Life
    reference: str = ""


def record_of(listing: Listing, reference: str = "") -> Record:
    """A listing to which nothing has happened since it was entered."""
    return Record(listing, Life(listing.served_on), reference)


def term_start(record: Record) -> date:
    """The day from which the term runs: the decision's, or the last official publication's."""
    return record.life.renewed_on or record.listing.decided_on


def last_day(record: Record, entry: CatalogueEntry) -> date:
    """The last day on which a listing has effect: `expires_on`, or the ground's default term after the decision.

    As in Regulation (EEC) 1182/71, art. 3, the day of the decision does not count: a term of twelve months from a
    decision of 15 January ends with the 15 January after.

    Raises:
        ListingError: the ground is not in the catalogue.
    """
    ground = ground_of(record.listing, entry)
    return record.listing.expires_on or ground.default_term.after(term_start(record))


def window_end(record: Record, entry: CatalogueEntry) -> date | None:
    """The last day of the objection window: the tenth working day after service; None if there is no window."""
    window = entry.notice.window
    if window is None or record.life.served_on is None:
        return None
    return working_days_after(record.life.served_on, window.value, entry.calendar)


def state(record: Record, entry: CatalogueEntry, on: date) -> State:
    """The state of a record on the day `on`.

    A listing has effect from the day after its objection window, or from the day of service where official publication
    is service, through its last day.
    """
    if record.life.ended is not None:
        return record.life.ended
    if on > last_day(record, entry):
        return State.EXPIRED
    return standing_apart_from_term(record, entry, on)


def standing_apart_from_term(record: Record, entry: CatalogueEntry, on: date) -> State:
    """The state of a record as if its term did not end: what a count of infringements goes by."""
    life = record.life
    if life.ended is not None:
        return life.ended
    if life.served_on is None:
        return State.DRAFT
    if life.suspended_on is not None:
        return State.SUSPENDED
    end = window_end(record, entry)
    if on < life.served_on or (end is not None and on <= end):
        return State.NOTIFIED
    if life.dispute is not None:
        return State.SUSPENDED if on > life.dispute.due else State.DISPUTED
    return State.ACTIVE
