"""Going round the coordinator, the requester or the quorum brings nothing: each node refuses by itself."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.types import ASGIApp

from api.audit.abuse import SERVED, Attempt, Doors, Messages, caught, challenge, in_process, over_http, serve
from api.audit.careless import IN_LEDGER, CarelessLedger, CarelessScene
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Scene, forged
from api.audit.grounds import Grounds
from federation.problem import MALFORMED, NOT_GRANTED, REPLAYED, UNAUTHENTICATED
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.errors import PeerError
from protocol.messages import Ask, Decide, Decision, Effect, Evaluate, Open, Prove
from protocol.rounds import requester as rounds
from protocol.rounds.party import Party
from protocol.sealing import decision_binding
from protocol.wire import MAX_SUBJECTS, SESSION_BYTES, Body, Signed, read, write

GUARDS = (
    "signature",
    "expiry",
    "right",
    "role",
    "chunk",
    "binding",
    "session",
    "opening",
    "any x",
    "opened",
    "proof",
    "log",
)
QUORUMS = 50
ANOTHER_MEASURE = "another-measure"
Decisions = Callable[[Party, rounds.Question, bytes, int], tuple[Signed[Decision], ...]]


def _unsigned_by_requester(doors: Doors, node: str, kind: type[Body], good: bytes) -> Iterator[tuple[str, bytes, str]]:
    """What the coordinator could make of R's message without R's key: every node must see that R signed none of it."""
    coordinator = doors.speak(COORDINATOR).signing_key
    message = read(good, kind, len(good))
    envelope, other = message.envelope, read(_another(doors, kind), kind, len(good) * 2)
    yield "signed by C as itself", forged(good, kind, coordinator, {"sender": COORDINATOR}), NOT_GRANTED
    yield "signed by C as R", forged(good, kind, coordinator), UNAUTHENTICATED
    yield "signed by the node as R", forged(good, kind, doors.speak(node).signing_key), UNAUTHENTICATED
    yield "signed by nobody as R", forged(good, kind, Ed25519PrivateKey.generate()), UNAUTHENTICATED
    swapped = encode([envelope.payload_type, other.envelope.payload, envelope.signature])
    yield "other content under R's signature", swapped, UNAUTHENTICATED


def _another(doors: Doors, kind: type[Body]) -> bytes:
    new = Messages.make(doors)
    return new.evaluate if kind is Evaluate else new.ask


def _without_right(doors: Doors, purpose: str) -> Messages:
    """A question for a purpose that R lacks, right in everything else: R's own signature is on it."""
    return Messages.make(doors, purpose=purpose)


def _attempts(doors: Doors, node: str, spent: Messages) -> Iterator[Attempt]:
    """Everything that a node must refuse by itself; `spent` was evaluated, asked and opened there before."""

    def attempt(name: str, kind: type[Body], data: bytes, problem: str) -> Attempt:
        return Attempt(f"{kind.TYPE}, {name}", node, f"/v1/{kind.TYPE}", data, problem, kind.TYPE)

    purposes = {other for requester in doors.terms.agreement.requesters for other in requester.purposes}
    purposes = {"another", *purposes} - set(doors.terms.agreement.requester(doors.requester).purposes)
    second = Messages.make(doors, session=spent.session)
    for name, data, problem in _unsigned_by_requester(doors, node, Ask, Messages.make(doors).ask):
        yield attempt(name, Ask, data, problem)
    yield attempt("a second question in a session", Ask, second.ask, REPLAYED)
    for purpose in sorted(purposes):
        yield attempt(f"purpose {purpose}", Ask, _without_right(doors, purpose).ask, NOT_GRANTED)
    if node not in doors.terms.keyholders:
        return
    for name, data, problem in _unsigned_by_requester(doors, node, Evaluate, Messages.make(doors).evaluate):
        yield attempt(name, Evaluate, data, problem)
    used, key = read(spent.evaluate, Evaluate).header, doors.speak(doors.requester).signing_key
    others = forged(Messages.make(doors).evaluate, Evaluate, key, {"session": used.session})
    yield attempt("other elements in a session", Evaluate, others, REPLAYED)
    for purpose in sorted(purposes):
        yield attempt(f"purpose {purpose}", Evaluate, _without_right(doors, purpose).evaluate, NOT_GRANTED)
    for name, data, problem in _openings(doors, node, spent, sorted(purposes)):
        yield attempt(name, Open, data, problem)
    for name, data in _proofs(doors, node, spent).items():
        yield attempt(name, Prove, data, REPLAYED)


