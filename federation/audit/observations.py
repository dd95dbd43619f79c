"""What a party sees of one session, field by field: what travelled, what it can open, what it computes from that.

A view takes every field of every message that reaches or leaves the party, of headers and bodies alike, so that no
field has to be thought of to be looked at. To these it adds what the party can derive with its own keys as the
protocol lets it, and whether anything it saw holds what it could expect of either subject of a hiding game.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from federation.audit.recordings import signed_messages
from federation.transport import Record
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import decode, i2osp, os2ip
from protocol.errors import PeerError
from protocol.group import ORDER, Element, linear_combination, scalar_from_int
from protocol.hpke import unseal
from protocol.messages import KIB, Answer, Ask, Evaluated, Look, Opened, SealedAsk
from protocol.rounds.coordinator import unseal_blocks
from protocol.rounds.party import Party
from protocol.sealing import TAG_BYTES, marks, mask, question_secret, session_key, tag
from protocol.shamir import integer_lagrange, lagrange_at_zero
from protocol.wire import Body, Signed, from_map, read

Fields = Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True)
class Transcript:
    """One session: all messages, how long each step took in seconds, and what C kept to itself."""

    records: tuple[Record, ...]
    seconds: Mapping[str, float]
    kept: Fields = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class View:
    """What one party has of one session: the values of each field, and the times it could take."""

    fields: Fields = field(repr=False)
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Suspect:
    """A subject that a party thinks of: its canonical bytes and, if the party can know it, its pseudonym."""

    subject: bytes = field(repr=False)
    pseudonym: bytes = field(default=b"", repr=False)


def nodes_view(
    parties: Sequence[Party], transcript: Transcript, suspects: Sequence[Suspect], coordinator: Party
) -> View:
    """The view of agencies that pool what they see, with what each can open.

    Of several keyholders also what their evaluations and opening shares come to together. What they sealed for the
    coordinator they know themselves; here it is read with its key.
    """
    names = {party.id for party in parties}
    records = _records(transcript, names)
    messages = _messages(records)
    found = _fields(messages) | _unsealed(coordinator, (it for it in messages if it.header.sender in names))
    nonce = ask = b""
    for message in messages:
        if isinstance(message.body, Ask):
            for party in parties:
                with suppress(PeerError):
                    inner = _opened(party, message)
                    found[f"opened at {party.id}"] += [inner.nonce, *inner.prefixes]
                    nonce, ask = inner.nonce, message.hash
    if len(parties) > 1:
        found |= _pooled(parties[0].terms, messages)
    return _view(found, records, transcript, lambda it: _expected(it, nonce, ask, parties[0].terms), suspects, names)


def coordinator_view(party: Party, transcript: Transcript, suspects: Sequence[Suspect]) -> View:
    """The coordinator's view: all blocks, what it matched and lifted, the sums it opened, what else it `kept`."""
    messages = _messages(transcript.records)
    found = _fields(messages) | _unsealed(party, messages)
    secrets = [secret for message in messages if isinstance(message.body, Look) for secret in message.body.secrets]
    for message in messages:
        if isinstance(message.body, Answer):
            sender = message.header.sender
            for secret, entries in zip(secrets, _blocks(party, message), strict=True):
                wanted = entry_tag(party.terms, secret, sender)
                for place, (position, element) in enumerate(entries):
                    if position == wanted:
                        found[f"matched at {sender}"].append(i2osp(place, 2))
                        found[f"lifted from {sender}"].append(_unmasked(party.terms, secret, sender, element))
    found |= {name: list(values) for name, values in transcript.kept.items()}
    timed = {COORDINATOR, *party.terms.agencies}
    return _view(found, transcript.records, transcript, lambda _: [], suspects, timed)


def requester_view(party: Party, transcript: Transcript, suspects: Sequence[Suspect]) -> View:
    """The requester's view: it knows its own T's, and with them every agency's tag."""
    records = _records(transcript, {party.id})
    messages = _messages(records)
    looks = [message.body for message in messages if isinstance(message.body, Look)]
    terms = party.terms
    own = [entry_tag(terms, secret, agency) for look in looks for secret in look.secrets for agency in terms.agencies]
    return _view(_fields(messages), records, transcript, lambda _: own, suspects, {party.id})


