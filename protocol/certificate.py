"""A decision as a certificate: a DSSE envelope in JSON that anyone with the roster verifies offline.

It proves what was decided in a session for a requester, not whom it concerned: it holds no identifier.
"""

import base64
from typing import Any

from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.envelope import SIGNATURE_BYTES, Envelope
from protocol.errors import DecisionError, DecodeError, NotGrantedError, SignatureError
from protocol.messages import Decision
from protocol.wire import Signed, read


def to_json(envelope: Envelope) -> dict[str, Any]:
    """Write a decision's envelope as DSSE JSON (DSSE v1.0.0, "Envelope")."""
    return {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [{"keyid": COORDINATOR, "sig": base64.b64encode(envelope.signature).decode()}],
    }


def verify(terms: Terms, certificate: object, now: int) -> Signed[Decision]:
    """Verify a certificate against an epoch's terms.

    1. a DSSE envelope with the coordinator's signature; 2. a decision of this agreement, version and epoch; 3. for a
    requester of the agreement, on exactly the measures it implements, over every agency; 4. valid for as long as the
    agreement says, and not expired.

    Raises:
        DecisionError: a step fails; the error says which.
    """
    try:
        decision = read(_envelope(certificate).to_bytes(), Decision)
        decision.envelope.verify(terms.signing_key(COORDINATOR))
    except (DecodeError, SignatureError) as error:
        raise DecisionError("not a decision signed by the coordinator of this roster") from error
    header, body = decision.header, decision.body
    epoch = (terms.agreement.id, terms.agreement.version, terms.roster.epoch, COORDINATOR, b"")
    if (header.agreement, header.version, header.epoch, header.sender, header.answers) != epoch:
        raise DecisionError("a decision of another agreement, version or epoch")
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
    return decision


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
