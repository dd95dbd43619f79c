"""A federation whose parties keep their databases on PostgreSQL answers as one that keeps them in files."""

import json
import os
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url

from tests.integration.test_processes import INDETERMINATE, ask, concordat, question, row, running, write
from tests.parties import AGENCIES, REQUESTER
from tests.postgres import databases

pytestmark = pytest.mark.postgres

PASSWORD = "geheim-17"  # noqa: S105  # of nobody: the server trusts who reaches it
TABLES = {
    "LISTINGS": {"listing", "seal", "pending", "canary", "credential", "event", "identifier", "listings_version"},
    "PORTFOLIOS": {"portfolio", "subject", "change", "portfolios_version"},
    "STATE": {"session", "opening", "charge", "log", "contribution", "published", "state_version"},
}
HOLDERS = (
    *product((f"agencies/{agency}" for agency in AGENCIES), ("LISTINGS", "STATE")),
    *product((f"gateways/{REQUESTER}", "gateways/bank"), ("PORTFOLIOS", "STATE")),
    ("coordinator", "STATE"),
)


@pytest.fixture
def urls() -> Iterator[dict[tuple[str, str], str]]:
    """A database each, by party and name; the URLs hold a password."""
    with databases(len(HOLDERS)) as made:
        with_password = (make_url(url).set(password=PASSWORD).render_as_string(hide_password=False) for url in made)
        yield dict(zip(HOLDERS, with_password, strict=True))


def test_it_answers_and_whoever_is_killed_comes_back_whole(tmp_path: Path, urls: dict[tuple[str, str], str]) -> None:
    def settle(home: Path) -> None:
        for (party, name), url in urls.items():
            with (home / party / "settings.env").open("a") as file:
                file.write(f"CONCORDAT_{name}_URL={url}\n")

    subjects = [("cn.firm", f"F{number:04}") for number in range(40)]
    with running(tmp_path, settle) as home:
        for agency, numbers in (("tax", range(20)), ("court", range(10, 30))):
            file = write(tmp_path / f"{agency}.csv", [row(number, "active", 2, False) for number in numbers])
            concordat("import", home, "--agency", agency, "--register", f"{agency}-register", file)
        before = [item["measures"] for item in ask(home, subjects)]
        expected = [(number < 30) + (10 <= number < 20) for number in range(40)]
        assert [len(measures) for measures in before] == expected

        os.kill(int((home / "agencies/court/pid").read_text()), signal.SIGKILL)
        problem = json.loads(concordat(*question(home, 1), exit_code=INDETERMINATE))
        assert problem["missing"] == ["court"]
        os.kill(int((home / "coordinator/pid").read_text()), signal.SIGKILL)
        concordat("up", home, "--wait")
        assert [item["measures"] for item in ask(home, subjects)] == before

        assert list(home.rglob("*.sqlite*")) == []
        written = {path.name for path in home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()}
        assert written == {"settings.env"}
    for (party, name), url in urls.items():
        engine = create_engine(url)
        assert set(inspect(engine).get_table_names()) == TABLES[name], party
        engine.dispose()
