"""A requester that deviates in every way it can has at most one decision a session, over all agencies."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from api.audit.careless import CarelessLedger, CarelessScene
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Behaviour, Scene, forged
from api.audit.grounds import PURPOSE, REQUESTER, SIEVE, Grounds, firm, listing
from api.audit.hiding import BY_SIEVE
from federation.audit.observations import entry_tag
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.codec import decode, encode, i2osp, os2ip
from protocol.errors import PeerError, UsageError
from protocol.group import IDENTITY
from protocol.hpke import seal, unseal
from protocol.identifiers import Identifier, to_bytes
from protocol.lanes import Standing, vector
from protocol.messages import PREFIX_BYTES, Answer, Ask, Decide, Decision, Effect, Evaluate, Look, Open, SealedAsk
from protocol.paillier import Randomiser
from protocol.rounds import agency as rounds
from protocol.rounds import requester, sieve
from protocol.rounds.coordinator import unseal_blocks
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.sealing import NONCE_BYTES, ask_commitment, bucket, question_secret, session_key
from protocol.wire import SESSION_BYTES, Signed, from_map, read, to_map

LISTING = ("labour", "tax")
MISLED = ("tax", "market")
"""Agencies that are asked something else than the others: one that lists the subject and one that does not."""

_POOL = 20


@dataclass(frozen=True)
class Asked:
    """A question as R signed it."""

    session: bytes
    nonce: bytes = field(repr=False)
    ask: Signed[Ask]

    def secret(self, pseudonym: bytes, subject: int = 0) -> bytes:
        """T of a subject under this question."""
        return question_secret(session_key(pseudonym), self.nonce, self.ask.hash, subject)


class Attacker:
    """R with its keys, a way to every party, and the pseudonyms of three subjects of different buckets.

    Agencies `LISTING` list the subject `listed` and the one `elsewhere`; nobody lists `unlisted`.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.party = scene.party(REQUESTER)
        subjects = list(map(firm, range(_POOL)))
        state, message = self._evaluate(subjects)
        replies = self.send(COORDINATOR, Evaluate.TYPE, message)
        self.known = dict(zip(subjects, requester.pseudonyms(self.party, state, replies, scene.clock()), strict=True))
        apart = {self._prefix(subject): subject for subject in subjects}
        self.listed, self.elsewhere, self.unlisted = list(apart.values())[:3]
        for agency in LISTING:
            scene.enter(agency, listing(agency, self.listed), listing(agency, self.elsewhere))

    def blinded(self) -> Signed[Evaluate]:
        """Sign a new `evaluate` about one subject."""
        return self._evaluate([self.listed])[0].request

    def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        """Send a message under R's name."""
        return asyncio.run(self.scene.federation.network.deliver(REQUESTER, receiver, kind, data))

    def question(
        self, subject: Identifier, session: bytes = b"", others: Mapping[str, tuple[bytes, Identifier]] | None = None
    ) -> Asked:
        """Sign `ask` about a subject; `others` are asked under another nonce or for another subject's bucket."""
        session, nonce = session or secrets.token_bytes(SESSION_BYTES), secrets.token_bytes(NONCE_BYTES)
        terms, sealed = self.party.terms, {}
        for agency in terms.agencies:
            own_nonce, own_subject = (others or {}).get(agency, (nonce, subject))
            inner = SealedAsk(own_nonce or nonce, (i2osp(self._prefix(own_subject), PREFIX_BYTES),))
            key, context = terms.sealing_key(agency), (agency.encode(), session)
            sealed[agency] = seal(encode(to_map(inner)), key, labels.SEALED_ASK, *context)
        body = Ask(ask_commitment(session, nonce, (self._prefix(subject),)), sealed)
        now = self.scene.clock()
        data = self.party.send(body, audience=AGENCIES, session=session, purpose=PURPOSE, m=1, now=now)
        return Asked(session, nonce, read(data, Ask))

    def effects(self, asked: Asked, secret: bytes) -> list[Mapping[str, int]]:
        """What C decides about T under a question; nothing if it refuses. Each decision covers every agency."""
        look = Look(asked.ask.hash, (secret,), (secrets.token_bytes(32),))
        data = self.party.send(
            look, audience=COORDINATOR, session=asked.session, purpose=PURPOSE, m=1, now=self.scene.clock()
        )
        try:
            reply = self.send(COORDINATOR, Ask.TYPE, encode([asked.ask.raw, data]))
        except PeerError:
            return []
        return [read(decision, Decision).body.measures for decision in read(reply, Decide).body.decisions]

    def _evaluate(self, subjects: Sequence[Identifier]) -> tuple[requester.Blinding, bytes]:
        inputs, now = list(map(to_bytes, subjects)), self.scene.clock()
        return requester.evaluate(self.party, inputs, purpose=PURPOSE, case="", now=now, random=secrets.token_bytes)

    def _prefix(self, subject: Identifier) -> int:
        return bucket(self.known[subject], self.party.terms.bucket_bits)


