"""What is sealed to a party opens for that party, in its place, unaltered, and for nobody else."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import SealError
from protocol.hpke import OVERHEAD, receiver_key, seal, unseal

RECEIVER = X25519PrivateKey.generate()
PUBLIC = RECEIVER.public_key()


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=20), st.lists(st.binary(max_size=20), max_size=3))
def test_what_is_sealed_opens_in_its_context(plaintext: bytes, label: bytes, context: list[bytes]) -> None:
    sealed = seal(plaintext, PUBLIC, label, *context)
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert unseal(sealed, RECEIVER, label, *context) == plaintext


def test_sealing_twice_looks_different() -> None:
    assert seal(b"same", PUBLIC, b"label") != seal(b"same", PUBLIC, b"label")


def test_it_opens_for_no_other_key_label_or_context() -> None:
    sealed = seal(b"secret", PUBLIC, b"label", b"ab", b"c")
    assert unseal(sealed, RECEIVER, b"label", b"ab", b"c") == b"secret"
    for receiver, context in (
        (X25519PrivateKey.generate(), (b"label", b"ab", b"c")),
        (RECEIVER, (b"other", b"ab", b"c")),
        (RECEIVER, (b"label", b"a", b"bc")),
        (RECEIVER, (b"label", b"abc")),
        (RECEIVER, (b"label", b"ab", b"c", b"")),
        (RECEIVER, (b"label",)),
    ):
        with pytest.raises(SealError):
            unseal(sealed, receiver, *context)


def test_every_altered_byte_is_noticed() -> None:
    """All 256 of one bit a byte, the encapsulated key's ignored top bit too: the key itself is authenticated."""
    sealed = seal(b"secret", PUBLIC, b"label")
    for position in range(len(sealed)):
        for bit in (1, 128):
            altered = bytearray(sealed)
            altered[position] ^= bit
            with pytest.raises(SealError):
                unseal(bytes(altered), RECEIVER, b"label")


@pytest.mark.parametrize("length", [0, 1, 31, 32, 47])
def test_what_is_too_short_is_refused(length: int) -> None:
    with pytest.raises(SealError):
        unseal(seal(b"", PUBLIC, b"label")[:length], RECEIVER, b"label")


def test_a_key_that_can_be_sealed_to_is_decoded() -> None:
    assert receiver_key(PUBLIC.public_bytes_raw()) == PUBLIC


# Encodings of points of low order (RFC 7748 §6.1, https://cr.yp.to/ecdh.html): every shared secret with them is zero.
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ec" + "ff" * 30 + "7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_key_of_low_order_neither_receives_nor_encapsulates(point: bytes) -> None:
    with pytest.raises(SealError):
        seal(b"secret", X25519PublicKey.from_public_bytes(point), b"label")
    with pytest.raises(SealError):
        receiver_key(point)
    with pytest.raises(SealError):
        unseal(point + bytes(64), RECEIVER, b"label")
