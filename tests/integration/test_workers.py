"""Worker processes of a party: what they return, what is lost with one that is killed, and that they end with it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from api.settings import Settings
from api.worker import WorkerLostError, Workers
from protocol.errors import QuotaError, UsageError

T = TypeVar("T")


class Held:
    """What a worker of the test holds."""

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: object) -> object:
        return value

    def wait(self, seconds: float = 5) -> None:
        time.sleep(seconds)

    def refuse(self) -> None:
        raise QuotaError("spent", 7)


def build(settings: Settings) -> Held:
    if settings.party == "careless":
        raise UsageError("no key opens")
    return Held()


def working(tmp_path: Path, use: Callable[[Workers], Awaitable[T]], party: str = "tax", workers: int = 1) -> T:
    """What `use` makes of workers that have started."""
    roster, urls = tmp_path / "roster", tmp_path / "urls.json"
    settings = Settings(party=party, directory=tmp_path, roster=roster, urls=urls, workers=workers)

    async def call() -> T:
        held = Workers(f"{__name__}:build", settings)
        try:
            await held.start()
            return await use(held)
        finally:
            held.stop()

    return asyncio.run(call())


def test_a_worker_returns_what_its_method_does_however_long_or_raises_what_it_raises(tmp_path: Path) -> None:
    async def use(workers: Workers) -> list[object]:
        refused, *echoed = await asyncio.gather(
            workers.run("refuse"),
            *(workers.run("echo", bytes(size)) for size in (0, 3_000_000, 1)),
            return_exceptions=True,
        )
        assert isinstance(refused, QuotaError)
        assert refused.retry_after == 7
        return echoed

    assert working(tmp_path, use) == [bytes(size) for size in (0, 3_000_000, 1)]


def test_what_keeps_a_worker_from_building_is_raised_at_the_start(tmp_path: Path) -> None:
    async def use(_workers: Workers) -> None:
        pytest.fail("it started")

    with pytest.raises(UsageError, match="no key opens"):
        working(tmp_path, use, party="careless")


def test_workers_work_side_by_side(tmp_path: Path) -> None:
    async def use(workers: Workers) -> float:
        started = time.monotonic()
        await asyncio.gather(*(workers.run("wait", 1) for _ in range(3)))
        return time.monotonic() - started

    assert working(tmp_path, use, workers=3) < 2.5


def test_who_waits_no_longer_gets_nobody_else_an_answer_of_his(tmp_path: Path) -> None:
    async def use(workers: Workers) -> list[object]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await workers.run("echo", await workers.run("wait", 1))
        return [await workers.run("echo", number) for number in range(3)]

    assert working(tmp_path, use) == [0, 1, 2]


def test_a_call_to_a_worker_that_is_killed_is_lost_and_the_next_finds_a_new_worker(tmp_path: Path) -> None:
    async def use(workers: Workers) -> tuple[int, int]:
        first = await workers.run("pid")
        asyncio.get_running_loop().call_later(0.5, os.kill, first, signal.SIGKILL)
        with pytest.raises(WorkerLostError):
            await workers.run("wait")
        return first, await workers.run("pid")

    first, second = working(tmp_path, use)
    assert first != second


def test_a_worker_that_is_killed_while_nothing_is_to_be_done_loses_no_call(tmp_path: Path) -> None:
    async def use(workers: Workers) -> tuple[int, int]:
        first = await workers.run("pid")
        os.kill(first, signal.SIGKILL)
        await asyncio.sleep(0.5)
        return first, await workers.run("pid")

    first, second = working(tmp_path, use)
    assert first != second


async def end_at_once(folder: str) -> None:
    """A party that is killed while its worker has nothing to do."""
    here = Path(folder)
    workers = Workers(f"{__name__}:build", Settings(party="tax", directory=here, roster=here, urls=here))
    await workers.start()
    sys.stdout.write(str(await workers.run("pid")))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_end_with_their_party_however_it_ends(tmp_path: Path) -> None:
    script = f"import asyncio, {__name__} as it\nasyncio.run(it.end_at_once({str(tmp_path)!r}))"
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)  # noqa: S603  # our own two lines
    assert ended.returncode == -signal.SIGKILL
    worker, deadline = Path("/proc") / str(int(ended.stdout)), time.monotonic() + 10
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()
