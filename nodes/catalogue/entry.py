"""A catalogue entry: what a register of a preset lists, whom, by whom, for how long and how it ends.

A figure never stands alone: beside it is the published rule it comes from, or the words "assumed default". What the
system makes impossible is checked here, and no overlay gets round it. Prohibited grounds (speech, petition,
association, religion, ethnicity, health or genetic data, purchases, social contacts, peer evaluation) cannot be
expressed: a ground is one that a data file of this package names, none of these may name it so, and neither an overlay
nor a row brings another.
"""

from datetime import date, timedelta
from fractions import Fraction
from typing import Annotated, Final, Literal, Self

import holidays
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nodes.dates import months_after
from protocol.agreement.model import Effect, Id, Rank, Severity, SubjectKind, Text
from protocol.agreement.presets import MAX_MONTHS, RANKS, Kind, Preset, names_prohibited_ground
from protocol.lanes import MAX_POINTS

ASSUMED: Final = "assumed default"
_DAY_ZERO: Final = date(2001, 1, 1)  # of no leap year: a month or class is never taken for longer than it may be


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Figure(_Frozen):
    """A whole number and where it comes from; numbers of days are working days."""

    value: Annotated[int, Field(ge=0, le=1000, strict=True)]
    source: Text


class Term(_Frozen):
    """A time in months or calendar days, and where it comes from."""

    value: Annotated[int, Field(ge=1, le=1200, strict=True)]
    unit: Literal["months", "days"] = "months"
    source: Text

    def __str__(self) -> str:
        return f"{self.value} {self.unit if self.value != 1 else self.unit.removesuffix('s')}"

    def after(self, start: date) -> date:
        """The last day of this time, where `start` itself does not count (Regulation (EEC) 1182/71, art. 3)."""
        if self.unit == "days":
            return start + timedelta(days=self.value)
        return months_after(start, self.value)

    @property
    def length(self) -> int:
        """Its days from one and the same day on, by which terms are compared."""
        return (self.after(_DAY_ZERO) - _DAY_ZERO).days

    def before(self, end: date) -> date:
        """The day from which this time ends on the day before `end`: its first day is the one after."""
        return end - timedelta(days=self.value) if self.unit == "days" else months_after(end, -self.value)


class Share(_Frozen):
    """A part of a term, such as 1/3, and where it comes from."""

    value: Annotated[Fraction, Field(ge=0, le=1)]
    source: Text


class Points(_Frozen):
    """The range in which a listing's points must lie, and where it comes from."""

    min: Annotated[int, Field(ge=0, strict=True)]
    max: Annotated[int, Field(le=MAX_POINTS, strict=True)]
    source: Text

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min > self.max:
            raise ValueError("the least number of points is above the greatest")
        return self


class Counted(_Frozen):
    """Listed is who has `threshold` of a ground's infringements `within` a time; fewer have no effect."""

    threshold: Figure
    within: Term


class Ground(_Frozen):
    """One reason for which a subject may be listed.

    `effect`: a `listing` may restrict, a `positive` record brings incentives only, and `none` stays at home. The terms
    count from the decision; of a counted ground, from the infringement that completed the number.
    """

    id: Id
    text: Text
    severity: Severity
    basis_rank: Rank
    effect: Literal["listing", "positive", "none"] = "listing"
    default_term: Term
    max_term: Term
    counted: Counted | None = None
    points: Points | None = None

    @field_validator("id")
    @classmethod
    def _is_not_prohibited(cls, ground_id: str) -> str:
        if names_prohibited_ground(ground_id):
            raise ValueError("a prohibited ground")
        return ground_id

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.default_term.length > self.max_term.length:
            raise ValueError("the default term is longer than the maximum")
        bound = Term(value=MAX_MONTHS[self.severity], source=ASSUMED)
        if self.max_term.length > bound.length and self.max_term.source == ASSUMED:
            raise ValueError("a term beyond the severity class needs a law of its own")
        if self.counted and self.counted.threshold.value < 2:
            raise ValueError("one infringement is not counted: it lists by itself")
        return self


class Objection(_Frozen):
    """The clocks of an objection and of a request for correction, in working days from the day it was received.

    One that is not answered in time suspends the listing by itself.
    """

    flagged_within: Figure
    answered_within: Figure
    corrected_within: Figure


class Repair(_Frozen):
    """When and how a listing may end early; figures count working days except the share of the term."""

    duties: Text
    earliest: Share
    decided_within: Figure
    removed_within: Figure


class Notice(_Frozen):
    """What a subject is told on being listed, within how many working days of the decision, and how long it may object.

    Without a `window`, also in working days, a listing has effect at once: official publication counts as service, or
    it brings the subject nothing but incentives.
    """

    text: Text
    window: Figure | None
    served_within: Figure | None = None


