"""Local federations that integration tests ask."""

from pathlib import Path

import pytest

from tests.federations import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One federation for tests that leave it as it was: every question is a session of its own."""
    return Scene.create(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def fresh(tmp_path: Path) -> Scene:
    return Scene.create(tmp_path / "federation")
