"""Settings come from the environment, then from the party's own file; what is secret in them is not shown."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from pydantic import ValidationError

from api.home import parties, read_urls, write_urls
from api.settings import Settings
from tests.parties import agreement

URL = "postgresql+psycopg://somebody:geheim-17@host/db"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("party", "roster", "urls"):
        monkeypatch.setenv(f"CONCORDAT_{name.upper()}", name)
    return tmp_path


def test_a_database_is_a_file_in_the_partys_directory_unless_said_otherwise(directory: Path) -> None:
    assert Settings(directory=directory).database("state") == f"sqlite:///{directory}/state.sqlite"


def test_the_partys_own_file_says_what_the_environment_leaves_open(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "settings.env").write_text(f"CONCORDAT_STATE_URL={URL}\nCONCORDAT_PARTY=other\n")
    settings = Settings(directory=directory)
    assert (settings.party, settings.database("state")) == ("party", URL)
    assert settings.database("listings").startswith("sqlite:")
    monkeypatch.setenv("CONCORDAT_STATE_URL", "sqlite://")
    assert Settings(directory=directory).database("state") == "sqlite://"


def test_a_databases_url_is_not_shown(directory: Path) -> None:
    (directory / "settings.env").write_text(f"CONCORDAT_STATE_URL={URL}\n")
    settings = Settings(directory=directory)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "geheim" not in shown
        assert "somebody" not in shown


def test_a_setting_that_does_not_exist_is_refused_without_its_value(directory: Path) -> None:
    (directory / "settings.env").write_text(f"CONCORDAT_STATES_URL={URL}\n")
    with pytest.raises(ValidationError, match="states_url") as caught:
        Settings(directory=directory)
    assert "geheim" not in str(caught.value)


def test_where_parties_listen_is_read_once_and_again_once_it_changed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked up for every message, and one file may take another's place at any time."""
    settings, read = Settings(directory=directory, urls=directory / "urls.json"), Mock(wraps=read_urls)
    assert settings.parties() == {}
    monkeypatch.setattr("api.settings.read_urls", read)
    for port in (1, 2, 1):
        urls = dict.fromkeys(parties(agreement()), f"http://127.0.0.1:{port}")
        write_urls(settings.urls, urls, agreement())
        for _ in range(3):
            assert settings.parties() == urls
    assert read.call_count == 3
    settings.urls.unlink()
    assert settings.parties() == {}
