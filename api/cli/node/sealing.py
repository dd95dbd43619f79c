"""`concordat node seal`: what waits to be sealed, in bulk, while the node leaves it alone."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import typer
from rich.console import Console

from api.agency import open_register
from api.cli.engines import DASK, LOCAL, Engine, Scheduler, Workers, check_engine, dask_client, loaded
from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from api.cli.own import Agency, Directory, explained, opened, own_settings, sending
from api.cli.terminal import progress_bar, stop
from api.founding import read_terms
from api.home import next_roster
from api.primes import Progress
from api.sealing import sealing_alone
from api.settings import Settings
from federation.problem import INDETERMINATE as NO_QUORUM
from federation.problem import MALFORMED
from nodes.entry import Registrar

_KEPT: Final = "What was sealed stays."
_LOCK_SECONDS: Final = 2.0
_CODES: Final = {NO_QUORUM: INDETERMINATE, MALFORMED: BAD_INPUT}


class _Count:
    """What was sealed so far, of one epoch after the other, shown as it comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._listings = self._total = 0
        self.identifiers = self.refused = 0

    def begin(self, registrar: Registrar) -> None:
        """Look how much is to be done."""
        self._listings, waiting = registrar.progress()
        self._total = self._listings + waiting
        self.add(0, 0, 0)

    def add(self, listings: int, identifiers: int, refused: int) -> None:
        """Count what was done."""
        self._listings += listings
        self.identifiers += identifiers
        self.refused += refused
        self._progress("sealing", self._listings, self._total)


def seal(
    directory: Directory,
    agency: Agency,
    engine: Engine = LOCAL,
    scheduler: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Seal all that waits, in the current epoch and in the next one if it has begun.

    A node seals what waits by itself, one batch after the other; it leaves it alone while this command runs. Killed and
    run again, it goes on where it stopped.
    """
    check_engine(engine, scheduler, workers)
    settings = own_settings(directory, agency)
    began = time.monotonic()
    with (
        sealing_alone(settings.directory, _LOCK_SECONDS) as alone,
        progress_bar(Console(stderr=True), "listings") as progress,
    ):
        if not alone:
            stop(BAD_INPUT, "another command seals for this agency", "Wait until it has ended.")
        count = _Count(progress)
        for own in _epochs(settings):
            registrar = opened(partial(open_register, own)).registrar
            with explained(_KEPT):
                asyncio.run(_seal_here(own, registrar, count, all_of_it=engine == LOCAL))
            if engine == DASK:
                _seal_on_dask(own, registrar, count, scheduler, workers)
    seconds = time.monotonic() - began
    typer.echo(f"{count.identifiers} identifiers sealed in {seconds:.1f} s")
    if count.refused:
        typer.echo(f"{count.refused} listings erased: their buckets are full", err=True)
    raise typer.Exit(PARTLY if count.refused else DONE)


def _epochs(settings: Settings) -> Iterator[Settings]:
    """The current epoch's settings, and the next one's: an epoch opens after the one before it."""
    yield settings
    coming = next_roster(settings.roster)
    if coming.exists():
        yield settings.in_epoch(read_terms(coming.read_bytes()))


async def _seal_here(settings: Settings, registrar: Registrar, count: _Count, *, all_of_it: bool) -> None:
    """Seal in this process; not `all_of_it` is the canary alone, which opens the epoch."""
    if registrar.is_ready:
        return
    async with sending(settings) as send:
        if send is None:
            stop(INDETERMINATE, "the coordinator does not answer", f"{_KEPT} Start it, and run the same command again.")
        count.begin(registrar)
        async for batch in registrar.seal_pending(send, None if all_of_it else (0, 0)):
            count.add(batch.listings, batch.identifiers, len(batch.refused))


def _seal_on_dask(
    settings: Settings, registrar: Registrar, count: _Count, scheduler: str | None, workers: int | None
) -> None:
    sealing = loaded("sealing")
    if registrar.is_ready:
        return
    with dask_client(scheduler, workers, _environment(settings)) as client:
        while partitions := registrar.partitions(sealing.PARTITION):  # what was entered meanwhile waits, too
            count.begin(registrar)
            done = None
            for done in sealing.seal(client, settings.terms.roster.epoch, partitions):
                count.add(done.listings, done.identifiers, done.refused)
            if done is not None and done.problem:
                stop(_CODES.get(done.problem, REFUSED), done.reason, f"{_KEPT} Run the same command again.")


def _environment(settings: Settings) -> dict[str, str]:
    """By which a worker on this machine finds what it needs to act for the agency; no secret."""
    return {
        "CONCORDAT_PARTY": settings.party,
        "CONCORDAT_DIRECTORY": str(settings.directory.absolute()),
        "CONCORDAT_ROSTER": str(settings.roster.absolute()),
        "CONCORDAT_URLS": str(settings.urls.absolute()),
    }
