"""Engines of bulk work: this process, or Dask."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from api.cli.exits import BAD_INPUT
from api.cli.terminal import stop

LOCAL: Final = "local"
DASK: Final = "dask"

Engine = Annotated[
    str, typer.Option(metavar=f"{LOCAL}|{DASK}", help="Who does the work: this process, or worker processes by Dask.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Dask scheduler, tls://HOST:PORT; by default one is started here."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="How many worker processes start here; by default one a processor.")
]


def check_engine(engine: str, scheduler: str | None, workers: int | None) -> None:
    """Refuse options that do not go together, and an engine that is not installed."""
    if engine not in {LOCAL, DASK}:
        stop(BAD_INPUT, f"--engine: none of {LOCAL}, {DASK}")
    if engine == LOCAL and not (scheduler is None and workers is None):
        stop(BAD_INPUT, "--scheduler, --workers: only for --engine dask")
    if scheduler is not None and workers is not None:
        stop(BAD_INPUT, "--workers: not with --scheduler, whose workers are there already")
    if workers is not None and workers < 1:
        stop(BAD_INPUT, "--workers: at least one")
    if engine == DASK:
        loaded("cluster")


def loaded(module: str) -> Any:
    """A module of `api.scale`, loaded only where it is used: it needs the extra, and takes a second."""
    try:
        return import_module(f"api.scale.{module}")
    except ModuleNotFoundError:
        stop(BAD_INPUT, "--engine dask: Dask is not installed", "pip install 'concordat-federation[scale]'")


@contextmanager
def dask_client(scheduler: str | None, workers: int | None, environment: Mapping[str, str]) -> Iterator[Any]:
    """A client of a Dask cluster; `environment` is for workers that start here."""
    clusters = loaded("cluster")
    try:
        with clusters.cluster(scheduler, workers or os.cpu_count() or 1, environment) as client:
            yield client
    except clusters.ClusterError as error:
        stop(BAD_INPUT, f"--scheduler: {error}")