Attack = Callable[[Attacker], Iterator[str]]


def _other_secrets(attacker: Attacker) -> Iterator[str]:
    """T's of another session, subject number or bucket, and one of nobody: none may find an entry."""
    earlier = attacker.question(attacker.listed)
    _require(any(map(_fires, attacker.effects(earlier, earlier.secret(attacker.known[attacker.listed])))))
    for name, subject, secret in (
        ("another session", attacker.listed, lambda _: earlier.secret(attacker.known[attacker.listed])),
        ("another subject number", attacker.listed, lambda asked: asked.secret(attacker.known[attacker.listed], 1)),
        (
            "a subject of another bucket",
            attacker.unlisted,
            lambda asked: asked.secret(attacker.known[attacker.elsewhere]),
        ),
        ("nobody", attacker.listed, lambda _: secrets.token_bytes(32)),
    ):
        asked = attacker.question(subject)
        if any(map(_fires, attacker.effects(asked, secret(asked)))):
            yield f"a T of {name} finds an entry"


def _other_prefixes(attacker: Attacker) -> Iterator[str]:
    """Some agencies are asked under another nonce or for another bucket than com says: there may be no decision."""
    for agency in MISLED:
        for name, other in (
            ("nonce", (secrets.token_bytes(NONCE_BYTES), attacker.listed)),
            ("prefix", (b"", attacker.elsewhere)),
        ):
            asked = attacker.question(attacker.listed, others={agency: other})
            if attacker.effects(asked, asked.secret(attacker.known[attacker.listed])):
                yield f"decided though one agency was asked under another {name}"


def _second_ask(attacker: Attacker) -> Iterator[str]:
    """After its decision, the session is asked again: the same, with another T, another ask, and past C."""
    asked = attacker.question(attacker.listed)
    known = attacker.known
    _require(bool(attacker.effects(asked, asked.secret(known[attacker.listed]))))
    again = attacker.question(attacker.elsewhere, asked.session)
    for name, question, secret in (
        ("the same again", asked, asked.secret(known[attacker.listed])),
        ("another T", asked, asked.secret(known[attacker.elsewhere])),
        ("another ask", again, again.secret(known[attacker.elsewhere])),
    ):
        if attacker.effects(question, secret):
            yield f"a session has a second decision: {name}"
    for agency in attacker.party.terms.agencies:
        for question in (asked, again):
            with suppress(PeerError):
                attacker.send(agency, Ask.TYPE, question.ask.raw)
                yield f"an agency answers a session twice: {agency}"


def _another_quorum(attacker: Attacker) -> Iterator[str]:
    """After a decision R itself asks keyholders to open, in its own name and in C's."""
    asked = attacker.question(attacker.listed)
    _require(bool(attacker.effects(asked, asked.secret(attacker.known[attacker.listed]))))
    terms, now = attacker.party.terms, attacker.scene.clock()
    body = Open(asked.ask.raw, 0, i2osp(4, terms.public_key.modulus_bytes))
    for holder in terms.keyholders:
        own = attacker.party.send(body, audience=holder, session=asked.session, purpose=PURPOSE, m=1, now=now)
        for data in (own, forged(own, Open, attacker.party.signing_key, {"sender": COORDINATOR})):
            with suppress(PeerError):
                attacker.send(holder, Open.TYPE, data)
                yield f"a keyholder opens for the requester: {holder}"


