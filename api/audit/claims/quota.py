"""A requester's quota is counted by every party, whoever races, restarts or goes round whom."""

import asyncio
import json
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from api.audit.abuse import SERVED, Answer, Attempt, Doors, Messages, caught, in_process, over_http, serve
from api.audit.careless import MemoryLedger
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Scene
from api.audit.grounds import OTHER_PURPOSE, OTHER_REQUESTER, PURPOSE, REQUESTER, Grounds
from api.audit.swarm import NODE, WORKERS, insist, restart, running
from api.stage import Processes
from federation.gateway import QUESTION
from federation.problem import QUOTA as SPENT
from nodes.storage.state import ADMITTED
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY
from protocol.messages import Ask, Evaluate, Open
from protocol.rounds.ledger import Ledger

QUOTA = 50
MOST = 6
_AT_ONCE, _DAY, _CLOCKS = 32, 86_400, 5

Disturb = Callable[[], Awaitable[None]]
Account = tuple[str, str]
"""Party and kind: what a quota is counted for."""


@dataclass(frozen=True)
class Request:
    """A new request about `m` subjects, charged at a party under a kind."""

    account: Account
    m: int
    attempt: Attempt = field(repr=False)


@dataclass
class Tally:
    """Subjects served by account, refusals for the quota, and what else was wrong, in words."""

    served: Counter[Account] = field(default_factory=Counter)
    refused: Counter[Account] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def count(self, request: Request, answer: Answer, now: float) -> None:
        """Count one answer."""
        party, kind = request.account
        if answer.problem == SERVED:
            self.served[request.account] += request.m
        elif answer.problem == SPENT:
            self.refused[request.account] += 1
            waits = answer.retry_after
            if not waits.isdecimal() or abs(int(waits) - (_DAY - int(now) % _DAY)) > _CLOCKS:
                self.wrong.append(f"{kind} at {party}: Retry-After is not the time until the day's end")
        elif answer.status >= 500 and answer.status != 503:
            self.wrong.append(f"{kind} at {party}: {answer.status}")

    def exceeded(self) -> list[str]:
        """Every account for which more was served than its quota covers."""
        return [
            f"{kind} at {party}: {used} subjects served" for (party, kind), used in self.served.items() if used > QUOTA
        ]


def _at_node(doors: Doors, node: str, m: int) -> Iterator[Request]:
    """One request of each kind, past the coordinator; an opening carries at most as many subjects as have slots."""
    new = Messages.make(doors, m=m)
    opened = min(m, doors.terms.slots(doors.requester))
    for kind, data, charged in (
        (Evaluate, new.evaluate, m),
        (Ask, new.ask, m),
        (Open, new.open(doors, node), opened),
    ):
        yield _request(node, kind.TYPE, f"/v1/{kind.TYPE}", data, charged)


def _at_coordinator(doors: Doors, m: int) -> Iterator[Request]:
    new = Messages.make(doors, m=m)
    yield _request(COORDINATOR, Evaluate.TYPE, "/v1/evaluate", new.evaluate, m)
    yield _request(COORDINATOR, Ask.TYPE, "/v1/ask", new.pair, m)


def _at_gateway(doors: Doors, token: str, m: int) -> Iterator[Request]:
    subjects = [{"scheme": "cn.reg_no", "value": f"QUOTA{secrets.randbelow(10**9)}"} for _ in range(m)]
    question = {"agreement": doors.terms.agreement.id, "purpose": doors.purpose, "case": "audit", "subjects": subjects}
    headers = {"authorization": f"Bearer {token}"}
    data = json.dumps(question).encode()
    yield Request(
        (REQUESTER, QUESTION), m, Attempt(QUESTION, REQUESTER, "/v1/membership:batch", data, SPENT, headers=headers)
    )


def _request(party: str, kind: str, path: str, data: bytes, m: int) -> Request:
    return Request((party, kind), m, Attempt(kind, party, path, data, SPENT))


async def _race(
    doors: Doors, make: Callable[[int], Iterator[Request]], disturb: Disturb, count: int, draws: random.Random
) -> Tally:
    """Send about `count` requests of all kinds at once, spend what is left, disturb, and try again."""
    tally, gate = Tally(), asyncio.Semaphore(_AT_ONCE)

    async def one(request: Request) -> None:
        async with gate:
            tally.count(request, await insist(doors, request.attempt), time.time())

    requests: list[Request] = []
    while len(requests) < count:
        requests += make(draws.randint(1, MOST))
    draws.shuffle(requests)
    half = len(requests) // 2
    await asyncio.gather(disturb(), *map(one, requests[:half]))
    await asyncio.gather(*map(one, requests[half:]))
    for _ in range(2 * MOST):
        await asyncio.gather(*map(one, make(1)))
    await disturb()
    await asyncio.gather(*(one(request) for _ in range(MOST) for request in make(1)))
    return tally


