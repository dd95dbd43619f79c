"""Sealing in the background: whatever waits in any epoch that the agency holds, beside the questions it answers.

The current epoch goes at full speed, since its node answers nothing meanwhile. Another epoch is sealed while questions
of the current one go on, so it leaves them as much time as it takes.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from api.epochs import POLL_SECONDS, Epochs
from api.logs import described, log
from federation.transport import Transport, UnreachableError
from nodes.entry import Registrar
from protocol.agreement.roster import COORDINATOR
from protocol.messages import Evaluate

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS = 300.0


@contextmanager
def sealing_alone(directory: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Keep everybody else from sealing for an agency, by a lock on its own directory; gives whether that succeeded.

    It is tried for so many seconds, for a node that looks for the lock has it for a moment.

    The system ends the lock with its process, however that ends. Two that sealed the same at once would store it once,
    but both would be charged to the agency's allowance.
    """
    descriptor, end = os.open(directory, os.O_RDONLY), time.monotonic() + seconds
    try:
        while not (alone := _locked(descriptor)) and time.monotonic() < end:
            time.sleep(0.02)
        yield alone
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_sealed_by_another(directory: Path) -> bool:
    """Whether somebody else seals for the agency now."""
    with sealing_alone(directory) as alone:
        return not alone


async def seal_epochs(
    epochs: Epochs[T], registrar_of: Callable[[T], Registrar], transport: Transport, directory: Path
) -> None:
    """Seal what waits in every epoch that is held, as epochs come and go, until cancelled.

    While somebody else seals for the agency whose own directory this is, it is left to them.
    """

    def registrar(epoch: int) -> Registrar:
        return registrar_of(epochs.at(epoch))

    tasks: dict[int, asyncio.Task[None]] = {}
    try:
        while True:
            held = epochs.parts
            for epoch in tasks.keys() - held.keys():
                tasks.pop(epoch).cancel()
            for epoch in held.keys() - tasks.keys():
                tasks[epoch] = asyncio.create_task(_seal(epochs, registrar, epoch, transport, directory))
            await asyncio.sleep(POLL_SECONDS)
    finally:
        for task in tasks.values():
            task.cancel()


async def _seal(
    epochs: Epochs[T], registrar: Callable[[int], Registrar], epoch: int, transport: Transport, directory: Path
) -> None:
    """Seal what waits in one epoch, whenever something does: keyholders may be late, imports may run while C is down.

    An attempt that reaches C costs the agency's allowance, so after failures the next ones come later and later.
    """
    pause = POLL_SECONDS
    while True:
        try:
            # An epoch opens after the one before it, and never again once it is forgotten (nodes/storage/seals.py).
            if epoch == epochs.current or registrar(min(epoch, epochs.current)).is_open:
                await _seal_batches(epochs, registrar(epoch), epoch, transport, directory)
            pause = POLL_SECONDS
        except UnreachableError:
            pause = POLL_SECONDS
        except Exception as error:  # noqa: BLE001  # whatever it was, the node must not stay unready for good
            log.warning("sealing", epoch=epoch, **described(error))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)


async def _seal_batches(
    epochs: Epochs[T], registrar: Registrar, epoch: int, transport: Transport, directory: Path
) -> None:
    if is_sealed_by_another(directory):
        return
    began = time.monotonic()
    batches = registrar.seal_pending(lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message))
    async for batch in batches:
        seconds = time.monotonic() - began
        log.info(
            "sealed",
            epoch=epoch,
            identifiers=batch.identifiers,
            refused=len(batch.refused),
            rate=round(batch.identifiers / max(seconds, 0.001)),
        )
        if epoch != epochs.current:
            await asyncio.sleep(seconds)
        if is_sealed_by_another(directory):
            return
        began = time.monotonic()
