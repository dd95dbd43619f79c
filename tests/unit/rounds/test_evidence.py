"""Whom a certificate concerns: what R can show of its own question, and cannot make up for somebody else's."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from protocol.certificate import standing_to_json, to_json, verify, verify_evidence, verify_standing
from protocol.codec import encode
from protocol.errors import (
    CommitmentError,
    DecisionError,
    DecodeError,
    GroupElementError,
    IdentifierError,
    PeerError,
    ProofError,
    QuorumError,
    ScalarError,
    UsageError,
)
from protocol.group import IDENTITY, ORDER
from protocol.identifiers import Identifier, canonical, to_bytes
from protocol.lanes import Standing
from protocol.messages import Decide, Decision, Effect, Evaluated, Evidence, Look
from protocol.rounds import coordinator, requester
from protocol.sealing import ask_commitment, bucket, decision_binding, question_secret, session_key
from protocol.wire import read, to_map
from tests.flow import Joint, Question, pseudonym
from tests.parties import AGENCIES, NOW, REQUESTER, agreement, established, forged
from tests.unit.rounds.steps import QUORUM, joint, key

DAY = 86_400


@cache
def scene() -> Joint:
    return Joint(joint().of, {"labour": {to_bytes(listed()): [Standing("labour-register", 3, disputed=False)]}})


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


def t(subject: Identifier) -> bytes:
    return pseudonym(joint().of, to_bytes(subject))


def prefix(subject: Identifier) -> int:
    return bucket(t(subject), joint().terms.bucket_bits)


@cache
def listed() -> Identifier:
    return firm(0)


@cache
def clean() -> Identifier:
    """A firm that nobody lists, in another bucket."""
    return next(it for it in map(firm, range(1, 100)) if prefix(it) != prefix(listed()))


@dataclass
class Shown:
    """A question's certificates, and what its requester has to show for them."""

    certificates: list[dict[str, Any]]
    state: requester.Blinding
    quorum: Mapping[str, Evaluated]
    question: requester.Question

    def evidence(self, subject: Identifier) -> Evidence:
        return requester.evidence(subject, self.state, self.quorum, self.question)


def ask(*subjects: Identifier, of: Joint | None = None, quorum: tuple[str, ...] = QUORUM) -> Shown:
    of = of or scene()
    state, data = of.blind([to_bytes(subject) for subject in subjects])
    replies = encode({holder: of.evaluate(holder, data) for holder in quorum})
    evaluated = requester.evaluations(of.parties[REQUESTER], state, replies, NOW)
    question = Question(of, requester.unblind(of.parties[REQUESTER], state, evaluated))
    decisions = question.decisions(QUORUM)
    return Shown([to_json(decision.envelope) for decision in decisions], state, evaluated, question.state)


@cache
def shown(subject: Identifier) -> tuple[dict[str, Any], Evidence]:
    """A question about one firm: its certificate and evidence, which tests share and do not change."""
    it = ask(subject)
    return it.certificates[0], it.evidence(subject)


def checked(certificate: object, evidence: Evidence, now: int = NOW) -> Identifier:
    return verify_evidence(joint().terms, certificate, evidence, now)[1]


def test_a_certificate_with_evidence_names_its_subject() -> None:
    for subject, effect in ((listed(), Effect.APPLIES), (clean(), Effect.NONE)):
        decision, named = verify_evidence(joint().terms, *shown(subject), NOW)
        assert named == subject
        assert decision.body.measures["exclude"] == effect
        assert verify_standing(joint().terms, document(subject), NOW) == (decision, named)


@pytest.mark.parametrize("quorum", [AGENCIES[2:], AGENCIES[::-1]])
def test_any_quorum_will_do_and_the_evidence_is_of_exactly_one(quorum: tuple[str, ...]) -> None:
    it = ask(clean(), quorum=quorum)
    evidence = it.evidence(clean())
    assert len(evidence.evaluations) == joint().terms.threshold
    assert checked(it.certificates[0], evidence) == clean()


def test_it_is_dated_and_valid_as_the_decision() -> None:
    certificate, evidence = shown(clean())
    checked(certificate, evidence, NOW + DAY - 1)
    with pytest.raises(DecisionError, match="expired"):
        checked(certificate, evidence, NOW + DAY)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def first(change: Callable[[bytes], bytes]) -> Callable[[Evidence], dict[str, Any]]:
    def changed(it: Evidence) -> dict[str, Any]:
        holder = min(it.evaluations)
        return {"evaluations": {**it.evaluations, holder: change(it.evaluations[holder])}}

    return changed


def exchanged(it: Evidence) -> dict[str, Any]:
    one, two, *_ = sorted(it.evaluations)
    return {"evaluations": {**it.evaluations, one: it.evaluations[two], two: it.evaluations[one]}}


