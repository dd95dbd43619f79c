"""Local federations that integration tests ask: their parties' databases in SQLite's files, and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.federations import Scene
from tests.postgres import ON_BOTH, places


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
