"""Receivers of a question: keyholders, the coordinator, agencies; and the requester, of evaluations."""

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.audit.grounds import REQUESTER
from api.audit.targets.question import (
    ANSWERING_OTHERWISE,
    KEYHOLDER,
    Changes,
    Question,
    Target,
    damaging,
    impostor,
    one_of,
)
from federation.audit.hostile import Fault, Forger, bent
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode, i2osp
from protocol.envelope import message_hash
from protocol.group import IDENTITY, ORDER
from protocol.hpke import seal
from protocol.messages import (
    Ask,
    Evaluate,
    Evaluated,
    Look,
    SealedAsk,
)
from protocol.rounds import requester
from protocol.sealing import ask_commitment
from protocol.wire import SESSION_BYTES, read, to_map

# Elements and proofs


def _bad_elements(good: bytes) -> Mapping[str, bytes]:
    """RFC 9496, §4.3.1 and Appendix A.3."""
    return {
        "the identity": IDENTITY,
        "an element with bit 255": good[:31] + bytes([good[31] | 0x80]),
        "zero, not reduced": i2osp(2**255 - 19, 32)[::-1],
        "an element not reduced": i2osp(2**255 - 18, 32)[::-1],
        "a negative element": i2osp(1, 32)[::-1],
        "no element": bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
    }


def _evaluate_forger(it: Question, data: bytes) -> Forger:
    first, *rest = read(data, Evaluate).body.blinded
    bodies: Changes = {name: {"blinded": [bad, *rest]} for name, bad in _bad_elements(first).items()}
    headers: Changes = {
        "a purpose that is not granted": {"purpose": "lend"},
        "other subjects": {"m": 3},
        "none": {"m": 0},
    }
    return Forger.of(data, Evaluate, it.key(REQUESTER), headers, bodies | {"too few": {"blinded": [first]}})


def evaluate_at_keyholder(it: Question) -> Target:
    """A keyholder asked to evaluate."""
    forger = _evaluate_forger(it, it.evaluate)
    node = it.nodes[KEYHOLDER]
    faults = one_of(*[forger.fault] * 9, impostor(it, forger, "labour"))
    return Target("evaluate, keyholder", lambda data: node.handle(Evaluate.TYPE, data), it.evaluate, faults)


def evaluate_at_coordinator(it: Question) -> Target:
    """The coordinator asked to pass that on."""
    _, data = it.blind()
    return Target("evaluate, coordinator", _coordinator(it, Evaluate.TYPE), data, _evaluate_forger(it, data).fault)


def _coordinator(it: Question, kind: str) -> Callable[[Any], object]:
    return lambda data: asyncio.run(it.scene.federation.network.deliver(REQUESTER, COORDINATOR, kind, data))


def evaluated(it: Question) -> Target:
    """The requester that combines keyholders' evaluations to pseudonyms."""
    message = read(it.evaluated[KEYHOLDER], Evaluated)
    (first, *rest), (c, s) = message.body.elements, (message.body.proof[:32], message.body.proof[32:])
    bodies: Changes = {name: {"elements": [bad, *rest]} for name, bad in _bad_elements(first).items()}
    bodies |= {
        "elements in another order": {"elements": [*rest, first]},
        "a response not reduced": {"proof": c + i2osp(int.from_bytes(s, "little") + ORDER, 32)[::-1]},
        "a challenge not reduced": {"proof": i2osp(int.from_bytes(c, "little") + ORDER, 32)[::-1] + s},
        "no proof": {"proof": bytes(64)},
    }
    forger = Forger.of(it.evaluated[KEYHOLDER], Evaluated, it.key(KEYHOLDER), ANSWERING_OTHERWISE, bodies)
    honest = encode(it.evaluated)

    def in_the_map(draws: random.Random) -> Fault:
        name, data = forger.fault(draws)
        return name, encode({**it.evaluated, KEYHOLDER: data})

    def the_map(draws: random.Random) -> Fault:
        first, *rest = it.evaluated
        maps: dict[str, object] = {
            "too few keyholders": {holder: it.evaluated[holder] for holder in rest},
            "a stranger": {**it.evaluated, "zebra": b""},
            "a number for a reply": {**it.evaluated, first: 5},
            "another's reply": {**it.evaluated, first: it.evaluated[KEYHOLDER]},
            "no map": list(it.evaluated.values()),
        }
        name = draws.choice(sorted(maps))
        return name, encode(maps[name])

    return Target(
        "evaluated, requester",
        lambda data: requester.pseudonyms(it.r, it.blinding, data, it.now),
        honest,
        one_of(*[in_the_map] * 6, the_map, lambda draws: bent(dict(it.evaluated), draws), damaging(honest)),
    )


