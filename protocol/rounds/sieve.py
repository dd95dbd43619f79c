"""The sieve: a question under an agreement where any listing triggers (specification §4.13).

Where every rule is `min_agencies: 1` and nothing else, a measure's effect is the greatest that any agency would come to
by itself. So there is nothing to add: each agency applies the rules to its own listings and answers marks, C takes the
greatest of what matched, and nobody encrypts or opens anything. Messages, rights, quotas, the seal for C and the
decision are those of every question (`agency`, `coordinator`); the blocks alone differ.

**An entry** is 32 bytes, `mark ⊕ effects`, mark being HMAC(T,"sieve" ‖ i): a tag by which C finds it, and a mask over
one bit for each measure that applies and one for each that is disputed. Any bits have a meaning, and those of measures
that the agency's registers do not feed count for nothing: no entry can make a session fail because it matched.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache, partial
from itertools import chain
from operator import lt
from struct import iter_unpack, unpack

from protocol.agreement.layout import feeders
from protocol.agreement.limits import condition, measure_is_suspended
from protocol.agreement.model import Agreement
from protocol.agreement.rules import MeasureOutcome, outcome
from protocol.codec import Random, i2osp, os2ip
from protocol.errors import BlockError, BucketOverflowError, IndeterminateError
from protocol.messages import Answer
from protocol.rounds.agency import Asked, seal_blocks
from protocol.rounds.coordinator import Session, receive_blocks, sign
from protocol.rounds.party import Party
from protocol.sealing import EFFECTS_BYTES, TAG_BYTES, marks, question_secrets

ENTRY_BYTES = TAG_BYTES + EFFECTS_BYTES
_APPLIES = 4 * EFFECTS_BYTES
"""Effects are an integer: a measure's bit is its number in the agreement if disputed, so much higher if it applies."""


def answer(
    party: Party,
    asked: Asked,
    buckets: Mapping[int, Sequence[tuple[bytes, Sequence[int]]]],
    random: Random,
    now: int,
) -> bytes:
    """Answer with one block a subject, of the same size whatever the buckets hold, sealed for C.

    `buckets` is as for `agency.answer`: each asked prefix's entries `(key, lane values)`, in R's own lanes. The rules
    are applied to each entry's values alone; one without effect is left out.

    Raises:
        BucketOverflowError: a bucket holds more entries than B; then nothing is answered.
    """
    terms, header, ask = party.terms, asked.request.header, asked.request.hash
    layout = terms.layout(header.sender)
    if any(len(buckets[prefix]) > terms.bucket_size for prefix in asked.prefixes):
        raise BucketOverflowError("a bucket holds more entries than the agreement's bucket size")

    @cache  # many entries have the same few lanes
    def effects(values: Sequence[int]) -> int:
        return encode(terms.agreement, outcome(terms.agreement, layout, values, header.sender, header.day))

    blocks = []
    for subject, prefix in enumerate(asked.prefixes):
        found = [(key, effects(values)) for key, values in buckets[prefix]]
        marking = [(key, effect) for key, effect in found if effect]
        secrets = question_secrets((key for key, _ in marking), asked.nonce, ask, subject)
        entries = [
            i2osp(os2ip(mark) ^ effect, ENTRY_BYTES)
            for mark, (_, effect) in zip(marks(secrets, party.id), marking, strict=True)
        ]
        blocks.append(build_block(entries, terms.bucket_size, random))
    return party.reply(Answer(seal_blocks(party, blocks, ask)), asked.request, now)


def accept(party: Party, session: Session, agency: str, reply: bytes, now: int) -> tuple[int, ...]:
    """Verify one agency's answer and unmask what matches: for each subject its effects, 0 without a match.

    Without a match another entry is unmasked and dropped, so both paths do the same work.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the message is not as required.
        SealError: what it sealed does not open.
        BlockError: a block is short, long or unsorted.
    """
    size = party.terms.bucket_size
    blocks = receive_blocks(party, session, agency, reply, now)
    found = []
    for mark, block in zip(marks(session.look.body.secrets, agency), blocks, strict=True):
        tags, elements = read_block(block, size)
        tag, mask = mark[:TAG_BYTES], mark[TAG_BYTES:]
        place = min(bisect_left(tags, tag), size - 1)
        found.append((tags[place] == tag) * (os2ip(elements[place]) ^ os2ip(mask)))
    return tuple(found)


def decide(party: Party, session: Session, found: Mapping[str, Sequence[int]], now: int) -> bytes:
    """Take the greatest effect that any agency marked, and sign one decision a subject; nothing else leaves C.

    Raises:
        IndeterminateError: an agency's answer is missing; there are no partial answers.
    """
    if missing := set(party.terms.agencies) - set(found):
        raise IndeterminateError(missing)
    agreement = party.terms.agreement
    own = own_effects(agreement, session.requester, session.ask.header.day)
    joint = [0] * session.m
    for agency, effects in found.items():
        joint = [so_far | effect & own[agency] for so_far, effect in zip(joint, effects, strict=True)]
    return sign(party, session, map(partial(decode, agreement), joint), now)


def encode(agreement: Agreement, outcomes: Iterable[MeasureOutcome]) -> int:
    """The effects of what the rules come to."""
    numbers = _numbers(agreement)
    return sum(1 << numbers[it.measure] + (0 if it.disputed else _APPLIES) for it in outcomes)


def decode(agreement: Agreement, effects: int) -> list[MeasureOutcome]:
    """The measures that these effects of one or several agencies come to: what applies at one is not disputed."""
    return [
        MeasureOutcome(measure, disputed=not effects >> number + _APPLIES & 1)
        for measure, number in _numbers(agreement).items()
        if effects & _both(number)
    ]


def own_effects(agreement: Agreement, requester: str, day: date) -> dict[str, int]:
    """The effects that each agency's registers can have for a requester on a day; no others count."""
    implements, numbers = agreement.requester(requester).implements, _numbers(agreement)
    own = dict.fromkeys((agency.id for agency in agreement.agencies), 0)
    for rule in agreement.rules:
        if rule.measure in implements and not measure_is_suspended(agreement, rule.measure, day):
            for agency in feeders(agreement, condition(agreement, rule)):
                own[agency] |= _both(numbers[rule.measure])
    return own


def _numbers(agreement: Agreement) -> dict[str, int]:
    return {measure.id: number for number, measure in enumerate(agreement.measures)}


def _both(number: int) -> int:
    return (1 << number) | (1 << number + _APPLIES)


def build_block(entries: Sequence[bytes], size: int, random: Random) -> bytes:
    """Lay out one subject's block: exactly `size` entries in ascending order, the places that are left random.

    A mark is random to who does not know its T, and so is what is masked with it: nothing tells an entry from a filler.
    """
    fillers = random((size - len(entries)) * ENTRY_BYTES)
    # Two equal tags in a block are as likely as a forged mark, and refused by C: then the answer is indeterminate.
    return b"".join(sorted(chain(entries, (filler for (filler,) in iter_unpack(f"{ENTRY_BYTES}s", fillers)))))


def read_block(block: bytes, size: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Read a block back to its tags, in ascending order, and what stands behind each.

    Raises:
        BlockError: not exactly `size` entries, or not strictly ascending by tag.
    """
    if len(block) != size * ENTRY_BYTES:
        raise BlockError("block is not exactly its bucket size")
    parts = unpack(f"{TAG_BYTES}s{EFFECTS_BYTES}s" * size, block)
    tags = parts[::2]
    if not all(map(lt, tags, tags[1:])):
        raise BlockError("block is not strictly ascending by tag")
    return tags, parts[1::2]
