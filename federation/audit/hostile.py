"""Hostile inputs: bytes damaged on their way, CBOR that is not the deterministic encoding, messages of an insider.

Every fault that is drawn here must be refused by whoever receives it; each comes with a name.
"""

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codec import encode
from protocol.envelope import Envelope, sign
from protocol.wire import MAX_CLOCK_SKEW, MAX_LIFETIME, MAX_SUBJECTS, Body, payload_type, read, to_map

Fault = tuple[str, bytes]


def damaged(data: bytes, draws: random.Random) -> Fault:
    """Bytes that were cut, extended, altered in one bit, or replaced."""
    position = draws.randrange(len(data))
    flipped = bytes([data[position] ^ 1 << draws.randrange(8)])
    return draws.choice(
        [
            ("cut", data[:position]),
            ("extended", data + draws.randbytes(draws.randint(1, 40))),
            ("one bit altered", data[:position] + flipped + data[position + 1 :]),
            ("noise", draws.randbytes(draws.randint(0, 400))),
        ]
    )


# CBOR


def bent(value: object, draws: random.Random) -> Fault:
    """An encoding of `value`, or of nearly the same, that is not the deterministic one in a single place."""
    place = draws.choice(list(_places(value)))
    inside = _at(value, place)
    ways = [name for name, (fits, _) in _WAYS.items() if fits(inside)]
    name = draws.choice(ways)
    return name, _encoded(value, place, _WAYS[name][1])


_Path = tuple[Any, ...]


def _places(value: object) -> Iterator[_Path]:
    yield ()
    for key, inner in _children(value):
        yield from ((key, *path) for path in _places(inner))


def _children(value: object) -> Sequence[tuple[Any, object]]:
    match value:
        case dict():
            return sorted(value.items(), key=lambda item: encode(item[0]))
        case list():
            return list(enumerate(value))
    return []


def _at(value: object, path: _Path) -> object:
    return _at(dict(_children(value))[path[0]], path[1:]) if path else value


def _encoded(value: object, path: _Path, way: Callable[[Any], bytes]) -> bytes:
    if not path:
        return way(value)
    inner = [(key, _encoded(it, path[1:], way) if key == path[0] else encode(it)) for key, it in _children(value)]
    return _head(encode(value)) + b"".join(
        (encode(key) if isinstance(value, dict) else b"") + encoding for key, encoding in inner
    )


def _head(encoding: bytes) -> bytes:
    return encoding[: {24: 2, 25: 3, 26: 5, 27: 9}.get(encoding[0] & 0x1F, 1)]


def _rest(value: object) -> bytes:
    """What follows the head of its encoding."""
    encoding = encode(value)
    return encoding[len(_head(encoding)) :]


def _wider(value: Any) -> bytes:
    argument = value if isinstance(value, int) else len(value)
    return bytes([encode(value)[0] & 0xE0 | 27]) + argument.to_bytes(8, "big") + _rest(value)


def _indefinite(value: Any) -> bytes:
    inside = encode(value) if isinstance(value, (bytes, str)) else _rest(value)
    return bytes([encode(value)[0] & 0xE0 | 31]) + inside + b"\xff"


def _twice(value: Any) -> bytes:
    key, inner = _children(value)[0]
    return bytes([0xB8, len(value) + 1]) + encode(key) + encode(inner) + _rest(value)


def _backwards(value: Any) -> bytes:
    items = reversed(_children(value))
    return _head(encode(value)) + b"".join(encode(key) + encode(inner) for key, inner in items)


def _of(*kinds: type) -> Callable[[object], bool]:
    return lambda value: type(value) in kinds


def _natural(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 32


def _always(_value: object) -> bool:
    return True


_WAYS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], bytes]]] = {
    "a length of eight bytes": (_of(bytes, str, list, dict), _wider),
    "an integer of eight bytes": (_natural, _wider),
    "an integer as a long one": (_natural, lambda value: b"\xc2\x44" + value.to_bytes(4, "big")),
    "an integer as a float": (_natural, lambda value: b"\xfb" + struct.pack(">d", value)),
    "an indefinite length": (_of(bytes, str, list, dict), _indefinite),
    "a key twice": (lambda value: type(value) is dict and 0 < len(value) < 255, _twice),
    "keys in another order": (lambda value: type(value) is dict and len(value) > 1, _backwards),
    "a tag": (_always, lambda value: b"\xd9\xd9\xf7" + encode(value)),
    "a date": (_always, lambda _: b"\xc0\x74" + b"2026-11-20T00:00:00Z"),
    "not a number": (_always, lambda _: b"\xf9\x7e\x00"),
    "undefined": (_always, lambda _: b"\xf7"),
    "a simple value": (_always, lambda _: b"\xe5"),
    "a break": (_always, lambda _: b"\xff"),
    "nested too deep": (_always, lambda _: b"\x81" * 3000 + b"\x00"),
    "a length beyond the end": (_always, lambda _: b"\x5b\x3f" + bytes(7)),
    "an array beyond memory": (_always, lambda _: b"\x9b\x3f" + bytes(7)),
    "text that is none": (_always, lambda _: b"\x62\xc3\x28"),
}

