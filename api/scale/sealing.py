"""Sealing what waits, on Dask: partitions of the agency's own listings as tasks, each sealed where it is worked on.

A task is three numbers: an epoch, and the first and last listing of a partition. Its worker acts for the agency as its
node does, with settings, keys and database from its own environment, so no identifier, key or pseudonym travels through
the scheduler. It seals what of its partition still waits, in the node's own batches, each committed before the next: a
partition that is begun anew goes on where it stopped, and what two workers seal is stored once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache, partial
from typing import Final, NamedTuple

from distributed import Client, Future

from api.agency import open_register
from api.founding import read_terms
from api.home import next_roster
from api.scale.cluster import each
from api.settings import Settings
from federation.problem import INDETERMINATE, kind_of
from federation.transport import HttpTransport
from nodes.entry import Registrar
from protocol.agreement.roster import COORDINATOR
from protocol.errors import PeerError
from protocol.messages import Evaluate

PARTITION: Final = 1_200
"""Listings of a partition; what is lost with a worker is one batch of it, 120 identifiers."""
SECONDS: Final = 30.0
PAUSE: Final = 1.0
"""Seconds before the next partition after one that failed, twice as many after two, and so on."""
_FAILURES: Final = 4  # in a row; each may have been charged to the agency's allowance, and sealed nothing


class Sealed(NamedTuple):
    """What a partition came to: listings, identifiers, refused listings, and the problem that ended it, if one did."""

    listings: int
    identifiers: int
    refused: int
    problem: str = ""
    reason: str = ""


def seal_partition(epoch: int, first: int, last: int) -> tuple[int, int, int, str, str]:
    """Seal what waits of the listings with these numbers: the task, as a worker runs it."""
    return asyncio.run(_seal(epoch, first, last))


def seal(client: Client, epoch: int, partitions: Iterable[tuple[int, int]]) -> Iterator[Sealed]:
    """Have partitions sealed; yields what each came to, as often as it was tried.

    One that was not sealed to its end is tried again after the others, until several fail in a row: where there is no
    quorum, more attempts only cost the agency's allowance. Then a problem is the last that is yielded.
    """
    left, failures = deque(partitions), 0

    def next_parts() -> Iterator[tuple[int, int]]:
        while left and failures < _FAILURES:
            yield left.popleft()

    ended = Sealed(0, 0, 0)
    while left and failures < _FAILURES:
        for part, done in each(client, next_parts(), partial(_submit, client, epoch)):
            sealed = Sealed(*done.result) if done.result else Sealed(0, 0, 0, INDETERMINATE, done.reason)
            if not sealed.problem:
                failures = 0 if failures < _FAILURES else failures
            elif sealed.problem == INDETERMINATE:
                left.append(part)
                failures += 1
                time.sleep(failures * PAUSE)
            else:
                failures = _FAILURES
            ended = sealed if sealed.problem else ended
            yield sealed._replace(problem="", reason="")
    if failures >= _FAILURES:
        yield Sealed(0, 0, 0, ended.problem, ended.reason)


def _submit(client: Client, epoch: int, part: tuple[int, int]) -> Future:
    return client.submit(seal_partition, epoch, *part, pure=False)


async def _seal(epoch: int, first: int, last: int) -> tuple[int, int, int, str, str]:
    settings, registrar = _registrar(epoch)
    transport = HttpTransport(settings.parties, SECONDS)
    listings = identifiers = refused = 0
    problem = reason = ""
    try:
        async for batch in registrar.seal_pending(
            lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message), (first, last)
        ):
            listings += batch.listings
            identifiers += batch.identifiers
            refused += len(batch.refused)
    except PeerError as error:
        problem, reason = kind_of(error), str(error)
    finally:
        await transport.close()
    return listings, identifiers, refused, problem, reason


@cache
def _registrar(epoch: int) -> tuple[Settings, Registrar]:
    """What acts for the agency in an epoch, opened once a process, by its environment."""
    settings = Settings()
    if settings.terms.roster.epoch != epoch:
        settings = settings.in_epoch(read_terms(next_roster(settings.roster).read_bytes()))
    return settings, open_register(settings).registrar
