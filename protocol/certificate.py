"""A decision as a certificate: a DSSE envelope in JSON that anyone with the roster verifies offline.

By itself it proves what was decided in a session for a requester, not whom it concerned: it holds no identifier. With
the evidence of its question it names its subject; specification: protocol/spec/concordat-v1.md §4.7 and §4.12.
Public figures (§4.14) are such documents too.
"""

import base64
from typing import Any

from protocol import oprf
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import decode, encode, i2osp
from protocol.envelope import SIGNATURE_BYTES, Envelope
from protocol.errors import (
    CommitmentError,
    DecisionError,
    DecodeError,
    IdentifierError,
    NotGrantedError,
    QuorumError,
    SignatureError,
)
from protocol.figures import EVERYBODY, noise_scale
from protocol.group import ELEMENT_BYTES, decode_element, decode_scalar
from protocol.identifiers import Identifier, canonical, to_bytes
from protocol.messages import PREFIX_BYTES, Decision, Evidence, Figures
from protocol.sealing import ask_commitment, bucket, decision_binding, question_secret, session_key
from protocol.wire import HASH_BYTES, MAX_LIFETIME, Signed, from_map, read, to_map


def to_json(envelope: Envelope) -> dict[str, Any]:
    """Write a decision's or published figures' envelope as DSSE JSON (DSSE v1.0.0, "Envelope")."""
    return {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [{"keyid": COORDINATOR, "sig": base64.b64encode(envelope.signature).decode()}],
    }


def standing_to_json(envelope: Envelope, evidence: Evidence) -> dict[str, Any]:
    """Write a decision with the evidence of whom it concerns: one document that names its subject."""
    return {"certificate": to_json(envelope), "evidence": base64.b64encode(encode(to_map(evidence))).decode()}


def verify(terms: Terms, certificate: object, now: int) -> Signed[Decision]:
    """Verify a certificate against an epoch's terms.

    1. a DSSE envelope with the coordinator's signature; 2. a decision of this agreement, version and epoch, that says
    which `ask` it answers; 3. for a requester of the agreement, on exactly the measures it implements, over every
    agency; 4. valid for as long as the agreement says, and not expired; 5. of a time at which the agreement was in
    force: a question is decided within a minute, and by its own time.

    Raises:
        DecisionError: step 1 to 4; the error says which.
        NotGrantedError: step 5, as `Terms.require_in_force`.
    """
    try:
        decision = read(_envelope(certificate).to_bytes(), Decision)
        decision.envelope.verify(terms.signing_key(COORDINATOR))
    except (DecodeError, SignatureError) as error:
        raise DecisionError("not a decision signed by the coordinator of this roster") from error
    header, body = decision.header, decision.body
    epoch = (terms.agreement.id, terms.agreement.version, terms.roster.epoch, COORDINATOR)
    if (header.agreement, header.version, header.epoch, header.sender) != epoch:
        raise DecisionError("a decision of another agreement, version or epoch")
    if len(header.answers) != HASH_BYTES:
        raise DecisionError("a decision that does not say which question it answers")
    try:
        implements = terms.agreement.requester(header.audience).implements
    except NotGrantedError as error:
        raise DecisionError("a decision for no requester of the agreement") from error
    if set(body.measures) != set(implements) or body.agencies != len(terms.agencies):
        raise DecisionError("a decision that does not cover its requester's measures, or not every agency")
    if header.expires - header.issued != terms.decision_seconds:
        raise DecisionError("a decision that is not valid for as long as the agreement says")
    if not header.issued <= now < header.expires:
        raise DecisionError("the decision has expired, or is not yet valid")
    if not terms.is_in_force(header.issued - MAX_LIFETIME):
        terms.require_in_force(header.issued)
    return decision


def verify_standing(terms: Terms, document: object, now: int) -> tuple[Signed[Decision], Identifier]:
    """Verify what `standing_to_json` wrote; returns the decision and whom it concerns.

    Raises:
        DecodeError: not such a document.
        PeerError: see `verify_evidence`.
    """
    match document:
        case {"certificate": certificate, "evidence": str() as text, **rest} if not rest:
            evidence = from_map(Evidence, decode(_decoded(text), Evidence.LIMIT))
            return verify_evidence(terms, certificate, evidence, now)
    raise DecodeError("not a certificate with its evidence")


