"""`concordat portfolio …` against a gateway that listens on a real port."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.cli import portfolio
from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from tests.gateways import CASE, DISPUTED, NOBODY, ONE, firm
from tests.integration.test_cli_ask import SECRET, Server, run, server  # noqa: F401  # fixtures
from tests.parties import NOW, PURPOSE

UNTIL = str(datetime.fromtimestamp(NOW, UTC).date() + timedelta(days=30))
TERMS = ("--purpose", PURPOSE, "--case", CASE, "--every", "6h", "--until", UNTIL)
COMMAND = "portfolio"


def write(path: Path, *rows: tuple[str, str, str]) -> Path:
    lines = [",".join(("reference", "scheme", "identifier")), *(",".join((it[2], *it[:2])) for it in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [(it.scheme, it.value, f"firm {number}") for number, it in enumerate((ONE, DISPUTED, NOBODY))]
    return write(tmp_path / "portfolio.csv", *rows)


@pytest.fixture
def home(server: Server) -> Path:  # noqa: F811
    return server.home.directory


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_portfolio_from_registration_to_deletion(run: Any, home: Path, file: Path, tmp_path: Path) -> None:  # noqa: F811
    code, out, err = run(COMMAND, "register", home, file, *TERMS, "--webhook", "http://127.0.0.1:9/hook")
    assert (code, err) == (DONE, "")
    [made] = lines(out)
    assert made["secret"].startswith("whsec_")
    code, out, _ = run(COMMAND, "changes", home, made["id"])
    assert (code, [it["data"]["reference"] for it in lines(out)]) == (DONE, ["firm 0", "firm 1"])
    assert lines(run(COMMAND, "changes", home, made["id"], "--after", "1")[1])[0]["sequence"] == "0000000002"
    more = write(tmp_path / "more.csv", ("cn.reg_no", firm(9).value, "firm 9"))
    assert lines(run(COMMAND, "hand-in", home, made["id"], more)[1])[0]["subjects"] == 4
    shown, *subjects = lines(run(COMMAND, "show", home, "--id", made["id"])[1])
    assert (shown["secret"], [it["reference"] for it in subjects]) == (None, ["firm 0", "firm 1", "firm 2", "firm 9"])
    assert [it["id"] for it in lines(run(COMMAND, "show", home)[1])] == [made["id"]]
    assert run(COMMAND, "delete", home, made["id"])[:2] == (DONE, "erased\n")
    assert run(COMMAND, "show", home)[:2] == (DONE, "")


def test_a_file_of_any_length_is_handed_in_piece_by_piece(
    run: Any,  # noqa: F811
    home: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portfolio, "MAX_BATCH", 2)
    [made] = lines(run(COMMAND, "register", home, file, *TERMS)[1])
    assert lines(run(COMMAND, "show", home)[1])[0]["subjects"] == 3
    assert made["webhook"] is None


def test_changes_that_are_kept_no_longer_are_said(run: Any, server: Server, file: Path) -> None:  # noqa: F811
    home = server.home.directory
    [made] = lines(run(COMMAND, "register", home, file, *TERMS)[1])
    server.office.portfolios().forget(NOW + 1, NOW)
    code, out, err = run(COMMAND, "changes", home, made["id"])
    assert (code, out) == (PARTLY, "")
    assert err.startswith("Some changes are kept no longer.")


@pytest.mark.parametrize("command", ["changes", "delete", "hand-in"])
def test_what_is_no_id_is_refused_here_and_not_repeated(run: Any, home: Path, file: Path, command: str) -> None:  # noqa: F811
    arguments = (file,) if command == "hand-in" else ()
    code, out, err = run(COMMAND, command, home, f"../{SECRET}", *arguments)
    assert (code, out, err) == (BAD_INPUT, "", "ID: not a portfolio's\n")


def test_exit_codes_are_those_of_a_question(run: Any, server: Server, file: Path, tmp_path: Path) -> None:  # noqa: F811
    home = server.home.directory
    wrong = {
        BAD_INPUT: ("--purpose", PURPOSE, "--case", CASE, "--every", "23h", "--until", UNTIL),
        REFUSED: ("--purpose", "curiosity", "--case", CASE, "--every", "6h", "--until", UNTIL),
    }
    for code, terms in wrong.items():
        assert run(COMMAND, "register", home, file, *terms)[0] == code
    assert run(COMMAND, "delete", home, "0" * 32)[0] == BAD_INPUT
    assert run(COMMAND, "register", home, tmp_path / "none.csv", *TERMS)[0] == BAD_INPUT
    assert run(COMMAND, "register", home, write(tmp_path / "empty.csv"), *TERMS)[0] == BAD_INPUT
    told = write(tmp_path / "told.csv", ("cn.reg_no", SECRET, f"no. {SECRET}"))
    code, _, err = run(COMMAND, "register", home, told, *TERMS)
    assert code == BAD_INPUT
    assert SECRET not in err
    server.office.federation.network.detach("tax")
    assert run(COMMAND, "register", home, file, *TERMS)[0] == INDETERMINATE
