"""The coordinator's round: match blindly, add under encryption, have the sum opened, decide.

`receive → accept (one an agency) → add → open_request / accept_share (a quorum a chunk) → opened → decide`.
C sees T's and lanes of anonymous subjects, never a prefix, a pseudonym or a name. It opens always, match or none, with
the same sizes and the same work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from protocol import codec, labels
from protocol.agreement.rules import MeasureOutcome, outcome
from protocol.codec import Random, i2osp, os2ip
from protocol.errors import (
    BlockError,
    CiphertextError,
    HeaderError,
    IndeterminateError,
)
from protocol.hpke import unseal
from protocol.lanes import CHECK_BITS, check, check_factor, decode, split_slots
from protocol.messages import Answer, Ask, Decide, Decision, Effect, Look, Open, Opened, Prove, Proved, SealedAnswer
from protocol.opening import challenge, combine, verify_share
from protocol.paillier import Zetas, ciphertext_from_bytes
from protocol.rounds.party import AGENCIES, Party
from protocol.sealing import decision_binding, mask, read_block, tag
from protocol.wire import Signed, from_map, write


@dataclass(frozen=True)
class Session:
    """A verified question: R's `ask`, which travels on, and `look`, which does not."""

    ask: Signed[Ask]
    look: Signed[Look]

    @property
    def requester(self) -> str:
        """R."""
        return self.ask.header.sender

    @property
    def m(self) -> int:
        """How many subjects."""
        return self.ask.header.m


@dataclass(frozen=True)
class Chunk:
    """One opening: the packed sum A, which subject stands in which slot (a random order), and the slots' checks ρ.

    Order and ρ are C's secrets until the opening.
    """

    number: int
    ciphertext: int
    subjects: tuple[int, ...] = field(repr=False)
    rhos: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Sums:
    """All chunks of a session, and for each subject the agencies that matched."""

    chunks: tuple[Chunk, ...]
    matched: tuple[frozenset[str], ...] = field(repr=False)


def receive(party: Party, ask: bytes, look: bytes, now: int) -> Session:
    """Verify R's two messages and its right; they must belong together.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: a message is not as required.
        NotGrantedError: no right.
    """
    asked = party.receive(ask, Ask, now, audience=AGENCIES)
    looked = party.receive(look, Look, now)
    party.terms.require_right(asked.header.sender, asked.header.purpose, asked.header.issued)
    same = ("sender", "session", "purpose", "m")
    if looked.body.ask != asked.hash or any(
        getattr(asked.header, name) != getattr(looked.header, name) for name in same
    ):
        raise HeaderError("look belongs to another ask")
    if not len(looked.body.secrets) == len(looked.body.sigmas) == asked.header.m:
        raise HeaderError("look is not for the ask's subjects")
    return Session(asked, looked)


def accept(party: Party, session: Session, agency: str, reply: bytes, now: int) -> tuple[int | None, ...]:
    """Verify one agency's answer and lift what matches: for each subject a ciphertext, or None.

    Without a match the first entry is lifted and dropped, so both paths do the same work.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the message is not as required.
        SealError: what it sealed does not open.
        BlockError: a block is short, long or unsorted.
        CiphertextError: what matches is no ciphertext.
    """
    key, size = party.terms.public_key, party.terms.bucket_size
    blocks = receive_blocks(party, session, agency, reply, now)
    lifted: list[int | None] = []
    for secret, block in zip(session.look.body.secrets, blocks, strict=True):
        entries = read_block(block, size, key.ciphertext_bytes)
        position = tag(secret, agency)
        masked = entries.get(position, next(iter(entries.values())))
        element = mask(secret, agency, masked)
        try:
            ciphertext = ciphertext_from_bytes(key, element)
        except CiphertextError:
            if position in entries:
                raise
        lifted.append(ciphertext if position in entries else None)
    return tuple(lifted)


def receive_blocks(party: Party, session: Session, agency: str, reply: bytes, now: int) -> tuple[bytes, ...]:
    """Verify one agency's answer; returns its blocks, one a subject, which are still to be read.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the message is not as required.
        SealError: what it sealed does not open.
        BlockError: not one block a subject.
    """
    limit = session.m * (party.terms.block_bytes + 8) + 4096
    blocks = unseal_blocks(party, party.receive_reply(reply, Answer, session.ask, agency, now, limit=limit))
    if len(blocks) != session.m:
        raise BlockError("not one block a subject")
    return blocks


def unseal_blocks(party: Party, answer: Signed[Answer]) -> tuple[bytes, ...]:
    """Open what an agency sealed for C: one block a subject.

    Raises:
        SealError, DecodeError: it does not open, or is not of its form.
    """
    context = answer.header.sender.encode(), answer.header.answers
    label = labels.SEALED_SIEVE if party.terms.agreement.sieve else labels.SEALED_ANSWER
    plain = unseal(answer.body.sealed, party.sealing_key, label, *context)
    return from_map(SealedAnswer, codec.decode(plain, Answer.LIMIT)).blocks


