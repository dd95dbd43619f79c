"""Dask, as one party's own engine: a scheduler and workers that are trusted like its other processes (ADR 0009).

Whoever reaches a Dask scheduler runs code on its workers. So a cluster that is started here is reached by its starter
alone, over TLS with keys of its own; one that is there already by TLS, or on this machine's loopback.
"""

import ipaddress
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import dask
from distributed import Client, Future, LocalCluster, as_completed
from distributed.security import Security

from api.logs import described
from protocol.errors import ConcordatError

T = TypeVar("T")

CONNECT_SECONDS: Final = 30
_AHEAD: Final = 2  # tasks for each thread of the workers: one that runs, and one that is there when it is done
_HOST: Final = "127.0.0.1"
_NO_PAGES: Final[dict[str, list[str]]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}


class ClusterError(ConcordatError):
    """There is no cluster to work on; says why."""


@contextmanager
def cluster(scheduler: str | None, workers: int, environment: Mapping[str, str]) -> Iterator[Client]:
    """A client of the scheduler at an address, or of one that is started here with so many worker processes.

    Workers that are started here have `environment` beside this process's own; others have theirs.

    Raises:
        ClusterError: the address is not one to send work to, or nobody works there.
    """
    if scheduler is None:
        with (
            dask.config.set(_NO_PAGES),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host=_HOST,
                protocol="tls://",
                security=Security.temporary(),
                dashboard_address=f"{_HOST}:0",
                worker_dashboard_address=f"{_HOST}:0",
                env=dict(environment),
                silence_logs=logging.CRITICAL,  # what a library says of its tasks is for nobody
            ) as started,
            Client(started, set_as_default=False) as client,
        ):
            yield client
        return
    check_address(scheduler)
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        raise ClusterError("no scheduler answers there, or not by these certificates") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise ClusterError("the scheduler has no workers") from error
        yield client


def check_address(scheduler: str) -> None:
    """Refuse an address to which work would travel in clear over a network.

    Raises:
        ClusterError: neither `tls://HOST:PORT`, nor `tcp://` on loopback.
    """
    try:
        parts = urlsplit(scheduler)
        is_complete = bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_complete = False
    if not is_complete or not (parts.scheme == "tls" or (parts.scheme == "tcp" and _is_loopback(parts.hostname))):
        raise ClusterError("not tls://HOST:PORT, or tcp:// with an address of this machine's loopback")


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Done(NamedTuple):
    """What a task returned; None, and why, where it returned nothing: its workers died, again and again."""

    result: Any
    reason: str = ""


def each(client: Client, parts: Iterable[T], submit: Callable[[T], Future]) -> Iterator[tuple[T, Done]]:
    """Have every part worked on, a few ahead; yields each when it is done, in any order.

    What a worker that died was at is begun again on another; a part whose workers died four times is given up.
    """
    waiting, of, going = iter(parts), dict[str, T](), as_completed(loop=client.loop)

    def begin(some: int) -> None:
        for part in islice(waiting, some):
            future = submit(part)
            of[future.key] = part
            going.add(future)

    begin(_AHEAD * sum(client.nthreads().values()))
    for future in going:
        error = future.exception() if future.status != "finished" else None
        done = Done(future.result()) if error is None else Done(None, described(error)["error"])
        yield of.pop(future.key), done
        future.release()
        begin(1)
