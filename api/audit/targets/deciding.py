"""Receivers of decisions and certificates, and of an agreement with its roster."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api.audit.targets.question import (
    ANSWERING_OTHERWISE,
    Changes,
    Question,
    Target,
    altered,
    damaging,
    impostor,
    one_of,
)
from federation.audit.hostile import Fault, Forger, bent
from protocol import certificate
from protocol.agreement.model import canonical
from protocol.agreement.roster import COORDINATOR, SignedRoster
from protocol.agreement.terms import Terms, terms_to_bytes
from protocol.codec import decode, encode, i2osp, os2ip
from protocol.envelope import Envelope
from protocol.errors import PeerError
from protocol.group import IDENTITY
from protocol.messages import (
    Decide,
    Decision,
)
from protocol.rounds import requester
from protocol.wire import SESSION_BYTES, read

# The decision


def decide(it: Question) -> Target:
    """The requester that verifies its decisions."""
    header = read(it.decisions[0], Decision).header
    measures = dict(read(it.decisions[0], Decision).body.measures)
    bodies: Changes = {
        "another subject": {"subject": 1},
        "another binding": {"binding": bytes(32)},
        "too few agencies": {"agencies": len(it.terms.agencies) - 1},
        "too many agencies": {"agencies": len(it.terms.agencies) + 1},
        "a measure too few": {"measures": dict(list(measures.items())[1:])},
        "a measure too many": {"measures": {**measures, "zebra": 0}},
    }
    headers: Changes = {
        "another session": {"session": bytes(SESSION_BYTES)},
        "another purpose": {"purpose": "lend"},
        "other subjects": {"m": 1},
        "another requester": {"audience": "bank"},
        "a second longer": {"expires": header.expires + 1},
        "of before its question": {"issued": header.issued - 6, "expires": header.expires - 6},
        "of after its answer": {"issued": header.issued + 6, "expires": header.expires + 6},
    }
    decision = Forger.of(it.decisions[0], Decision, it.key(COORDINATOR), headers, bodies)
    stranger = impostor(it, decision, "labour")
    first, second = it.decisions
    wrong: Changes = {
        "a decision too few": {"decisions": [first]},
        "a decision too many": {"decisions": [first, second, second]},
        "decisions in another order": {"decisions": [second, first]},
    }
    reply = Forger.of(it.decide, Decide, it.key(COORDINATOR), ANSWERING_OTHERWISE, wrong)

    def inside(draws: random.Random) -> Fault:
        name, data = one_of(*[decision.fault] * 9, stranger)(draws)
        return f"decision: {name}", reply.signed(body={"decisions": [data or b"\x00", second]})

    return Target(
        "decide, requester",
        lambda data: requester.decisions(it.r, it.question, data, it.now),
        it.decide,
        one_of(reply.fault, inside, inside),
    )


def certificate_of(it: Question) -> Target:
    """What a certificate proves by itself: binding, subject, session and `answers` say nothing without the question."""
    signed = read(it.decisions[0], Decision)
    honest = certificate.to_json(signed.envelope)
    measures = dict(signed.body.measures)
    bodies: Changes = {
        "too few agencies": {"agencies": len(it.terms.agencies) - 1},
        "a measure too few": {"measures": dict(list(measures.items())[1:])},
        "a measure too many": {"measures": {**measures, "zebra": 0}},
    }
    # Which question it answers cannot be seen here (`decide` above is held to it): only that it names one.
    headers: Changes = {
        "another requester": {"audience": "bank"},
        "an answer to something else": {"answers": b""},
    }
    forger = Forger.of(it.decisions[0], Decision, it.key(COORDINATOR), headers, bodies)

    def inside(draws: random.Random) -> tuple[str, object]:
        name, data = one_of(*[forger.fault] * 9, impostor(it, forger, "labour"))(draws)
        try:
            return name, certificate.to_json(Envelope.from_bytes(data, len(data)))
        except PeerError:
            return name, {**honest, "payload": data.hex()}

    def outside(draws: random.Random) -> tuple[str, object]:
        [signature] = honest["signatures"]
        changes: list[dict[str, object]] = [
            {"payload": honest["payload"][:-1]},
            {"payload": "é" + honest["payload"]},
            {"payload": None},
            {"payloadType": honest["payloadType"].replace("decision", "answer")},
            {"payloadType": "x" * 1000},
            {"signatures": []},
            {"signatures": [signature, signature]},
            {"signatures": [{**signature, "keyid": "tax"}]},
            {"signatures": [{**signature, "sig": ""}]},
            {"signatures": [{**signature, "sig": signature["sig"][:-4]}]},
            {"signatures": {"keyid": COORDINATOR}},
        ]
        shapes: list[object] = [None, [], {}, "certificate", 5, *({**honest, **change} for change in changes)]
        return "another shape", draws.choice(shapes)

    return Target(
        "certificate, anybody",
        lambda data: certificate.verify(it.terms, data, it.now),
        honest,
        lambda draws: draws.choice([inside, inside, outside])(draws),
    )


# Agreement and roster


def terms(it: Question) -> Target:
    """Anybody who reads an agreement with its roster."""
    agreement, signed = it.terms.agreement, it.scene.federation.established.roster
    roster, honest = signed.roster, terms_to_bytes(agreement, signed)

    def resigned(**changes: Any) -> bytes:
        """A roster that all agencies sign, whatever stands in it."""
        changed = replace(roster, **changes)
        signatures = {agency: changed.sign(it.key(agency)) for agency in it.terms.agencies}
        return terms_to_bytes(agreement, SignedRoster(changed, signatures))

    def less(mapping: Mapping[str, bytes]) -> dict[str, bytes]:
        return dict(list(mapping.items())[1:])

    odd = os2ip(roster.modulus)
    wrong = {
        "another agreement's": resigned(agreement=bytes(32)),
        "a stale epoch": resigned(epoch=roster.epoch - 1),
        "a party without a key": resigned(sealing=less(roster.sealing)),
        "a key that verifies anything": resigned(signing={**roster.signing, COORDINATOR: bytes(32)}),
        "the identity for a public share": resigned(oprf_shares=(IDENTITY, *roster.oprf_shares[1:])),
        "public shares in another order": resigned(oprf_shares=roster.oprf_shares[::-1]),
        "a public share too few": resigned(oprf_shares=roster.oprf_shares[1:]),
        "another public key": resigned(oprf_public=roster.oprf_shares[0]),
        "an even modulus": resigned(modulus=i2osp(odd - 1, len(roster.modulus))),
        "another modulus": resigned(modulus=i2osp(odd - 12, len(roster.modulus))),
        "a modulus with a leading zero": resigned(modulus=b"\x00" + roster.modulus),
        "another commitment": resigned(commitments=(altered(roster.commitments[0]), *roster.commitments[1:])),
        "a commitment too few": resigned(commitments=roster.commitments[1:]),
        "another proof": resigned(coprime_proof=roster.coprime_proof[::-1]),
        "an agency that did not sign": terms_to_bytes(agreement, SignedRoster(roster, less(signed.signatures))),
        "a stranger that signed": terms_to_bytes(
            agreement, SignedRoster(roster, {**signed.signatures, "zebra": bytes(64)})
        ),
    }

    def insiders(draws: random.Random) -> Fault:
        name = draws.choice(sorted(wrong))
        return name, wrong[name]

    def bending(draws: random.Random) -> Fault:
        parts = [canonical(agreement), signed.to_bytes()]
        part = draws.randrange(3)
        if part == 2:
            return bent(parts, draws)
        name, parts[part] = bent(decode(parts[part], len(parts[part])), draws)
        return name, encode(parts)

    return Target(
        "agreement and roster, anybody", Terms.from_bytes, honest, one_of(insiders, bending, damaging(honest))
    )