def without(it: Evidence) -> dict[str, Any]:
    return {"evaluations": dict(list(it.evaluations.items())[1:])}


def renamed(it: Evidence, name: str) -> dict[str, Any]:
    return {"evaluations": {**without(it)["evaluations"], name: bytes(96)}}


WRONG: Mapping[str, tuple[Callable[[Evidence], dict[str, Any]], type[PeerError], str]] = {
    "another firm's number": (lambda _: {"value": listed().value}, ProofError, "proof"),
    "another scheme": (lambda _: {"scheme": "de.reg_no"}, ProofError, "proof"),
    "another spelling": (lambda it: {"value": it.value.lower()}, IdentifierError, "canonical"),
    "an alias of a scheme": (lambda _: {"scheme": "fr.vat", "value": "40303265045"}, IdentifierError, "canonical"),
    "no identifier": (lambda _: {"scheme": "cn.uscc"}, IdentifierError, "cn.uscc"),
    "another blind": (lambda _: {"blind": b"\x01" + bytes(31)}, ProofError, "proof"),
    "a blind of zero": (lambda _: {"blind": bytes(32)}, ScalarError, "zero"),
    "a blind out of range": (lambda _: {"blind": ORDER.to_bytes(32, "little")}, ScalarError, "canonical"),
    "the identity evaluated": (first(lambda it: IDENTITY + it[32:]), GroupElementError, "identity"),
    "no element": (first(lambda it: b"\xff" * 32 + it[32:]), GroupElementError, "canonical"),
    "another proof": (first(lambda it: it[:32] + bytes(64)), ProofError, "proof"),
    "evaluations exchanged": (exchanged, ProofError, "proof"),
    "a quorum too small": (without, QuorumError, "quorum"),
    "a stranger in the quorum": (lambda it: renamed(it, "zebra"), QuorumError, "quorum"),
    "one more than a quorum": (
        lambda it: {"evaluations": {**it.evaluations, "market": bytes(96)}},
        QuorumError,
        "quorum",
    ),
    "another prefix": (lambda it: {"prefix": it.prefix[:-1] + bytes([it.prefix[-1] ^ 1])}, CommitmentError, "bucket"),
    "a longer prefix": (lambda it: {"prefix": flipped(it.prefix)}, CommitmentError, "bucket"),
    "another nonce": (lambda it: {"nonce": flipped(it.nonce)}, DecisionError, "not bound"),
    "another sigma": (lambda it: {"sigma": flipped(it.sigma)}, DecisionError, "not bound"),
}


@pytest.mark.parametrize(("change", "error", "reason"), WRONG.values(), ids=WRONG.keys())
def test_every_wrong_field_is_refused_with_its_own_error(
    change: Callable[[Evidence], dict[str, Any]], error: type[PeerError], reason: str
) -> None:
    certificate, evidence = shown(clean())
    with pytest.raises(error, match=reason):
        checked(certificate, replace(evidence, **change(evidence)))


def test_another_firms_evidence_does_not_fit_a_decision() -> None:
    with pytest.raises(DecisionError, match="not bound"):
        checked(shown(clean())[0], shown(listed())[1])
    with pytest.raises(DecisionError, match="not bound"):
        checked(shown(clean())[0], ask(clean()).evidence(clean()))


def test_a_firm_has_one_pseudonym_whichever_evaluation_shows_it() -> None:
    """So who evaluates again, with a blind of its choice, comes to the same decision or to none."""
    certificate, evidence = shown(clean())
    again = ask(clean(), quorum=AGENCIES[2:]).evidence(clean())
    assert checked(certificate, replace(evidence, blind=again.blind, evaluations=again.evaluations)) == clean()


def test_a_question_about_several_names_none() -> None:
    it = ask(clean(), listed())
    with pytest.raises(UsageError):
        it.evidence(clean())
    for certificate in it.certificates:
        with pytest.raises(DecisionError, match="more than one"):
            checked(certificate, shown(clean())[1])


def test_the_rounds_must_be_about_the_subject_that_they_are_shown_for() -> None:
    it = ask(clean())
    with pytest.raises(UsageError):
        it.evidence(listed())
    with pytest.raises(UsageError):
        requester.evidence(clean(), it.state, it.quorum, ask(clean(), listed()).question)


def test_evidence_holds_in_its_own_epoch_only() -> None:
    anonymity = {"population": 20_000, "k_min": 200, "max_listings": 60}
    other = Joint(established(agreement(anonymity=anonymity), epoch=2), {})
    certificate = ask(clean(), of=other).certificates[0]
    with pytest.raises(DecisionError):
        checked(certificate, shown(clean())[1])
    with pytest.raises(ProofError):
        verify_evidence(other.terms, certificate, shown(clean())[1], NOW)


