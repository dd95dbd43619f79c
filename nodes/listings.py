"""Listings: one subject in one register, for one ground, by one decision.

A listing names exactly one subject. What the catalogue does not allow cannot become a listing: no unknown ground, no
missing decision, no term beyond the ground's maximum, no minor. What happens to it afterwards is `nodes.life`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from nodes.catalogue import CatalogueEntry, Ground
from nodes.dates import months_after
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


class UnknownListingError(PeerError):
    """No listing, or more than one, has this reference."""


@dataclass(frozen=True)
class Listing:
    """A subject's entry in a register, as it was decided. Its repr tells nothing of the subject.

    The subject is found under each of its `identifiers`, the first being the primary one, never by `name`. Without
    `served_on` it is a draft. `severity` (1 to 3) is the listing's weight in rules; `points` are those of a rating or
    scheme. Without `expires_on` the ground's default term counts. A `published` one is a row of an official snapshot,
    whose next edition renews it. `raw` keeps the importer's extra columns.
    """

    register: str
    subject_kind: SubjectKind
    name: str = field(repr=False)
    identifiers: tuple[Identifier, ...] = field(repr=False)
    ground: str
    decision_ref: str = field(repr=False)
    decided_on: date
    served_on: date | None
    severity: int
    expires_on: date | None = None
    points: int | None = None
    published: bool = False
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)


def ground_of(listing: Listing, entry: CatalogueEntry) -> Ground:
    """The ground of a listing.

    Raises:
        ListingError: it is not in the catalogue.
    """
    ground = entry.ground(listing.ground)
    if ground is None:
        raise ListingError("ground", "not in the register's catalogue")
    return ground


def check_listing(listing: Listing, entry: CatalogueEntry) -> None:
    """Check a listing against the catalogue entry of its register.

    Raises:
        ListingError: names the field that is not as required; the value is not repeated.
    """
    ground = ground_of(listing, entry)
    if listing.subject_kind not in entry.subject_kinds:
        raise ListingError("subject_kind", "the register does not accept this kind of subject")
    _check_identifiers(listing)
    if not listing.decision_ref:
        raise ListingError("decision_ref", "missing")
    if listing.served_on is not None and listing.served_on < listing.decided_on:
        raise ListingError("served_on", "before the decision")
    if not 1 <= listing.severity <= 3:
        raise ListingError("severity", "not 1, 2 or 3")
    if listing.published and not entry.snapshot:
        raise ListingError("published", "the register is not one of official snapshots")
    _check_points(listing, ground)
    if listing.expires_on is not None:
        if listing.expires_on < listing.decided_on:
            raise ListingError("expires_on", "before the decision")
        if listing.expires_on > ground.max_term.after(listing.decided_on):
            raise ListingError("expires_on", f"beyond the ground's maximum of {ground.max_term}")


def check_days(listing: Listing, today: date) -> None:
    """Check that what a listing says has happened has happened by `today`.

    Raises:
        ListingError: it was decided or served on a day to come.
    """
    for field_, day in (("decided_on", listing.decided_on), ("served_on", listing.served_on)):
        if day is not None and day > today:
            raise ListingError(field_, "a day to come")


def _check_points(listing: Listing, ground: Ground) -> None:
    if ground.points is None:
        if listing.points is not None:
            raise ListingError("points", "the ground has none")
    elif listing.points is None:
        raise ListingError("points", "missing")
    elif not ground.points.min <= listing.points <= ground.points.max:
        raise ListingError("points", f"not between {ground.points.min} and {ground.points.max}, as the ground asks")


def _check_identifiers(listing: Listing) -> None:
    if not listing.identifiers:
        raise ListingError("identifier", "missing")
    if any(identifier.scheme == CANARY_SCHEME for identifier in listing.identifiers):
        raise ListingError("identifier", "of the scheme that is kept for canaries")
    if listing.subject_kind == "natural" and any(
        is_minor(birth_date(it), listing.decided_on) for it in listing.identifiers
    ):
        raise ListingError("identifier", "belongs to a minor; minors are never listed")


def is_minor(born: date | None, on: date) -> bool:
    """Whether somebody born on that day, if it is known, is a minor on the day `on`."""
    return born is not None and months_after(born, 12 * MAJORITY) > on
