"""Listings: one subject in one register, for one ground, by one decision.

A listing names exactly one subject. What the catalogue does not allow cannot become a listing: no
unknown ground, no missing decision or service, no term beyond the ground's maximum, no minor.
"""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from nodes.catalogue import CatalogueEntry
from protocol.agreement.model import SubjectKind
from protocol.errors import PeerError
from protocol.identifiers import CANARY_SCHEME, Identifier, birth_date

MAJORITY: Final = 18


class ListingError(PeerError):
    """A listing is not as its register requires; `field` is the listing's field, `reason` says why."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


@dataclass(frozen=True)
class Listing:
    """A subject's entry in a register, as its agency keeps it. Its repr tells nothing of the subject.

    The subject is found under each of its `identifiers`, the first being the primary one, never by `name`. `severity`
    (1 to 3) is the listing's weight in rules. Without `expires_on` the ground's default term counts. A listing is
    disputed from `disputed_since` on. `raw` keeps the importer's extra columns.
    """

    register: str
    subject_kind: SubjectKind
    name: str = field(repr=False)
    identifiers: tuple[Identifier, ...] = field(repr=False)
    ground: str
    decision_ref: str = field(repr=False)
    decided_on: date
    served_on: date
    severity: int
    expires_on: date | None = None
    disputed_since: date | None = None
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)


def months_after(start: date, months: int) -> date:
    """The same day of the month `months` later, or that month's last day where it has no such day."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


def last_day(listing: Listing, entry: CatalogueEntry) -> date:
    """The last day on which a listing has effect: `expires_on`, or the ground's default term after the decision.

    As in Regulation (EEC) 1182/71, art. 3, the day of the decision does not count: a term of twelve months from a
    decision of 15 January ends with the 15 January after.

    Raises:
        ListingError: the ground is not in the catalogue.
    """
    ground = entry.ground(listing.ground)
    if ground is None:
        raise ListingError("ground", "not in the register's catalogue")
    return listing.expires_on or months_after(listing.decided_on, ground.default_months.value)


def check_listing(listing: Listing, entry: CatalogueEntry) -> None:
    """Check a listing against the catalogue entry of its register.

    Raises:
        ListingError: names the field that is not as required; the value is not repeated.
    """
    ground = entry.ground(listing.ground)
    if ground is None:
        raise ListingError("ground", "not in the register's catalogue")
    if listing.subject_kind not in entry.subject_kinds:
        raise ListingError("subject_kind", "the register does not accept this kind of subject")
    _check_identifiers(listing)
    if not listing.decision_ref:
        raise ListingError("decision_ref", "missing")
    if listing.served_on < listing.decided_on:
        raise ListingError("served_on", "before the decision")
    if not 1 <= listing.severity <= 3:
        raise ListingError("severity", "not 1, 2 or 3")
    if listing.expires_on is not None and listing.expires_on < listing.decided_on:
        raise ListingError("expires_on", "before the decision")
    if last_day(listing, entry) > months_after(listing.decided_on, ground.max_months.value):
        raise ListingError("expires_on", f"beyond the ground's maximum of {ground.max_months.value} months")


def _check_identifiers(listing: Listing) -> None:
    if not listing.identifiers:
        raise ListingError("identifier", "missing")
    if any(identifier.scheme == CANARY_SCHEME for identifier in listing.identifiers):
        raise ListingError("identifier", "of the scheme that is kept for canaries")
    if listing.subject_kind == "natural" and any(_is_minor(it, listing.decided_on) for it in listing.identifiers):
        raise ListingError("identifier", "belongs to a minor; minors are never listed")


def _is_minor(identifier: Identifier, on: date) -> bool:
    born = birth_date(identifier)
    return born is not None and months_after(born, 12 * MAJORITY) > on
