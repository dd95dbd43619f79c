"""Hostile inputs are hostile: none is canonical, none fits its message; and what they are made from is neither."""

import random
from collections import Counter

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.hostile import Forger, bent, damaged, misfitting
from protocol.codec import decode, encode
from protocol.errors import DecodeError
from protocol.messages import Prove
from protocol.wire import Header, from_map, read, write

VALUE = {"a": [1, b"bytes", "text", {}, {"x": 1, "yy": True}], "bb": None, "c": 1 << 33}
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
HEADER = Header("procurement", 1, 1, "coordinator", "tax", bytes(16), "award", 1, 1000, 1060, b"")
MESSAGE = write(HEADER, Prove("buyer", 0, b"\x05"), KEY)


@pytest.fixture
def draws() -> random.Random:
    return random.Random(7)  # noqa: S311  # no secrets


def test_an_encoding_that_is_bent_is_always_refused(draws: random.Random) -> None:
    assert decode(encode(VALUE), 200) == VALUE
    for _ in range(3000):
        name, data = bent(VALUE, draws)
        with pytest.raises(DecodeError):
            pytest.fail(f"{name}: {decode(data, 10_000)}")


def test_the_library_by_itself_takes_many_of_them_for_the_same(draws: random.Random) -> None:
    """So what refuses them is ours."""
    same = Counter[str]()
    for _ in range(3000):
        name, data = bent(VALUE, draws)
        try:
            same[name] += cbor2.loads(data) == VALUE
        except (cbor2.CBORError, ValueError, RecursionError, MemoryError, OverflowError):
            continue
    expected = {"a length of eight bytes", "an integer of eight bytes", "an indefinite length", "keys in another order"}
    assert {name for name, count in same.items() if count} >= expected


def test_damaged_bytes_are_others(draws: random.Random) -> None:
    assert all(damaged(MESSAGE, draws)[1] != MESSAGE for _ in range(1000))


def test_a_map_that_misfits_is_always_refused(draws: random.Random) -> None:
    header = Forger.of(MESSAGE, Prove, KEY).header
    assert from_map(Header, header) == HEADER
    for _ in range(1000):
        name, values = misfitting(header, draws)
        with pytest.raises(DecodeError):
            pytest.fail(f"{name}: {from_map(Header, values)}")


def test_a_forger_signs_rightly_whatever_it_changes(draws: random.Random) -> None:
    forger = Forger.of(MESSAGE, Prove, KEY, bodies={"another chunk": {"chunk": 1}})
    assert forger.signed() == MESSAGE
    for name, header in forger.headers.items():
        forged = read(forger.signed(header=header), Prove)
        forged.envelope.verify(KEY.public_key())
        assert forged.header != HEADER, name
    drawn = {forger.fault(draws)[0] for _ in range(1000)}
    assert {"another chunk", "a stale epoch", "cut", "field chunk missing"} <= drawn
    assert any("in the payload" in name for name in drawn)
    assert any("in the envelope" in name for name in drawn)
