"""What integration tests ask: local federations, on SQLite's files and on PostgreSQL; agencies' portals; portfolios."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from api import logs
from nodes.roles import Role
from tests.agencies import SECRET, row, write
from tests.federations import Scene
from tests.portals import FIRM, Town
from tests.postgres import ON_BOTH, places
from tests.watching import Watching


@contextmanager
def created(folder: Path, kind: str) -> Iterator[Scene]:
    with places(kind) as database:
        scene = Scene.create(folder, database=database)
        yield scene
        scene.close()


@pytest.fixture(scope="module", params=ON_BOTH)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One federation for tests that leave it as it was: every question is a session of its own."""
    with created(tmp_path_factory.mktemp("federation"), request.param) as made:
        yield made


@pytest.fixture(params=ON_BOTH)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with created(tmp_path / "federation", request.param) as made:
        yield made


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town.create(tmp_path_factory.mktemp("town"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(town: Town) -> dict[Role, str]:
    """A token of every role at the tax office."""
    return {role: town.token("tax", role, *[FIRM] * (role is Role.SUBJECT)) for role in Role}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three good rows and two that are refused, on lines 3 and 5."""
    bad = row(2, identifier=SECRET, identifier_scheme="cn.uscc"), row(4, severity="9", name=SECRET)
    return write(tmp_path / "listings.csv", [row(1), bad[0], row(3), bad[1], row(5)])


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return Watching(tmp_path)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the service writes to its log, and to standard error."""
    handlers, level, written = logging.root.handlers[:], logging.root.level, io.StringIO()
    logging.root.handlers.clear()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, written)
    logs.configure("procurement-office")
    yield written
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