def _booked(doors: Doors, tally: Tally) -> Iterator[str]:
    """What ledgers do not say as it was: each account spent whole and no further, and every refusal logged."""
    for party, ledger in doors.ledgers.items():
        logged: Counter[tuple[str, str]] = Counter()
        admitted: Counter[str] = Counter()
        for entry in ledger.entries():
            if entry.sender == REQUESTER and entry.purpose != CANARY:
                logged[entry.kind, entry.outcome] += 1
                admitted[entry.kind] += entry.m if entry.outcome == ADMITTED else 0
        charged = {
            kind: used
            for (kind, sender, period), used in ledger.charges().items()
            if sender == REQUESTER and not period.startswith(CANARY)
        }
        for account in {account for account in tally.refused if account[0] == party}:
            kind = account[1]
            if charged.get(kind) != QUOTA or admitted[kind] != QUOTA:
                yield f"{kind} at {party}: {charged.get(kind, 0)} charged and {admitted[kind]} admitted of {QUOTA}"
            if logged[kind, "QuotaError"] < tally.refused[account]:
                yield f"{kind} at {party}: not every refusal is logged"


def _measure(grounds: Grounds) -> Evidence:
    count = grounds.pick(200, 600, 2_000)

    async def run(processes: Processes) -> tuple[Tally, list[str]]:
        token = processes.home.token_path(REQUESTER).read_text("utf-8").strip()
        parties = (NODE, COORDINATOR, REQUESTER)

        async with over_http(processes, parties) as doors:

            async def disturb() -> None:
                await asyncio.to_thread(restart, processes, doors, parties, signal.SIGKILL)

            def make(m: int) -> Iterator[Request]:
                yield from _at_node(doors, NODE, m)
                yield from _at_coordinator(doors, m)
                yield from _at_gateway(doors, token, m)

            tally = await _race(doors, make, disturb, count, grounds.draws("quota"))
            return tally, list(_booked(doors, tally))

    with running(grounds, "quota", QUOTA) as processes:
        tally, booked = asyncio.run(run(processes))
    found = [*tally.exceeded(), *booked, *sorted(set(tally.wrong))]
    return Evidence(bool(found), _figures(tally), found)


def _figures(tally: Tally) -> dict[str, int]:
    served = {f"{kind} at {party}: served of {QUOTA}": used for (party, kind), used in sorted(tally.served.items())}
    return {**served, "refused for the quota": tally.refused.total()}


def _control(grounds: Grounds) -> Evidence:
    """The same race at a node of this process whose workers count badly, and at an honest one."""
    parties = [
        {"id": REQUESTER, "name": "Office", "purposes": [PURPOSE], "implements": ["exclude"], "quota_per_day": QUOTA},
        {
            "id": OTHER_REQUESTER,
            "name": "Bank",
            "purposes": [OTHER_PURPOSE],
            "implements": ["scrutinise"],
            "quota_per_day": QUOTA,
        },
    ]
    scene = Scene.create(grounds, "quota", {}, grounds.established(requesters=parties))
    node = scene.federation.terms.keyholders[0]

    def counting(lack: str) -> list[Ledger]:
        """The ledger of each worker, when the node starts."""
        if lack == "a count beyond the process":
            return [MemoryLedger()] * WORKERS
        if lack == "one count for all workers":
            return [MemoryLedger() for _ in range(WORKERS)]
        return [MemoryLedger(pause=0.01)] * WORKERS

    async def tried(lack: str) -> Evidence:
        ledger = scene.ledger()
        kept: list[Ledger] = counting(lack) if lack else [ledger] * WORKERS
        handles = [scene.node(node, own).handle for own in kept]

        async def disturb() -> None:
            if lack == "a count beyond the process":
                handles[:] = [scene.node(node, own).handle for own in counting(lack)]

        async with in_process({node: serve(handles)}, {node: ledger}, scene.party, scene.clock) as doors:
            tally = await _race(doors, lambda m: _at_node(doors, node, m), disturb, 100, grounds.draws("quota"))
            found = tally.exceeded() + ([] if lack else list(_booked(doors, tally)))
        return Evidence(bool(found), findings=found)

    lacks = ("", "a count beyond the process", "one count for all workers", "one step for reading and writing")
    return caught([("node", lack, asyncio.run(tried(lack))) for lack in lacks])


CLAIM = Claim(
    number=17,
    name="quota",
    statement=(
        "Gateway, coordinator, keyholders and agencies each serve a requester its daily quota and no subject more, "
        "under four workers, concurrency and kill -9, and refuse the rest with the time to wait."
    ),
    attack=(
        f"With a quota of {QUOTA}, requests about one to {MOST} subjects race at every party at once, through and past "
        "gateway and coordinator, while all of them are killed and started again; then what is left is spent one by "
        "one, they are killed again, and more is asked for. What was served, `Retry-After`, and what ledgers charged "
        "and logged is compared."
    ),
    sizing=(
        "Requests ask for several times the quota, so that it is spent whole at every party; the check is "
        "deterministic, numbers only widen the race."
    ),
    planted=("Nodes that count in one process, in each worker by itself, or read first and write afterwards."),
    measure=_measure,
    control=_control,
)
