"""The agreement: the memorandum between agencies as a frozen document (federation/docs/contract.md).

People write YAML; every agency signs the canonical form, deterministic CBOR of the same fields, absent ones left out.
The model fixes the form: fields, types and the range of single values. What fields demand of each other and of the
catalogue of presets is `protocol.agreement.validator`'s.
"""

import json
import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from protocol import codec, labels
from protocol.agreement.violation import InvalidAgreementError, Violation
from protocol.errors import DecodeError, NotGrantedError
from protocol.lanes import MAX_POINTS, MAX_WEIGHT

MAX_TEXT = 256 << 10  # characters of YAML
MAX_CANONICAL = 2 << 20  # bytes: four a character at most, doubled for defaults that the text left out

Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\p{Cc}]{1,2000}$")]
Period = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[mhd]$")]
Population = Annotated[int, Field(ge=1, le=10**11)]

Effect = Literal["restriction", "notice", "incentive"]
Rank = Literal["law", "regulation", "central-policy", "local-regulation"]
Severity = Literal["minor", "general", "serious"]
SubjectKind = Literal["legal", "natural"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class LegalBasis(_Document):
    """The norm the agreement rests on, and its rank."""

    reference: Text
    rank: Rank


class Validity(_Document):
    """First and last day on which the agreement answers."""

    from_: date = Field(alias="from")
    until: date


class Anonymity(_Document):
    """Figures from which bucket bits and size follow (`protocol.agreement.parameters`).

    `population` is that of the smaller subject kind where both are asked about; `max_listings` is the most identifiers
    that any agency seals.
    """

    population: Population
    k_min: int = Field(ge=2, le=100_000)
    max_listings: Population


class Keyholders(_Document):
    """Agencies that hold shares of the keys; any `threshold` of them answer together."""

    agencies: tuple[Id, ...] = Field(min_length=1)
    threshold: int = Field(ge=1)


class Register(_Document):
    """A list an agency keeps, after a preset of the catalogue; without a territory it has the agreement's."""

    id: Id
    preset: Id
    territory: Text | None = None


class Agency(_Document):
    """A party that brings registers; one that only holds keys brings none.

    `kind` says what it is (a court, a labour inspectorate …), by which presets name who is competent; without one its
    id does.
    """

    id: Id
    name: Text
    kind: Id | None = None
    registers: tuple[Register, ...] = ()


class Requester(_Document):
    """A party that asks for its purposes, and learns only the measures it implements."""

    id: Id
    name: Text
    purposes: tuple[Id, ...] = Field(min_length=1)
    implements: tuple[Id, ...] = Field(min_length=1)
    quota_per_day: int = Field(ge=1, le=10**9)


class Measure(_Document):
    """What follows for the listed subject itself; nobody else can be named."""

    id: Id
    effect: Effect
    severity: Severity
    max_months: int = Field(ge=1)
    legal_basis: Text
    notice: Text

    @property
    def positive(self) -> bool:
        """Whether its rules count positive records: an incentive's do, and a restriction's or notice's count listings.

        One register may hold both, as a rating does; neither kind of rule ever sees what is the other's.
        """
        return self.effect == "incentive"


class When(_Document):
    """When a rule fires: thresholds over all agencies' active listings of one subject in any of these registers.

    For an incentive, over the positive records there (`Measure.positive`).
    """

    registers: tuple[Id, ...] = Field(min_length=1)
    min_agencies: int = Field(default=1, ge=1)
    min_weight: int | None = Field(default=None, ge=1, le=MAX_WEIGHT)
    min_points: int | None = Field(default=None, ge=1, le=MAX_POINTS)


class Rule(_Document):
    """A measure and when it applies; several rules may name one measure, and any of them suffices."""

    measure: Id
    when: When


class OptOut(_Document):
    """An agency whose registers do not feed the rules of a measure."""

    agency: Id
    measure: Id


class Moratorium(_Document):
    """Registers or measures without effect until a day, that day included; registers perhaps for some subjects only."""

    registers: tuple[Id, ...] | None = Field(default=None, min_length=1)
    measures: tuple[Id, ...] | None = Field(default=None, min_length=1)
    subject_kinds: tuple[SubjectKind, ...] | None = Field(default=None, min_length=1)
    until: date
    legal_basis: Text


class Emergency(_Document):
    """That a version holds for its days only, on which legal `basis`, and which one is in force before and after."""

    follows: int = Field(ge=1, lt=1 << 31)
    basis: Text


class PublicFigures(_Document):
    """What public accountability figures may cost: ε in thousandths, by the quarter and by the calendar year.

    A number below `threshold` is not published.
    """

    epsilon: int = Field(default=1000, ge=100, le=10_000)
    budget: int = Field(default=4000, ge=100, le=40_000)
    threshold: int = Field(default=10, ge=2, le=1000)


class Agreement(_Document):
    """One version of an agreement."""

    concordat: Literal[1]
    id: Id
    version: int = Field(ge=1, lt=1 << 31)
    title: Text
    legal_basis: LegalBasis
    territory: Text
    valid: Validity
    subject_kinds: tuple[SubjectKind, ...] = Field(min_length=1)
    anonymity: Anonymity
    keyholders: Keyholders
    suite: Literal["concordat-v1", "concordat-v1-insecure-test"]
    sieve: bool = False
    agencies: tuple[Agency, ...] = Field(min_length=2)
    requesters: tuple[Requester, ...] = Field(min_length=1)
    measures: tuple[Measure, ...] = Field(min_length=1, max_length=64)
    rules: tuple[Rule, ...] = Field(min_length=1)
    opt_outs: tuple[OptOut, ...] | None = Field(default=None, min_length=1)
    moratoria: tuple[Moratorium, ...] | None = Field(default=None, min_length=1)
    emergency: Emergency | None = None
    figures: PublicFigures | None = None
    validity_of_decision: Period

    @property
    def public_figures(self) -> PublicFigures:
        """The terms of its public figures: the defaults where it has none of its own."""
        return self.figures or PublicFigures()

    @property
    def decision_lifetime(self) -> timedelta:
        """How long a decision may be used, from `validity_of_decision` in minutes, hours or days."""
        unit = {"m": "minutes", "h": "hours", "d": "days"}[self.validity_of_decision[-1]]
        return timedelta(**{unit: int(self.validity_of_decision[:-1])})

    def requester(self, requester_id: str) -> Requester:
        """Return the requester of this id.

        Raises:
            NotGrantedError: the agreement names no such requester.
        """
        for requester in self.requesters:
            if requester.id == requester_id:
                return requester
        raise NotGrantedError("not a requester of this agreement")


def parse(text: str) -> Agreement:
    """Read the YAML text of an agreement; its rules are not validated yet.

    Raises:
        InvalidAgreementError: too long, not plain YAML, or not of the agreement's form.
    """
    if len(text) > MAX_TEXT:
        raise _unreadable(f"text is longer than {MAX_TEXT} characters")
    try:
        document = yaml.load(text, Loader=PlainLoader)  # noqa: S506  # a SafeLoader, narrowed
    except yaml.MarkedYAMLError as error:
        raise _unreadable(
            f"line {error.problem_mark.line + 1 if error.problem_mark else 1} is not plain YAML"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _unreadable("not plain YAML") from None
    return _checked(document)


def schema() -> dict[str, Any]:
    """The agreement's form as JSON Schema, for editors; what fields demand of each other only the validator knows."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Agreement.model_json_schema()


def canonical(agreement: Agreement) -> bytes:
    """Encode the agreement as what every agency signs."""
    return codec.encode(agreement.model_dump(mode="json", by_alias=True, exclude_none=True))


def from_canonical(data: bytes) -> Agreement:
    """Decode what `canonical` made.

    Raises:
        DecodeError: not the one canonical encoding of an agreement.
        InvalidAgreementError: not of the agreement's form.
    """
    agreement = _checked(codec.decode(data, MAX_CANONICAL))
    if canonical(agreement) != data:
        raise DecodeError("not the canonical form of its agreement")
    return agreement


def digest(agreement: Agreement) -> bytes:
    """Hash (32 bytes) of the canonical form, by which signed messages name the agreement."""
    return codec.digest(labels.DOCUMENT_HASH, canonical(agreement))


class PlainLoader(yaml.SafeLoader):
    """Plain YAML: dates as text, no key twice, no aliases (a short text must not unfold into a long one)."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice or is no text."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(node.value):
            raise yaml.MarkedYAMLError(problem="a key twice, or not text", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _checked(document: object) -> Agreement:
    """Check the form by pydantic's strict JSON mode: nothing is coerced, and YAML and CBOR come in by one door."""
    try:
        return Agreement.model_validate_json(json.dumps(document))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        # Pydantic calls a list too short that merely has a wrong item: what lies inside a field says it better.
        outer = {item["loc"][:depth] for item in details for depth in range(len(item["loc"]))}
        raise InvalidAgreementError(
            _violation(item["loc"], item["type"], item["msg"]) for item in details if item["loc"] not in outer
        ) from None
    except (TypeError, ValueError):
        raise _unreadable("holds what is neither text, number, list nor mapping") from None


def _violation(location: tuple[int | str, ...], kind: str, message: str) -> Violation:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{_field(step)}" for step in location)
    rule, remedy = message, "correct it"
    if kind == "extra_forbidden":
        rule, remedy = "unknown field", "remove it"
        if location[0] in {"measures", "rules"}:
            rule = "unknown field: a measure concerns the listed subject alone, never relatives, employees or others"
    elif kind == "missing":
        rule, remedy = "required field is absent", "add it"
    return Violation(path.removeprefix(".") or "document", rule, remedy)


def _field(name: str) -> str:
    """Show what may be a misspelt field; anything else in a key's place could be a value."""
    return name if re.fullmatch("[a-z_]{1,32}", name) else "?"


def _unreadable(rule: str) -> InvalidAgreementError:
    return InvalidAgreementError(
        [Violation("document", rule, "write one plain YAML mapping, without aliases or repeated keys")]
    )
