"""A keyholder that evaluates or opens wrongly is caught every time, and named."""

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle

from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Behaviour, Careless, Scene, forged
from api.audit.grounds import REQUESTER, Grounds, firm, listing
from federation.coordinator import Coordinator
from federation.requester import Requester
from protocol import oprf
from protocol.agreement.roster import COORDINATOR
from protocol.codec import decode, encode, i2osp, os2ip
from protocol.dkg import KeyShare
from protocol.errors import UsageError
from protocol.group import Element, decode_element, random_scalar, scalar_base_mult
from protocol.identifiers import Identifier, to_bytes
from protocol.messages import Ask, Decision, Evaluate, Evaluated, Open, Opened, Prove, Proved
from protocol.opening import OpeningKey, OpeningShare, open_share, prove_share
from protocol.rounds import requester as rounds
from protocol.shamir import integer_lagrange
from protocol.wire import Signed, read

LISTED, UNLISTED = firm(1), firm(2)


def _scene(grounds: Grounds, name: str) -> Scene:
    return Scene.create(grounds, name, {agency: [listing(agency, LISTED)] for agency in ("labour", "court")})


# Evaluations under another key.

Evaluating = Callable[[KeyShare, Sequence[Element]], tuple[tuple[Element, ...], bytes]]
"""From a keyholder's share and the blinded elements, what it answers and how it proves it."""


def _another_key(_share: KeyShare, blinded: Sequence[Element]) -> tuple[tuple[Element, ...], bytes]:
    secret = random_scalar(secrets.token_bytes)
    return oprf.blind_evaluate_with_proof(secret, scalar_base_mult(secret), blinded, secrets.token_bytes)


def _another_key_as_if_its_own(share: KeyShare, blinded: Sequence[Element]) -> tuple[tuple[Element, ...], bytes]:
    secret = random_scalar(secrets.token_bytes)
    return oprf.blind_evaluate_with_proof(secret, share.public_share, blinded, secrets.token_bytes)


def _another_key_for_one(share: KeyShare, blinded: Sequence[Element]) -> tuple[tuple[Element, ...], bytes]:
    elements, proof = oprf.blind_evaluate_with_proof(share.secret, share.public_share, blinded, secrets.token_bytes)
    wrong = oprf.blind_evaluate(random_scalar(secrets.token_bytes), blinded[-1:])
    return (*elements[:-1], *wrong), proof


def _one_for_another(share: KeyShare, blinded: Sequence[Element]) -> tuple[tuple[Element, ...], bytes]:
    elements, proof = oprf.blind_evaluate_with_proof(share.secret, share.public_share, blinded, secrets.token_bytes)
    return elements[::-1], proof


EVALUATIONS: Mapping[str, Evaluating] = {
    "another key": _another_key,
    "another key, proven for the published one": _another_key_as_if_its_own,
    "another key for one element": _another_key_for_one,
    "one element's evaluation for another's": _one_for_another,
}


def _evaluating(scene: Scene, holder: str, lie: Evaluating) -> Behaviour:
    node, party, share = scene.federation.nodes[holder], scene.party(holder), _held(scene, holder)[0]

    def behave(kind: str, data: bytes) -> bytes:
        if kind != Evaluate.TYPE:
            return node.handle(kind, data)
        request = read(data, Evaluate)
        elements, proof = lie(share, tuple(map(decode_element, request.body.blinded)))
        return party.reply(Evaluated(elements, proof), request, scene.clock())

    return behave


# Opening shares that are wrong.

Corrupting = Callable[[OpeningKey, OpeningShare, int, int], int]
"""From the opening key, a share that is not the keyholder's, x, and the right answer to it: what it answers.

Two liars' errors are independent. Such as cancel each other leave the root right, and with it the sum.
"""

PLAINTEXT = 17


def _encrypted(key: OpeningKey) -> int:
    """An encryption of the chosen plaintext."""
    return key.public_key.encrypt(PLAINTEXT, pow(_unit(key), key.public_key.n, key.public_key.n_squared))


