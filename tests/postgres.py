"""Throwaway places on the PostgreSQL server of `CONCORDAT_TEST_POSTGRES`, for tests marked `postgres`."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.pool import NullPool

from api.local import in_files

SERVER = "CONCORDAT_TEST_POSTGRES"
ON_BOTH = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
"""Parameters of a fixture whose tests speak about SQLite and about PostgreSQL."""


@contextmanager
def schema(*options: str) -> Iterator[str]:
    """The URL of a new, empty schema; `options` (`name=value`) are what the server would be set up with."""
    name = _name()
    run(f"CREATE SCHEMA {name}")
    try:
        asked = " ".join(f"-c{option}" for option in (f"search_path={name}", *options))
        yield _text(_server().update_query_dict({"options": asked}))
    finally:
        run(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def places(kind: str) -> Iterator[Callable[[Path], str]]:
    """Where a federation's databases are, by the path each would have: SQLite's files, or a schema each."""
    with ExitStack() as stack:
        yield in_files if kind == "sqlite" else cache(lambda _path: stack.enter_context(schema()))


@contextmanager
def databases(count: int) -> Iterator[list[str]]:
    """The URLs of new, empty databases."""
    with ExitStack() as stack:
        yield [stack.enter_context(_database()) for _ in range(count)]


def run(statement: str) -> None:
    """Run a statement as the server's owner."""
    engine = create_engine(_server(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET lock_timeout = '20s'")  # a test that leaves a transaction open fails by itself
        connection.exec_driver_sql(statement)


@contextmanager
def _database() -> Iterator[str]:
    name = _name()
    run(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield _text(_server().set(database=name))
    finally:
        run(f"DROP DATABASE {name} WITH (FORCE)")


def _server() -> URL:
    if SERVER not in os.environ:
        pytest.fail(f"{SERVER} is not set: run `.ci/postgres .venv/bin/pytest -m postgres`", pytrace=False)
    return make_url(os.environ[SERVER])


def _name() -> str:
    return f"test_{secrets.token_hex(8)}"


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
