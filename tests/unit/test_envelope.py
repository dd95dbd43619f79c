"""A message reads as what its sender signed, in its one encoding and within its limits, or not at all."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import labels, messages, wire
from protocol.codec import decode, encode
from protocol.envelope import Envelope, message_hash, pae, sign
from protocol.errors import DecodeError, SignatureError, UsageError
from protocol.figures import FiguresLayout
from protocol.hpke import OVERHEAD
from protocol.messages import KIB, Effect
from protocol.wire import Body, Header, Signed, from_map, payload_type, read, to_map, write
from tests.unit.shapes import FIELDS, HEADER, PARTIES, SHAPES, SUBJECTS, TYPES, instances, largest, smallest

KEY = Ed25519PrivateKey.generate()


def each(cases: list[tuple[type, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("kind", "name"), cases, ids=[f"{kind.__name__}.{name}" for kind, name in cases])


each_type = pytest.mark.parametrize("kind", TYPES, ids=[kind.TYPE for kind in TYPES])


def resign(data: bytes, payload: object, **changes: Any) -> bytes:
    """The message with another payload, well signed: what a hostile sender can send."""
    envelope = Envelope.from_bytes(data, len(data))
    raw = payload if isinstance(payload, bytes) else encode(payload)
    return sign(changes.get("payload_type", envelope.payload_type), raw, KEY).to_bytes()


def test_the_table_covers_every_message_type_and_field() -> None:
    defined = {
        item
        for module in (messages, wire)
        for item in vars(module).values()
        if isinstance(item, type) and item.__module__ == module.__name__ and hasattr(item, "__dataclass_fields__")
    }
    assert set(SHAPES) == defined - {Signed, wire.Body}
    for kind, shape in SHAPES.items():
        assert list(shape) == [item.name for item in fields(kind)]


def test_no_two_types_share_a_name() -> None:
    assert len({payload_type(kind) for kind in TYPES}) == len(TYPES)
    assert payload_type(messages.Ask) == "application/vnd.concordat.v1.ask+cbor"


@each_type
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_every_message_comes_back_as_it_was_written(kind: Any, data: st.DataObject) -> None:
    header, body = data.draw(instances(Header)), data.draw(instances(kind))
    raw = write(header, body, KEY)
    message = read(raw, kind)
    assert (message.header, message.body, message.raw) == (header, body, raw)
    message.envelope.verify(KEY.public_key())
    assert message.envelope.to_bytes() == raw
    assert message.hash == message_hash(raw)


@settings(deadline=None, max_examples=30)
@given(instances(messages.SealedAsk))
def test_the_sealed_part_comes_back_as_it_was_written(inner: messages.SealedAsk) -> None:
    assert from_map(messages.SealedAsk, decode(encode(to_map(inner)), 2 * KIB)) == inner


@each(FIELDS)
def test_every_field_takes_its_limits(kind: Any, name: str) -> None:
    for value in SHAPES[kind][name].edges():
        filled = replace(smallest(kind), **{name: value})
        assert from_map(kind, to_map(filled)) == filled


@each(FIELDS)
def test_no_field_takes_more_less_or_another_type(kind: Any, name: str) -> None:
    for value in SHAPES[kind][name].outside():
        values = to_map(smallest(kind)) | {name: value}
        with pytest.raises(DecodeError, match=f"^message field {name} has the wrong type or size$"):
            from_map(kind, values)


@each([(kind, name) for kind, name in FIELDS if kind in TYPES or kind is Header])
def test_a_sender_cannot_write_a_field_outside_its_limits(kind: Any, name: str) -> None:
    body = smallest(messages.Opened) if kind is Header else smallest(kind)
    for value in SHAPES[kind][name].outside():
        header = replace(HEADER, **{name: value}) if kind is Header else HEADER
        with pytest.raises(UsageError):
            write(header, body if kind is Header else replace(body, **{name: value}), KEY)


@each(FIELDS)
def test_a_missing_field_is_named(kind: Any, name: str) -> None:
    values = to_map(smallest(kind))
    del values[name]
    with pytest.raises(DecodeError, match=f"^message field {name} is missing$"):
        from_map(kind, values)


@pytest.mark.parametrize("value", [None, 7, "x", b"x", [["share", b"x"]]])
def test_what_is_no_map_is_no_message(value: object) -> None:
    with pytest.raises(DecodeError, match="not a map"):
        from_map(messages.Opened, value)


@each_type
def test_an_unknown_field_is_refused_and_not_repeated(kind: Any) -> None:
    raw = write(HEADER, smallest(kind), KEY)
    payload = decode(Envelope.from_bytes(raw, len(raw)).payload, len(raw))
    for part in ("header", "body"):
        altered = payload | {part: payload[part] | {"secret": 1}}
        with pytest.raises(DecodeError) as caught:
            read(resign(raw, altered), kind)
        assert "secret" not in str(caught.value)
    assert read(resign(raw, payload), kind).raw == raw


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload | {"more": 1},
        lambda payload: {"header": payload["header"]},
        lambda payload: {"body": payload["body"]},
        lambda payload: payload | {"body": [1]},
        lambda payload: payload | {"header": None},
        lambda payload: [payload["header"], payload["body"]],
        lambda _: None,
        lambda _: 7,
    ],
)
def test_a_payload_is_a_header_and_a_body(change: Any) -> None:
    raw = write(HEADER, smallest(messages.Opened), KEY)
    payload = decode(Envelope.from_bytes(raw, len(raw)).payload, len(raw))
    with pytest.raises(DecodeError):
        read(resign(raw, change(payload)), messages.Opened)


def test_a_boolean_is_no_number_anywhere() -> None:
    """`True` equals 1 in Python: taken for it, two encodings would carry one content."""
    planted = replace(HEADER, m=True)
    assert planted == replace(HEADER, m=1)
    assert encode(True) != encode(1)
    with pytest.raises(UsageError):
        write(planted, smallest(messages.Opened), KEY)
    with pytest.raises(DecodeError, match="measures"):
        from_map(messages.Decision, to_map(smallest(messages.Decision)) | {"measures": {"exclude": True}})


@each_type
def test_a_message_reads_as_no_other_type(kind: Any) -> None:
    raw = write(HEADER, smallest(kind), KEY)
    for other in TYPES:
        if other is not kind:
            with pytest.raises(DecodeError, match=f"^not a message of type {other.TYPE}$"):
                read(raw, other, len(raw))


def test_types_of_the_same_fields_are_told_apart_by_the_payload_type_alone() -> None:
    """The twin: without it, what a party signed as one thing would verify as another."""

    @dataclass(frozen=True)
    class Twin:
        TYPE = "twin"
        LIMIT = 4 * KIB
        share: bytes = wire.octets(1, 1024)

    raw = write(HEADER, messages.Opened(b"share"), KEY)
    with pytest.raises(DecodeError):
        read(raw, Twin)  # type: ignore[type-var]
    envelope = replace(Envelope.from_bytes(raw, len(raw)), payload_type="application/vnd.concordat.v1.twin+cbor")
    twin: Signed[Any] = read(envelope.to_bytes(), Twin)
    assert twin.body.share == b"share"
    with pytest.raises(SignatureError):
        twin.envelope.verify(KEY.public_key())


@each_type
def test_a_message_longer_than_its_limit_is_refused_unread(kind: Any) -> None:
    with pytest.raises(DecodeError, match=f"longer than {kind.LIMIT} bytes"):
        read(bytes(kind.LIMIT + 1), kind)


def test_a_receiver_can_set_a_lower_limit() -> None:
    raw = write(HEADER, smallest(messages.Opened), KEY)
    assert read(raw, messages.Opened, len(raw)).raw == raw
    for limit in (len(raw) - 1, 1, 0):
        with pytest.raises(DecodeError, match=f"longer than {limit} bytes"):
            read(raw, messages.Opened, limit)


@each_type
def test_what_the_fields_allow_fits_the_limit(kind: Any) -> None:
    """Three messages are held by their limit instead, at real sizes.

    An ask of 64 agencies, an answer of 120 blocks, the numbers of 256 cells, of which a wide modulus takes many in one.
    """
    body = largest(kind)
    if kind is messages.Ask:
        inner = encode(to_map(largest(messages.SealedAsk)))
        body = messages.Ask(bytes(32), dict.fromkeys(body.sealed, bytes(len(inner) + OVERHEAD)))
    if kind is messages.Answer:
        inner = encode(to_map(messages.SealedAnswer((bytes(256 * (16 + 2 * 1024)),) * SUBJECTS)))
        body = messages.Answer(bytes(len(inner) + OVERHEAD))
    if kind is messages.Contribution:
        packed = [(bits, FiguresLayout(("x",) * 256, PARTIES, bits)) for bits in (512, 3072, 8192)]
        most = max(
            ((bytes(bits // 4),) * layout.plaintexts for bits, layout in packed), key=lambda it: len(b"".join(it))
        )
        body = replace(body, ciphertexts=most)
    assert read(write(largest(Header), body, KEY), kind).body == body


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_one_altered_byte_is_refused_or_does_not_verify(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(TYPES))
    raw = bytearray(write(HEADER, smallest(kind), KEY))
    position, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    raw[position] ^= 1 << bit
    with pytest.raises((DecodeError, SignatureError)):
        read(bytes(raw), kind).envelope.verify(KEY.public_key())


def test_bytes_before_after_or_missing_are_refused() -> None:
    raw = write(HEADER, smallest(messages.Opened), KEY)
    for altered in (raw + b"\0", b"\0" + raw, raw[:-1], raw[1:], b"", raw + raw):
        with pytest.raises(DecodeError):
            read(altered, messages.Opened)


def test_another_encoding_of_the_same_content_is_refused_although_well_signed() -> None:
    raw = write(HEADER, smallest(messages.Opened), KEY)
    payload = Envelope.from_bytes(raw, len(raw)).payload
    body, header = payload[1 : payload.index(b"\x66header")], payload[payload.index(b"\x66header") :]
    assert payload == b"\xa2" + body + header
    for other in (
        b"\xa2" + header + body,  # keys out of order
        b"\xbf" + body + header + b"\xff",  # indefinite
        b"\xb8\2" + body + header,  # a longer head
        b"\xd9\xd9\xf7" + payload,  # a tag around it
        b"\xa3" + body + body + header,  # a key twice
    ):
        with pytest.raises(DecodeError):
            read(resign(raw, other), messages.Opened)


def test_a_signature_is_for_one_payload_one_type_one_key() -> None:
    envelope = sign("type/a", b"payload", KEY)
    envelope.verify(KEY.public_key())
    for other, key in (
        (replace(envelope, payload=b"payloae"), KEY),
        (replace(envelope, payload_type="type/b"), KEY),
        (replace(envelope, signature=bytes(64)), KEY),
        (replace(envelope, signature=secrets.token_bytes(64)), KEY),
        (envelope, Ed25519PrivateKey.generate()),
    ):
        with pytest.raises(SignatureError):
            other.verify(key.public_key())


def test_a_signature_has_one_encoding() -> None:
    """s and s + L satisfy one equation (RFC 8032 §5.1.7); only the smaller is a signature."""
    order = (1 << 252) + 27742317777372353535851937790883648493
    envelope = sign("type/a", b"payload", KEY)
    s = int.from_bytes(envelope.signature[32:], "little") + order
    with pytest.raises(SignatureError):
        replace(envelope, signature=envelope.signature[:32] + s.to_bytes(32, "little")).verify(KEY.public_key())


@pytest.mark.parametrize(
    "array",
    [
        [],
        ["t", b"p"],
        ["t", b"p", bytes(64), None],
        ["t", b"p", bytes(63)],
        ["t", b"p", bytes(65)],
        ["t" * 81, b"p", bytes(64)],
        [b"t", b"p", bytes(64)],
        ["t", "p", bytes(64)],
        ["t", b"p", "s" * 64],
        {"t": b"p"},
        b"t",
        None,
    ],
)
def test_an_envelope_is_a_type_a_payload_and_a_signature(array: object) -> None:
    assert Envelope.from_bytes(encode(["t" * 80, b"", bytes(64)]), KIB).payload_type == "t" * 80
    with pytest.raises(DecodeError):
        Envelope.from_bytes(encode(array), KIB)


def test_the_pre_authentication_encoding_is_that_of_dsse() -> None:
    """The example of the DSSE v1.0.0 protocol document."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(st.tuples(st.text(), st.binary()), st.tuples(st.text(), st.binary()))