def _unit(key: OpeningKey) -> int:
    return secrets.randbelow(key.public_key.n - 2) + 2


OPENINGS: Mapping[str, Corrupting] = {
    "any unit": lambda key, *_: _unit(key),
    "multiplied": lambda key, _other, _x, right: right * secrets.randbits(64) % key.public_key.n,
    "squared": lambda key, _other, _x, right: right * right % key.public_key.n,
    "under another share": lambda key, other, x, _right: open_share(key, other, x),
    "shifted by a chosen plaintext's encryption": lambda key, _other, _x, right: (
        right * _encrypted(key) % key.public_key.n
    ),
    "shifted by a chosen plaintext, not reduced": lambda key, _other, _x, right: (
        right * (1 + PLAINTEXT * key.public_key.n) % key.public_key.n_squared
    ),
    "the right one, not reduced": lambda key, _other, _x, right: right + key.public_key.n,
    "zero": lambda *_: 0,
}


def _opening(scene: Scene, holder: str, lie: Corrupting) -> Behaviour:
    """A keyholder that opens wrongly, and proves what it would have answered under another share."""
    node, party, (_, share) = scene.federation.nodes[holder], scene.party(holder), _held(scene, holder)
    key, other = scene.federation.terms.opening_key, OpeningShare(share.index, share.secret + secrets.randbits(128))

    def behave(kind: str, data: bytes) -> bytes:
        reply = node.handle(kind, data)
        if kind == Open.TYPE:
            right, x = os2ip(read(reply, Opened).body.share), os2ip(read(data, Open).body.x)
            wrong = i2osp(lie(key, other, x, right), key.public_key.ciphertext_bytes)
            return forged(reply, Opened, party.signing_key, body={"share": wrong})
        if kind == Prove.TYPE:
            proof, response = prove_share(key, other, os2ip(read(data, Prove).body.x), secrets.token_bytes)
            return forged(reply, Proved, party.signing_key, body={"challenge": proof, "response": response})
        return reply

    return behave


def _held(scene: Scene, holder: str) -> tuple[KeyShare, OpeningShare]:
    held = scene.federation.established.secrets[holder]
    if not (held.oprf_share and held.opening_share):
        raise UsageError("not a keyholder")
    return held.oprf_share, held.opening_share


# Whole questions with one or two of those asked lying.

Lies = Mapping[str, Callable[[Scene, str], Behaviour]]

WRONG_EVALUATIONS: Lies = {name: partial(_evaluating, lie=lie) for name, lie in EVALUATIONS.items()}
WRONG_OPENINGS: Lies = {name: partial(_opening, lie=lie) for name, lie in OPENINGS.items()}


def _uncaught(
    scene: Scene, draws: random.Random, trials: int, lies: Lies, requester: Requester | None = None
) -> list[str]:
    """The lies, each kind in turn, after which there was a decision, or not exactly the liars were named."""
    asked, found = scene.federation.terms.keyholders[: scene.federation.terms.threshold], []
    for _, (name, lie) in zip(range(trials), cycle(lies.items()), strict=False):
        liars = draws.sample(asked, draws.choice((1, 1, 2)))
        with scene.playing({holder: lie(scene, holder) for holder in liars}):
            outcome = scene.ask(LISTED, UNLISTED, requester=requester)
        if outcome.missing != tuple(sorted(liars)):
            found.append(f"{'decided' if outcome.decided else 'others are named'}: {name}")
    return found


# Requesters and coordinators that leave a check out.


