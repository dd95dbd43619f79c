"""The catalogue: presets of registers as data files, each with its grounds and the rules of a listing's life.

A figure never stands alone: beside it is the published rule it comes from, or the words "assumed default". An agency's
overlay may adapt figures; what the system makes impossible is checked here and no overlay gets round it.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self

import holidays
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from protocol.agreement.model import Rank, Severity, SubjectKind
from protocol.agreement.presets import MAX_MONTHS, RANKS, Preset

Text = Annotated[str, Field(min_length=1)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]

ASSUMED: Final = "assumed default"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Frozen):
    """A whole number of months or days and where it comes from."""

    value: Annotated[int, Field(ge=0)]
    source: Text


class Share(_Frozen):
    """A part of a term, such as 1/3, and where it comes from."""

    value: Annotated[Fraction, Field(ge=0, le=1)]
    source: Text


class Ground(_Frozen):
    """One reason for which a subject may be listed; `default_months` and `max_months` count from the decision."""

    id: Id
    text: Text
    severity: Severity
    basis_rank: Rank
    default_months: Figure
    max_months: Figure

    @model_validator(mode="after")
    def _term_is_bounded(self) -> Self:
        if not 1 <= self.default_months.value <= self.max_months.value:
            raise ValueError("default term is not between one month and the maximum")
        if self.max_months.value > MAX_MONTHS[self.severity] and self.max_months.source == ASSUMED:
            raise ValueError("a term beyond the severity class needs a law of its own")
        return self


class Repair(_Frozen):
    """When and how a listing may end early; figures count working days except the share of the term."""

    duties: Text
    earliest: Share
    decided_within: Figure
    removed_within: Figure


class Notice(_Frozen):
    """What a subject is told on being listed, and how long it may object in working days.

    Without a `window` official publication counts as service and a listing is active at once.
    """

    text: Text
    window: Figure | None


class CatalogueEntry(_Frozen):
    """A preset: what a register of this kind lists, whom, by whom, for how long and how it ends.

    `competent` is `any` or the ids of the agencies that may keep such a register. `calendar` is the ISO code of the
    country whose public holidays are no working days; without one, Monday to Friday are working days.
    """

    id: Id
    title: Text
    competent: Literal["any"] | Annotated[tuple[Id, ...], Field(min_length=1)]
    subject_kinds: Annotated[tuple[SubjectKind, ...], Field(min_length=1)]
    grounds: Annotated[tuple[Ground, ...], Field(min_length=1)]
    notice: Notice
    repair: Repair
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

    def ground(self, ground_id: str) -> Ground | None:
        """The ground of this id, if the catalogue has it."""
        return next((ground for ground in self.grounds if ground.id == ground_id), None)

    def facts(self) -> Preset:
        """What an agreement needs to know: the gravest class and the highest rank that any ground asks for."""
        return Preset(
            id=self.id,
            kind="listing",
            severity=max((ground.severity for ground in self.grounds), key=MAX_MONTHS.__getitem__),
            effects=frozenset({"restriction", "notice"}),
            competent=self.competent,
            rank=max((ground.basis_rank for ground in self.grounds), key=RANKS.index),
            subject_kinds=frozenset(self.subject_kinds),
        )


@cache
def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every preset by its id, read and validated once.

    Raises:
        pydantic.ValidationError: a data file of this package is not as required.
    """
    entries = (
        CatalogueEntry.model_validate(yaml.safe_load(file.read_text("utf-8")))
        for file in files(__name__).iterdir()
        if file.name.endswith(".yaml")
    )
    return MappingProxyType({entry.id: entry for entry in sorted(entries, key=lambda entry: entry.id)})
