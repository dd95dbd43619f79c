"""What was answered once is answered to nobody again: not after a restart, and by no other worker."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.audit.abuse import SERVED, Attempt, Doors, Messages, caught, in_process, over_http, serve
from api.audit.careless import CarelessLedger, MemoryLedger
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Scene, forged
from api.audit.grounds import REQUESTER, Grounds
from api.audit.swarm import NODE, WORKERS, insist, restart, running
from api.stage import Processes, StageError, Subject
from federation.problem import REPLAYED, UNAUTHENTICATED
from nodes.storage.state import ADMITTED
from protocol.agreement.roster import COORDINATOR
from protocol.messages import Ask, Evaluate, Open, Prove
from protocol.rounds.ledger import Ledger
from protocol.wire import MAX_LIFETIME, Body

QUOTA = 100_000
QUESTIONS, COPIES = 4, 8
SHORT_SECONDS = 4
_AT_ONCE = 32
UNDISTURBED, KILLED, RESTARTED = "at once", "after kill -9", "after a restart"
PHASES = (UNDISTURBED, KILLED, RESTARTED)

Disturb = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Sent:
    """A request that was answered, to whom, and until when it is valid."""

    party: str
    kind: str
    data: bytes = field(repr=False)
    expires: float

    @property
    def attempt(self) -> Attempt:
        """The same bytes again."""
        return Attempt(f"{self.kind} again", self.party, f"/v1/{self.kind}", self.data, REPLAYED, self.kind)


@dataclass
class Tally:
    """Replays tried, those while their message was valid by phase, and what was not refused as a replay."""

    tried: int = 0
    valid: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)

    @property
    def findings(self) -> list[str]:
        """What was accepted, in words."""
        return [f"{count} times accepted: {name}" for name, count in self.accepted.items()]

    def count(self, sent: Sent, phase: str, status: int, problem: str) -> None:
        """Count one answer to a replay."""
        self.tried += 1
        if problem == SERVED:
            self.accepted[f"{sent.kind} at {sent.party} {phase}"] += 1
        elif problem == REPLAYED:
            self.valid[phase] += 1
        elif not (problem == UNAUTHENTICATED and time.time() >= sent.expires):
            self.strange[f"{status} {problem} for {sent.kind} at {sent.party} {phase}"] += 1


async def _first(doors: Doors, tally: Tally, sent: Sent) -> None:
    """Send several copies of a new request at once: one of them is the first, all others are replays."""
    answers = await asyncio.gather(*(insist(doors, sent.attempt) for _ in range(COPIES)))
    served = sum(answer.problem == SERVED for answer in answers)
    if served != 1:
        problem = f"{served} of {COPIES} copies of {sent.kind} at {sent.party} at once"
        (tally.accepted if served else tally.strange)[problem] += 1


async def _served(doors: Doors, node: str, tally: Tally) -> list[Sent]:
    """Have direct requests of every kind answered by a node, some of them valid for a few seconds only."""
    key, answered = doors.speak(doors.requester).signing_key, []
    for lifetime in (MAX_LIFETIME, SHORT_SECONDS):
        new, expires = Messages.make(doors), doors.clock() + lifetime
        ask = forged(new.ask, Ask, key, {"expires": expires})
        made: dict[type[Body], bytes] = {
            Evaluate: forged(new.evaluate, Evaluate, key, {"expires": expires}),
            Ask: ask,
            Open: new.open(doors, node, ask=ask),
            Prove: new.prove(doors, node),
        }
        for kind, data in made.items():
            sent = Sent(node, kind.TYPE, data, expires)
            await _first(doors, tally, sent)
            answered.append(sent)
    return answered


async def _replay(
    doors: Doors, recorded: Sequence[Sent], disturb: Disturb, count: int, draws: random.Random, tally: Tally
) -> None:
    """Send what was answered again, `count` times in all: in each phase while parties come and go, and after."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(sent: Sent, phase: str) -> None:
        async with gate:
            answer = await insist(doors, sent.attempt)
        tally.count(sent, phase, answer.status, answer.problem)

    for number, phase in enumerate(PHASES):
        each = count * (number + 1) // len(PHASES) - count * number // len(PHASES)
        picked = [draws.choice(recorded) for _ in range(each)]
        during, after = picked[: each // 3], picked[each // 3 :]
        await asyncio.gather(disturb(phase), *(one(sent, phase) for sent in during))
        await asyncio.gather(*(one(sent, phase) for sent in after))


async def _recorded(processes: Processes) -> list[Sent]:
    """Ask the gateway, and take from the record what then travelled to the coordinator and the node."""
    before, asked = len(processes.records), int(time.time())
    subjects = [Subject("cn.reg_no", f"REPLAY{number}") for number in range(QUESTIONS)]
    for subject in subjects:
        [answer] = await asyncio.to_thread(processes.ask, [subject], REQUESTER)
        if answer.get("outcome") != "decided":
            raise StageError("a question that was to be replayed was not decided")
    ways = {(REQUESTER, COORDINATOR), (COORDINATOR, NODE)}
    return [
        Sent(record.receiver, record.kind, record.data, asked + MAX_LIFETIME)
        for record in processes.records[before:]
        if (record.sender, record.receiver) in ways
    ]


def _measure(grounds: Grounds) -> Evidence:
    count, laps = grounds.pick((300, 1), (10_000, 4), (10_000, 4))
    tally, draws = Tally(), grounds.draws("replay")

    async def lap(processes: Processes, doors: Doors) -> None:
        """As many replays as fit into the time for which what is replayed is valid."""

        async def disturb(phase: str) -> None:
            if phase != UNDISTURBED:
                how = signal.SIGKILL if phase == KILLED else signal.SIGTERM
                await asyncio.to_thread(restart, processes, doors, (NODE, COORDINATOR), how)

        recorded = [*await _recorded(processes), *await _served(doors, NODE, tally)]
        await _replay(doors, recorded, disturb, count // laps, draws, tally)

    async def run(processes: Processes) -> list[str]:
        async with over_http(processes, (NODE, COORDINATOR)) as doors:
            for _ in range(laps):
                await lap(processes, doors)
            charged = [_charged_as_admitted(doors, party) for party in doors.ledgers]
        return [finding for findings in charged for finding in findings]

    with running(grounds, "replay", QUOTA) as processes:
        found = asyncio.run(run(processes))
    found += [*tally.findings, *(f"{count} times {name}" for name, count in tally.strange.items())]
    found += [f"no replay was tried {phase} while it was valid" for phase in PHASES if not tally.valid[phase]]
    return Evidence(bool(found), _figures(tally), found)


def _charged_as_admitted(doors: Doors, party: str) -> list[str]:
    """Whether a ledger charged exactly what it admitted; proofs cost nothing."""
    ledger = doors.ledgers[party]
    admitted: Counter[tuple[str, str]] = Counter()
    for entry in ledger.entries():
        if entry.outcome == ADMITTED and entry.kind != Prove.TYPE:
            admitted[entry.kind, entry.sender] += entry.m
    charged: Counter[tuple[str, str]] = Counter()
    for (kind, sender, _), used in ledger.charges().items():
        charged[kind, sender] += used
    return [] if charged == admitted else [f"{party} charged otherwise than it admitted"]


def _figures(tally: Tally) -> Mapping[str, int]:
    valid = {f"while valid, {phase}": tally.valid[phase] for phase in PHASES}
    return {"replays": tally.tried, "accepted": tally.accepted.total(), **valid}


def _control(grounds: Grounds) -> Evidence:
    """The same replays at a node of this process whose workers remember too little, and at an honest one."""
    scene = Scene.create(grounds, "replay", {})
    node, ledger = scene.federation.terms.keyholders[0], scene.ledger()
    count = grounds.pick(60, 300, 300)

    def remembering(lack: str) -> list[Ledger]:
        """The ledger of each worker, when the node starts."""
        if lack == "a memory beyond the process":
            return [MemoryLedger()] * WORKERS
        if lack == "one memory for all workers":
            return [MemoryLedger() for _ in range(WORKERS)]
        if lack == "one step for looking and claiming":
            return [MemoryLedger(pause=0.01)] * WORKERS
        return [CarelessLedger(ledger, lack)] * WORKERS

    async def tried(lack: str) -> Evidence:
        tally, kept = Tally(), remembering(lack)

        def handlers() -> list[Callable[[str, bytes], bytes]]:
            return [scene.node(node, own).handle for own in kept]

        handles = handlers()

        async def disturb(phase: str) -> None:
            if phase != UNDISTURBED:
                kept[:] = remembering(lack) if lack == "a memory beyond the process" else kept
                handles[:] = handlers()

        async with in_process({node: serve(handles)}, {node: ledger}, scene.party, scene.clock) as doors:
            recorded = await _served(doors, node, tally)
            await _replay(doors, recorded, disturb, count, grounds.draws("replay"), tally)
        return Evidence(bool(tally.findings), findings=tally.findings)

    lacks = (
        *("", "session", "opening", "proof", "a memory beyond the process", "one memory for all workers"),
        "one step for looking and claiming",
    )
    return caught([("node", lack, asyncio.run(tried(lack))) for lack in lacks])


CLAIM = Claim(
    number=17,
    name="replay",
    statement="No request is answered a second time: not by another worker, nor after a restart or a kill -9.",
    attack=(
        "Requests that coordinator and node really answered, recorded on their way or sent past the coordinator, are "
        "sent again and again, many at once, to four workers, while parties are killed and restarted; new requests are "
        "sent in eight copies at once. Most replays come while the message is valid, some after."
    ),
    sizing=(
        "10,000 replays, in laps that end before what they replay expires; the check is deterministic, numbers only "
        "widen the races: none may be accepted, and in each phase some must come while the message is valid."
    ),
    planted=(
        "Nodes that claim no session, no chunk or no proof; that remember in one process, in each worker by itself, or "
        "look first and claim afterwards."
    ),
    measure=_measure,
    control=_control,
)
