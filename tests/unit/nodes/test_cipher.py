"""A stolen database tells nothing: columns open under the node's key and in their place only."""

import pytest

from nodes.storage.cipher import ColumnCipher
from protocol.errors import SealError
from tests.unit.nodes.stores import KEY, counter


def test_opens_in_its_place_only() -> None:
    cipher = ColumnCipher(KEY, counter())
    sealed = cipher.encrypt(b"secret", b"table", b"column", b"7")
    assert cipher.decrypt(sealed, b"table", b"column", b"7") == b"secret"
    for key, text, place in (
        (KEY, sealed, (b"table", b"column", b"8")),
        (KEY, sealed, (b"tablec", b"olumn", b"7")),
        (KEY, sealed[:-1], (b"table", b"column", b"7")),
        (KEY, b"", (b"table", b"column", b"7")),
        (bytes(32), sealed, (b"table", b"column", b"7")),
    ):
        with pytest.raises(SealError):
            ColumnCipher(key, counter()).decrypt(text, *place)


def test_equal_values_are_stored_differently_and_digest_alike() -> None:
    cipher = ColumnCipher(KEY, counter())
    assert cipher.encrypt(b"x", b"t") != cipher.encrypt(b"x", b"t")
    assert cipher.digest(b"x") == cipher.digest(b"x") != ColumnCipher(bytes(32), counter()).digest(b"x")


def test_shows_no_key() -> None:
    assert repr(ColumnCipher(KEY, counter())) == "ColumnCipher(key=<redacted>)"
