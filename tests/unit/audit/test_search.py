"""The search finds every encoding of a text inside a longer document, and nothing where nothing is."""

import base64
import gzip
import hashlib
import random
import zlib
from collections.abc import Callable

import pytest

from api.audit.claims.canary_sweep import WHOLE
from federation.audit.search import COMPRESSED, ENCODINGS, HASHES, Fragments, Hit, Searcher, Secret

SECRETS = [
    Secret("91110000KX4T9QW2M7", "cn.uscc"),
    Secret("Łódzka Fabryka Čaj GmbH"),
    Secret("深圳市前海贸易有限公司"),
    Secret("Общество Ромашка-Плюс"),
    Secret("شركة النور للتجارة"),
]
DOCUMENT = 'before {"subject": "%s", "note": "ž"} after'

DOCUMENTS: dict[str, Callable[[str], bytes]] = {
    **WHOLE,
    "reversed bytes": lambda text: text.encode()[::-1],
    "base64 in gzip": lambda text: gzip.compress(base64.b64encode(text.encode())),
    "gzip in zlib": lambda text: zlib.compress(gzip.compress(text.encode())),
}


def test_every_encoding_has_a_document_in_it() -> None:
    assert set(ENCODINGS) <= {*DOCUMENTS, *HASHES, "grouped"}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("shift", range(3))
def test_a_text_is_found_in_a_whole_document_of_each_encoding(name: str, shift: int) -> None:
    searcher = Searcher(SECRETS)
    noise = random.Random(shift).randbytes(1000)  # noqa: S311  # no secrets
    for number, secret in enumerate(SECRETS):
        found = searcher.search(noise + DOCUMENTS[name]("x" * shift + DOCUMENT % secret.text) + noise)
        assert number in {hit.secret for hit in found}
        assert {hit.secret for hit in found} == {number}


@pytest.mark.parametrize("name", HASHES)
def test_plain_hashes_are_found(name: str) -> None:
    searcher = Searcher(SECRETS)
    for number, secret in enumerate(SECRETS):
        digest = hashlib.new(name, secret.text.encode())
        assert searcher.search(b"a" + digest.digest() + b"z") == {Hit(number, name)}
        assert searcher.search(digest.hexdigest().encode()) == {Hit(number, name)}
    keyed = hashlib.new(name, b"cn.uscc:91110000KX4T9QW2M7")
    assert searcher.search(base64.b64encode(keyed.digest())) == {Hit(0, name)}


@pytest.mark.parametrize("text", ["9111 0000 KX4T 9QW2 M7", "91-11-00-00-KX-4T-9Q-W2-M7", " ".join(SECRETS[0].text)])
def test_groups_are_found(text: str) -> None:
    assert Searcher(SECRETS).search(f"<{text}>".encode()) == {Hit(0, "grouped")}


def test_what_is_compressed_is_named_so() -> None:
    assert Searcher(SECRETS).search(gzip.compress(SECRETS[1].text.encode())) == {Hit(1, COMPRESSED)}


def test_nothing_is_found_in_noise() -> None:
    numbers = random.Random(1)  # noqa: S311  # no secrets
    noise = numbers.randbytes(2_000_000)
    searcher = Searcher([*SECRETS, *(Secret(numbers.randbytes(8).hex().upper(), "cn.reg_no") for _ in range(200))])
    assert not searcher.search(noise)
    assert not searcher.search(noise.hex().encode())


def test_what_is_public_or_too_short_is_not_searched_for() -> None:
    searcher = Searcher(
        [Secret("Tax Office of Labour"), Secret("1234567"), Secret("00000000000000")], b"Tax Office of Labour"
    )
    assert not searcher.search(b"at the Tax Office of Labour, 1234567 times, 00000000000000")
    assert 0 in searcher.searchable  # in other encodings it is


def test_a_secret_shows_nothing() -> None:
    assert "KX4T9" not in repr(SECRETS)


def test_what_is_left_of_a_blob_is_found() -> None:
    numbers = random.Random(2)  # noqa: S311  # no secrets
    blobs = [numbers.randbytes(size) for size in (16, 17, 60, 500, 500)]
    fragments = Fragments(blobs)
    noise = numbers.randbytes(5000)
    assert not fragments.search(noise)
    assert fragments.search(noise + blobs[0] + noise) == {0}
    assert fragments.search(noise + blobs[1][1:] + noise) == {1}
    assert fragments.search(noise + blobs[2][4:] + noise) == {2}
    assert fragments.search(noise + blobs[3][:100] + blobs[4][-20:]) == {3, 4}
