"""What services do when epochs change: gateways move once all is well there, nodes seal beside what they answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from api import gateway_app, sealing
from api.epochs import Epochs
from api.gateway_app import Gateways
from api.settings import Settings
from federation.gateway import Gateway
from federation.transport import MemoryNetwork
from nodes.entry import Registrar, Sealed, Send
from protocol.agreement.terms import terms_to_bytes
from protocol.errors import IndeterminateError, QuotaError
from tests.parties import agreement, established

PAUSE = 0.01


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gateway_app, sealing):
        monkeypatch.setattr(module, "POLL_SECONDS", PAUSE)


class Rosters:
    """The rosters of two epochs, and what a party makes of each."""

    def __init__(self, directory: Path, part: Callable[[int], Any]) -> None:
        self.directory = directory
        for name, epoch in (("agreement", 1), ("next", 2)):
            of = established(agreement(), epoch)
            self._path(name).write_bytes(terms_to_bytes(of.terms.agreement, of.roster))
        settings = Settings(party="tax", directory=directory, roster=self._path("agreement"), urls=directory)
        self.epochs: Epochs[Any] = Epochs(lambda own: part(own.terms.roster.epoch), settings)

    def switch(self) -> None:
        self._path("previous").write_bytes(self._path("agreement").read_bytes())
        self._path("next").replace(self._path("agreement"))
        self.epochs.refresh()

    def forget(self) -> None:
        self._path("previous").unlink()
        self.epochs.refresh()

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.roster"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def beside(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Asked:
    """A gateway of one epoch: its canaries come out right, or not."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.right, self.checks = epoch, True, 0

    async def check_canaries(self) -> None:
        self.checks += 1
        if not self.right:
            raise IndeterminateError(["tax"])


def test_a_gateway_asks_in_a_new_epoch_once_all_canaries_came_out_right_there(tmp_path: Path) -> None:
    rosters = Rosters(tmp_path, Asked)
    gateways = Gateways(cast("Epochs[Gateway]", rosters.epochs))

    def asked() -> Asked:
        return cast("Asked", gateways())

    async def run() -> None:
        async with beside(gateways.follow()):
            await asyncio.sleep(5 * PAUSE)
            assert (asked().epoch, rosters.epochs.at(2).checks) == (1, 0), "before the switch nobody asks there"
            rosters.epochs.at(2).right = False
            rosters.switch()
            await until(lambda: rosters.epochs.at(2).checks >= 3)
            assert asked().epoch == 1
            rosters.epochs.at(2).right = True
            await until(lambda: asked().epoch == 2)

    asyncio.run(run())


def test_a_gateway_moves_all_the_same_when_the_epoch_before_is_forgotten(tmp_path: Path) -> None:
    rosters = Rosters(tmp_path, Asked)
    gateways = Gateways(cast("Epochs[Gateway]", rosters.epochs))
    rosters.switch()
    assert cast("Asked", gateways()).epoch == 1
    rosters.forget()
    assert cast("Asked", gateways()).epoch == 2


class Agency:
    """A registrar of one epoch: what waits there, how long a batch takes, and what it raises instead."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.is_open, self.waiting, self.sealed = epoch, epoch == 1, 3, 0
        self.error: Exception | None = None
        self.seconds = 0.0

    async def seal_pending(self, _send: Send, _part: object = None) -> AsyncIterator[Sealed]:
        while self.waiting:
            if self.error is not None:
                raise self.error
            await asyncio.sleep(self.seconds)
            self.is_open = True
            self.waiting -= 1
            self.sealed += 1
            yield Sealed(120)


@pytest.fixture
def agencies(tmp_path: Path) -> Rosters:
    return Rosters(tmp_path, Agency)


def seal(rosters: Rosters) -> Awaitable[None]:
    registrars = cast("Epochs[Registrar]", rosters.epochs)
    transport = MemoryNetwork().transport("tax")
    return sealing.seal_epochs(registrars, lambda registrar: registrar, transport, rosters.directory)


def test_both_epochs_are_sealed_and_another_is_left_as_much_time_as_it_takes(agencies: Rosters) -> None:
    current, coming = agencies.epochs.at(1), agencies.epochs.at(2)
    coming.seconds = 0.05

    async def run() -> float:
        began = time.monotonic()
        async with beside(seal(agencies)):
            await until(lambda: current.sealed == 3)
            await until(lambda: coming.sealed == 3)
            return time.monotonic() - began

    assert asyncio.run(run()) >= 3 * 0.05 + 2 * 0.05


def test_the_next_epoch_is_not_opened_before_the_current_one(agencies: Rosters) -> None:
    """One that is not open while a later one is, would count as over."""
    current, coming = agencies.epochs.at(1), agencies.epochs.at(2)
    current.is_open, current.error = False, IndeterminateError(["coordinator"])

    async def run() -> None:
        async with beside(seal(agencies)):
            await asyncio.sleep(10 * PAUSE)
            assert (current.sealed, coming.sealed) == (0, 0)
            current.error = None
            await until(lambda: coming.sealed == 3)

    asyncio.run(run())


def test_an_agency_whose_allowance_is_spent_can_still_seal_for_the_next_epoch(agencies: Rosters) -> None:
    current, coming = agencies.epochs.at(1), agencies.epochs.at(2)
    current.error = QuotaError("spent", 60)

    async def run() -> None:
        async with beside(seal(agencies)):
            await until(lambda: coming.sealed == 3)

    asyncio.run(run())
    assert current.sealed == 0


def test_nothing_is_sealed_in_an_epoch_that_is_forgotten(agencies: Rosters) -> None:
    old, current = agencies.epochs.at(1), agencies.epochs.at(2)
    agencies.switch()

    async def run() -> None:
        async with beside(seal(agencies)):
            await until(lambda: (old.sealed, current.sealed) == (3, 3))
            old.is_open = False  # its seals are erased first, while its roster is still there
            old.waiting = 1
            await asyncio.sleep(10 * PAUSE)
            old.is_open = True
            await until(lambda: old.sealed == 4)
            agencies.forget()
            await asyncio.sleep(5 * PAUSE)
            old.waiting = current.waiting = 1
            await until(lambda: current.sealed == 4)
        assert (old.sealed, current.sealed) == (4, 4)

    asyncio.run(run())


def test_a_node_leaves_sealing_to_who_does_it_alone_and_takes_it_up_again(agencies: Rosters) -> None:
    current = agencies.epochs.at(1)
    current.waiting, current.seconds = 100, PAUSE

    async def run() -> None:
        async with beside(seal(agencies)):
            await until(lambda: current.sealed > 2)
            with sealing.sealing_alone(agencies.directory, 1.0) as alone:
                assert alone
                with sealing.sealing_alone(agencies.directory) as second:
                    assert not second
                await asyncio.sleep(3 * PAUSE)  # the batch that was under way
                sealed = current.sealed
                await asyncio.sleep(10 * PAUSE)
                assert current.sealed == sealed < 100
            await until(lambda: current.sealed == 100)

    asyncio.run(run())
