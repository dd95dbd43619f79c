"""A new version under a running federation of separate processes: every decision is right by the version it names."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api import keystore
from api.home import Home
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from tests.integration.test_epochs import Caller, evaluate, listings, own, sealed, until
from tests.integration.test_processes import concordat, row, running, write
from tests.parties import AGENCIES, PURPOSE, REQUESTER, agreement

INDETERMINATE, REFUSED = 3, 4
MANY = 400
STAYING = ("labour", "tax", "court", "customs")
LATER = (*STAYING, "bureau")
FIGURES = {"population": 20_000, "k_min": 1000, "max_listings": 1_000}


def version(number: int, home: Path, **changes: Any) -> Path:
    """The YAML of a version: from the second on with other agencies, and to exclude takes two of them."""
    current = Home(home).terms().agreement
    document = agreement(
        LATER,
        rules=[
            {"measure": "exclude", "when": {"registers": [f"{it}-register" for it in LATER], "min_agencies": 2}},
            {"measure": "scrutinise", "when": {"registers": [f"{it}-register" for it in LATER]}},
        ],
        version=number,
        valid=current.valid.model_dump(mode="json", by_alias=True),
        anonymity=FIGURES,
    ).model_dump(mode="json", by_alias=True, exclude_none=True)
    document["requesters"][0]["implements"] = ["exclude"]
    file = home.parent / f"version {number}.yaml"
    file.write_text(yaml.safe_dump(document | changes))
    return file


class ByVersion(Caller):
    """Holds every answer against the plain evaluation of the version that its decision names."""

    def expected(self, number: int, version: int) -> set[tuple[str, bool]]:
        listed = {agency for agency, rows in self.registers.items() if number in rows}
        if version == 1:
            found = listed & {*AGENCIES}
            severities = sum(self.registers[agency][number][1] for agency in found)
            scrutinised = len(found) >= 2 and severities >= 4
            return {(name, False) for name, holds in (("exclude", found), ("scrutinise", scrutinised)) if holds}
        return {("exclude", False)} if len(listed & {*LATER}) >= 2 else set()


def enter(home: Path, agency: str, *numbers: int) -> None:
    file = write(home.parent / f"{agency}.csv", [row(number, "active", 2, False) for number in numbers])
    concordat("import", home, "--agency", agency, "--register", f"{agency}-register", file)


@pytest.mark.full
def test_a_version_with_other_rules_measures_and_agencies_takes_over_while_questions_go_on(tmp_path: Path) -> None:
    registers: dict[str, dict[int, tuple[str, int]]] = {
        "labour": dict.fromkeys(range(0, 10, 3), ("active", 2)),
        "tax": dict.fromkeys(range(0, 2 * MANY, 2), ("active", 2)),
        "market": dict.fromkeys((1, 3, 6), ("active", 2)),
        "bureau": dict.fromkeys((2, 5, 7, 8), ("active", 2)),
    }

    def fill(home: Path) -> None:
        for agency in ("labour", "tax", "market"):
            enter(home, agency, *registers[agency])

    with running(tmp_path, fill, anonymity=FIGURES) as home:
        caller = ByVersion(home, registers)
        before, keys = own(home, REQUESTER, 1), (home / "agencies/market/passphrase").read_bytes().strip()
        charged = "SELECT used FROM charge WHERE sender = 'procurement-office' AND kind = 'ask' AND period LIKE 'day%'"

        # It begins beside questions; who joins has keys, is started, and loads its register before it counts.
        with caller.asking():
            concordat("epoch", "begin", home, "--agreement", version(2, home))
            until(lambda: sealed(home, "tax", 2) > 0)
            os.kill(int((home / "agencies/tax/pid").read_text()), signal.SIGKILL)
            concordat("epoch", "switch", home, exit_code=INDETERMINATE)
            concordat("up", home, "--detach")
            enter(home, "bureau", *registers["bureau"])
            assert not list((home / "agencies/market").glob("keys.2"))
            until(lambda: all(line.endswith("yes") for line in status(home)))
        assert (caller.wrong, caller.missing, caller.epochs) == ([], {"tax"}, {1})
        assert {item["version"] for item in shown(home)} == {1}

        # Nobody asks there before it is current, whatever keys he has.
        assert evaluate(home, own(home, REQUESTER, 1), "coordinator") == 200
        caller.outcomes.clear()
        with caller.asking():
            concordat("epoch", "switch", home)
            until(lambda: caller.epochs == {1, 2})
            until(lambda: {item["version"] for item in shown(home)} == {2})
            caller.epochs.clear()
            assert evaluate(home, before, "labour") == 200
            concordat("epoch", "forget", home, exit_code=REFUSED)
            concordat("epoch", "forget", home, "--now")
            until(lambda: evaluate(home, before, "coordinator") == 401)
        assert (caller.wrong, set(caller.outcomes), caller.epochs) == ([], {"decided"}, {2})
        assert [measure["id"] for item in shown(home) for measure in item["measures"]] == ["exclude"]

        # One quota over both: what was asked today was counted together.
        [(used,)] = state(home, "agencies/labour", charged)
        assert used >= sum(caller.outcomes.values())

        # Who left is stopped with the others, and has its registers, and what opens them, still.
        concordat("down", home)
        assert not (home / "agencies/market/pid").exists()
        assert sorted(path.name for path in (home / "agencies/market").glob("*key*")) == ["database.key"]
        _, node_key = keystore.load(home / "agencies/market/database.key", keys)
        engine = open_engine(f"sqlite:///{home}/agencies/market/listings.sqlite")
        store = ListingStore(engine, ColumnCipher(node_key, os.urandom), 9)
        assert [record.listing.identifiers[0].value for record in store.all()] == ["F0001", "F0003", "F0006"]
        engine.dispose()
        assert listings(home, "market", "SELECT count(*) FROM seal") == [(0,)]

        # It may come back, with what it had.
        agencies = [it.model_dump(mode="json", exclude_none=True) for it in agreement((*LATER, "market")).agencies]
        concordat("epoch", "begin", home, "--agreement", version(3, home, agencies=agencies))
        concordat("up", home, "--detach")
        until(lambda: sealed(home, "market", 3) == 3)
        until(lambda: all(line.endswith("yes") for line in status(home)))
        concordat("epoch", "switch", home)
        concordat("up", home, "--wait")
        assert (home / "agencies/market/keys.3").exists()


def status(home: Path) -> list[str]:
    """How far each agency is."""
    lines = concordat("epoch", "status", home).splitlines()
    return [line.strip(" │").rstrip() for line in lines if line.startswith("│")]


def shown(home: Path) -> list[dict[str, Any]]:
    """What the gateway says may be asked."""
    url = json.loads((home / "urls.json").read_text())["gateways"][REQUESTER]
    token = (home / "tokens" / REQUESTER).read_text().strip()
    reply = httpx.get(f"{url}/v1/agreements", headers={"authorization": f"Bearer {token}"}, trust_env=False)
    found: list[dict[str, Any]] = reply.json()["agreements"]
    assert all(PURPOSE in item["purposes"] for item in found)
    return found


def state(home: Path, party: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home}/{party}/state.sqlite?mode=ro", uri=True)) as database:
        return list(database.execute(statement))
