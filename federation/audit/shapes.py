"""Shapes of values in the leakage table: what each field may hold, and how long it is.

A shape is a set of values, or one size that follows from m, N, B and the agreement: never from a subject.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import ACCESS, CANARY, FIGURES, SEAL, Terms
from protocol.codec import encode
from protocol.hpke import OVERHEAD
from protocol.messages import CONTENT_BYTES, PREFIX_BYTES, SealedAccess, SealedAnswer, SealedAsk
from protocol.sealing import NONCE_BYTES
from protocol.wire import to_map

Header = Mapping[str, Any]
"""A message's header, as it was decoded; of what is no message, empty."""

Shape = Callable[[Any, Header, Terms], bool]


def _octets(size: int) -> Shape:
    return lambda value, _header, _terms: isinstance(value, bytes) and len(value) == size


def _each(size: int) -> Shape:
    return lambda value, header, _terms: (
        isinstance(value, list) and len(value) == header["m"] and all(len(item) == size for item in value)
    )


def _text(pattern: str) -> Shape:
    compiled = re.compile(pattern)
    return lambda value, _header, _terms: isinstance(value, str) and compiled.fullmatch(value) is not None


def _whole(highest: int) -> Shape:
    return lambda value, _header, _terms: isinstance(value, int) and 0 <= value <= highest


def _purposes(terms: Terms) -> set[str]:
    return {purpose for requester in terms.agreement.requesters for purpose in requester.purposes} | {
        SEAL,
        CANARY,
        ACCESS,
        FIGURES,
    }


def _boxes(value: Any, header: Header, terms: Terms) -> bool:
    inside = encode(to_map(SealedAsk(bytes(NONCE_BYTES), (bytes(PREFIX_BYTES),) * header["m"])))
    return set(value) == set(terms.agencies) and {len(box) for box in value.values()} == {len(inside) + OVERHEAD}


def _access_boxes(value: Any, header: Header, terms: Terms) -> bool:
    m = header["m"]
    inside = encode(to_map(SealedAccess((bytes(PREFIX_BYTES),) * m, (bytes(32),) * m)))
    return set(value) == set(terms.agencies) and {len(box) for box in value.values()} == {len(inside) + OVERHEAD}


def _boxes_for_keyholders(value: Any, _header: Header, terms: Terms) -> bool:
    return set(value) == set(terms.keyholders) and len({len(box) for box in value.values()}) == 1


def _boxes_of_agencies(value: Any, _header: Header, terms: Terms) -> bool:
    """Each is as long as the others, but for the agency's id, which stands inside."""
    return set(value) == set(terms.agencies) and len({len(box) - len(encode(it)) for it, box in value.items()}) == 1


def _all(size: Callable[[Terms], int]) -> Shape:
    return lambda value, _header, terms: all(len(item) == size(terms) for item in value)


def _blocks(value: Any, header: Header, terms: Terms) -> bool:
    answer = SealedAnswer((bytes(terms.block_bytes),) * header["m"])
    return len(value) == len(encode(to_map(answer))) + OVERHEAD


def _effects(value: Any, header: Header, terms: Terms) -> bool:
    implemented = terms.agreement.requester(header["audience"]).implements
    return set(value) == set(implemented) and all(effect in {0, 1, 2} for effect in value.values())


def _public(terms: Terms) -> set[object]:
    """Every text and number of the agreement, which everybody may read."""
    found, rest = set[object](), [terms.agreement.model_dump(mode="json", by_alias=True)]
    while rest:
        value = rest.pop()
        if isinstance(value, (dict, list)):
            rest += value.values() if isinstance(value, dict) else value
        else:
            found.add(value)
    return found