# A requester that lies: it knows everything of its own question, and wants a clean certificate for a listed firm.


def decided(question: Question, secret: bytes) -> tuple[Decision, dict[str, Any]]:
    """What C decides, and signs, where R's `look` has this T."""
    looked = forged(question.looked, Look, key(REQUESTER), body={"secrets": (secret,)})
    question.session = coordinator.receive(question.c, question.asked, looked, NOW)
    [data] = read(question.decide(QUORUM), Decide).body.decisions
    decision = read(data, Decision)
    return decision.body, to_json(decision.envelope)


def claim(question: Question, **changed: Any) -> Evidence:
    """The evidence of a listed firm, for a question that was otherwise."""
    own = {"nonce": question.state.nonce, "sigma": question.state.look.body.sigmas[0]}
    return replace(shown(listed())[1], **own | changed)


def test_a_t_of_another_ask_matches_nothing_and_shows_nothing() -> None:
    """Agencies are asked by one `ask`, and T is of another that R signed: the decision is clean, and about nobody."""
    question, other = (Question(scene(), [t(listed())]) for _ in range(2))
    nonce, sigma = question.state.nonce, question.state.look.body.sigmas[0]
    secret = question_secret(session_key(t(listed())), nonce, other.state.ask.hash, 0)
    body, certificate = decided(question, secret)
    assert body.measures["exclude"] == Effect.NONE
    # All but the hash of `ask` fits: were that R's to say, the certificate would name the listed firm.
    assert body.binding == decision_binding(sigma, secret, question.state.ask.body.commitment)
    with pytest.raises(DecisionError, match="not bound"):
        checked(certificate, claim(question))


def test_a_question_about_another_bucket_shows_nothing() -> None:
    question = Question(scene(), [t(clean())])
    secret = question_secret(session_key(t(listed())), question.state.nonce, question.state.ask.hash, 0)
    body, certificate = decided(question, secret)
    assert body.measures["exclude"] == Effect.NONE
    for bucket_of, error in ((listed(), DecisionError), (clean(), CommitmentError)):
        evidence = claim(question, prefix=prefix(bucket_of).to_bytes(8, "big"))
        with pytest.raises(error):
            checked(certificate, evidence)


def test_a_clean_firms_question_shows_no_listed_one() -> None:
    question = Question(scene(), [t(clean())])
    body, certificate = decided(question, question.state.look.body.secrets[0])
    com = ask_commitment(question.state.ask.header.session, question.state.nonce, [prefix(clean())])
    assert (body.measures["exclude"], question.state.ask.body.commitment) == (Effect.NONE, com)
    with pytest.raises(DecisionError, match="not bound"):
        checked(certificate, claim(question))


# As a document.


def document(subject: Identifier) -> dict[str, Any]:
    certificate, evidence = shown(subject)
    written = standing_to_json(verify(joint().terms, certificate, NOW).envelope, evidence)
    loaded: dict[str, Any] = json.loads(json.dumps(written))
    return loaded


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def fields(**changed: Any) -> str:
    return in_base64(encode({**to_map(shown(clean())[1]), **changed}))


NO_DOCUMENTS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda _: None,
    "the certificate alone": lambda it: it["certificate"],
    "a member more": lambda it: it | {"name": "x"},
    "evidence of another type": lambda it: it | {"evidence": 7},
    "not base64": lambda it: it | {"evidence": "not base64!"},
    "cut short": lambda it: it | {"evidence": it["evidence"][:-8]},
    "a field more": lambda it: it | {"evidence": fields(name="x")},
    "a field of another size": lambda it: it | {"evidence": fields(sigma=b"short")},
    "no map": lambda it: it | {"evidence": in_base64(encode([]))},
    "too long": lambda it: it | {"evidence": in_base64(bytes(Evidence.LIMIT + 1))},
}


@pytest.mark.parametrize("alter", NO_DOCUMENTS.values(), ids=NO_DOCUMENTS.keys())
def test_what_is_no_certificate_with_evidence_does_not_decode(alter: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(DecodeError):
        verify_standing(joint().terms, alter(document(clean())), NOW)


def test_the_largest_evidence_keeps_to_its_limit() -> None:
    every = {f"{number:063d}": bytes(96) for number in range(64)}
    largest = replace(shown(clean())[1], scheme="x" * 64, value="𠀀" * 128, evaluations=every)
    assert len(encode(to_map(largest))) <= Evidence.LIMIT


def test_what_is_shown_of_evidence_in_a_log_is_nothing() -> None:
    assert clean().value not in repr(shown(clean())[1])
