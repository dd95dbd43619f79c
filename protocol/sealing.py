"""What follows from a pseudonym t (64 bytes): its bucket, and in one question its tag, its mask, its entry.

Specification: protocol/spec/concordat-v1.md §3 and §4. All derivations are HKDF-SHA-256, HMAC-SHA-256 and SHAKE256.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from hashlib import shake_256
from itertools import pairwise

from protocol import labels
from protocol.codec import Random, concat, digest, hkdf, i2osp, os2ip
from protocol.errors import BlockError, BucketOverflowError, UsageError

PSEUDONYM_BYTES = 64
TAG_BYTES = 16
SESSION_KEY_BYTES = 32
NONCE_BYTES = 32
EFFECTS_BYTES = 16


def bucket(pseudonym: bytes, bucket_bits: int) -> int:
    """The first β bits of HKDF(t, "bucket"), as an integer 0 <= prefix < 2^β."""
    return os2ip(hkdf(pseudonym, labels.BUCKET, 8)) >> (64 - bucket_bits)


def session_key(pseudonym: bytes) -> bytes:
    """HKDF(t, "session"): the key (32 bytes) of everything a question derives from t."""
    return hkdf(pseudonym, labels.SESSION_KEY, SESSION_KEY_BYTES)


def question_secret(key: bytes, nonce: bytes, ask: bytes, subject: int) -> bytes:
    """T_a = HMAC(HKDF(t,"session"), ν ‖ H(ask) ‖ a): what only R, C and an agency that seals t can know.

    The hash of the whole signed `ask` stands in it, not the session alone: no two questions ever share a mask, even
    where R signs the same session and nonce again after the first was forgotten.
    """
    return next(iter(question_secrets([key], nonce, ask, subject)))


def question_secrets(keys: Iterable[bytes], nonce: bytes, ask: bytes, subject: int) -> Iterable[bytes]:
    """`question_secret` of each of many keys, for one subject: what all of them hash is put together once."""
    text = concat(labels.QUESTION, nonce, ask, i2osp(subject, 2))
    return (hmac.digest(key, text, "sha256") for key in keys)


def tag(secret: bytes, agency: str) -> bytes:
    """HMAC(T,"tag" ‖ agency)[:16]: by which C finds the entry of T in the agency's block."""
    return _hmac(secret, labels.TAG, agency.encode())[:TAG_BYTES]


def mask(secret: bytes, agency: str, data: bytes) -> bytes:
    """XOR with SHAKE256(HMAC(T,"mask" ‖ agency)); its own inverse. Only who knows T can lift it."""
    stream = shake_256(_hmac(secret, labels.MASK, agency.encode())).digest(len(data))
    return i2osp(os2ip(data) ^ os2ip(stream), len(data))


def marks(secrets: Iterable[bytes], agency: str) -> Iterable[bytes]:
    """HMAC(T,"sieve" ‖ agency) of each T: its first 16 bytes are an entry's tag, the others mask its effects."""
    text = concat(labels.SIEVE, agency.encode())
    return (hmac.digest(secret, text, "sha256") for secret in secrets)


def access_tag(key: bytes, session: bytes, agency: str) -> bytes:
    """By which an agency finds its own session key of a subject that asks through a door; to others it is random.

    Agency and session stand in it, so what one agency is told of a person in one session is of no use elsewhere.
    """
    return _hmac(key, labels.ACCESS_TAG, session, agency.encode())


def ask_commitment(session: bytes, nonce: bytes, prefixes: Sequence[int]) -> bytes:
    """The commitment com = H(session, ν, prefixes): binds R to one question for all agencies, and tells C nothing."""
    return digest(labels.ASK_COMMITMENT, session, nonce, *(i2osp(prefix, 8) for prefix in prefixes))


def build_block(entries: Mapping[bytes, bytes], size: int, element_bytes: int, random: Random) -> bytes:
    """Lay out one subject's block: exactly `size` entries `tag ‖ element`, strictly ascending by tag.

    `entries` maps a tag to its masked element of `element_bytes`; random fillers, not to be told apart from masked
    elements without T, make up the rest.

    Raises:
        BucketOverflowError: more entries than `size`; then the agency answers nothing.
        UsageError: a tag or an element of another width, by which C could tell entries from fillers.
    """
    if any((len(position), len(element)) != (TAG_BYTES, element_bytes) for position, element in entries.items()):
        raise UsageError("a block's entry has the wrong width")
    if len(entries) > size:
        raise BucketOverflowError("a bucket holds more entries than the agreement's bucket size")
    block = dict(entries)
    while len(block) < size:
        block.setdefault(random(TAG_BYTES), random(element_bytes))
    return b"".join(position + block[position] for position in sorted(block))


def read_block(block: bytes, size: int, element_bytes: int) -> dict[bytes, bytes]:
    """Read a block back to {tag: masked element}, in ascending order.

    Raises:
        BlockError: not exactly `size` entries of the fixed width, or not strictly ascending.
    """
    width = TAG_BYTES + element_bytes
    if len(block) != size * width:
        raise BlockError("block is not exactly its bucket size")
    rows = [block[start : start + width] for start in range(0, len(block), width)]
    tags = [row[:TAG_BYTES] for row in rows]
    if any(first >= second for first, second in pairwise(tags)):
        raise BlockError("block is not strictly ascending by tag")
    return {position: row[TAG_BYTES:] for position, row in zip(tags, rows, strict=True)}


def decision_binding(sigma: bytes, secret: bytes, commitment: bytes) -> bytes:
    """H(σ_a ‖ T_a ‖ com): ties a decision to its subject for who holds the evidence, to nobody for others."""
    return digest(labels.DECISION_BINDING, sigma, secret, commitment)


def _hmac(key: bytes, label: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, concat(label, *parts), "sha256")
