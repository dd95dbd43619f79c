"""Requests that no party should serve, each with a marker that occurs nowhere else: whoever repeats it is found.

Drawn from a seed: malformed questions to a gateway, malformed messages to a party, and markers in every other part of a
request.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from federation.transport import MEDIA_TYPE
from protocol.codec import decode, encode
from protocol.messages import Ask, Evaluate
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.wire import HASH_BYTES, SESSION_BYTES

_ALPHABET: Final = "ABCDEFGHJKLMNPQRTUWXY0123456789"
_MARKER: Final = 18


@dataclass(frozen=True)
class Attempt:
    """A request, where it goes (`endpoint`, for people), and the marker in it."""

    endpoint: str
    marker: str = field(repr=False)
    method: str = field(repr=False)
    path: str = field(repr=False)
    content: bytes = field(repr=False, default=b"")
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


def marker(draws: random.Random) -> str:
    """A new marker: it could be an identifier."""
    return "".join(draws.choices(_ALPHABET, k=_MARKER))


# Malformed questions.


@dataclass(frozen=True)
class Form:
    """What a right question at `path` looks like: for an agreement and a purpose, of one subject or of a batch."""

    path: str
    agreement: str
    purpose: str

    def of(self, value: object, scheme: object = "cn.reg_no", **changes: object) -> dict[str, Any]:
        """A question about a subject, with some fields changed or added."""
        subject = {"scheme": scheme, "value": value}
        asked = {"subjects": [subject]} if self.path.endswith("batch") else {"subject": subject}
        return {"agreement": self.agreement, "purpose": self.purpose, "case": "case 1", **asked, **changes}

    def json(self, value: str) -> bytes:
        """A right question about a subject."""
        return json.dumps(self.of(value)).encode()


# Each kind makes a body, or what becomes one as JSON, of a form and a marker.
_BODIES: Final[Sequence[Callable[[Form, str], object]]] = (
    # Fields that are not known, or of another type.
    lambda form, it: form.of("17", **{it: 1}),
    lambda form, it: form.of("17", note=it),
    lambda form, it: form.of([it]),
    lambda form, it: form.of({it: it}),
    lambda form, it: form.of("17", case={"a": it}),
    lambda form, it: form.of("17", purpose=[it]),
    lambda form, it: form.of(it, case=None),
    lambda form, it: form.of(it, case=17),
    lambda form, it: form.of("17", scheme=[it]),
    lambda form, it: form.of("17", subject=it, subjects=it),
    lambda form, it: [form.of(it)],
    lambda _form, it: it,
    lambda _form, it: {it: None},
    # Text that is empty, too long, or holds what no text may.
    lambda form, it: form.of(it + "\n"),
    lambda form, it: form.of(it + "\ud800"),
    lambda form, it: form.of(it + "\u202e\u200b"),
    lambda form, it: form.of(it * 200),
    lambda form, it: form.of(it, case="x" * 201),
    lambda form, it: form.of(it, case=""),
    lambda form, it: form.of("17", case=it * 12),
    # What is not granted, not known, or has a wrong check digit.
    lambda form, it: form.of("17", agreement=it),
    lambda form, it: form.of("17", purpose=it),
    lambda form, it: form.of("17", scheme=it),
    lambda form, it: form.of("17", scheme=f"cn.{it}"),
    lambda form, it: form.of(it, scheme="cn.uscc"),
    lambda form, it: form.of(it, scheme="lei"),
    lambda form, it: form.of(it, scheme="cn.ric"),
    lambda form, it: form.of(it, scheme="isbn"),
    # Batches of no size, or too large; bodies too long.
    lambda form, it: form.of(it, subjects=[]),
    lambda form, it: form.of(it, subjects=[{"scheme": "cn.reg_no", "value": it}] * 1001),
    lambda form, it: form.of(it, case="x" * (1 << 20)),
    # What is not UTF-8 JSON, or not one value.
    lambda form, it: form.json(it)[:-9] + it.encode(),
    lambda form, it: form.json(it)[9:],
    lambda form, it: form.json(it) + it.encode(),
    lambda form, it: form.json(it).replace(b'"', b"'"),
    lambda form, it: form.json(it).decode().encode("utf-16"),
    lambda form, it: form.json(it) + b"\xff\xfe",
    lambda form, it: form.json(it).replace(b'"case"', f'"case": "{it}", "case"'.encode()),
    lambda form, it: form.json(it).replace(b'"case 1"', b"NaN"),
    lambda form, it: form.json(it).replace(b'"case 1"', b"9" * 5000),
    lambda _form, it: b"[" * 5000 + f'"{it}"'.encode() + b"]" * 5000,
    lambda _form, it: b"\x00\xff" + it.encode(),
)
_TYPES: Final = ("application/json", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data", "")


def questions(form: Form, count: int, draws: random.Random) -> Iterator[Attempt]:
    """Malformed questions to a gateway: each kind in turn, under several content types."""
    for number in range(count):
        it = marker(draws)
        body = _BODIES[number % len(_BODIES)](form, it)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        yield Attempt(form.path, it, "POST", form.path, content, {"content-type": draws.choice(_TYPES)})


# Malformed messages.


def messages(path: str, real: bytes, requester: Party, now: int, count: int, draws: random.Random) -> Iterator[Attempt]:
    """Malformed messages to a party: a real one altered, cut, or with the marker in a field; and rightly signed ones.

    `real` is a recorded message, or the array of two that C is sent; `requester` signs what is wrong inside.
    """
    for number in range(count):
        it = marker(draws)
        kinds = [*_altered(real, it, draws), *_in_fields(real, it, draws), *_signed(requester, it, now, draws)]
        yield Attempt(path, it, "POST", path, kinds[number % len(kinds)], {"content-type": MEDIA_TYPE})


def _altered(real: bytes, it: str, draws: random.Random) -> list[bytes]:
    text, at = it.encode(), draws.randrange(1, len(real))
    return [
        text,
        real + text,
        real[:at] + text,
        real[:at] + text + real[at:],
        real[:at] + text + real[at + len(text) :],
        draws.randbytes(at % 500) + text,
        encode({it: [text, it]}),
        encode([it, text, draws.randbytes(64)]),
    ]


def _in_fields(real: bytes, it: str, draws: random.Random) -> Iterator[bytes]:
    """The message with its old signature, but for one field's value, one field more, or its type."""
    kind, payload, signature, *others = _parts(real)

    def message(payload_type: str, content: object) -> bytes:
        changed = encode([payload_type, encode(content), signature])
        return encode([changed, *others]) if others else changed

    for part in ("header", "body"):
        content = decode(payload, len(payload))
        names = [*content[part], it]
        for name in ("sender", "agreement", "audience", "purpose") if part == "header" else draws.sample(names, 1):
            content = decode(payload, len(payload))
            content[part][name] = it if isinstance(content[part].get(name, ""), str) else it.encode()
            yield message(kind, content)
    yield message(kind + it, decode(payload, len(payload)))
    yield message(kind, it)


