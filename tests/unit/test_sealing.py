"""What follows from a pseudonym: one bucket, and for each question, agency and subject something else."""

import itertools
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import i2osp
from protocol.errors import BlockError, BucketOverflowError, UsageError
from protocol.sealing import (
    NONCE_BYTES,
    PSEUDONYM_BYTES,
    TAG_BYTES,
    access_tag,
    ask_commitment,
    bucket,
    build_block,
    decision_binding,
    mask,
    question_secret,
    read_block,
    session_key,
    tag,
)

ELEMENT = 128
pseudonyms = st.binary(min_size=PSEUDONYM_BYTES, max_size=PSEUDONYM_BYTES)
blocks = st.dictionaries(
    st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES), st.binary(min_size=ELEMENT, max_size=ELEMENT), max_size=6
)


def pseudonym() -> bytes:
    return secrets.token_bytes(PSEUDONYM_BYTES)


@given(pseudonyms, st.integers(0, 63), st.integers(0, 63))
def test_a_bucket_is_a_prefix(t: bytes, first: int, second: int) -> None:
    shorter, longer = sorted((first, second))
    assert 0 <= bucket(t, longer) < 1 << longer
    assert bucket(t, longer) >> (longer - shorter) == bucket(t, shorter)


def test_pseudonyms_spread_over_all_buckets() -> None:
    counts = [0] * 16
    for number in range(1600):
        counts[bucket(i2osp(number, PSEUDONYM_BYTES), 4)] += 1
    assert min(counts) > 60
    assert max(counts) < 140


def test_a_bucket_is_not_the_pseudonyms_own_prefix() -> None:
    assert len({bucket(bytes(60) + i2osp(number, 4), 8) for number in range(50)}) > 10


def test_a_subjects_tag_is_of_one_pseudonym_session_and_agency_and_no_questions_secret() -> None:
    first, second = pseudonym(), pseudonym()
    tags = {
        access_tag(session_key(t), session, agency)
        for t in (first, second)
        for session in (bytes(16), b"s" * 16)
        for agency in ("tax", "court")
    }
    assert len(tags) == 8
    assert access_tag(session_key(first), bytes(16), "tax") in tags
    assert not tags & {secret(first), secret(second), session_key(first), tag(secret(first), "tax")}


def secret(t: bytes = bytes(64), nonce: bytes = bytes(32), ask: bytes = bytes(32), subject: int = 0) -> bytes:
    return question_secret(session_key(t), nonce, ask, subject)


def test_secrets_tags_and_masks_differ_by_whatever_they_depend_on() -> None:
    made = [
        secret(t, nonce, ask, subject)
        for t, nonce, ask, subject in itertools.product(
            (bytes(64), b"\1" * 64), (bytes(32), b"\1" * 32), (bytes(32), b"\1" * 32), (0, 1, 256)
        )
    ]
    agencies = ("customs", "tax", "taxes", "")
    tags = [tag(item, agency) for item in made for agency in agencies]
    masks = [mask(item, agency, bytes(ELEMENT)) for item in made for agency in agencies]
    assert len(set(made)) == 24
    assert len(set(tags)) == len(set(masks)) == 96
    assert not set(tags) & {stream[:TAG_BYTES] for stream in masks}
    assert all(len(item) == 32 for item in made)
    assert all(len(item) == TAG_BYTES for item in tags)


def test_two_parties_that_know_a_pseudonym_derive_the_same() -> None:
    t, nonce = pseudonym(), secrets.token_bytes(NONCE_BYTES)
    assert tag(secret(t, nonce), "customs") == tag(secret(t, nonce), "customs")


def test_a_label_dropped_would_be_seen() -> None:
    """The twin: under equal inputs, bucket, session key, tag and mask still come from different functions."""
    t = pseudonym()
    assert i2osp(bucket(t, 63) << 1, 8)[:7] != session_key(t)[:7]
    assert tag(t, "a") != mask(t, "a", bytes(TAG_BYTES))
    assert question_secret(t, b"", b"", 0)[:TAG_BYTES] != tag(t, "")


@given(st.binary(min_size=32, max_size=32), st.text(max_size=9), st.binary(max_size=300))
def test_a_mask_is_its_own_inverse_and_keeps_the_length(key: bytes, agency: str, data: bytes) -> None:
    masked = mask(key, agency, data)
    assert len(masked) == len(data)
    assert mask(key, agency, masked) == data


def test_only_who_knows_the_secret_lifts_the_mask() -> None:
    element = secrets.token_bytes(ELEMENT)
    masked = mask(secret(), "customs", element)
    assert element != masked
    assert mask(secret(), "customs", masked) == element
    for key, agency in ((secret(subject=1), "customs"), (secret(), "tax"), (secret(nonce=b"\1" * 32), "customs")):
        assert mask(key, agency, masked) != element


