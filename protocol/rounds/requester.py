"""The requester's rounds: pseudonyms from the keyholders, then one question for all agencies.

`evaluate → pseudonyms`, then `ask → decisions`. States stay with the requester; only the bytes travel. Of a question
about one subject they give the `evidence` that the decision is about it. An agency that seals its register takes the
first round with the purpose SEAL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from protocol import labels, oprf
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random, decode, digest, encode, i2osp
from protocol.errors import (
    DecisionError,
    DecodeError,
    ExpiredError,
    HeaderError,
    IndeterminateError,
    PeerError,
    SignatureError,
    UsageError,
)
from protocol.group import Element, Scalar, decode_element, random_scalar
from protocol.hpke import seal
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import PREFIX_BYTES, Ask, Decide, Decision, Evaluate, Evaluated, Evidence, Look, SealedAsk
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.sealing import (
    NONCE_BYTES,
    ask_commitment,
    bucket,
    decision_binding,
    question_secret,
    session_key,
)
from protocol.wire import MAX_CLOCK_SKEW, MAX_PARTIES, SESSION_BYTES, Signed, read, to_map

_SALT_BYTES = 32


@dataclass(frozen=True)
class Blinding:
    """State of the first round: inputs x_a, their blinds, the signed message, and the salt of H(case ‖ salt)."""

    request: Signed[Evaluate]
    inputs: tuple[bytes, ...] = field(repr=False)
    blinds: tuple[Scalar, ...] = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True)
class Question:
    """State of the second round: what ties the decisions to the subjects."""

    ask: Signed[Ask]
    look: Signed[Look]
    nonce: bytes = field(repr=False)
    prefixes: tuple[int, ...] = field(repr=False)


def evaluate(
    party: Party, inputs: Sequence[bytes], *, purpose: str, case: str, now: int, random: Random
) -> tuple[Blinding, bytes]:
    """Blind m canonical identifiers; returns the state and the signed `evaluate` for every keyholder."""
    blinds, salt = tuple(random_scalar(random) for _ in inputs), random(_SALT_BYTES)
    body = Evaluate(
        case=digest(labels.CASE, case.encode(), salt),
        blinded=oprf.blind(inputs, blinds),
    )
    session = random(SESSION_BYTES)
    data = party.send(body, audience=KEYHOLDERS, session=session, purpose=purpose, m=len(inputs), now=now)
    return Blinding(read(data, Evaluate), tuple(inputs), blinds, salt), data


def accept(party: Party, state: Blinding, keyholder: str, reply: bytes, now: int) -> Evaluated:
    """Verify one keyholder's reply and its proof against the keyholder's public share K_j.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError, GroupElementError, ProofError: not as required.
    """
    message = party.receive_reply(reply, Evaluated, state.request, keyholder, now)
    evaluated = tuple(map(decode_element, message.body.elements))
    blinded = tuple(map(Element, state.request.body.blinded))  # this party's own
    oprf.verify(party.terms.oprf_share(keyholder), blinded, evaluated, message.body.proof)
    return message.body


def pseudonyms(party: Party, state: Blinding, reply: bytes, now: int) -> tuple[bytes, ...]:
    """Verify the replies {keyholder: evaluated} that C passed on, and come to t_a (64 bytes) for each input.

    Raises:
        DecodeError, IndeterminateError: see `evaluations`.
    """
    return unblind(party, state, evaluations(party, state, reply, now))


def evaluations(party: Party, state: Blinding, reply: bytes, now: int) -> dict[str, Evaluated]:
    """Verify the replies {keyholder: evaluated} that C passed on; returns t of them, those of the lowest indices.

    Any t that verify suffice, whoever else answered wrongly.

    Raises:
        DecodeError: not a map of keyholders' replies.
        IndeterminateError: fewer than t verify; names who signed a wrong evaluation, and C if it passed on too few, or
            what is not the keyholders' reply to this message.
    """
    replies = decode(reply, MAX_PARTIES * (Evaluated.LIMIT + 128))
    if not isinstance(replies, dict) or not (
        set(replies) <= set(party.terms.keyholders) and all(isinstance(reply, bytes) for reply in replies.values())
    ):
        raise DecodeError("not a map of keyholders' replies")
    accepted: dict[str, Evaluated] = {}
    failed = set()
    for keyholder in sorted(replies, key=party.terms.keyholder_index):
        try:
            accepted[keyholder] = accept(party, state, keyholder, replies[keyholder], now)
        except (DecodeError, HeaderError, SignatureError, ExpiredError):
            failed.add(COORDINATOR)  # it verified as much before it passed the reply on
        except PeerError:
            failed.add(keyholder)  # which signed what is wrong
    if len(accepted) < party.terms.threshold:
        raise IndeterminateError(failed or [COORDINATOR], "no quorum of right evaluations: wrong from")
    return {keyholder: accepted[keyholder] for keyholder in list(accepted)[: party.terms.threshold]}


def unblind(party: Party, state: Blinding, quorum: Mapping[str, Evaluated]) -> tuple[bytes, ...]:
    """Come to t_a (64 bytes) for each input from a quorum's verified evaluations."""
    elements = {party.terms.keyholder_index(it): tuple(map(Element, body.elements)) for it, body in quorum.items()}
    return oprf.finalize(state.inputs, state.blinds, elements, party.terms.threshold)


