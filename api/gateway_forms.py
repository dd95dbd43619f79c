"""The gateway's JSON: what its users send, checked field by field, and what they get, for its OpenAPI."""

import json
import re
import unicodedata
from datetime import date
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from federation.problem import UnreadableError
from protocol.errors import DecodeError
from protocol.identifiers import MAX_SCHEME, MAX_VALUE

MAX_BODY = 1 << 20
MAX_BATCH = 1_000
MAX_TEXT = 200  # characters
_DATE: Final = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}")


def is_text(value: str) -> bool:
    """Whether a text says something, and holds neither control characters nor lone surrogates."""
    return bool(value.strip()) and not any(unicodedata.category(character) in {"Cc", "Cs"} for character in value)


def is_identifier(scheme: str, value: str) -> bool:
    """Whether a scheme and value may be asked about at all; if they are right is `protocol.identifiers`' matter."""
    return all(is_text(text) and len(text) <= limit for text, limit in ((scheme, MAX_SCHEME), (value, MAX_VALUE)))


def day(text: object) -> date:
    """A day from its ISO form.

    Raises:
        PydanticCustomError: it is none.
    """
    try:
        if isinstance(text, str) and _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # 31 February
    raise PydanticCustomError("day", "not a date of the form YYYY-MM-DD")


def _text(value: str) -> str:
    if not is_text(value):
        raise ValueError
    return value


def _schema(longest: int) -> WithJsonSchema:
    """The JSON schema of text: 1 to `longest` characters, something besides space, and no control character."""
    control = r"\u0000-\u001f\u007f-\u009f"
    pattern = rf"^[^{control}]*[^\s{control}][^{control}]*$"
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern})


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_text), _schema(MAX_TEXT)]
# Too long for an identifier is an error of one subject alone, not of its whole batch.
Number = Annotated[str, Field(max_length=MAX_BODY), AfterValidator(_text), _schema(MAX_BODY)]
Day = Annotated[date, BeforeValidator(day), WithJsonSchema({"type": "string", "format": "date"})]


class Form(BaseModel):
    """What is sent or answered: no field that is not named, none of another type, and errors without values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Subject(Form):
    """Whom a question is about: a number under a scheme, as python-stdnum or a country names it."""

    scheme: Number = Field(examples=["cn.uscc"])
    value: Number = Field(examples=["9111000010000106X1"])


class Question(Form):
    """One question, for a purpose that the agreement grants and a case that the requester has open."""

    agreement: Text = Field(examples=["procurement"])
    subject: Subject
    purpose: Text = Field(examples=["award-contract"])
    case: Text = Field(examples=["tender-2026-17"])


class Batch(Form):
    """Up to 1,000 questions for one purpose and case."""

    agreement: Text = Field(examples=["procurement"])
    purpose: Text = Field(examples=["award-contract"])
    case: Text = Field(examples=["tender-2026-17"])
    subjects: list[Subject] = Field(min_length=1, max_length=MAX_BATCH)


class Measure(Form):
    """A measure that applies; disputed: that may apply once a dispute is settled, and until then does not."""

    id: str
    effect: Literal["restriction", "notice", "incentive"]
    disputed: bool


class Agencies(Form):
    """How many agencies the decision rests on: all of them."""

    required: int
    answered: int


class Notice(Form):
    """What the subject must be told, and where it can object; the same door whoever listed it."""

    measure: str
    text: str
    door: str


class Signature(Form):
    """A signature of the certificate."""

    keyid: str
    sig: str


class Certificate(Form):
    """The coordinator's signed decision, a DSSE envelope; it holds no identifier."""

    payload: str
    payloadType: str  # noqa: N815  # DSSE's name
    signatures: list[Signature]


class Decided(Form):
    """A decision over all agencies' registers; an empty list of measures says that none applies."""

    outcome: Literal["decided"]
    measures: list[Measure]
    requires_human_review: bool
    agreement_version: int
    session: str
    as_of: str
    valid_until: str
    agencies: Agencies
    notice: list[Notice]
    certificate: Certificate


class Standing(Form):
    """A certificate with the evidence of whom it concerns: it names the subject, and is the subject's to show."""

    certificate: Certificate
    evidence: str = Field(description="CBOR in base64; it holds the identifier")


class DecidedStanding(Decided):
    """A decision, and the certificate that names its subject."""

    standing: Standing


class Indeterminate(Form):
    """No decision was made: who is missing. It says nothing about the subject."""

    outcome: Literal["indeterminate"]
    missing: list[str] = Field(min_length=1)


class Failed(Form):
    """The subject cannot be asked about."""

    outcome: Literal["error"]
    type: str


class Items(Form):
    """A batch's answers, in the order of its subjects."""

    items: list[Decided | Indeterminate | Failed]


class Problem(Form):
    """A problem document (RFC 9457); it repeats nothing that was sent."""

    type: str = Field(examples=["urn:concordat:problem:malformed"])
    title: str
    status: int
    detail: str
    outcome: Literal["indeterminate"] | None = None
    missing: list[str] | None = None
    retry_after: int | None = None


F = TypeVar("F", bound=Form)


def read(form: type[F], body: bytes) -> F:
    """Read a form from a request's body.

    Raises:
        UnreadableError: not UTF-8 JSON, or not one value in all readings: a member twice, a number out of JSON's.
        DecodeError: not of the form; names the first field that is wrong, never what it holds.
    """
    try:
        document = json.loads(body.decode(), object_pairs_hook=_members, parse_constant=_refuse)
        readable = True
    except (ValueError, RecursionError):
        readable = False
    if not readable:  # outside the handler: the error there holds the body
        raise UnreadableError("body: not UTF-8 JSON without repeated members")
    try:
        return form.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        reason = _reason(details[0]["type"], details[0]["loc"])
    raise DecodeError(reason)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


_REASONS = {
    "extra_forbidden": "has a field that is not known",  # and whose name may be anything
    "missing": "is missing",
    "string_too_long": "is too long",
    "too_long": "has too many items",
    "too_short": "is empty",
    "value_error": "is empty, or holds a control character",
    "day": "is not a date of the form YYYY-MM-DD",
    "key": "is not an X25519 public key in base64",
}


def _reason(kind: str, location: tuple[int | str, ...]) -> str:
    if kind == "extra_forbidden":
        location = location[:-1]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")
    return f"{path or 'body'}: {_REASONS.get(kind, 'is not of the documented type')}"