def verify_evidence(
    terms: Terms, certificate: object, evidence: Evidence, now: int
) -> tuple[Signed[Decision], Identifier]:
    """Verify whom a certificate concerns; returns the decision and the identifier.

    1. the certificate verifies, of a question about one subject; 2. the identifier is canonical; 3. t follows from it,
    by a quorum's evaluations with their proofs; 4. the prefix is t's bucket; 5. the decision is bound to T and com,
    which follow from t, ν, the session and the `ask` that it answers. Why nobody but C could make these fit a decision
    about somebody else: specification §4.12.

    Raises:
        DecisionError: step 1 or 5.
        IdentifierError: step 2.
        QuorumError, ScalarError, GroupElementError, ProofError: step 3.
        CommitmentError: step 4.
    """
    decision = verify(terms, certificate, now)
    header, body = decision.header, decision.body
    if (header.m, body.subject) != (1, 0):
        raise DecisionError("a decision of a question about more than one subject names none")
    subject = canonical(evidence.scheme, evidence.value)
    if subject != Identifier(evidence.scheme, evidence.value):
        raise IdentifierError("the evidence's identifier is not in canonical form")
    pseudonym = _pseudonym(terms, subject, evidence)
    prefix = bucket(pseudonym, terms.bucket_bits)
    if evidence.prefix != i2osp(prefix, PREFIX_BYTES):
        raise CommitmentError("the evidence's prefix is not its subject's bucket")
    secret = question_secret(session_key(pseudonym), evidence.nonce, header.answers, body.subject)
    commitment = ask_commitment(header.session, evidence.nonce, [prefix])
    if body.binding != decision_binding(evidence.sigma, secret, commitment):
        raise DecisionError("the decision is not bound to the subject of this evidence")
    return decision, subject


def figures_to_json(published: Signed[Figures]) -> dict[str, Any]:
    """Write a quarter's published figures for people and programs, with the envelope that is verified by.

    A number that is not told is null: it is below `fewer_than`, its noise included.
    """
    header, body = published.header, published.body
    return {
        "agreement": header.agreement,
        "version": header.version,
        "epoch": header.epoch,
        "quarter": body.quarter,
        "agencies": body.agencies,
        "epsilon": body.epsilon / 1000,
        "noise_scale": noise_scale(body.epsilon),
        "within": body.within,
        "fewer_than": body.threshold,
        "figures": {cell: number or None for cell, number in zip(body.cells, body.numbers, strict=True)},
        "certificate": to_json(published.envelope),
    }


def verify_figures(terms: Terms, certificate: object) -> Signed[Figures]:
    """Verify a quarter's figures against an epoch's terms; they do not expire.

    1. a DSSE envelope with the coordinator's signature; 2. for everybody, of this agreement, version and epoch; 3. over
    every agency, with the agreement's own ε and threshold, each number zero or not below it, one a cell.

    Raises:
        DecisionError: a step fails; the error says which.
    """
    try:
        published = read(_envelope(certificate).to_bytes(), Figures)
        published.envelope.verify(terms.signing_key(COORDINATOR))
    except (DecodeError, SignatureError) as error:
        raise DecisionError("not figures signed by the coordinator of this roster") from error
    header, body, own = published.header, published.body, terms.agreement.public_figures
    epoch = (terms.agreement.id, terms.agreement.version, terms.roster.epoch, COORDINATOR, EVERYBODY)
    if (header.agreement, header.version, header.epoch, header.sender, header.audience) != epoch:
        raise DecisionError("figures of another agreement, version or epoch, or not for everybody")
    if (body.agencies, body.epsilon, body.threshold) != (len(terms.agencies), own.epsilon, own.threshold):
        raise DecisionError("figures that are not over every agency, or not on the agreement's terms")
    if len(body.cells) != len(body.numbers) or any(0 < number < own.threshold for number in body.numbers):
        raise DecisionError("figures that are not one a cell, or tell a number below the threshold")
    return published


def _pseudonym(terms: Terms, subject: Identifier, evidence: Evidence) -> bytes:
    """T, as its requester came to it: whatever blind it gives, the proofs leave no other."""
    if len(evidence.evaluations) != terms.threshold or not set(evidence.evaluations) <= set(terms.keyholders):
        raise QuorumError("the evidence is not of exactly a quorum of the keyholders")
    inputs, blinds = (to_bytes(subject),), (decode_scalar(evidence.blind),)
    blinded = oprf.blind(inputs, blinds)
    evaluated = {}
    for keyholder, evaluation in evidence.evaluations.items():
        element = decode_element(evaluation[:ELEMENT_BYTES])
        oprf.verify(terms.oprf_share(keyholder), blinded, (element,), evaluation[ELEMENT_BYTES:])
        evaluated[terms.keyholder_index(keyholder)] = (element,)
    (pseudonym,) = oprf.finalize(inputs, blinds, evaluated, terms.threshold)
    return pseudonym


def _envelope(certificate: object) -> Envelope:
    match certificate:
        case {
            "payload": str() as payload,
            "payloadType": str() as payload_type,
            "signatures": [{"keyid": str() as keyid, "sig": str() as signature}],
        } if keyid == COORDINATOR:
            envelope = Envelope(payload_type, _decoded(payload), _decoded(signature))
            if len(envelope.signature) == SIGNATURE_BYTES:
                return envelope
    raise DecodeError("not a certificate's envelope")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DecodeError("not base64") from error
