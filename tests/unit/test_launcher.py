"""What a started party is given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.home import Home
from api.launcher import Launcher
from tests.parties import agreement


def test_a_database_named_where_all_are_started_is_given_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or all parties would share it; a party's own stands in its own directory."""
    given: dict[str, str] = {}

    def popen(_command: list[str], *, env: dict[str, str], **_: Any) -> SimpleNamespace:
        given.update(env)
        return SimpleNamespace(pid=1)

    monkeypatch.setattr("api.launcher.subprocess.Popen", popen)
    monkeypatch.setenv("CONCORDAT_STATE_URL", "sqlite:///everybodys")
    monkeypatch.setenv("CONCORDAT_LISTINGS_URL", "sqlite:///everybodys")
    monkeypatch.setenv("CONCORDAT_PASSPHRASE", "as told")
    home = Home(tmp_path)
    home.party_path("tax", agreement()).mkdir(parents=True)
    Launcher(home, agreement())._spawn("tax", "http://127.0.0.1:4711")
    assert {name for name in given if name.startswith("CONCORDAT_")} == {
        *("CONCORDAT_PARTY", "CONCORDAT_ROSTER", "CONCORDAT_URLS", "CONCORDAT_HOST", "CONCORDAT_PORT"),
        "CONCORDAT_PASSPHRASE",
    }
    assert (given["CONCORDAT_PARTY"], given["CONCORDAT_PORT"]) == ("tax", "4711")