def _other_elements(attacker: Attacker) -> Iterator[str]:
    """Elements that are none, more of them than subjects, and another batch in a session that was evaluated."""
    good = attacker.blinded()
    element, now = good.body.blinded[0], attacker.scene.clock()
    for name, blinded in (
        ("the identity", (bytes(IDENTITY),)),
        ("not canonical", (bytes([255]) * 32,)),
        ("more than subjects", (element, element)),
        ("fewer than subjects", ()),
    ):
        m = 1 if blinded else 2
        data = attacker.party.send(
            Evaluate(good.body.case, blinded or (element,)),
            audience=KEYHOLDERS,
            session=secrets.token_bytes(SESSION_BYTES),
            purpose=PURPOSE,
            m=m,
            now=now,
        )
        yield from _evaluated(attacker, data, name)
    again = forged(good.raw, Evaluate, attacker.party.signing_key, body={"blinded": attacker.blinded().body.blinded})
    attacker.send(COORDINATOR, Evaluate.TYPE, good.raw)
    asked = attacker.party.terms.keyholders[: attacker.party.terms.threshold]
    yield from _evaluated(attacker, again, "another batch in the same session", (COORDINATOR, *asked))


def _past_coordinator(attacker: Attacker) -> Iterator[str]:
    """R gives a new `ask` to agencies itself and looks for its own tag: no agency's own match may show."""
    asked = attacker.question(attacker.listed)
    secret = asked.secret(attacker.known[attacker.listed])
    for agency in attacker.party.terms.agencies:
        with suppress(PeerError):
            if entry_tag(attacker.party.terms, secret, agency) in attacker.send(agency, Ask.TYPE, asked.ask.raw):
                yield f"an agency shows the requester that it lists the subject: {agency}"


def _evaluated(attacker: Attacker, data: bytes, name: str, receivers: Sequence[str] = ()) -> Iterator[str]:
    for receiver in receivers or (COORDINATOR, *attacker.party.terms.keyholders):
        with suppress(PeerError):
            attacker.send(receiver, Evaluate.TYPE, data)
            yield f"evaluated at {receiver}: {name}"


def _require(decided: bool) -> None:
    if not decided:
        raise UsageError("an honest question is not decided as it ought to be, so refusals show nothing")


def _fires(measures: Mapping[str, int]) -> bool:
    return any(effect != Effect.NONE for effect in measures.values())


ATTACKS: Mapping[str, Attack] = {
    "other T's": _other_secrets,
    "other prefixes": _other_prefixes,
    "a second ask": _second_ask,
    "another quorum": _another_quorum,
    "other elements": _other_elements,
    "past the coordinator": _past_coordinator,
}


def _measure(grounds: Grounds) -> Evidence:
    findings = [
        f"{name}{under}: {it}"
        for under, attacker in _attackers(grounds, "active-requester")
        for name, attack in ATTACKS.items()
        for it in attack(attacker)
    ]
    return Evidence(bool(findings), {"attacks": 2 * len(ATTACKS), "found": len(findings)}, findings)


def _attackers(grounds: Grounds, name: str) -> Iterator[tuple[str, Attacker]]:
    """The attacker under an agreement without a sieve, and under one with it."""
    yield "", Attacker(Scene.create(grounds, name, {}))
    yield BY_SIEVE, Attacker(Scene.create(grounds, f"{name}-sieve", {}, grounds.established(**SIEVE)))


def _unbound(attacker: Attacker, agency: str) -> Behaviour:
    """An agency whose tags and masks stay under the nonce and `ask` of the first question it saw."""
    own, first = attacker.scene.party(agency), list[rounds.Asked]()

    def behave(data: bytes) -> bytes:
        asked = rounds.receive(own, data, attacker.scene.clock())
        first.append(asked)
        reply = _answer(attacker, own, replace(first[0], prefixes=asked.prefixes))
        header = {"session": asked.request.header.session, "answers": asked.request.hash}
        blocks = unseal_blocks(attacker.scene.party(COORDINATOR), read(reply, Answer))
        sealed = rounds.seal_blocks(own, blocks, asked.request.hash)
        return forged(reply, Answer, own.signing_key, header, {"sealed": sealed})

    return _where_asked(attacker, agency, behave)


def _trusting(attacker: Attacker, agency: str) -> Behaviour:
    """An agency that does not compare what was sealed for it with com."""
    own = attacker.scene.party(agency)

    def behave(data: bytes) -> bytes:
        request = own.receive(data, Ask, attacker.scene.clock(), audience=AGENCIES)
        context = agency.encode(), request.header.session
        plain = unseal(request.body.sealed[agency], own.sealing_key, labels.SEALED_ASK, *context)
        inner = from_map(SealedAsk, decode(plain, len(plain)))
        return _answer(attacker, own, rounds.Asked(request, inner.nonce, tuple(map(os2ip, inner.prefixes))))

    return _where_asked(attacker, agency, behave)


