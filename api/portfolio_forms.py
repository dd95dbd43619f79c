"""A portfolio's JSON: what a requester's systems hand in, checked field by field, and what they get."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from api.gateway_forms import MAX_BATCH, Agencies, Certificate, Day, Form, Measure, Notice, Subject, Text
from federation.webhooks import MAX_URL
from protocol.errors import DecodeError, IdentifierError
from protocol.identifiers import MAX_VALUE, Identifier, canonical

MAX_WATCHED: Final = 10_000
"""Subjects of one portfolio."""
MAX_PORTFOLIOS: Final = 100
MAX_DAYS: Final = 366
"""For which a portfolio is kept before it must be registered anew."""
FEED_DAYS: Final = 30
"""For which a change is kept."""
PAGE: Final = 100

_PERIOD: Final = r"^[1-9][0-9]{0,4}[mhd]$"
_SHORT: Final = 6  # below so many characters a number may stand in a reference by chance


Period = Annotated[str, Field(pattern=_PERIOD, examples=["12h"])]


class Watch(Subject):
    """A subject to watch, and by which reference of the requester's own it is told of: never by an identifier."""

    reference: Annotated[Text, Field(max_length=MAX_VALUE, examples=["supplier-0815"])]


class Registration(Form):
    """A portfolio: whom to ask about again and again, what for, how often, until when, and where changes are sent."""

    agreement: Text = Field(examples=["procurement"])
    purpose: Text = Field(examples=["award-contract"])
    case: Text = Field(examples=["framework-2026"])
    every: Period = Field(description="At most seven eighths of a decision's validity")
    until: Day = Field(description="The last day, UTC")
    webhook: Annotated[str, Field(max_length=MAX_URL)] | None = None
    subjects: list[Watch] = Field(min_length=1, max_length=MAX_BATCH)


class HandedIn(Form):
    """Subjects to add, or to hand in again under references that are there; and references to remove."""

    add: list[Watch] = Field(default=[], max_length=MAX_BATCH)
    remove: list[Text] = Field(default=[], max_length=MAX_WATCHED)


class Shown(Form):
    """A portfolio as it stands; `secret`, which signs its webhooks, is shown only where it was just made."""

    id: str
    agreement: str
    purpose: str
    case: str
    every: str
    until: str
    webhook: str | None
    subjects: int
    due: int = Field(description="Subjects that wait to be asked about")
    lapsed: int = Field(description="Subjects without a valid decision")
    outdated: int = Field(description="Subjects that must be handed in again, since a new epoch began")
    changes: int = Field(description="The number of the last change")
    delivered: int | None = Field(description="The last change that the webhook acknowledged")
    waits_for: Literal["quota", "busy", "indeterminate", "not-granted"] | None
    secret: str | None = None


class Shelf(Form):
    """All portfolios of this gateway."""

    portfolios: list[Shown]


class Held(Form):
    """A subject of a portfolio as it stands; lapsed: nothing follows about it."""

    reference: str
    outcome: Literal["decided", "lapsed"]
    measures: list[Measure]
    as_of: str
    valid_until: str | None


class HeldPage(Form):
    """Subjects of a portfolio, and where the next page begins; null after the last."""

    subjects: list[Held]
    next: int | None


class Difference(Form):
    """How a measure changed; settled: its dispute ended, and it applies."""

    measure: str
    change: Literal["added", "removed", "disputed", "settled"]


class Changed(Form):
    """What is told: of a change of decision all, of a lapse until `valid_until`, of an epoch its number."""

    purpose: str
    case: str
    reference: str | None = None
    before: list[Measure] | None = None
    after: list[Measure] | None = None
    changes: list[Difference] | None = None
    requires_human_review: bool | None = None
    agreement_version: int | None = None
    session: str | None = None
    as_of: str | None = None
    valid_until: str | None = None
    agencies: Agencies | None = None
    notice: list[Notice] | None = None
    certificate: Certificate | None = None
    epoch: int | None = None
    subjects: int | None = None


class Event(Form):
    """A CloudEvent 1.0."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: str
    sequence: str
    datacontenttype: Literal["application/json"]
    data: Changed


class Feed(Form):
    """Changes in order; where `complete` is false, some before them are kept no longer."""

    changes: list[Event]
    next: int = Field(description="The `after` of the next page")
    complete: bool


class Erased(Form):
    """It is gone, and nothing of it is left."""

    outcome: Literal["erased"]


def seconds_of(every: str) -> int:
    """A period, as 12h, in seconds."""
    unit = {"m": "minutes", "h": "hours", "d": "days"}[every[-1]]
    return int(timedelta(**{unit: int(every[:-1])}).total_seconds())


def end_of(day: date) -> int:
    """The end of a day, UTC, in Unix seconds."""
    return int(datetime.combine(day + timedelta(days=1), time(), UTC).timestamp())


def identifiers(subjects: Sequence[Watch], field: str) -> list[Identifier]:
    """The subjects' identifiers in canonical form.

    Raises:
        IdentifierError: one is malformed; names its place.
        DecodeError: a reference is there twice, or holds its subject's identifier; names its place.
    """
    found, references = [], set[str]()
    for number, subject in enumerate(subjects):
        try:
            identifier = canonical(subject.scheme, subject.value)
        except IdentifierError as error:
            raise IdentifierError(f"{field}[{number}]: {error}") from None
        if subject.reference in references:
            raise DecodeError(f"{field}[{number}].reference: is there twice")
        if _tells(subject.reference, identifier):
            raise DecodeError(f"{field}[{number}].reference: holds the identifier")
        references.add(subject.reference)
        found.append(identifier)
    return found


def _tells(reference: str, identifier: Identifier) -> bool:
    """Whether a reference gives its subject away: it stands in events, and so wherever these are kept."""
    try:
        folded = canonical("zz.reference", reference).value
    except IdentifierError:
        return False  # it has neither letters nor digits
    return folded == identifier.value or (len(identifier.value) >= _SHORT and identifier.value in folded)
