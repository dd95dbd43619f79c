"""One encoding a value, one value an encoding; whatever else arrives is a DecodeError and nothing worse."""

import itertools
import struct
import time
import traceback
from typing import Any

import cbor2
import gmpy2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.codec import MAX_DEPTH, concat, decode, digest, encode, hkdf, i2osp, os2ip
from protocol.errors import DecodeError, UsageError

LIMIT = 1 << 20

leaves = st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=40) | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5), max_leaves=20
).filter(lambda value: depth(value) <= MAX_DEPTH)


def depth(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


@settings(deadline=None)
@given(values)
def test_what_is_encoded_decodes_to_itself(value: object) -> None:
    decoded = decode(encode(value), LIMIT)
    assert decoded == value
    assert repr(decoded) == repr(sort_keys(value))  # True == 1 and its like do not count as equal


def sort_keys(value: object) -> object:
    match value:
        case dict():
            return {key: sort_keys(value[key]) for key in sorted(value, key=lambda key: (len(key.encode()), key))}
        case list():
            return [sort_keys(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (1000000, "1a000f4240"),
        ((1 << 64) - 1, "1bffffffffffffffff"),
        (-(1 << 64), "3bffffffffffffffff"),
        (False, "f4"),
        (None, "f6"),
        (b"\1\2\3\4", "4401020304"),
        ("\u6c34", "63e6b0b4"),
        ((1, [2, 3]), "8201820203"),
        ({"b": 0, "aa": 1, "a": 2}, "a3616102616200626161" + "01"),
    ],
)
def test_examples_of_the_standard(value: object, encoded: str) -> None:
    """RFC 8949, appendix A and §4.2.1."""
    assert encode(value).hex() == encoded


def test_keys_are_in_bytewise_order_of_their_encodings() -> None:
    """RFC 8949 §4.2.1, also where keys need a longer head; for text that is the older length-first order too."""
    keys = ["z", "é", "aa", "a" * 23, "a" * 24, "b" * 23, "a" * 256, "\U0001f600"]
    encoded = encode(dict.fromkeys(keys, 0))
    order = sorted(encode(key) for key in keys)
    assert encoded == bytes([0xA0 + len(keys)]) + b"".join(key + b"\0" for key in order)


HOSTILE = {
    "nothing": b"",
    "truncated integer": b"\x19\x01",
    "truncated array": b"\x82\x00",
    "truncated map": b"\xa1\x61a",
    "trailing byte": b"\x00\x00",
    "two messages": encode({"a": 1}) * 2,
    "reserved head": b"\x1c",
    "break alone": b"\xff",
    "indefinite array": b"\x9f\xff",
    "indefinite map": b"\xbf\xff",
    "indefinite bytes": b"\x5f\x41a\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "nested one too deep": b"\x81" * (MAX_DEPTH + 1) + b"\0",
    "nested 100,000 deep": b"\x81" * 100_000 + b"\0",
    "maps nested 100,000 deep": b"\xa1\x61a" * 100_000 + b"\0",
    "tags nested 100,000 deep": b"\xc1" * 100_000 + b"\0",
    "array of 2^64 - 1": b"\x9b" + b"\xff" * 8,
    "array of 2^31": b"\x9a\x80\0\0\0",
    "map of 2^63 - 1": b"\xbb\x7f" + b"\xff" * 7,
    "bytes of 2^64 - 1": b"\x5b" + b"\xff" * 8,
    "bytes of 2^40": b"\x5b\0\0\1\0\0\0\0\0",
    "text of 2^63 - 1": b"\x7b\x7f" + b"\xff" * 7,
    "integer in too wide a head": b"\x18\x01",
    "length in too wide a head": b"\x58\x01a",
    "map out of order": b"\xa2\x62bb\0\x61a\1",
    "duplicate key": b"\xa2\x61a\0\x61a\1",
    "duplicate key, equal value": b"\xa2\x61a\0\x61a\0",
    "key of bytes": b"\xa1\x41a\0",
    "key of integer": b"\xa1\0\0",
    "key of boolean": b"\xa1\xf5\0",
    "key of array": b"\xa1\x80\0",
    "key of map": b"\xa1\xa0\0",
    "invalid utf-8": b"\x61\xff",
    "surrogate in utf-8": b"\x63\xed\xa0\x80",
    "float zero": b"\xf9\0\0",
    "float 64": b"\xfb" + struct.pack(">d", 1.1),
    "float in a map": b"\xa1\x61a\xf9\x3c\0",
    "float in an array": b"\x81\xf9\x3c\0",
    "not a number": b"\xf9\x7e\0",
    "another not a number": b"\xfb\x7f\xf8" + b"\1" * 6,
    "infinity": b"\xf9\x7c\0",
    "undefined": b"\xf7",
    "simple value": b"\xe0",
    "simple value of two bytes": b"\xf8\xff",
    "simple value false in two bytes": b"\xf8\x14",
    "date": b"\xc0\x74" + b"2013-03-21T20:04:00Z",
    "epoch": b"\xc1\0",
    "epoch at 1e300": b"\xc1\xfb" + struct.pack(">d", 1e300),
    "bignum of 65 bits": b"\xc2\x49\1" + bytes(8),
    "negative bignum": b"\xc3\x49\1" + bytes(8),
    "short bignum": b"\xc2\x41\1",
    "empty bignum": b"\xc2\x40",
    "bignum of 64 kB": b"\xc2\x5a\0\1\0\0" + b"\x7f" * 65536,
    "decimal": b"\xc4\x82\1\1",
    "decimal, huge exponent": b"\xc4\x82\x1a\x3f\xff\xff\xff\1",
    "bigfloat, huge exponent": b"\xc5\x82\x1a\x3f\xff\xff\xff\1",
    "rational": b"\xd8\x1e\x82\1\2",
    "rational over zero": b"\xd8\x1e\x82\1\0",
    "string reference": b"\xd9\1\0\x82\x63aaa\xd8\x19\0",
    "shared value": b"\x82\xd8\x1c\x80\xd8\x1d\0",
    "cycle": b"\xd8\x1c\x81\xd8\x1d\0",
    "regular expression": b"\xd8\x23\x61(",
    "mime": b"\xd8\x24\x61a",
    "uuid": b"\xd8\x25\x50" + bytes(16),
    "set": b"\xd9\1\2\x81\1",
    "ip address": b"\xd9\1\4\x44\x7f\0\0\1",
    "complex": b"\xd9\xa7\xf8\x82\1\2",
    "unknown tag": b"\xd9\xff\xff\0",
    "self-described": b"\xd9\xd9\xf7\0",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, LIMIT)


def test_a_plain_decoder_would_have_taken_many_of_them() -> None:
    """The twin: it is our rules, not the library's, that leave one reading only."""
    taken = []
    for name, data in HOSTILE.items():
        try:
            cbor2.loads(data, max_depth=MAX_DEPTH)
        except Exception:  # noqa: BLE001, S112  # whatever the library says of it
            continue
        taken.append(name)
    assert len(taken) >= 30


@pytest.mark.parametrize("tag", ["\xd8\x1e", "\xc4", "\xc5"], ids=["rational", "decimal", "bigfloat"])
def test_no_tag_buys_computing_time_before_a_signature_is_verified(tag: str) -> None:
    """A quarter of a megabyte in each of two integers cost seven seconds while the library still read tags."""
    integer = b"\xc2\x5a\0\4\0\0" + b"\x7d" * (1 << 18)
    start = time.process_time()
    with pytest.raises(DecodeError):
        decode(tag.encode("latin-1") + b"\x82" + integer + integer, LIMIT)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(("name", "reason"), [("trailing byte", "after the end"), ("duplicate key", "well-formed")])
def test_what_the_encoding_alone_would_notice_is_refused_for_its_own_reason(name: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(HOSTILE[name], LIMIT)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
@example(b"\xa1\x60\xf7")
def test_random_bytes_are_canonical_or_refused(data: bytes) -> None:
    assert_canonical_or_refused(data)


@settings(deadline=None, max_examples=300)
@given(values, st.data())
def test_altered_encodings_are_canonical_or_refused(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    assert_canonical_or_refused(bytes(encoded))


def test_every_head_before_short_content_is_canonical_or_refused() -> None:
    for head, content in itertools.product(range(256), (b"", b"\0", b"\x61a\0", b"\x82\1\2", bytes(9), b"\xff" * 9)):
        assert_canonical_or_refused(bytes([head]) + content)


def assert_canonical_or_refused(data: bytes) -> None:
    try:
        value: Any = decode(data, LIMIT)
    except DecodeError:
        return
    assert encode(value) == data


def test_the_limit_is_the_longest_message() -> None:
    encoded = encode(bytes(100))
    assert decode(encoded, len(encoded)) == bytes(100)
    with pytest.raises(DecodeError, match=f"longer than {len(encoded) - 1} bytes"):
        decode(encoded, len(encoded) - 1)


def test_the_deepest_message() -> None:
    nested: object = 0
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert decode(encode(nested), LIMIT) == nested


@pytest.mark.parametrize("data", [b"\xa2\x66secret\0\x66secret\1", b"\x67secret\xff", b"\xc0\x66secret"])
def test_no_error_repeats_what_was_sent(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data, LIMIT)
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace("test_no_error", "")
    with pytest.raises(cbor2.CBORDecodeError) as twin:
        cbor2.loads(b"\xa2\x66secret\0\x66secret\1", allow_duplicate_keys=False)
    assert "secret" in str(twin.value)


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {"a": {b"b": 1}}, {1, 2}, [1 << 64], -(1 << 64) - 1, gmpy2.mpz(5), [bytearray(b"x")]]
)
def test_nothing_is_encoded_that_could_not_be_decoded(value: object) -> None:
    with pytest.raises(UsageError):
        encode(value)


@given(st.integers(0, (1 << 4000) - 1))
def test_integers_come_back_from_their_fixed_width(value: int) -> None:
    assert os2ip(i2osp(value, 500)) == value
    assert len(i2osp(gmpy2.mpz(value), 500)) == 500


@pytest.mark.parametrize(("value", "length"), [(256, 1), (-1, 8), (1, 0)])
def test_integers_that_do_not_fit_are_refused(value: int, length: int) -> None:
    with pytest.raises(UsageError):
        i2osp(value, length)


parts = st.lists(st.binary(max_size=6), max_size=4)


@given(parts, parts)
def test_two_lists_of_parts_never_concatenate_to_the_same(first: list[bytes], second: list[bytes]) -> None:
    assert (concat(*first) == concat(*second)) == (first == second)
    assert (digest(b"label", *first) == digest(b"label", *second)) == (first == second)


def test_plain_concatenation_would_collide() -> None:
    assert b"".join([b"ab", b"c"]) == b"".join([b"a", b"bc"])
    assert concat(b"ab", b"c") != concat(b"a", b"bc")
    assert digest(b"label", b"ab", b"c") != digest(b"label", b"a", b"bc")
    assert digest(b"label", b"part") != digest(b"other", b"part")


def test_derived_keys_follow_rfc_5869() -> None:
    """Its test case 3: zero-length salt and info."""
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert hkdf(b"\x0b" * 22, b"one") != hkdf(b"\x0b" * 22, b"two")
