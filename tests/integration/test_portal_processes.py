"""Portals of separate processes: from a decision's notice to the door, and from an objection to the next decision."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_processes import TODAY, ask, concordat, row, running, write
from tests.parties import AGENCIES

FIRM = ("cn.firm", "F0001")
SHOWN = {"identifiers": [{"scheme": FIRM[0], "value": FIRM[1]}]}


def told(home: Path, token: str, *options: str) -> dict[str, Any]:
    """What `concordat subject ask` prints, given the token by its environment."""
    command = [sys.executable, "-m", "api.cli", "subject", "ask", str(home), "--json", *options]
    env = os.environ | {"CONCORDAT_TOKEN": token}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)  # noqa: S603
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def post(url: str, token: str, body: object) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"}
    reply = httpx.post(url, json=body, headers=headers, timeout=40, trust_env=False)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


@pytest.mark.full
def test_a_notice_leads_to_the_door_where_an_objection_changes_the_next_decision(tmp_path: Path) -> None:
    with running(tmp_path) as home:
        file = write(tmp_path / "tax.csv", [row(1, "active", 2, second=False)])
        concordat("import", home, "--agency", "tax", "--register", "tax-register", file)
        [decided] = ask(home, [FIRM])
        door = decided["notice"][0]["door"]
        assert httpx.get(door, trust_env=False).json()["agencies"][0]["id"] == AGENCIES[0]

        urls = json.loads((home / "urls.json").read_text())
        assert httpx.get(f"{urls['coordinator']}/subject", trust_env=False).status_code == 404
        staff = {
            agency: concordat("node", "staff", "add", home, "cleo", "--agency", agency, "--role", "clerk").strip()
            for agency in (AGENCIES[0], "tax")
        }
        subject = {
            agency: post(f"{urls['agencies'][agency]}/clerk/subjects", token, SHOWN)["token"]
            for agency, token in staff.items()
        }
        found = told(home, subject[AGENCIES[0]])
        assert found["missing"] == []
        [listing] = found["agencies"]["tax"]["listings"]
        assert (listing["subject"]["name"], listing["state"]) == ("Firm 1", "active")
        assert listing["asked_for"][0]["through"] == AGENCIES[0]
        assert [agency for agency, held in found["agencies"].items() if held["listings"]] == ["tax"]

        objection = f"{urls['agencies']['tax']}/subject/listings/{listing['reference']}/objection"
        assert post(objection, subject["tax"], {"reason": "It was another firm."})["state"] == "disputed"
        assert [it["disputed"] for it in ask(home, [FIRM])[0]["measures"]] == [True]
        entered = {
            "register": "tax-register",
            "identifier_scheme": "cn.firm",
            "identifier": "F0002",
            "subject_kind": "legal",
            "name": "Firm 2",
            "ground": "debarred",
            "decision_ref": "ref 2",
            "decided_on": f"{TODAY.year - 1}-01-05",
            "served_on": f"{TODAY.year - 1}-01-09",
            "severity": 2,
        }
        assert post(f"{urls['agencies']['tax']}/clerk/listings", staff["tax"], entered)["state"] == "active"
        assert [it["disputed"] for it in ask(home, [("cn.firm", "F0002")])[0]["measures"]] == [False]
        logs = b"".join(path.read_bytes() for path in home.rglob("log"))
        for secret in (*staff.values(), *subject.values(), "F0001", "Firm 1", listing["reference"]):
            assert secret.encode() not in logs