def ask(
    party: Party, known: Sequence[bytes], *, purpose: str, now: int, random: Random
) -> tuple[Question, bytes, bytes]:
    """Ask about m pseudonyms; returns the state, the signed `ask` for all agencies and the signed `look` for C."""
    session, nonce = random(SESSION_BYTES), random(NONCE_BYTES)
    prefixes = tuple(bucket(pseudonym, party.terms.bucket_bits) for pseudonym in known)
    sealed = encode(to_map(SealedAsk(nonce, tuple(i2osp(prefix, PREFIX_BYTES) for prefix in prefixes))))
    body = Ask(
        commitment=ask_commitment(session, nonce, prefixes),
        sealed={
            agency: seal(sealed, party.terms.sealing_key(agency), labels.SEALED_ASK, agency.encode(), session)
            for agency in party.terms.agencies
        },
    )
    asked = party.send(body, audience=AGENCIES, session=session, purpose=purpose, m=len(known), now=now)
    request = read(asked, Ask)
    look = Look(
        ask=request.hash,
        secrets=tuple(question_secret(session_key(t), nonce, request.hash, a) for a, t in enumerate(known)),
        sigmas=tuple(random(32) for _ in known),
    )
    looked = party.send(look, audience=COORDINATOR, session=session, purpose=purpose, m=len(known), now=now)
    return Question(request, read(looked, Look), nonce, prefixes), asked, looked


def decisions(party: Party, question: Question, reply: bytes, now: int) -> tuple[Signed[Decision], ...]:
    """Verify the coordinator's reply: one signed decision for each subject, in order.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the reply is not as required.
        DecisionError: a decision does not fit its question.
    """
    message = party.receive_reply(reply, Decide, question.look, COORDINATOR, now)
    if len(message.body.decisions) != len(question.look.body.secrets):
        raise DecisionError("not one decision a subject")
    return tuple(
        _check_decision(party, question, subject, data, now) for subject, data in enumerate(message.body.decisions)
    )


def evidence(subject: Identifier, state: Blinding, quorum: Mapping[str, Evaluated], question: Question) -> Evidence:
    """What ties the decision of a question about one subject to it (`certificate.verify_evidence`), from both rounds.

    Raises:
        UsageError: the rounds were not about exactly this subject.
    """
    if state.inputs != (to_bytes(subject),) or len(question.prefixes) != 1:
        raise UsageError("evidence is of a question about exactly one subject, and of that one")
    (prefix,), (sigma,), (blind,) = question.prefixes, question.look.body.sigmas, state.blinds
    return Evidence(
        scheme=subject.scheme,
        value=subject.value,
        blind=blind,
        evaluations={keyholder: body.elements[0] + body.proof for keyholder, body in quorum.items()},
        nonce=question.nonce,
        prefix=i2osp(prefix, PREFIX_BYTES),
        sigma=sigma,
    )


def _check_decision(party: Party, question: Question, subject: int, data: bytes, now: int) -> Signed[Decision]:
    try:
        decision = read(data, Decision)
        decision.envelope.verify(party.terms.signing_key(COORDINATOR))
    except (DecodeError, SignatureError) as error:
        raise DecisionError("a decision is not signed by the coordinator") from error
    header, body = decision.header, decision.body
    expected = replace(
        question.ask.header,
        sender=COORDINATOR,
        audience=party.id,
        issued=header.issued,
        expires=header.expires,
        answers=question.ask.hash,
    )
    if header != expected:
        raise DecisionError("a decision answers another question")
    asked = question.ask.header.issued
    if not asked - MAX_CLOCK_SKEW <= header.issued <= now + MAX_CLOCK_SKEW:
        raise DecisionError("a decision is not of the time of its question")
    if header.expires - header.issued != party.terms.decision_seconds:
        raise DecisionError("a decision is not valid for the agreement's time")
    binding = decision_binding(
        question.look.body.sigmas[subject], question.look.body.secrets[subject], question.ask.body.commitment
    )
    if body.subject != subject or body.binding != binding:
        raise DecisionError("a decision is bound to another subject")
    if body.agencies != len(party.terms.agencies):
        raise DecisionError("a decision does not cover every agency")
    if set(body.measures) != set(party.terms.agreement.requester(party.id).implements):
        raise DecisionError("a decision is not about exactly the measures this requester implements")
    return decision