def observer_view(transcript: Transcript) -> View:
    """The view of who watches every link but cannot look into it: who sends whom how much, and when."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for record in transcript.records:
        found[f"{record.kind} from {record.sender} to {record.receiver}"].append(bytes(len(record.data)))
    return View({name: tuple(values) for name, values in found.items()}, transcript.seconds)


def values(transcript: Transcript, coordinator: Party) -> set[bytes]:
    """Every value of every field that travelled, those that the coordinator opens included."""
    messages = _messages(transcript.records)
    return {value for found in (_fields(messages) | _unsealed(coordinator, messages)).values() for value in found}


def compare(first: View, second: View) -> View:
    """What two sessions have in common: equal values, how sizes and times differ, and values XORed, field by field."""
    found: dict[str, tuple[bytes, ...]] = {}
    for name in first.fields.keys() | second.fields.keys():
        one, two = first.fields.get(name, ()), second.fields.get(name, ())
        found[f"{name} equal"] = tuple(sorted(set(one) & set(two)))
        found[f"{name} size"] = (i2osp(abs(sum(map(len, one)) - sum(map(len, two))), 8),)
        if one and two and len(one[0]) == len(two[0]):
            found[f"{name} xor"] = (i2osp(os2ip(one[0]) ^ os2ip(two[0]), len(one[0])),)
    names = first.seconds.keys() & second.seconds.keys()
    return View(found, {name: abs(first.seconds[name] - second.seconds[name]) for name in names})


def _records(transcript: Transcript, parties: set[str]) -> list[Record]:
    return [record for record in transcript.records if parties & {record.sender, record.receiver}]


def _messages(records: Iterable[Record]) -> list[Signed[Body]]:
    """Every distinct message, once: what C passes on unchanged says nothing new."""
    distinct = dict.fromkeys(record.data for record in records)
    return list({message.raw: message for data in distinct for message in _parsed(data)}.values())


# Several parties see the same message, and there is no need to take it apart again for each.
@lru_cache(maxsize=256)
def _parsed(data: bytes) -> tuple[Signed[Body], ...]:
    return tuple(signed_messages(data))


def _fields(messages: Iterable[Signed[Body]]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for message in messages:
        for path, value in _told(message.raw, type(message.body)):
            found[path].append(value)
    return found


def _unsealed(coordinator: Party, messages: Iterable[Signed[Body]]) -> dict[str, list[bytes]]:
    """What agencies sealed for the coordinator, tags and elements apart."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for message in messages:
        if isinstance(message.body, Answer):
            for position, element in (entry for block in _blocks(coordinator, message) for entry in block):
                found[f"tags of {message.header.sender}"].append(position)
                found[f"elements of {message.header.sender}"].append(element)
    return found


def _blocks(coordinator: Party, message: Signed[Any]) -> list[list[tuple[bytes, bytes]]]:
    """The places of each block as they lie; unlike `read_block`, without asking whether the block is in order."""
    width = TAG_BYTES + coordinator.terms.element_bytes
    found = []
    for block in unseal_blocks(coordinator, message):
        rows = (block[start : start + width] for start in range(0, len(block), width))
        found.append([(row[:TAG_BYTES], row[TAG_BYTES:]) for row in rows])
    return found


@lru_cache(maxsize=256)
def _told(raw: bytes, kind: type[Body]) -> tuple[tuple[str, bytes], ...]:
    """Every value of a message with its path."""
    message = read(raw, kind, len(raw))
    told = [("signature", message.envelope.signature)]
    for part in (message.header, message.body):
        for item in fields(part):
            told += _leaves(item.name, getattr(part, item.name))
    return tuple((f"{message.body.TYPE} of {message.header.sender}: {path}", value) for path, value in told)