def _where_asked(attacker: Attacker, agency: str, answering: Callable[[bytes], bytes]) -> Behaviour:
    honest = attacker.scene.federation.nodes[agency].handle
    return lambda kind, data: answering(data) if kind == Ask.TYPE else honest(kind, data)


def _answer(attacker: Attacker, own: Party, asked: rounds.Asked) -> bytes:
    terms, now = own.terms, attacker.scene.clock()
    standings = [Standing(f"{own.id}-register", 2, disputed=False)] if own.id in LISTING else []
    values, asking = vector(terms.layout(REQUESTER), own.id, standings), (attacker.listed, attacker.elsewhere)
    entries = [attacker.known[subject] for subject in asking]
    buckets = {
        prefix: [(session_key(t), values) for t in entries if bucket(t, terms.bucket_bits) == prefix]
        for prefix in asked.prefixes
    }
    if terms.agreement.sieve:
        return sieve.answer(own, asked, buckets, secrets.token_bytes, now)
    randomiser = Randomiser.create(terms.public_key, secrets.token_bytes)
    return rounds.answer(own, asked, buckets, randomiser, secrets.token_bytes, now)


def _open_handed(attacker: Attacker, agency: str) -> Behaviour:
    """An agency that sends its blocks as they are."""
    own, coordinator = attacker.scene.party(agency), attacker.scene.party(COORDINATOR)
    honest = attacker.scene.federation.nodes[agency].handle

    def behave(data: bytes) -> bytes:
        reply = honest(Ask.TYPE, data)
        blocks = unseal_blocks(coordinator, read(reply, Answer))
        return forged(reply, Answer, own.signing_key, body={"sealed": b"".join(blocks)})

    return _where_asked(attacker, agency, behave)


def _forgetful(attacker: Attacker, agency: str) -> Behaviour:
    """A node for which every session is new."""
    return attacker.scene.node(agency, CarelessLedger(attacker.scene.ledger(), "session")).handle


def _obedient(attacker: Attacker, agency: str) -> Behaviour:
    """A keyholder that opens for anybody, again and again."""
    scene = attacker.scene
    careless = CarelessScene(scene.federation, scene.clock, scene.folder, "role")
    return careless.node(agency, CarelessLedger(scene.ledger(), "opening")).handle


PLANTED: Mapping[str, tuple[str, Callable[[Attacker, str], Behaviour]]] = {
    "tags bound to no question": ("other T's", _unbound),
    "no comparison with com": ("other prefixes", _trusting),
    "blocks that are not sealed": ("past the coordinator", _open_handed),
    "no memory of sessions": ("a second ask", _forgetful),
    "no memory of evaluations": ("other elements", _forgetful),
    "openings for anybody": ("another quorum", _obedient),
}


def _control(grounds: Grounds) -> Evidence:
    found: dict[str, int] = {}
    for under, attacker in _attackers(grounds, "active-requester-control"):
        for defect, (attack, plant) in PLANTED.items():
            if under and plant is _obedient:
                continue  # by the sieve there is nothing to open
            with attacker.scene.playing({agency: plant(attacker, agency) for agency in attacker.party.terms.agencies}):
                found[f"{defect}{under}"] = len(list(ATTACKS[attack](attacker)))
    verdicts = [f"{'found' if count else 'not found'}: {defect}" for defect, count in found.items()]
    return Evidence(all(found.values()), found, verdicts)


CLAIM = Claim(
    number=6,
    name="active-requester",
    statement="However a requester deviates, a session has one decision at most, and that over all agencies; and no "
    "agency shows it a match.",
    attack="R, with its keys, sends T's of other sessions, numbers, buckets and of nobody; other nonces and prefixes "
    "to some agencies; a decided session again, with another T or `ask`, to the coordinator and to each agency; "
    "openings in its own name and in C's to every keyholder; elements that are none, too many, too few, or a second "
    "batch. It also asks agencies past C, and looks for its own tags in what they answer. All of it twice: "
    "without a sieve and with one.",
    sizing="The checks are deterministic: each message once at every party that could take it.",
    planted="Agencies whose tags are bound to no question, that do not compare with com, or seal nothing; nodes "
    "without memory of sessions and evaluations; keyholders that open for anybody.",
    measure=_measure,
    control=_control,
)