@settings(deadline=None)
@given(blocks, st.integers(0, 5))
def test_a_block_has_its_exact_size_and_reads_back(entries: dict[bytes, bytes], fillers: int) -> None:
    size = len(entries) + fillers
    block = build_block(entries, size, ELEMENT, secrets.token_bytes)
    assert len(block) == size * (TAG_BYTES + ELEMENT)
    rows = read_block(block, size, ELEMENT)
    assert list(rows) == sorted(rows)
    assert len(rows) == size
    assert entries.items() <= rows.items()


def test_a_filler_cannot_be_told_from_a_masked_element_by_length_or_place() -> None:
    """Every row has one width, and an entry stands wherever its tag falls."""
    places = set()
    for _ in range(200):
        own = tag(secret(pseudonym()), "customs")
        block = build_block({own: mask(own * 2, "customs", bytes(ELEMENT))}, 4, ELEMENT, secrets.token_bytes)
        rows = read_block(block, 4, ELEMENT)
        assert {len(row) for row in rows.values()} == {ELEMENT}
        places.add(list(rows).index(own))
    assert places == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "entry",
    [(bytes(15), bytes(ELEMENT)), (bytes(17), bytes(ELEMENT)), (bytes(16), bytes(127)), (bytes(17), bytes(127))],
)
def test_an_entry_of_another_width_is_refused(entry: tuple[bytes, bytes]) -> None:
    """The last of them would leave the block's own length right, and itself to be told apart."""
    with pytest.raises(UsageError):
        build_block(dict([entry]), 3, ELEMENT, secrets.token_bytes)


def test_a_filler_never_takes_the_place_of_an_entry() -> None:
    own, repeated = bytes(TAG_BYTES), iter([bytes(TAG_BYTES), b"\1" * ELEMENT, b"\2" * TAG_BYTES, b"\3" * ELEMENT])
    rows = read_block(build_block({own: b"\4" * ELEMENT}, 2, ELEMENT, lambda _: next(repeated)), 2, ELEMENT)
    assert rows == {own: b"\4" * ELEMENT, b"\2" * TAG_BYTES: b"\3" * ELEMENT}


def test_an_overflowing_bucket_answers_nothing() -> None:
    entries = {i2osp(k, TAG_BYTES): bytes(ELEMENT) for k in range(4)}
    assert len(read_block(build_block(entries, 4, ELEMENT, secrets.token_bytes), 4, ELEMENT)) == 4
    with pytest.raises(BucketOverflowError):
        build_block(entries, 3, ELEMENT, secrets.token_bytes)


ROWS = [i2osp(k, TAG_BYTES) + bytes([k]) * ELEMENT for k in range(4)]


def test_a_block_that_is_not_exactly_its_size_or_order_is_refused() -> None:
    assert len(read_block(b"".join(ROWS), 4, ELEMENT)) == 4
    whole, width = b"".join(ROWS), TAG_BYTES + ELEMENT
    for wrong in (b"", whole[:-1], whole + b"\0", whole[:-width], whole + b"\xff" * width):
        with pytest.raises(BlockError, match="size"):
            read_block(wrong, 4, ELEMENT)
    for order in itertools.permutations(range(4)):
        if order != (0, 1, 2, 3):
            with pytest.raises(BlockError, match="ascending"):
                read_block(b"".join(ROWS[k] for k in order), 4, ELEMENT)


@pytest.mark.parametrize("repeated", [0, 1, 2])
def test_a_tag_twice_is_refused(repeated: int) -> None:
    """One agency would otherwise answer twice for one subject."""
    rows = ROWS.copy()
    rows[repeated + 1] = rows[repeated][:TAG_BYTES] + rows[repeated + 1][TAG_BYTES:]
    with pytest.raises(BlockError, match="ascending"):
        read_block(b"".join(rows), 4, ELEMENT)


def test_a_commitment_binds_session_nonce_and_every_prefix() -> None:
    made = ask_commitment(bytes(16), bytes(32), [1, 2])
    others = [
        ask_commitment(b"\1" * 16, bytes(32), [1, 2]),
        ask_commitment(bytes(16), b"\1" * 32, [1, 2]),
        *(ask_commitment(bytes(16), bytes(32), other) for other in ([2, 1], [1], [1, 2, 0], [], [258])),
    ]
    assert len({made, *others}) == 8


def test_a_binding_is_of_sigma_secret_and_commitment_each_in_its_place() -> None:
    parts = (b"\1" * 32, b"\2" * 32, b"\3" * 32)
    assert len({decision_binding(*order) for order in itertools.permutations(parts)}) == 6
    assert len(decision_binding(*parts)) == 32