# The question


def ask_at_agency(it: Question) -> Target:
    """An agency that is asked."""
    message, node = read(it.asked, Ask), it.nodes[KEYHOLDER]
    nonce, prefixes, session = it.question.nonce, it.question.prefixes, message.header.session

    def sealed(plain: bytes, prefixes: Sequence[int] = prefixes) -> dict[str, Any]:
        """The box for this agency filled otherwise, and the commitment to that."""
        box = seal(plain, it.terms.sealing_key(KEYHOLDER), labels.SEALED_ASK, KEYHOLDER.encode(), session)
        boxes = {**message.body.sealed, KEYHOLDER: box}
        return {"sealed": boxes, "commitment": ask_commitment(session, nonce, prefixes)}

    def inner(nonce: bytes, prefixes: Sequence[int]) -> dict[str, Any]:
        return to_map(SealedAsk(nonce, tuple(i2osp(prefix, 8) for prefix in prefixes)))

    beyond = (prefixes[0], 1 << it.terms.bucket_bits)
    others = {name: box for name, box in message.body.sealed.items() if name != KEYHOLDER}
    bodies: Changes = {
        "another commitment": {"commitment": bytes(32)},
        "another agency's box": {"sealed": {**message.body.sealed, KEYHOLDER: others["labour"]}},
        "a box of noise": {"sealed": {**message.body.sealed, KEYHOLDER: secrets.token_bytes(120)}},
        "no box": {"sealed": others},
        "a box for nobody": {"sealed": {**message.body.sealed, "zebra": others["labour"]}},
        "a prefix out of range": sealed(encode(inner(nonce, beyond)), beyond),
        "too few prefixes": sealed(encode(inner(nonce, prefixes[:1])), prefixes[:1]),
        "another nonce": sealed(encode(inner(bytes(32), prefixes))),
        "other prefixes": sealed(encode(inner(nonce, [prefix ^ 1 for prefix in prefixes]))),
    }
    headers: Changes = {
        "a purpose that is not granted": {"purpose": "lend"},
        "other subjects": {"m": 3},
        "another session": {"session": secrets.token_bytes(SESSION_BYTES)},
    }
    forger = Forger.of(it.asked, Ask, it.key(REQUESTER), headers, bodies)

    def in_the_box(draws: random.Random) -> Fault:
        name, plain = bent(inner(nonce, prefixes), draws)
        return f"{name} in the box", forger.signed(body=sealed(plain[:1900]))

    faults = one_of(*[forger.fault] * 7, in_the_box, impostor(it, forger, "labour"))
    return Target("ask, agency", lambda data: node.handle(Ask.TYPE, data), it.asked, faults)


def question_at_coordinator(it: Question) -> Target:
    """Each fault in a session of its own: the coordinator admits what only agencies can refuse."""

    def fault(draws: random.Random) -> Fault:
        _, asked, looked = it.ask()
        secret = read(looked, Look).body.secrets[0]
        bodies: Changes = {
            "of another question": {"ask": bytes(32)},
            "for too few": {"secrets": [secret]},
            "for too many": {"sigmas": [secret] * 3},
        }
        headers: Changes = {"other subjects": {"m": 1}, "another session": {"session": bytes(SESSION_BYTES)}}
        look = Forger.of(looked, Look, it.key(REQUESTER), headers, bodies)
        ask = Forger.of(asked, Ask, it.key(REQUESTER), {"a purpose that is not granted": {"purpose": "lend"}})
        match draws.randrange(4):
            case 0:
                name, data = look.fault(draws)
                return f"look: {name}", encode([asked, data])
            case 1:
                name, data = ask.fault(draws)
                return f"ask: {name}", encode([data, look.signed(body={"ask": message_hash(data)})])
            case 2:
                return bent([asked, looked], draws)
        shapes: list[object] = [[asked], [looked, asked], [asked, looked, looked], {"ask": asked}, [asked, asked]]
        return "another shape", encode(draws.choice(shapes))

    _, asked, looked = it.ask()
    return Target("question, coordinator", _coordinator(it, Ask.TYPE), encode([asked, looked]), fault)
