"""The dictionary attack: who was asked about or listed, by trying every identifier there is.

An attacker that holds all traffic, some stored bytes and some agencies' keys computes for each candidate all it can,
and looks whether any of it stands in what it holds: plain, salted and keyed hashes, and what follows from the joint
function under the key that its shares make, right or wrong.
"""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from federation.audit.observations import entry_tag
from federation.audit.recordings import signed_messages
from federation.transport import Record
from protocol import labels, oprf
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.errors import PeerError
from protocol.group import ORDER, Scalar, hash_to_group, scalar_from_int, scalar_mult
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import Answer, Ask, Look
from protocol.rounds import agency
from protocol.rounds.coordinator import unseal_blocks
from protocol.rounds.party import Party
from protocol.sealing import TAG_BYTES, bucket, question_secret, session_key
from protocol.shamir import lagrange_at_zero
from protocol.wire import HASH_BYTES, Body, Signed

_WINDOW = 8
_CHUNK = 1 << 20
_ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "blake2b")


@dataclass(frozen=True)
class Loot:
    """What the attacker holds: all messages, `stored` bytes, parties' keys, and shares of the joint key by index."""

    terms: Terms
    records: Sequence[Record] = field(repr=False)
    stored: Sequence[bytes] = field(repr=False)
    parties: Mapping[str, Party]
    shares: Mapping[int, Scalar] = field(repr=False)


@dataclass
class _Subject:
    """One subject of one question: its nonce ν and hash of `ask`, and which T and tags were seen for it."""

    nonce: bytes
    ask: bytes
    number: int
    secrets: set[bytes]
    tags: Mapping[str, set[bytes]]


def recovered(loot: Loot, candidates: Iterable[Identifier], salts: int) -> set[Identifier]:
    """Which candidates the attacker recognises; `salts` is how many 32-byte values of the traffic it tries as keys."""
    messages = list(_messages(loot.records))
    known, asked = _windows(loot, messages), _subjects(loot, messages)
    keys = sorted(_keys(messages))[:salts]
    scalars = _scalars(loot)
    found = set()
    for candidate in candidates:
        tokens = np.array([int.from_bytes(it[:_WINDOW]) for it in _tokens(candidate, loot, keys, scalars)], np.uint64)
        places = np.minimum(np.searchsorted(known, tokens), len(known) - 1)
        if (known[places] == tokens).any() or any(_matches(candidate, scalar, loot.terms, asked) for scalar in scalars):
            found.add(candidate)
    return found


def _messages(records: Iterable[Record]) -> Iterator[tuple[Record, list[Signed[Body]]]]:
    for record in records:
        try:
            yield record, signed_messages(record.data)
        except PeerError:
            yield record, []


def _windows(loot: Loot, messages: Iterable[tuple[Record, list[Signed[Body]]]]) -> NDArray[np.uint64]:
    """Every 8 bytes that the attacker holds, sorted; of an agency's blocks, where tags and elements begin."""
    parts = {data for data in loot.stored if len(data) >= _WINDOW}
    heads = set()
    for record, signed in messages:
        if not any(isinstance(message.body, Answer) for message in signed):
            parts.add(record.data)
        for message in signed:
            if isinstance(message.body, Answer):
                for row in _rows(_blocks(message, loot), loot.terms):
                    heads |= {row[:_WINDOW], row[TAG_BYTES : TAG_BYTES + _WINDOW]}
    parts.add(b"".join(sorted(heads)) + bytes(_WINDOW))
    arrays = [
        _of(data[start : start + _CHUNK + _WINDOW - 1]) for data in parts for start in range(0, len(data), _CHUNK)
    ]
    return np.unique(np.concatenate(arrays))


def _of(data: bytes) -> NDArray[np.uint64]:
    if len(data) < _WINDOW:
        return np.empty(0, np.uint64)
    octets = np.frombuffer(data, np.uint8)
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(octets, _WINDOW))
    return windows.view(">u8").ravel().astype(np.uint64)


def _blocks(answer: Signed[Body], loot: Loot) -> tuple[bytes, ...]:
    """What an agency sealed for C, if C's key is held."""
    return unseal_blocks(loot.parties[COORDINATOR], cast("Any", answer)) if COORDINATOR in loot.parties else ()


def _rows(blocks: Iterable[bytes], terms: Terms) -> Iterator[bytes]:
    width = TAG_BYTES + terms.element_bytes
    for block in blocks:
        for start in range(0, len(block), width):
            yield block[start : start + width]