def _openings(doors: Doors, node: str, spent: Messages, purposes: list[str]) -> Iterator[tuple[str, bytes, str]]:
    """Openings that R did not ask for, or that were made before."""
    new, other_x, now = Messages.make(doors), challenge(doors.terms, 3), doors.clock()
    for name, ask, problem in _unsigned_by_requester(doors, node, Ask, new.ask):
        yield f"of an ask {name}", new.open(doors, node, ask=ask), problem
    yield "by R itself", _by_requester(doors, new.open(doors, node)), NOT_GRANTED
    yield "again", spent.open(doors, node), REPLAYED
    yield "again with another x", spent.open(doors, node, x=other_x), REPLAYED
    second = Messages.make(doors, session=spent.session)
    yield "again under another ask of the session", second.open(doors, node, x=other_x), REPLAYED
    coordinator = doors.speak(COORDINATOR).signing_key
    elsewhere = forged(new.open(doors, node), Open, coordinator, {"session": secrets.token_bytes(SESSION_BYTES)})
    yield "of another session than its ask", elsewhere, UNAUTHENTICATED
    larger = forged(new.open(doors, node), Open, coordinator, {"m": MAX_SUBJECTS})
    yield "of more subjects than its ask", larger, UNAUTHENTICATED
    key = doors.speak(doors.requester).signing_key
    old = forged(new.ask, Ask, key, {"issued": now - 50, "expires": now - 5})
    yield "under an expired ask", new.open(doors, node, ask=old), UNAUTHENTICATED
    for m in (1, doors.terms.slots(doors.requester)):
        yield "of a chunk beyond the last", Messages.make(doors, m=m).open(doors, node, chunk=1), MALFORMED
    for purpose in purposes:
        yield f"for purpose {purpose}", _without_right(doors, purpose).open(doors, node), NOT_GRANTED


def _by_requester(doors: Doors, opening: bytes) -> bytes:
    return forged(opening, Open, doors.speak(doors.requester).signing_key, {"sender": doors.requester})


def _proofs(doors: Doors, node: str, spent: Messages) -> Mapping[str, bytes]:
    """Proofs of what was not opened, or was proven before."""
    others = [requester.id for requester in doors.terms.agreement.requesters if requester.id != doors.requester]
    return {
        "again": spent.prove(doors, node),
        "of another x": spent.prove(doors, node, x=challenge(doors.terms, 3)),
        "of another chunk": spent.prove(doors, node, chunk=1),
        "of another session": Messages.make(doors).prove(doors, node),
        **{f"of {other}'s": spent.prove(doors, node, requester=other) for other in others},
    }


async def _spend(doors: Doors, node: str) -> Messages:
    """Have a question served by a node, once; returns it."""
    spent = Messages.make(doors)
    await doors.served(node, Ask.TYPE, spent.ask)
    if node in doors.terms.keyholders:
        await doors.served(node, Evaluate.TYPE, spent.evaluate)
        await doors.served(node, Open.TYPE, spent.open(doors, node))
        await doors.post(node, Prove.TYPE, spent.prove(doors, node))  # a careless node may not know what it opened
    return spent


