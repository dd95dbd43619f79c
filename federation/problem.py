"""Errors as problem documents (RFC 9457) and back: one table for every service and every client.

A document never repeats what was sent: its detail is an error's own sentence, which names fields and parties only.
"""

from collections.abc import Mapping
from typing import Any

from protocol.errors import (
    DecodeError,
    ExpiredError,
    HeaderError,
    IndeterminateError,
    NotGrantedError,
    PeerError,
    QuotaError,
    ReplayedError,
    SignatureError,
    SpentError,
)

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:concordat:problem:"

MALFORMED = "malformed"
UNAUTHENTICATED = "unauthenticated"
NOT_GRANTED = "not-granted"
UNKNOWN_AGREEMENT = "unknown-agreement"
REPLAYED = "replayed"
QUOTA = "quota"
BUSY = "busy"
INDETERMINATE = "indeterminate"
UNEXPECTED = "unexpected"

STATUS: Mapping[str, int] = {
    MALFORMED: 422,
    UNAUTHENTICATED: 401,
    NOT_GRANTED: 403,
    UNKNOWN_AGREEMENT: 404,
    REPLAYED: 409,
    QUOTA: 429,
    BUSY: 503,
    INDETERMINATE: 503,
    UNEXPECTED: 500,
}
TITLES: Mapping[str, str] = {
    MALFORMED: "The request is not as required",
    UNAUTHENTICATED: "The sender is not known",
    NOT_GRANTED: "The sender has no right to ask this",
    UNKNOWN_AGREEMENT: "There is no such agreement here",
    REPLAYED: "The message or session was seen before",
    QUOTA: "The quota does not cover the request",
    BUSY: "The service is busy",
    INDETERMINATE: "No decision can be made",
    UNEXPECTED: "A fault of this service",
}


class TokenError(PeerError):
    """A caller's bearer token is absent, or another one's."""


class UnknownAgreementError(PeerError):
    """This service is no party of an agreement of this id."""


class BusyError(PeerError):
    """More is under way than this service takes on; nothing was charged or asked. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class UnreadableError(PeerError):
    """A request's body cannot be read at all: it is cut, or not the encoding that is asked for."""


class TooLargeError(PeerError):
    """A request's body is longer than what the service reads."""


# The first that fits; every other PeerError is malformed.
_TYPES: tuple[tuple[type[PeerError], str], ...] = (
    (TokenError, UNAUTHENTICATED),
    (SignatureError, UNAUTHENTICATED),
    (HeaderError, UNAUTHENTICATED),
    (ExpiredError, UNAUTHENTICATED),
    (NotGrantedError, NOT_GRANTED),
    (UnknownAgreementError, UNKNOWN_AGREEMENT),
    (ReplayedError, REPLAYED),
    (SpentError, REPLAYED),
    (QuotaError, QUOTA),
    (BusyError, BUSY),
    (IndeterminateError, INDETERMINATE),
)
_OWN_STATUS: Mapping[type[PeerError], int] = {UnreadableError: 400, TooLargeError: 413}
_MAX_RETRY_AFTER = 400 * 86_400
_MAX_MISSING = 64


def kind_of(error: PeerError) -> str:
    """The problem type of an error, without its prefix."""
    return next((kind for error_type, kind in _TYPES if isinstance(error, error_type)), MALFORMED)


def document(kind: str, detail: str, status: int | None = None) -> dict[str, Any]:
    """A problem document of a type; malformed requests may have another status than 422."""
    return {"type": PREFIX + kind, "title": TITLES[kind], "status": status or STATUS[kind], "detail": detail}


def from_error(error: PeerError) -> dict[str, Any]:
    """The problem document of an error; `retry_after` is for the header of that name."""
    problem = document(kind_of(error), str(error), _OWN_STATUS.get(type(error)))
    if isinstance(error, IndeterminateError):
        problem |= {"outcome": INDETERMINATE, "missing": list(error.missing)}
    if isinstance(error, QuotaError | BusyError):
        problem["retry_after"] = error.retry_after
    return problem


def to_error(problem: object, sender: str) -> PeerError:
    """The error that a problem document from `sender` stands for; whatever else it is, that party failed.

    Its detail is not taken over: another party's words are not repeated in ours.
    """
    match problem:
        case {"type": str() as kind, "missing": [*missing]} if kind == PREFIX + INDETERMINATE:
            if 1 <= len(missing) <= _MAX_MISSING and all(isinstance(party, str) for party in missing):
                return IndeterminateError(missing)
        case {"type": str() as kind, "retry_after": int() as retry_after} if kind == PREFIX + QUOTA:
            return QuotaError(f"quota refused by {sender}", min(max(1, retry_after), _MAX_RETRY_AFTER))
        case {"type": str() as kind}:
            for error_type, name in ((NotGrantedError, NOT_GRANTED), (ReplayedError, REPLAYED)):
                if kind == PREFIX + name:
                    return error_type(f"refused by {sender}")
            if kind == PREFIX + MALFORMED:
                return DecodeError(f"message refused by {sender}")
            if kind == PREFIX + UNAUTHENTICATED:
                return SignatureError(f"message not accepted by {sender}")
    return IndeterminateError([sender])