def _leaves(path: str, value: object) -> Iterator[tuple[str, bytes]]:
    match value:
        case bytes():
            yield path, value
        case str():
            yield path, value.encode()
        case int():
            yield path, i2osp(value, 8)
        case Mapping():
            for key, inner in value.items():
                yield from _leaves(f"{path}.{key}", inner)
        case tuple():
            for inner in value:
                yield from _leaves(path, inner)


def _opened(party: Party, message: Signed[Any]) -> SealedAsk:
    """What R sealed for an agency."""
    context = party.id.encode(), message.header.session
    plain = unseal(message.body.sealed[party.id], party.sealing_key, labels.SEALED_ASK, *context)
    return from_map(SealedAsk, decode(plain, 2 * KIB))


def _pooled(terms: Terms, messages: Sequence[Signed[Body]]) -> dict[str, list[bytes]]:
    """What fewer than t keyholders get by going on as if they were enough."""
    evaluated = _by_index(terms, messages, Evaluated)
    opened = _by_index(terms, messages, Opened)
    found: dict[str, list[bytes]] = {}
    if evaluated:
        coefficients = lagrange_at_zero(list(evaluated), ORDER)
        weights = [scalar_from_int(coefficients[index]) for index in evaluated]
        batches = zip(*(map(Element, message.body.elements) for message in evaluated.values()), strict=True)
        found["evaluations pooled"] = [linear_combination(weights, subject) for subject in batches]
    if opened:
        key, root = terms.opening_key, 1
        powers = integer_lagrange(list(opened), key.delta)
        for index, message in opened.items():
            root = root * pow(os2ip(message.body.share), 2 * powers[index], key.public_key.n) % key.public_key.n
        found["openings pooled"] = [i2osp(root, key.public_key.modulus_bytes)]
    return found


def _by_index(terms: Terms, messages: Sequence[Signed[Body]], kind: type[Body]) -> dict[int, Signed[Any]]:
    return {terms.keyholder_index(it.header.sender): it for it in messages if isinstance(it.body, kind)}


def _view(
    found: Mapping[str, Sequence[bytes]],
    records: Iterable[Record],
    transcript: Transcript,
    expected: Callable[[Suspect], Iterable[bytes]],
    suspects: Sequence[Suspect],
    timed: Collection[str],
) -> View:
    """A view with the times of parties `timed`, and how much of what is expected of each suspect was seen anywhere."""
    seen = b"".join([record.data for record in records] + [value for values in found.values() for value in values])
    guesses = {
        f"guess {number}": (i2osp(sum(guess in seen for guess in {*_public(it), *expected(it)}), 2),)
        for number, it in enumerate(suspects)
    }
    seconds = {name: taken for name, taken in transcript.seconds.items() if name.split()[0] in timed}
    return View({name: tuple(values) for name, values in found.items()} | guesses, seconds)


def _public(suspect: Suspect) -> list[bytes]:
    """What anybody who thinks of a subject can compute."""
    return [suspect.subject, hashlib.sha256(suspect.subject).digest()]


def _expected(suspect: Suspect, nonce: bytes, ask: bytes, terms: Terms) -> list[bytes]:
    """What who knows t, ν and `ask` can compute besides."""
    key = session_key(suspect.pseudonym)
    secret = question_secret(key, nonce, ask, 0)
    return [suspect.pseudonym, key, secret, *(entry_tag(terms, secret, agency) for agency in terms.agencies)]


def entry_tag(terms: Terms, secret: bytes, agency: str) -> bytes:
    """By which an agency's entry for T is found, by the sieve or without."""
    return next(iter(marks([secret], agency)))[:TAG_BYTES] if terms.agreement.sieve else tag(secret, agency)


def _unmasked(terms: Terms, secret: bytes, agency: str, element: bytes) -> bytes:
    if not terms.agreement.sieve:
        return mask(secret, agency, element)
    [mark] = marks([secret], agency)
    return i2osp(os2ip(mark[TAG_BYTES:]) ^ os2ip(element), len(element))
