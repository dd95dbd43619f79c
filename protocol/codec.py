"""Encodings: deterministic CBOR (RFC 8949 §4.2), fixed-width integers, length-prefixed concatenation."""

import io
from collections import defaultdict
from collections.abc import Callable
from types import NoneType
from typing import Any, NoReturn

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.errors import DecodeError, UsageError

Random = Callable[[int], bytes]
"""A cryptographic source, passed in wherever one is needed: `random(n)` is n fresh uniform bytes."""

MAX_DEPTH = 8


def encode(value: object) -> bytes:
    """Encode maps with text keys, arrays, text, bytes, integers of 64 bits, booleans and null as deterministic CBOR.

    Raises:
        UsageError: holds anything else.
    """
    if misfit := _misfit(value):
        raise UsageError(misfit)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit: int) -> Any:
    """Decode what `encode` made, of at most `limit` bytes.

    Decoding accepts one encoding only: what does not re-encode to the same bytes is refused, so two parties
    can never read different things from one signed message. Errors drop the library's own, which quotes the input.

    Raises:
        DecodeError: too long, not CBOR, trailing bytes, or not the deterministic encoding.
    """
    if len(data) > limit:
        raise DecodeError(f"message is longer than {limit} bytes")
    try:
        with io.BytesIO(data) as stream:
            decoder = cbor2.CBORDecoder(
                stream,
                semantic_decoders=_NO_TAGS,
                max_depth=MAX_DEPTH,
                allow_indefinite=False,
                allow_duplicate_keys=False,
            )
            value = decoder.decode()
            rest = stream.read(1)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise DecodeError("not a well-formed CBOR message") from None
    if rest:
        raise DecodeError("bytes after the end of the message")
    if misfit := _misfit(value):
        raise DecodeError(misfit)
    if cbor2.dumps(value, canonical=True) != data:
        raise DecodeError("not the deterministic encoding of its message")
    return value


def _refuse_tag(_value: object, _immutable: bool) -> NoReturn:
    raise DecodeError("message holds a type the protocol does not use")


# Every tag is refused before the library acts on it: a rational of two long integers, a bigfloat, a regular expression
# or a MIME part would buy seconds of computing with a few kilobytes, and all before any signature is verified.
_NO_TAGS = defaultdict[int, Callable[[Any, bool], Any]](lambda: _refuse_tag)


def _misfit(value: object) -> str | None:
    """Name what CBOR or Python can carry and the protocol does not, wherever it is inside `value`."""
    match value:
        case bytes() | str() | NoneType():  # first, since nearly all are
            return None
        case dict():
            if not all(isinstance(key, str) for key in value):
                return "map key is not text"
            return next(filter(None, map(_misfit, value.values())), None)
        case list() | tuple():
            return next(filter(None, map(_misfit, value)), None)
        case int():
            return None if -(1 << 64) <= value < 1 << 64 else "integer is longer than 64 bits"
    return "message holds a type the protocol does not use"


def i2osp(value: int, length: int) -> bytes:
    """Encode a non-negative integer in exactly `length` big-endian bytes (RFC 8017 §4.1)."""
    try:
        return int(value).to_bytes(length, "big")
    except OverflowError as error:
        raise UsageError("integer does not fit its fixed width") from error


def os2ip(data: bytes) -> int:
    """Decode big-endian bytes to a non-negative integer (RFC 8017 §4.2)."""
    return int.from_bytes(data, "big")


def concat(*parts: bytes) -> bytes:
    """Concatenate parts, each behind its four-byte length, so that no two lists of parts collide."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])  # half the time of a generator


def hkdf(key: bytes, label: bytes, length: int = 32) -> bytes:
    """Derive `length` bytes from uniformly random `key` for the purpose `label` (RFC 5869, SHA-256, no salt)."""
    return HKDF(hashes.SHA256(), length, salt=None, info=label).derive(key)


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over the label and the parts, each length-prefixed."""
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(concat(label, *parts))
    return hasher.finalize()
