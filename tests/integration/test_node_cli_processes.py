"""An agency's staff at work beside their running node: separate processes, and every step in the very next answer."""

import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.agencies import TODAY
from tests.integration.test_processes import concordat, running

TAX = ("--agency", "tax")
SUBJECT = "cn.reg_no:FIRM7"


def measures(home: Path) -> list[str]:
    """What applies to the subject now."""
    asked = ("--purpose", "award-contract", "--case", "tender 7", "--json")
    answer = json.loads(concordat("check", home, SUBJECT, *asked))
    return [it["id"] for it in answer["measures"]]


@pytest.mark.full
def test_from_draft_to_repair_beside_the_running_node(tmp_path: Path) -> None:
    with running(tmp_path) as home:
        scheme, value = SUBJECT.split(":")
        entered = {
            "identifier_scheme": scheme,
            "identifier": value,
            "subject_kind": "legal",
            "name": "Firm 7",
            "ground": "debarred",
            "decision_ref": "D 7",
            "decided_on": str(TODAY - timedelta(days=900)),
            "severity": 2,
        }
        file = tmp_path / "listing.json"
        file.write_text(json.dumps(entered))
        own = ("--register", "tax-register")
        reference, state, *_ = concordat("node", "enter", home, "--file", file, *own, *TAX, "--by", "clerk").split()
        assert (state, measures(home)) == ("draft", [])
        served = ("--document", "notice 7", "--on", str(TODAY - timedelta(days=60)), "--by", "clerk")
        concordat("node", "serve", home, reference, *TAX, *served)
        assert "exclude" in measures(home)
        concordat("node", "request-repair", home, reference, *TAX, "--reason", "performed")
        assert "decide on repair" in concordat("node", "due", home, *TAX)
        words = ("--reason", "looked into", "--document", "D 8", "--by", "reviewer")
        concordat("node", "repair", home, reference, *TAX, *words)
        assert measures(home) == []

        token = concordat("node", "staff", "add", home, "auditor.1", *TAX, "--role", "auditor").strip()
        url = json.loads((home / "urls.json").read_text())["agencies"]["tax"]
        trail = httpx.get(f"{url}/clerk/trail", headers={"authorization": f"Bearer {token}"}, trust_env=False).json()
        acts = ["enter", "serve", "request-repair", "repair"]
        assert [entry["act"] for entry in trail["entries"]] == acts

        head = concordat("node", "audit-trail", "head", home, *TAX).strip()
        assert concordat("node", "backup", home, tmp_path / "copy", *TAX).strip() == head
        concordat("node", "restore", home, tmp_path / "copy", *TAX, "--replace", exit_code=2)
    concordat("node", "restore", home, tmp_path / "copy", *TAX, "--replace")
    concordat("node", "audit-trail", "verify", home, *TAX, "--kept", head)