def _keys(messages: Iterable[tuple[Record, list[Signed[Body]]]]) -> set[bytes]:
    """Every field of 32 bytes, and every item of that size, of everything but blocks."""
    values = [value for _, signed in messages for message in signed for value in vars(message.body).values()]
    items = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return {item for item in items if isinstance(item, bytes) and len(item) == HASH_BYTES}


def _scalars(loot: Loot) -> list[Scalar]:
    """Keys to try: the shares put together as if they were enough, and as if the missing share were zero."""
    if not (indices := sorted(loot.shares)):
        return []
    every = range(1, len(loot.terms.keyholders) + 1)
    missing = next((index for index in every if index not in loot.shares), None)
    guesses = [indices] if missing is None or len(indices) >= loot.terms.threshold else [indices, [*indices, missing]]
    scalars = []
    for guess in guesses:
        coefficients = lagrange_at_zero(guess, ORDER)
        scalars.append(
            scalar_from_int(sum(coefficients[it] * int.from_bytes(loot.shares[it], "little") for it in indices))
        )
    return scalars


def _tokens(candidate: Identifier, loot: Loot, keys: Sequence[bytes], scalars: Sequence[Scalar]) -> Iterator[bytes]:
    """All that can be computed of a candidate without knowing more: hashes, keyed hashes, its group element."""
    whole = to_bytes(candidate)
    texts = (candidate.value.encode(), f"{candidate.scheme}:{candidate.value}".encode(), whole)
    for algorithm in _ALGORITHMS:
        for text in texts:
            yield hashlib.new(algorithm, text).digest()
    for salt in (loot.terms.agreement.id.encode(), labels.IDENTIFIER, str(loot.terms.roster.epoch).encode()):
        for text in texts:
            yield hashlib.sha256(salt + text).digest()
            yield hmac.digest(salt, text, "sha256")
    for key in keys:
        yield hmac.digest(key, whole, "sha256")
    element = hash_to_group(whole, b"HashToGroup-" + oprf.context_string(oprf.Mode.VOPRF))
    yield element
    for scalar in scalars:
        yield scalar_mult(scalar, element)


def _subjects(loot: Loot, messages: Sequence[tuple[Record, list[Signed[Body]]]]) -> Mapping[int, list[_Subject]]:
    """Every subject that was asked about, by the prefix that a colluding agency opens."""
    looks: dict[bytes, Look] = {}
    blocks: dict[bytes, dict[str, tuple[bytes, ...]]] = defaultdict(dict)
    for _, signed in messages:
        for message in signed:
            match message.body:
                case Look() as look:
                    looks[look.ask] = look
                case Answer():
                    blocks[message.header.answers][message.header.sender] = _blocks(message, loot)
    found: dict[int, list[_Subject]] = defaultdict(list)
    agencies = loot.parties.keys() & set(loot.terms.agencies)
    for record, signed in messages:
        for message in signed:
            if isinstance(message.body, Ask) and record.kind == Ask.TYPE and record.receiver in agencies:
                try:
                    asked = agency.receive(loot.parties[record.receiver], message.raw, message.header.issued)
                except PeerError:
                    continue
                for number, prefix in enumerate(asked.prefixes):
                    found[prefix].append(_subject(message.hash, asked.nonce, number, looks, blocks, loot.terms))
    return found


def _subject(
    ask: bytes,
    nonce: bytes,
    number: int,
    looks: Mapping[bytes, Look],
    blocks: Mapping[bytes, Mapping[str, tuple[bytes, ...]]],
    terms: Terms,
) -> _Subject:
    secrets = {looks[ask].secrets[number]} if ask in looks else set()
    tags = {
        name: {row[:TAG_BYTES] for row in _rows(own[number : number + 1], terms)}
        for name, own in blocks.get(ask, {}).items()
    }
    return _Subject(nonce, ask, number, secrets, tags)


def _matches(candidate: Identifier, key: Scalar, terms: Terms, asked: Mapping[int, list[_Subject]]) -> bool:
    """Whether the candidate was asked about, or stands in a block, if `key` is the joint key."""
    pseudonym = oprf.evaluate(key, to_bytes(candidate))
    for subject in asked.get(bucket(pseudonym, terms.bucket_bits), ()):
        secret = question_secret(session_key(pseudonym), subject.nonce, subject.ask, subject.number)
        if secret in subject.secrets or any(
            entry_tag(terms, secret, name) in tags for name, tags in subject.tags.items()
        ):
            return True
    return False