_GROUND_EFFECTS: Final[dict[Kind, frozenset[str]]] = {
    "listing": frozenset({"listing"}),
    "rating": frozenset({"listing", "positive", "none"}),
    "positive": frozenset({"positive"}),
    "points": frozenset({"positive"}),
}
_EFFECTS: Final[dict[str, frozenset[Effect]]] = {
    "listing": frozenset({"restriction", "notice"}),
    "positive": frozenset({"incentive"}),
    "none": frozenset(),
}


class CatalogueEntry(_Frozen):
    """A preset: what a register of this kind lists, whom, by whom, for how long and how it ends.

    `kind`: a `listing` register; a `rating`, of which a subject has one at a time, the latest; `positive` records; or
    `points`, a scheme that a subject opts into: the latest balance counts, and leaving erases. `competent` is `any` or
    the ids of the agencies that may keep such a register. `calendar` is the ISO code of the country whose public
    holidays are no working days; without one, Monday to Friday are working days. In a `snapshot` register each official
    publication renews what it names and ends what it names no more. `retention` is how long a listing that ended is
    kept before it is erased.
    """

    id: Id
    title: Text
    kind: Kind = "listing"
    snapshot: bool = False
    competent: Literal["any"] | Annotated[tuple[Id, ...], Field(min_length=1)]
    subject_kinds: Annotated[tuple[SubjectKind, ...], Field(min_length=1)]
    grounds: Annotated[tuple[Ground, ...], Field(min_length=1)]
    notice: Notice
    objection: Objection
    repair: Repair | None = None
    retention: Term
    calendar: str | None = None

    @field_validator("calendar")
    @classmethod
    def _calendar_is_known(cls, calendar: str | None) -> str | None:
        if calendar is not None and calendar not in holidays.list_supported_countries():
            raise ValueError("no calendar of public holidays for this country")
        return calendar

    @field_validator("grounds")
    @classmethod
    def _grounds_are_distinct(cls, grounds: tuple[Ground, ...]) -> tuple[Ground, ...]:
        if len({ground.id for ground in grounds}) < len(grounds):
            raise ValueError("two grounds with the same id")
        return grounds

    @model_validator(mode="after")
    def _grounds_suit_the_kind(self) -> Self:
        if not {ground.effect for ground in self.grounds} <= _GROUND_EFFECTS[self.kind]:
            raise ValueError("a ground's effect is not one of this kind of register")
        if self.kind == "points" and not all(ground.points for ground in self.grounds):
            raise ValueError("a points scheme's grounds say how many points there are")
        if self.kind in {"listing", "positive"} and any(ground.points for ground in self.grounds):
            raise ValueError("only ratings and points schemes have points")
        if self.kind != "listing" and (self.snapshot or any(ground.counted for ground in self.grounds)):
            raise ValueError("only listings are counted, or follow an official publication")
        # Rules count a register's listings alike, so a milder ground would bring what only a graver one may.
        if len({ground.severity for ground in self.grounds if ground.effect == "listing"}) > 1:
            raise ValueError("the grounds that list are not of one severity class")
        return self

    @model_validator(mode="after")
    def _subjects_are_heard(self) -> Self:
        restricts = any(ground.effect == "listing" for ground in self.grounds)
        if restricts and not self.snapshot and not (self.notice.window and self.notice.window.value):
            raise ValueError("who is listed may object before it has effect")
        if self.notice.window and not self.notice.served_within:
            raise ValueError("a window to object opens with a notice, which is served within a time")
        return self

    def ground(self, ground_id: str) -> Ground | None:
        """The ground of this id, if the catalogue has it."""
        for ground in self.grounds:
            if ground.id == ground_id:
                return ground
        return None

    def facts(self) -> Preset:
        """What an agreement needs to know: class, possible effects and the highest rank that any ground asks for.

        The class is that of the grounds that list, or else of the gravest; what is minor never restricts.
        """
        listing = [ground for ground in self.grounds if ground.effect == "listing"]
        severity = max((ground.severity for ground in listing or self.grounds), key=MAX_MONTHS.__getitem__)
        effects = frozenset[Effect]().union(*(_EFFECTS[ground.effect] for ground in self.grounds))
        return Preset(
            id=self.id,
            kind=self.kind,
            severity=severity,
            effects=effects - {"restriction"} if severity == "minor" else effects,
            competent=self.competent,
            rank=max((ground.basis_rank for ground in self.grounds), key=RANKS.index),
            subject_kinds=frozenset(self.subject_kinds),
        )