# Messages


def misfitting(values: Mapping[str, Any], draws: random.Random) -> tuple[str, dict[str, Any]]:
    """A message's map with one field missing, unknown, of another type, or of a size that no message has."""
    name = draws.choice(sorted(values))
    samples: list[Any] = [None, True, 7, "text", b"bytes", [], {}]
    others = [sample for sample in samples if type(sample) is not type(values[name])]
    what, changed = draws.choice(
        [
            ("missing", {key: value for key, value in values.items() if key != name}),
            ("beside an unknown one", {**values, "zebra": 1}),
            ("of another type", {**values, name: draws.choice(others)}),
            ("of another size", {**values, name: draws.choice(_missized(values[name]))}),
        ]
    )
    return f"field {name} {what}", changed


def _missized(value: Any) -> list[Any]:
    match value:
        case bytes():
            return [value + bytes(5000), b"" if value else bytes(33)]
        case str():
            return ["", "x" * 64, "a\nb"]
        case int():
            return [-1, 1 << 41]
        case list():
            return [[], [*value, value[0]], [value[0]] * (MAX_SUBJECTS + 1), [None] * len(value), [[]] * len(value)]
        case dict():
            first = next(iter(value))
            return [{}, {**value, "zebra": value[first]}, {**value, first: None}]
    return [None]


@dataclass(frozen=True)
class Forger:
    """A message's sender, who can sign whatever it likes.

    `headers` and `bodies` are changes, by name, that the receiver must refuse although every field has its size.
    """

    kind: type[Body]
    key: Ed25519PrivateKey = field(repr=False)
    header: Mapping[str, Any]
    body: Mapping[str, Any]
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bodies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: bytes,
        kind: type[Body],
        key: Ed25519PrivateKey,
        headers: Mapping[str, Mapping[str, Any]] | None = None,
        bodies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "Forger":
        """The sender of this message; what every receiver must refuse in a header is added."""
        message = read(data, kind, len(data))
        header = to_map(message.header)
        return cls(kind, key, header, to_map(message.body), {**wrong_headers(header), **(headers or {})}, bodies or {})

    def signed(self, header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None) -> bytes:
        """The message with fields replaced, unchecked."""
        return self._envelope({**self.header, **(header or {})}, {**self.body, **(body or {})}).to_bytes()

    def fault(self, draws: random.Random) -> Fault:
        """One of all faults."""
        drawn = [self._damaged, self._bent_payload, self._bent_envelope, self._misfit, self._wrong_header]
        return draws.choice([*drawn, *[self._wrong_body] * bool(self.bodies)])(draws)

    def _damaged(self, draws: random.Random) -> Fault:
        return damaged(self.signed(), draws)

    def _bent_payload(self, draws: random.Random) -> Fault:
        name, payload = bent({"header": dict(self.header), "body": dict(self.body)}, draws)
        return f"{name} in the payload", sign(payload_type(self.kind), payload, self.key).to_bytes()

    def _bent_envelope(self, draws: random.Random) -> Fault:
        envelope = self._envelope(self.header, self.body)
        name, data = bent([envelope.payload_type, envelope.payload, envelope.signature], draws)
        return f"{name} in the envelope", data

    def _misfit(self, draws: random.Random) -> Fault:
        part = draws.choice(["header", "body"])
        name, changed = misfitting(getattr(self, part), draws)
        header, body = (changed, self.body) if part == "header" else (self.header, changed)
        return name, self._envelope(header, body).to_bytes()

    def _wrong_header(self, draws: random.Random) -> Fault:
        name = draws.choice(sorted(self.headers))
        return name, self.signed(header=self.headers[name])

    def _wrong_body(self, draws: random.Random) -> Fault:
        name = draws.choice(sorted(self.bodies))
        return name, self.signed(body=self.bodies[name])

    def _envelope(self, header: Mapping[str, Any], body: Mapping[str, Any]) -> Envelope:
        return sign(payload_type(self.kind), encode({"header": dict(header), "body": dict(body)}), self.key)


def wrong_headers(header: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What no receiver of a message takes in its header."""
    issued = header["issued"]
    return {
        "another agreement": {"agreement": "another"},
        "another version": {"version": header["version"] + 1},
        "a stale epoch": {"epoch": header["epoch"] - 1},
        "an epoch to come": {"epoch": header["epoch"] + 1},
        "a sender that nobody knows": {"sender": "zebra"},
        "another sender": {"sender": "coordinator" if header["sender"] != "coordinator" else "tax"},
        "another audience": {"audience": "zebra"},
        "issued in the future": {"issued": issued + MAX_CLOCK_SKEW + 1},
        "expired": {"issued": issued - MAX_LIFETIME, "expires": issued},
        "valid for too long": {"expires": issued + MAX_LIFETIME + 1},
        "an answer to something else": {"answers": bytes(32)},
    }