async def _quorums(doors: Doors, draws: random.Random) -> tuple[int, list[str]]:
    """Let every quorum open a chunk for one x, then ask everybody for another x: fewer than t may answer.

    Each costs a subject of the quota; of more than `QUORUMS` a sample is taken.
    Those who answer both are none, so whichever second quorum C picks, it lacks members. Returns how many pairs of
    quorums that covers, and in words each second quorum that answered.
    """
    terms, found = doors.terms, []
    quorums = list(combinations(terms.keyholders, terms.threshold))
    tried = draws.sample(quorums, min(QUORUMS, len(quorums)))
    first, second = challenge(terms), challenge(terms, 3)
    for quorum in tried:
        asked = Messages.make(doors)
        for holder in quorum:
            await doors.served(holder, Open.TYPE, asked.open(doors, holder, x=first))
        again = {
            holder: await doors.post(holder, Open.TYPE, asked.open(doors, holder, x=second))
            for holder in terms.keyholders
        }
        answered = {holder for holder, answer in again.items() if answer.problem == SERVED}
        found += [
            f"{', '.join(quorum)} opened one sum of a chunk, and {', '.join(other)} another"
            for other in quorums
            if answered.issuperset(other)
        ]
    return len(tried) * len(quorums), found


def _decided(doors: Doors, decisions: Decisions) -> list[str]:
    """Let C sign decisions that say more or less than they may, or of something else; R must refuse each."""
    requester, coordinator, now = doors.speak(doors.requester), doors.speak(COORDINATOR), doors.clock()
    known = [secrets.token_bytes(64)]
    question, _, _ = rounds.ask(requester, known, purpose=doors.purpose, now=now, random=secrets.token_bytes)
    look, asked = question.look.body, question.ask
    implements = doors.terms.agreement.requester(doors.requester).implements
    measures = dict.fromkeys(implements, int(Effect.NONE))
    honest = Decision(
        subject=0,
        measures=measures,
        agencies=len(doors.terms.agencies),
        binding=decision_binding(look.sigmas[0], look.secrets[0], asked.body.commitment),
    )

    def signed(decision: Decision, **changes: Any) -> bytes:
        header = replace(
            asked.header,
            sender=COORDINATOR,
            audience=requester.id,
            expires=now + doors.terms.decision_seconds,
            answers=asked.hash,
        )
        data = write(replace(header, **changes), decision, coordinator.signing_key)
        return coordinator.reply(Decide((data,)), question.look, now)

    wrong = {
        "a measure that R does not implement": signed(
            replace(honest, measures=measures | {ANOTHER_MEASURE: int(Effect.APPLIES)})
        ),
        "another measure instead": signed(replace(honest, measures={ANOTHER_MEASURE: int(Effect.APPLIES)})),
        "fewer agencies": signed(replace(honest, agencies=honest.agencies - 1)),
        "another purpose": signed(honest, purpose="another"),
        "another session": signed(honest, session=secrets.token_bytes(SESSION_BYTES)),
        "another subject": signed(replace(honest, binding=secrets.token_bytes(32))),
    }
    found = [] if _accepts(decisions, requester, question, signed(honest), now) else ["R refused a right decision"]
    accepted = [name for name, reply in wrong.items() if _accepts(decisions, requester, question, reply, now)]
    return found + [f"R accepted a decision with {name}" for name in accepted]


def _accepts(decisions: Decisions, party: Party, question: rounds.Question, reply: bytes, now: int) -> bool:
    try:
        decisions(party, question, reply, now)
    except PeerError:
        return False
    return True


def _careless(party: Party, question: rounds.Question, reply: bytes, now: int) -> tuple[Signed[Decision], ...]:
    """R that takes what C signed for it."""
    del now
    decisions = tuple(read(data, Decision) for data in read(reply, Decide).body.decisions)
    for decision in decisions:
        decision.envelope.verify(party.terms.signing_key(COORDINATOR))
    return decisions if len(decisions) == question.ask.header.m else ()