def add(
    party: Party,
    session: Session,
    answers: Mapping[str, Sequence[int | None]],
    randomiser: Zetas,
    random: Random,
) -> Sums:
    """Add over agencies, give each subject's sum its check, pack them in random order, re-randomise each chunk.

    Raises:
        IndeterminateError: an agency's answer is missing; there are no partial answers.
    """
    if missing := set(party.terms.agencies) - set(answers):
        raise IndeterminateError(missing)
    key, requester = party.terms.public_key, session.requester
    layout, slots = party.terms.layout(requester), party.terms.slots(requester)
    totals = []
    for subject in range(session.m):
        total = 1
        for agency in party.terms.agencies:
            ciphertext = answers[agency][subject]
            summed = key.add(total, ciphertext or key.n_squared - 1)
            total = total if ciphertext is None else summed
        totals.append(total)
    order = sorted(range(session.m), key=lambda _: random(16))
    chunks = []
    for number, start in enumerate(range(0, session.m, slots)):
        subjects = tuple(order[start : start + slots])
        rhos = tuple(os2ip(random(CHECK_BITS // 8)) for _ in subjects)
        factors = [check_factor(layout, rho) for rho in rhos]
        packed = key.pack([totals[subject] for subject in subjects], factors, layout.stride)
        # Mandatory: without C's own ζ, agencies that know their ζ's could recognise x.
        chunks.append(Chunk(number, key.add(packed, randomiser.fresh(random)), subjects, rhos))
    matched = tuple(
        frozenset(agency for agency, lifted in answers.items() if lifted[subject] is not None)
        for subject in range(session.m)
    )
    return Sums(tuple(chunks), matched)


def open_request(party: Party, session: Session, chunk: Chunk, keyholder: str, now: int) -> bytes:
    """Ask one keyholder to open a chunk; it gets x = A² mod N and nothing else of A."""
    x = i2osp(challenge(party.terms.opening_key, chunk.ciphertext), party.terms.public_key.modulus_bytes)
    return _to_keyholder(party, session, Open(session.ask.raw, chunk.number, x), keyholder, now)


def accept_share(party: Party, request: Signed[Open], keyholder: str, reply: bytes, now: int) -> int:
    """Verify a keyholder's signed P_j; whether it is right shows when the quorum is combined."""
    return os2ip(party.receive_reply(reply, Opened, request, keyholder, now).body.share)


def prove_request(party: Party, session: Session, chunk: Chunk, keyholder: str, now: int) -> bytes:
    """Ask one keyholder to prove its share, after the combined root of a chunk did not verify."""
    x = i2osp(challenge(party.terms.opening_key, chunk.ciphertext), party.terms.public_key.modulus_bytes)
    return _to_keyholder(party, session, Prove(session.ask.header.sender, chunk.number, x), keyholder, now)


def accept_proof(party: Party, request: Signed[Prove], keyholder: str, opened: int, reply: bytes, now: int) -> None:
    """Verify a keyholder's proof for the share it sent.

    Raises:
        ProofError: it does not verify: this keyholder is the culprit.
    """
    body = party.receive_reply(reply, Proved, request, keyholder, now).body
    index = party.terms.keyholder_index(keyholder)
    verify_share(party.terms.opening_key, index, os2ip(request.body.x), opened, (body.challenge, body.response))


def opened(
    party: Party, session: Session, sums: Sums, shares: Sequence[Mapping[str, int]]
) -> tuple[tuple[int, ...], ...]:
    """Combine each chunk's shares {keyholder: P_j}; return every subject's lanes, checked against their bounds.

    Raises:
        QuorumError: fewer than t shares for a chunk.
        OpeningError: a share is wrong.
        LaneError: a slot does not fit its check, or a lane is out of bound.
    """
    terms, layout = party.terms, party.terms.layout(session.requester)
    lanes: dict[int, tuple[int, ...]] = {}
    for chunk, parts in zip(sums.chunks, shares, strict=True):
        indexed = {terms.keyholder_index(keyholder): part for keyholder, part in parts.items()}
        plaintext = combine(terms.opening_key, chunk.ciphertext, indexed)
        slots = split_slots(layout, plaintext, chunk.rhos)
        for subject, slot in zip(chunk.subjects, slots, strict=True):
            values = decode(layout, slot)
            check(layout, values, sums.matched[subject])
            lanes[subject] = values
    return tuple(lanes[subject] for subject in range(session.m))


def decide(party: Party, session: Session, lanes: Sequence[tuple[int, ...]], now: int) -> bytes:
    """Apply the rules to each subject's lanes and sign one decision each; nothing else leaves C."""
    agreement, requester = party.terms.agreement, session.requester
    layout = party.terms.layout(requester)
    # The question's day, not that of C's clock: a moratorium that ends at midnight ends for all parties at once.
    day = session.ask.header.day
    return sign(party, session, [outcome(agreement, layout, values, requester, day) for values in lanes], now)


def sign(party: Party, session: Session, outcomes: Iterable[Iterable[MeasureOutcome]], now: int) -> bytes:
    """Sign one decision a subject; all measures that its requester implements stand in it, whatever comes of them."""
    requester = session.requester
    implements = party.terms.agreement.requester(requester).implements
    decisions = []
    for subject, measures in enumerate(outcomes):
        effects = {it.measure: Effect.DISPUTED if it.disputed else Effect.APPLIES for it in measures}
        body = Decision(
            subject=subject,
            measures={measure: int(effects.get(measure, Effect.NONE)) for measure in implements},
            agencies=len(party.terms.agencies),
            binding=decision_binding(
                session.look.body.sigmas[subject], session.look.body.secrets[subject], session.ask.body.commitment
            ),
        )
        header = party.header(
            audience=requester,
            session=session.ask.header.session,
            purpose=session.ask.header.purpose,
            m=session.m,
            now=now,
            expires=now + party.terms.decision_seconds,
            answers=session.ask.hash,
        )
        decisions.append(write(header, body, party.signing_key))
    return party.reply(Decide(tuple(decisions)), session.look, now)


def _to_keyholder(party: Party, session: Session, body: Open | Prove, keyholder: str, now: int) -> bytes:
    asked = session.ask.header
    return party.send(body, audience=keyholder, session=asked.session, purpose=asked.purpose, m=asked.m, now=now)
