"""The frame of every message: one header, size-checked fields, deterministic CBOR, a signature.

A message's payload is the deterministic CBOR map `{"header": {…}, "body": {…}}` inside a signed envelope whose payload
type names the message type. Reading checks every field's type and size before anything else looks at it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import labels
from protocol.codec import decode, encode
from protocol.envelope import Envelope, message_hash, sign
from protocol.errors import DecodeError, UsageError

MAX_SUBJECTS = 120
MAX_PARTIES = 64
MAX_LIFETIME = 60
MAX_CLOCK_SKEW = 5
HASH_BYTES = 32
SESSION_BYTES = 16
MAX_ID = 63

Check = Callable[[object], bool]


def octets(shortest: int, longest: int | None = None) -> Any:
    """A field of bytes, `shortest` to `longest` long (default: exactly `shortest`)."""
    return field(metadata={"check": is_octets(shortest, longest)})


def array(item: Check, longest: int, shortest: int = 1) -> Any:
    """A field that is a tuple of `shortest` to `longest` items."""
    return field(
        metadata={
            "check": lambda value: (
                isinstance(value, (list, tuple)) and shortest <= len(value) <= longest and all(map(item, value))
            )
        }
    )


def by_id(item: Check) -> Any:
    """A field that maps ids to items."""
    return field(
        metadata={
            "check": lambda value: (
                isinstance(value, Mapping)
                and 1 <= len(value) <= MAX_PARTIES
                and all(is_text(MAX_ID)(key) and item(entry) for key, entry in value.items())
            )
        }
    )


def text(longest: int, shortest: int = 1) -> Any:
    """A field of text."""
    return field(metadata={"check": is_text(longest, shortest)})


def whole(highest: int) -> Any:
    """A field that is an integer 0..highest."""
    return field(metadata={"check": is_whole(highest)})


def is_octets(shortest: int, longest: int | None = None) -> Check:
    """Check of bytes, `shortest` to `longest` long (default: exactly `shortest`)."""
    return lambda value: isinstance(value, bytes) and shortest <= len(value) <= (longest or shortest)


def is_text(longest: int, shortest: int = 1) -> Check:
    """Check of text, `shortest` to `longest` printable characters long: ids end up in logs, line breaks must not."""
    return lambda value: isinstance(value, str) and shortest <= len(value) <= longest and value.isprintable()


def is_whole(highest: int) -> Check:
    """Check of an integer 0..highest; a boolean is none, though Python counts it as one."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


@dataclass(frozen=True)
class Header:
    """What every signed message carries beside its type.

    `m` is the number of subjects, `issued` and `expires` are Unix seconds, `answers` is the hash of the message that
    a reply answers (empty in a request).
    """

    agreement: str = text(MAX_ID)
    version: int = whole(1 << 31)
    epoch: int = whole(1 << 31)
    sender: str = text(MAX_ID)
    audience: str = text(MAX_ID)
    session: bytes = octets(SESSION_BYTES)
    purpose: str = text(MAX_ID)
    m: int = whole(MAX_SUBJECTS)
    issued: int = whole(1 << 40)
    expires: int = whole(1 << 40)
    answers: bytes = octets(0, HASH_BYTES)

    @property
    def day(self) -> date:
        """The UTC day of signing: that of a question, whatever the clocks of those who answer it say."""
        return datetime.fromtimestamp(self.issued, UTC).date()


class Body(Protocol):
    """A message type: its name on the wire and the size limit of a whole message in bytes."""

    TYPE: ClassVar[str]
    LIMIT: ClassVar[int]
    __dataclass_fields__: ClassVar[dict[str, Any]]


B = TypeVar("B", bound=Body)
B_co = TypeVar("B_co", bound=Body, covariant=True)


@dataclass(frozen=True)
class Signed(Generic[B_co]):
    """A message as it was read: header, body, and the bytes that travelled."""

    header: Header
    body: B_co
    envelope: Envelope
    raw: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """The hash that a reply signs."""
        return message_hash(self.raw)


def payload_type(kind: type[Body]) -> str:
    """The DSSE payload type of a message type."""
    return f"{labels.PAYLOAD_TYPE_PREFIX}{kind.TYPE}+cbor"


def write(header: Header, body: Body, key: Ed25519PrivateKey) -> bytes:
    """Encode and sign a message.

    Raises:
        UsageError: a field is outside its limits.
    """
    try:
        payload = encode({"header": to_map(header), "body": to_map(body)})
    except DecodeError as error:
        raise UsageError("message field outside its limits") from error
    return sign(payload_type(type(body)), payload, key).to_bytes()


def read(data: bytes, kind: type[B], limit: int | None = None) -> Signed[B]:
    """Decode a message of one type; its signature is not verified yet.

    Raises:
        DecodeError: not canonical, of another type, too long, or a field of the wrong type or size.
    """
    envelope = Envelope.from_bytes(data, kind.LIMIT if limit is None else limit)
    if envelope.payload_type != payload_type(kind):
        raise DecodeError(f"not a message of type {kind.TYPE}")
    match decode(envelope.payload, len(data)):
        case {"header": dict() as header, "body": dict() as body, **rest} if not rest:
            return Signed(from_map(Header, header), from_map(kind, body), envelope, data)
    raise DecodeError("message is not a header and a body")


def to_map(message: Any) -> dict[str, Any]:
    """Turn a message type into the map that is encoded, with every field checked."""
    values = {item.name: getattr(message, item.name) for item in fields(message)}
    _check_fields(type(message), values)
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: object) -> object:
    match value:
        case tuple():
            return list(value)
        case Mapping():
            return dict(value)
    return value


M = TypeVar("M")


def from_map(kind: type[M], values: object) -> M:
    """Turn a decoded map back into its message type.

    Raises:
        DecodeError: no map, or a field is missing, unknown, or of the wrong type or size; the error names the field.
    """
    if not isinstance(values, Mapping):
        raise DecodeError("message is not a map")
    _check_fields(kind, values)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _check_fields(kind: type, values: Mapping[str, Any]) -> None:
    checks = {item.name: item.metadata["check"] for item in fields(kind)}
    if not values.keys() <= checks.keys():
        raise DecodeError("message has a field that its type does not have")
    for name, check in checks.items():
        if name not in values:
            raise DecodeError(f"message field {name} is missing")
        if not check(values[name]):
            raise DecodeError(f"message field {name} has the wrong type or size")
