"""Separate processes, driven only by what the contract promises: commands, exit codes, files, HTTP."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.parties import AGENCIES, PURPOSE, REQUESTER, agreement

TODAY = datetime.now(UTC).date()
COLUMNS = (
    *("identifier_scheme", "identifier", "other_identifiers", "subject_kind", "name", "ground", "decision_ref"),
    *("decided_on", "served_on", "severity", "expires_on"),
)
DONE, INDETERMINATE, PARTLY = 0, 3, 5

Row = dict[str, str]


def concordat(*arguments: str | Path, exit_code: int = DONE) -> str:
    """Run a command; returns what it printed on standard output."""
    command = [sys.executable, "-m", "api.cli", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    assert ended.returncode == exit_code, (arguments, ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout


@contextmanager
def running(directory: Path, founded: Callable[[Path], object] = lambda _home: None, **changes: Any) -> Iterator[Path]:
    """A founded federation that runs; `founded` is called in between."""
    valid = {"from": str(TODAY - timedelta(days=9)), "until": str(TODAY + timedelta(days=300))}
    document = agreement(**{"valid": valid} | changes).model_dump(mode="json", by_alias=True, exclude_none=True)
    file = directory / "agreement.yml"
    file.write_text(yaml.safe_dump(document))
    home = directory / "federation"
    concordat("init", home, "--agreement", file)
    founded(home)
    concordat("up", home, "--wait")
    try:
        yield home
    finally:
        concordat("down", home)


def ask(home: Path, subjects: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    url = json.loads((home / "urls.json").read_text())["gateways"][REQUESTER]
    token = (home / "tokens" / REQUESTER).read_text().strip()
    body = {
        "agreement": "procurement",
        "purpose": PURPOSE,
        "case": "case 1",
        "subjects": [{"scheme": scheme, "value": value} for scheme, value in subjects],
    }
    headers = {"authorization": f"Bearer {token}"}
    reply = httpx.post(f"{url}/v1/membership:batch", json=body, headers=headers, timeout=40, trust_env=False)
    assert reply.status_code == 200, reply.text
    items: list[dict[str, Any]] = reply.json()["items"]
    return items


def row(number: int, state: str, severity: int, second: bool) -> Row:
    decided, served, expires = TODAY - timedelta(days=60), TODAY - timedelta(days=50), ""
    if state == "expired":
        expires = str(TODAY - timedelta(days=1))
    if state == "notified":
        decided, served = TODAY - timedelta(days=3), TODAY - timedelta(days=2)
    values = ("cn.firm", f"F{number:04}", f"de.firm:D{number:04}" if second else "", "legal", f"Firm {number}")
    dates = (str(decided), str(served))
    return dict(zip(COLUMNS, (*values, "debarred", f"ref {number}", *dates, str(severity), expires), strict=True))


def write(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.full
def test_a_federation_answers_as_the_plain_join_would(tmp_path: Path) -> None:
    numbers = random.Random(7)  # noqa: S311
    states = ("active", "active", "active", "expired", "notified", "disputed")
    registers = {
        agency: {number: (numbers.choice(states), numbers.randint(1, 3)) for number in numbers.sample(range(200), 60)}
        for agency in AGENCIES
    }
    with running(tmp_path) as home:
        for agency, listed in registers.items():
            rows = [row(number, state, severity, number % 3 == 0) for number, (state, severity) in listed.items()]
            file = write(tmp_path / f"{agency}.csv", rows)
            concordat("import", home, "--agency", agency, "--register", f"{agency}-register", file)
        disputed = [(agency, n) for agency, listed in registers.items() for n in listed if listed[n][0] == "disputed"]
        chosen = disputed[:4]
        for agency, number in chosen:
            concordat(
                "node", "dispute", home, "--agency", agency, "--register", f"{agency}-register", f"cn.firm:F{number:04}"
            )
        for agency, number in disputed:
            severity = registers[agency][number][1]
            registers[agency][number] = ("disputed" if (agency, number) in chosen else "active", severity)

        subjects = [("de.firm", f"D{n:04}") if n % 3 == 0 else ("cn.firm", f"F{n:04}") for n in range(200)]
        for number, item in enumerate(ask(home, subjects)):
            assert item["outcome"] == "decided"
            found = {(measure["id"], measure["disputed"]) for measure in item["measures"]}
            assert found == plain(registers, number), number

        # An import into the running federation changes the very next answer; one bad row does not keep the others.
        unlisted = next(n for n in range(200) if not any(n in listed for listed in registers.values()))
        before = json.loads(concordat(*question(home, unlisted)))
        bad = {**row(1, "active", 1, False), "severity": "9"}
        concordat(
            *("import", home, "--agency", "tax", "--register", "tax-register"),
            write(tmp_path / "more.csv", [bad, row(unlisted, "active", 2, False)]),
            exit_code=PARTLY,
        )
        after = json.loads(concordat(*question(home, unlisted)))
        assert (before["measures"], [it["id"] for it in after["measures"]]) == ([], ["exclude"])

        certificate = tmp_path / "certificate.json"
        certificate.write_text(json.dumps(after))
        said = concordat("certificate", "verify", certificate, "--roster", home / "agreement.roster")
        assert "exclude" in said

        # One agency down: indeterminate, and it is named; up again: decided.
        os.kill(int((home / "agencies/court/pid").read_text()), signal.SIGKILL)
        problem = json.loads(concordat(*question(home, unlisted), exit_code=INDETERMINATE))
        assert (problem["outcome"], problem["missing"]) == ("indeterminate", ["court"])
        concordat("up", home, "--wait")
        assert json.loads(concordat(*question(home, unlisted)))["measures"] == after["measures"]


def question(home: Path, number: int) -> tuple[str | Path, ...]:
    return ("check", home, f"cn.firm:F{number:04}", "--purpose", PURPOSE, "--case", "case 2", "--json")


def plain(registers: dict[str, dict[int, tuple[str, int]]], number: int) -> set[tuple[str, bool]]:
    """What the default agreement of the tests decides, from the rows as they are."""
    found = [listed[number] for listed in registers.values() if number in listed]
    active = [severity for state, severity in found if state == "active"]
    disputed = [severity for state, severity in found if state == "disputed"]
    decided = set()
    if active:
        decided.add(("exclude", False))
    elif disputed:
        decided.add(("exclude", True))
    if len(active) >= 2 and sum(active) >= 4:
        decided.add(("scrutinise", False))
    elif disputed and len(active) + len(disputed) >= 2:
        decided.add(("scrutinise", True))
    return decided


@pytest.mark.full
def test_whoever_is_killed_comes_back_whole_and_what_hangs_is_named_in_time(tmp_path: Path) -> None:
    with running(tmp_path) as home:
        file = write(tmp_path / "tax.csv", [row(number, "active", 2, False) for number in range(20)])
        concordat("import", home, "--agency", "tax", "--register", "tax-register", file)
        subjects = [("cn.firm", f"F{number:04}") for number in range(40)]
        expected = [[("exclude", False)] if number < 20 else [] for number in range(40)]
        for party in ("coordinator", "agencies/tax", f"gateways/{REQUESTER}", "agencies/labour"):
            os.kill(int((home / party / "pid").read_text()), signal.SIGKILL)
            concordat("up", home, "--wait")
            items = ask(home, subjects)
            assert [[(it["id"], it["disputed"]) for it in item["measures"]] for item in items] == expected

        # And at moments nobody chose, in the middle of questions: what is decided all the same is right.
        numbers = random.Random(11)  # noqa: S311
        with ThreadPoolExecutor(1) as client:
            for party in ("coordinator", "agencies/tax", "agencies/court", "coordinator"):
                asking = client.submit(ask, home, subjects)
                time.sleep(numbers.uniform(0.01, 0.3))
                os.kill(int((home / party / "pid").read_text()), signal.SIGKILL)
                concordat("up", home, "--wait")
                for item, wanted in zip(asking.result(), expected, strict=True):
                    if item["outcome"] == "decided":
                        assert [(it["id"], it["disputed"]) for it in item["measures"]] == wanted
                    else:
                        assert item["missing"] in (["coordinator"], ["tax"], ["court"])

        process = int((home / "agencies/market/pid").read_text())
        os.kill(process, signal.SIGSTOP)
        started = time.monotonic()
        (item,) = ask(home, subjects[:1])
        assert time.monotonic() - started < 30
        assert item == {"outcome": "indeterminate", "missing": ["market"]}
        os.kill(process, signal.SIGCONT)
        deadline = time.monotonic() + 5
        while (item := ask(home, subjects[:1])[0])["outcome"] != "decided":
            assert time.monotonic() < deadline
        assert item["measures"][0]["id"] == "exclude"


def test_nothing_is_changed_where_something_is_already(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    concordat("init", tmp_path / "there", "--agreement", tmp_path / "none", exit_code=2)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]
    bad = tmp_path / "bad.yaml"
    bad.write_text("concordat: 1\n")
    concordat("init", tmp_path / "new", "--agreement", bad, exit_code=2)
    assert not (tmp_path / "new").exists()