SHAPES: Final[Mapping[str, Shape]] = {
    "agreement": lambda value, _, terms: value == terms.agreement.id,
    "version": lambda value, _, terms: value == terms.agreement.version,
    "epoch": lambda value, _, terms: value == terms.roster.epoch,
    "party": lambda value, _, terms: value in terms.roster.signing,
    "party or nobody": lambda value, _, terms: value == "" or value in terms.roster.signing,
    "party or subject": lambda value, _, terms: (
        value in terms.roster.signing or re.fullmatch("subject-[0-9a-f]{8,32}", str(value)) is not None
    ),
    "party or group": lambda value, _, terms: value in {*terms.roster.signing, "agencies", "keyholders"},
    "keyholder": lambda value, _, terms: value in terms.keyholders,
    "agency": lambda value, _, terms: value in {*terms.agencies, COORDINATOR},
    "agencies": lambda value, _, terms: value == len(terms.agencies),
    "purpose": lambda value, _, terms: value in _purposes(terms),
    "purpose or none": lambda value, _, terms: value == "" or value in _purposes(terms),
    "measure": lambda value, _, terms: value in {measure.id for measure in terms.agreement.measures},
    "notice": lambda value, _, terms: value in {measure.notice for measure in terms.agreement.measures},
    "register": lambda value, _, terms: value in {it.id for own in terms.agreement.agencies for it in own.registers},
    "prefix": lambda value, _, terms: isinstance(value, int) and 0 <= value < 1 << terms.bucket_bits,
    "m": _whole(120),
    "number": _whole(1 << 40),
    "position": _whole(119),
    "boolean": lambda value, _header, _terms: isinstance(value, bool),
    "seconds": lambda value, _header, _terms: isinstance(value, (int, float)),
    "time": lambda value, _header, _terms: isinstance(value, int) and 1 << 30 <= value < 1 << 32,
    "16 bytes": _octets(16),
    "32 bytes": _octets(32),
    "64 bytes": _octets(64),
    "92 bytes": _octets(92),
    "252 bytes": _octets(252),
    "32 bytes or none": lambda value, _header, _terms: len(value) in {0, 32},
    "32 bytes each": _each(32),
    "message": lambda value, _header, _terms: isinstance(value, (bytes, list)),
    "signature": _octets(64),
    "boxes": _boxes,
    "access boxes": _access_boxes,
    "65584 bytes": _octets(CONTENT_BYTES + OVERHEAD),
    "blocks": _blocks,
    "number below N": lambda value, _, terms: len(value) == terms.public_key.modulus_bytes,
    "numbers below N": _all(lambda terms: terms.public_key.modulus_bytes),
    "ciphertexts": _all(lambda terms: terms.public_key.ciphertext_bytes),
    "a box a keyholder": _boxes_for_keyholders,
    "a box an agency": _boxes_of_agencies,
    "cells": lambda value, _header, _terms: all(isinstance(item, str) for item in value),
    "numbers": lambda value, _header, _terms: all(isinstance(item, int) and item >= 0 for item in value),
    "quarter": _text("2[0-9]{3}-Q[1-4]"),
    "response": lambda value, _header, _terms: isinstance(value, bytes),
    "effects": _effects,
    "encrypted": lambda value, _header, _terms: isinstance(value, bytes) and len(value) >= 28,
    "kind": _text("evaluate|ask|access|door|open|question|tally|open-figures|figures|prove( [0-9]+)?"),
    "outcome": _text("admitted|[A-Z][A-Za-z]+Error"),
    "period": _text(r"[a-z0-9 :.-]{1,80}"),
    "date": _text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "life": _text(r'\{["a-z0-9_:, \[\]-]*\}'),  # acts, states, days and references: no free text
    "act": _text("[a-z-]{5,20}"),
    "actor": _text(r"[\w.@ -]{1,63}"),
    "role": _text("clerk|reviewer|auditor|subject"),
    "schema": _text("[0-9]{4}"),
    "stamp": _text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z"),
    "level": _text("debug|info|warning|error"),
    "event": _text("request|sealed|sealing|fault|library"),
    "request number": _text("[0-9a-f]{16}"),
    "session number": _text("[0-9a-f]{32}"),
    "method": _text("GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|"),
    "route": _text(
        r"(/v1/(evaluate|ask|access|open|prove|tally|open-figures|figures)|/v1/(membership|membership:batch|standing|agreements)|"
        r"/(healthz|readyz|metrics)|/v1/portfolios(/\{portfolio\}(/subjects|/changes)?)?|"
        r"/docs|/docs/oauth2-redirect|/openapi\.json|/subject(/listings|/listings/\{reference\}/[a-z]+|/file|/door)?|"
        r"/clerk/(due|find|listings|subjects|trail)|/clerk/listings/\{reference\}(/[a-z-]+)?|)"
    ),
    "status": lambda value, _header, _terms: re.fullmatch("[1-5][0-9]{2}|0", str(value)) is not None,
    "class": _text(r"[A-Za-z_.]+"),
    "line of code": _text(r"[\w<>.]+:[0-9]+|"),
    "bound": _text(r"[0-9.]+|\+Inf"),
    "words": _text(r"[A-Za-z0-9 ,;:.()'-]{1,120}"),
    "problem": _text("urn:concordat:problem:[a-z-]+"),
    "decided": _text("decided|indeterminate|error"),
    "portfolio": _text("[0-9a-f]{32}"),
    "event's id": _text("[0-9a-f]{32}-[0-9]+"),
    "event's source": _text("urn:concordat:portfolio:[0-9a-f]{32}"),
    "event's type": _text(r"org\.concordat\.(decision\.(changed|lapsed)|portfolio\.outdated)"),
    "media type": _text("application/json"),
    "reference": _text("[^\x00-\x1f]{1,128}"),
    "change": _text("added|removed|disputed|settled"),
    "decided or lapsed": _text("decided|lapsed"),
    "delivered or failed": _text("delivered|failed"),
    "number or none": lambda value, _header, _terms: value is None or isinstance(value, int),
    "text or none": lambda value, _header, _terms: value is None or isinstance(value, str),
    "effect": _text("restriction|notice|incentive"),
    "door": _text(r"https?://[^\s]+/subject|https?://[^\s]+"),
    "certificate": _text("[A-Za-z0-9+/=_-]+"),
    "payload type": _text(re.escape(labels.PAYLOAD_TYPE_PREFIX) + r"decision\+cbor"),
    "header": _text(r"[\x20-\x7e]{1,80}"),
    "outcome of a subject": _text("decided|indeterminate|malformed|quota|not-granted|replayed|unauthenticated"),
    "agreement's text": lambda value, _, terms: value in _public(terms),
    "nothing": lambda value, _header, _terms: value is None,
}
