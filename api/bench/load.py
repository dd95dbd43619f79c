"""Asking by many at once: so many clients, each asking anew as soon as it has its answer, or at a rate."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import httpx

from api.audit.grounds import firm
from api.bench.ground import LISTINGS, PURPOSE, REQUESTER, cpu_seconds
from api.stage import Processes

CLIENTS = 8


@dataclass(frozen=True)
class Load:
    """What a time of asking brought: answers, those that were no decision, seconds, the parties' CPU, latencies."""

    subjects: int
    errors: int
    seconds: float
    cpu: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Decided subjects a second."""
        return (self.subjects - self.errors) / self.seconds


def saturate(stage: Processes, m: int, seconds: float) -> Load:
    """Ask about arrays of m for so long, by `CLIENTS` at once, each as fast as it is answered."""
    return _ask(stage, m, seconds, lambda _number, _began: time.monotonic())


def ask_at(stage: Processes, rate: float, seconds: float) -> Load:
    """Ask single questions at a rate, for so long; each one's latency counts from when it was due."""

    def until_due(number: int, began: float) -> float:
        due = began + number / rate
        time.sleep(max(0, due - time.monotonic()))
        return due

    return _ask(stage, 1, seconds, until_due)


def _ask(stage: Processes, m: int, seconds: float, due: Callable[[int, float], float]) -> Load:
    pids = list(stage.launcher.running().values())
    numbers, counted = count(), threading.Lock()
    latencies: list[float] = []
    errors = 0

    def client(connection: httpx.Client) -> None:
        nonlocal errors
        while True:
            number = next(numbers)
            started = due(number, began)
            decided = _decided(connection, stage, m, number)
            with counted:
                errors += m - decided
                latencies.append(1000 * (time.monotonic() - started))
            if time.monotonic() >= began + seconds:
                return

    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as clients:
        connections = [stack.enter_context(stage.client(REQUESTER)) for _ in range(CLIENTS)]
        began, spent = time.monotonic(), cpu_seconds(pids)
        for done in [clients.submit(client, connection) for connection in connections]:
            done.result()
    return Load(len(latencies) * m, errors, time.monotonic() - began, cpu_seconds(pids) - spent, latencies)


def _decided(connection: httpx.Client, stage: Processes, m: int, number: int) -> int:
    """Ask about m subjects; returns how many were decided."""
    subjects = [{"scheme": firm(0).scheme, "value": firm((number * m + it) % (2 * LISTINGS)).value} for it in range(m)]
    question = {"agreement": stage.terms.agreement.id, "purpose": PURPOSE, "case": "bench"}
    try:
        if m == 1:
            items = [connection.post("/v1/membership", json=question | {"subject": subjects[0]}).json()]
        else:
            items = connection.post("/v1/membership:batch", json=question | {"subjects": subjects}).json()["items"]
    except (httpx.HTTPError, ValueError, KeyError):
        return 0
    return sum(item.get("outcome") == "decided" for item in items)