class _Trusting(Requester):
    """Combines what keyholders answer without a look at their proofs."""

    async def check(self, subjects: Sequence[Identifier], purpose: str, case: str) -> tuple[Signed[Decision], ...]:
        """Ask as the honest requester does."""
        party, now, terms = self._party, self._clock(), self._party.terms
        inputs = list(map(to_bytes, subjects))
        state, request = rounds.evaluate(party, inputs, purpose=purpose, case=case, now=now, random=self._random)
        replies = await self._transport.send(COORDINATOR, Evaluate.TYPE, request)
        evaluated = {
            terms.keyholder_index(holder): tuple(map(decode_element, read(reply, Evaluated).body.elements))
            for holder, reply in decode(replies, len(replies)).items()
        }
        known = oprf.finalize(state.inputs, state.blinds, evaluated, terms.threshold)
        question, asked, looked = rounds.ask(party, known, purpose=purpose, now=now, random=self._random)
        reply = await self._transport.send(COORDINATOR, Ask.TYPE, encode([asked, looked]))
        return rounds.decisions(party, question, reply, now)


class _WithoutRootCheck(Careless):
    """Combines shares without a look whether w^N = A^(8Δ²), and so has nothing to blame a keyholder for."""

    def combine(self, ciphertext: int, shares: Mapping[int, int]) -> int:
        """Take whatever root comes."""
        key = self._party.terms.opening_key
        n, n_squared, scale = key.public_key.n, key.public_key.n_squared, 8 * key.delta**2
        root = 1
        for index, coefficient in integer_lagrange(sorted(shares), key.delta).items():
            root = root * pow(shares[index] % n or 1, 2 * coefficient, n) % n
        blinded = pow(ciphertext, scale, n_squared) * pow(root, -n, n_squared) % n_squared
        return (blinded - 1) // n * pow(scale, -1, n) % n


class _WithoutProofs(Coordinator):
    """Names nobody where an opening fails."""

    async def _culprits(self, *_: object) -> set[str]:
        return set()


def _measure(grounds: Grounds) -> Evidence:
    scene, draws = _scene(grounds, "dishonest-keyholder"), grounds.draws("dishonest keyholder")
    trials = grounds.pick(20, 100, 100)
    honest = scene.ask(LISTED, UNLISTED).decided
    evaluations = _uncaught(scene, draws, trials, WRONG_EVALUATIONS)
    openings = _uncaught(scene, draws, trials, WRONG_OPENINGS)
    found = [] if honest else ["no decision without a lie either: nothing was tried"]
    found += evaluations + openings
    return Evidence(
        bool(found),
        {
            "wrong evaluations caught and named": f"{trials - len(evaluations)} of {trials}",
            "wrong opening shares caught and named": f"{trials - len(openings)} of {trials}",
            "kinds of wrong evaluations": len(WRONG_EVALUATIONS),
            "kinds of wrong opening shares": len(WRONG_OPENINGS),
        },
        found,
    )


def _control(grounds: Grounds) -> Evidence:
    scene, draws = _scene(grounds, "dishonest-keyholder-control"), grounds.draws("dishonest keyholder")
    transport = scene.federation.network.transport(REQUESTER)
    trusting = _Trusting(scene.party(REQUESTER), transport, scene.clock, secrets.token_bytes)
    planted = {"proofs unread": _uncaught(scene, draws, 2 * len(EVALUATIONS), WRONG_EVALUATIONS, trusting)}
    scene.coordinate(_WithoutRootCheck)
    planted["roots unchecked"] = _uncaught(scene, draws, len(OPENINGS), WRONG_OPENINGS)
    scene.coordinate(Careless, _WithoutProofs)
    planted["nobody asked for proofs"] = _uncaught(scene, draws, len(OPENINGS), WRONG_OPENINGS)
    return Evidence(all(planted.values()), {name: len(found) for name, found in planted.items()}, list(planted))


CLAIM = Claim(
    number=14,
    name="dishonest-keyholder",
    statement="A keyholder that evaluates under another key, or opens wrongly, is caught every time, and named.",
    attack="In whole questions one or two keyholders evaluate under other keys, with proofs of several kinds, or open "
    "with corrupt shares, such as are shifted by a chosen plaintext, and prove them wrongly.",
    sizing="Proofs and roots are sound but for less than 2^-100, so the check is deterministic: every kind of lie is "
    "tried at least twice.",
    planted="A requester that reads no proof; a coordinator that combines shares without verifying the root; one that "
    "asks nobody for a proof.",
    measure=_measure,
    control=_control,
)
