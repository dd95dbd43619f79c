"""What staff and subjects send to a node, checked field by field; an error names the field, never what it holds."""

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from api.gateway_forms import Day, Form, Number, Subject, Text, is_text
from nodes.life import MAX_TEXT as MAX_WORDS
from nodes.listings import Listing, ListingError
from protocol.errors import IdentifierError, SealError
from protocol.hpke import receiver_key
from protocol.identifiers import Identifier, canonical
from protocol.messages import MAX_IDENTIFIERS

MAX_BODY: Final = 64 << 10
_KEY_BYTES: Final = 32


def _words(text: str) -> str:
    if not is_text(text.replace("\n", " ")):
        raise ValueError
    return text


def _line(text: str) -> str:
    if text and not is_text(text):
        raise ValueError
    return text


def _key(text: object) -> bytes:
    try:
        key = b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        key = b""
    try:
        if len(key) == _KEY_BYTES:
            receiver_key(key)
            return key
    except SealError:
        pass  # of low order: anybody could open what is sealed to it
    raise PydanticCustomError("key", "not an X25519 public key in base64")


Words = Annotated[str, Field(max_length=MAX_WORDS), AfterValidator(_words)]
Line = Annotated[str, Field(max_length=MAX_WORDS), AfterValidator(_line)]


class Asked(Form):
    """What a subject asks for about a listing of its own, and why."""

    reason: Words
    document: Words | None = None


class Step(Form):
    """A step of staff with a listing; which steps need what of it is the listing's life's to say."""

    reason: Words | None = None
    document: Words | None = None
    on: Day | None = None


class Entry(Form):
    """One listing: the fields of a row of the import CSV, and the register. Without `served_on` it is a draft."""

    register_id: Text = Field(alias="register")
    identifier_scheme: Number
    identifier: Number
    other_identifiers: Annotated[str, Field(max_length=MAX_WORDS), AfterValidator(_line)] = ""
    subject_kind: Literal["legal", "natural"]
    name: Line
    ground: Line
    decision_ref: Line
    decided_on: Day
    served_on: Day | None = None
    severity: int
    expires_on: Day | None = None
    points: int | None = None

    def listing(self) -> Listing:
        """The listing, not checked against its register yet.

        Raises:
            ListingError: an identifier is malformed.
        """
        return Listing(
            register=self.register_id,
            subject_kind=self.subject_kind,
            name=self.name,
            identifiers=tuple(dict.fromkeys(self._identifiers())),
            ground=self.ground,
            decision_ref=self.decision_ref,
            decided_on=self.decided_on,
            served_on=self.served_on,
            severity=self.severity,
            expires_on=self.expires_on,
            points=self.points,
        )

    def _identifiers(self) -> Iterator[Identifier]:
        yield identifier("identifier", self.identifier_scheme, self.identifier)
        others = [part for part in self.other_identifiers.split(";") if part.strip()]
        if len(others) >= MAX_IDENTIFIERS:
            raise ListingError("other_identifiers", f"more than {MAX_IDENTIFIERS - 1} identifiers")
        for part in others:
            scheme, colon, value = part.partition(":")
            if not colon:
                raise ListingError("other_identifiers", "not of the form scheme:value;scheme:value")
            yield identifier("other_identifiers", scheme.strip(), value)


class Correction(Form):
    """A decision to correct a listing, and the corrected one."""

    reason: Words
    document: Words
    listing: Entry


class Authenticated(Form):
    """The identifiers that a clerk has seen a subject's credentials for."""

    identifiers: list[Subject] = Field(min_length=1, max_length=MAX_IDENTIFIERS)


class DoorKey(Form):
    """The X25519 public key of the subject's own client, to which all answers are sealed."""

    key: Annotated[bytes, BeforeValidator(_key)] = Field(repr=False)


def identifier(field: str, scheme: str, value: str) -> Identifier:
    """An identifier of a form.

    Raises:
        ListingError: it is malformed; names the field.
    """
    try:
        return canonical(scheme, value)
    except IdentifierError as error:
        raise ListingError(field, str(error)) from None