async def _tried(doors: Doors) -> Evidence:
    """All attempts at every node, and every pair of quorums."""
    attempts: list[Attempt] = []
    for node in doors.clients:
        attempts += _attempts(doors, node, await _spend(doors, node))
    found = await doors.refused(attempts)
    return Evidence(bool(found), {"requests": len(attempts), "not as expected": len(found)}, found)


def _measure(grounds: Grounds) -> Evidence:
    processes = grounds.processes

    async def run() -> Evidence:
        async with over_http(processes, processes.terms.agencies) as doors:
            tried = await _tried(doors)
            pairs, opened_twice = await _quorums(doors, grounds.draws("bypass"))
            decided = _decided(doors, rounds.decisions)
        found = [*tried.findings, *opened_twice, *decided]
        figures = {**tried.figures, "pairs of quorums": pairs, "chunks opened twice": len(opened_twice)}
        return Evidence(bool(found), figures, found)

    return asyncio.run(run())


def _nodes(scene: Scene, lack: str) -> Iterator[tuple[str, ASGIApp, ProtocolState]]:
    """Every agency's node without one guard, or honest, on a new ledger."""
    careless = CarelessScene(scene.federation, scene.clock, scene.folder, "" if lack in IN_LEDGER else lack)
    for agency in scene.federation.terms.agencies:
        ledger = scene.ledger()
        yield agency, serve([careless.node(agency, CarelessLedger(ledger, lack)).handle]), ledger


def _control(grounds: Grounds) -> Evidence:
    """The same attempts at parties that lack a guard each, and at honest ones."""
    scene = Scene.create(grounds, "bypass", {})

    async def at_nodes(lack: str, tried: Callable[[Doors], Awaitable[Sequence[str]]], count: int) -> Evidence:
        nodes = list(islice(_nodes(scene, lack), count))
        apps = {agency: app for agency, app, _ in nodes}
        ledgers = {agency: ledger for agency, _, ledger in nodes}
        async with in_process(apps, ledgers, scene.party, scene.clock) as doors:
            found = await tried(doors)
        return Evidence(bool(found), findings=found)

    async def attempts(doors: Doors) -> Sequence[str]:
        return (await _tried(doors)).findings

    async def quorums(doors: Doors) -> Sequence[str]:
        return (await _quorums(doors, grounds.draws("bypass")))[1]

    async def run() -> list[tuple[str, str, Evidence]]:
        everybody = len(scene.federation.terms.agencies)
        tried = [("node", lack, await at_nodes(lack, attempts, 1)) for lack in ("", *GUARDS)]
        tried += [("quorum", lack, await at_nodes(lack, quorums, everybody)) for lack in ("", "opening", "any x")]
        async with in_process({}, {}, scene.party, scene.clock) as doors:
            for lack, decisions in (("", rounds.decisions), ("distrust of C", _careless)):
                found = _decided(doors, decisions)
                tried.append(("requester", lack, Evidence(bool(found), findings=found)))
        return tried

    return caught(asyncio.run(run()))


CLAIM = Claim(
    number=18,
    name="bypass",
    statement=(
        "Each node by itself refuses what the requester did not sign for its own purpose, and opens a chunk once, "
        "whatever coordinator, quorum or other requester asks; a requester takes no decision beyond its measures."
    ),
    attack=(
        "Every node is addressed past the coordinator, with the keys of coordinator and requester: questions and "
        "elements that R did not sign, for purposes that it lacks, second questions and openings of a session, for "
        "another x, under an expired, another or no `ask`, beyond the last chunk, proofs of what was not opened. Every "
        "quorum opens a chunk for one sum, then everybody is asked for another. C signs decisions that say too much."
    ),
    sizing="The check is deterministic: each attempt once at every node, and every pair of quorums.",
    planted=(
        "Nodes that lack one guard each: signature, expiry, purpose, role, chunks, the opening's own `ask`, the claims "
        "of sessions and chunks, one x a chunk, proofs; quorums of such nodes; a requester that takes what C signs."
    ),
    measure=_measure,
    control=_control,
)