def test_no_two_messages_share_a_pre_authentication_encoding(
    first: tuple[str, bytes], second: tuple[str, bytes]
) -> None:
    assert (pae(*first) == pae(*second)) == (first == second)


def test_plain_concatenation_would_share_one() -> None:
    for (kind, payload), (other, rest) in itertools.pairwise([("type/a", b"b 1"), ("type/ab", b" 1")]):
        assert kind.encode() + payload == other.encode() + rest
        assert pae(kind, payload) != pae(other, rest)


def test_a_hash_is_of_the_whole_message_signature_included() -> None:
    first, second = (write(HEADER, smallest(messages.Opened), key) for key in (KEY, Ed25519PrivateKey.generate()))
    assert read(first, messages.Opened).body == read(second, messages.Opened).body
    assert message_hash(first) != message_hash(second)
    assert message_hash(first) == read(first, messages.Opened).hash


def test_raw_bytes_stay_out_of_a_messages_representation() -> None:
    assert "raw=" not in repr(read(write(HEADER, smallest(messages.Opened), KEY), messages.Opened))


def test_any_mapping_serves_as_a_field_by_id() -> None:
    sealed: Mapping[str, bytes] = MappingProxyType({"a": bytes(48)})
    assert read(write(HEADER, messages.Ask(bytes(32), sealed), KEY), messages.Ask).body.sealed == sealed


def test_a_decision_tells_which_measures_have_an_effect() -> None:
    effects = {"c": Effect.APPLIES, "a": Effect.APPLIES, "b": Effect.DISPUTED, "d": Effect.NONE}
    decision = replace(smallest(messages.Decision), measures=effects)
    read_back = read(write(HEADER, decision, KEY), messages.Decision).body
    assert [read_back.having(effect) for effect in (Effect.APPLIES, Effect.DISPUTED)] == [("a", "c"), ("b",)]


def test_a_decision_is_equally_long_whatever_applies() -> None:
    lengths = {
        len(write(HEADER, replace(smallest(messages.Decision), measures={"a": first, "b": second}), KEY))
        for first, second in itertools.product(Effect, Effect)
    }
    assert len(lengths) == 1


def test_the_payload_type_prefix_is_the_labels() -> None:
    assert all(payload_type(kind).startswith(labels.PAYLOAD_TYPE_PREFIX) for kind in TYPES)


def test_a_body_is_what_has_a_type_and_a_limit() -> None:
    kinds: list[type[Body]] = TYPES
    assert all(kind.LIMIT >= 2 * KIB and kind.TYPE.islower() for kind in kinds)