def _parts(real: bytes) -> tuple[Any, ...]:
    """Type, payload and signature of a message; of two, those of the first and then the second."""
    first, second, *rest = decode(real, len(real))
    return (first, second, *rest) if rest else (*decode(first, len(first)), second)


def _signed(requester: Party, it: str, now: int, draws: random.Random) -> Iterator[bytes]:
    """What a dishonest requester can sign: purposes it has not, elements and boxes that are none."""
    purpose = requester.terms.agreement.requester(requester.id).purposes[0]
    filler = it.encode().ljust(HASH_BYTES, b"\xff")  # as a group element not canonical
    evaluate = Evaluate(filler, (filler,))
    asked = Ask(filler, dict.fromkeys(requester.terms.agencies, it.encode() * 6))
    for body, audience in ((evaluate, KEYHOLDERS), (asked, AGENCIES)):
        for claimed in (purpose, it):
            for addressed in (audience, it):
                session = draws.randbytes(SESSION_BYTES)
                yield requester.send(body, audience=addressed, session=session, purpose=claimed, m=1, now=now)


# Every other part of a request.

_PATHS: Final = (
    *(
        "/{0}",
        "/v1/{0}",
        "/v1/membership/{0}",
        "/v1/membership/?{0}={0}",
        "/v1/membership?q={0}",
        "/v1/evaluate/?q={0}",
    ),
    *("/docs?{0}", "/openapi.json?q={0}", "/metrics/?q={0}", "/readyz/{0}", "/healthz/?{0}", "//{0}", "/v1/%00{0}"),
    *("/v1/..%2f{0}", "/v1/agreements?q={0}", "/v1/agreements/?q={0}"),
)
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
_HEADERS: Final = (
    *("host", "cookie", "user-agent", "origin", "referer", "x-request-id", "x-forwarded-for", "x-forwarded-host"),
    *("accept", "accept-language", "content-type", "if-none-match", "range", "traceparent", "x-note", "forwarded"),
)


def elsewhere(count: int, draws: random.Random) -> Iterator[Attempt]:
    """Markers in paths, queries, methods, headers and tokens."""
    for number in range(count):
        it = marker(draws)
        path = draws.choice(_PATHS)
        method, headers = draws.choice(_METHODS), {draws.choice(_HEADERS): it}
        match number % 4:
            case 0:
                yield Attempt("paths and queries", it, method, path.format(it))
            case 1:
                yield Attempt("headers", it, method, path.format(""), headers=headers)
            case 2:
                token = {"authorization": draws.choice(("Bearer ", "Basic ", "")) + it}
                yield Attempt("tokens", it, "POST", "/v1/membership", headers=token)
            case _:
                yield Attempt("methods", it, it, path.format(""))
