"""A new epoch under a running federation of separate processes: nobody restarts, and nobody is answered wrongly."""

import base64
import json
import os
import secrets
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import keystore
from api.home import Home, keys_path
from protocol.codec import decode
from protocol.identifiers import canonical, to_bytes
from protocol.messages import Ask, Evaluate
from protocol.rounds import requester
from protocol.rounds.party import Party
from tests.integration.test_processes import ask, concordat, plain, row, running, write
from tests.parties import AGENCIES, PURPOSE, REQUESTER

INDETERMINATE = 3
UNAUTHENTICATED = 401
MANY = 700
ASKED = 10
SECONDS = 60.0


@dataclass
class Caller:
    """Asks about the same subjects again and again, and holds every answer against the plain join."""

    home: Path
    registers: dict[str, dict[int, tuple[str, int]]]
    wrong: list[Any] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    missing: set[str] = field(default_factory=set)
    epochs: set[int] = field(default_factory=set)
    longest: float = 0.0

    def ask(self) -> set[int]:
        """Ask once; returns the epochs of the decisions."""
        began = time.monotonic()
        items = ask(self.home, [("cn.firm", f"F{number:04}") for number in range(ASKED)])
        self.longest = max(self.longest, time.monotonic() - began)
        epochs = set()
        for number, item in enumerate(items):
            self.outcomes[item["outcome"]] += 1
            if item["outcome"] != "decided":
                self.missing.update(item["missing"])
                continue
            if {(it["id"], it["disputed"]) for it in item["measures"]} != self.expected(
                number, item["agreement_version"]
            ):
                self.wrong.append((number, item["measures"]))
            epochs.add(decode(base64.b64decode(item["certificate"]["payload"]), 1 << 16)["header"]["epoch"])
        self.epochs |= epochs
        return epochs

    def expected(self, number: int, _version: int) -> set[tuple[str, bool]]:
        """What applies to a subject by this version."""
        return plain(self.registers, number)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask all the time, beside what the block does."""
        stopped, failed = threading.Event(), list[Exception]()

        def run() -> None:
            while not stopped.wait(0.1) and not failed:  # the pause leaves some of the machine to what is tested
                try:
                    self.ask()
                except Exception as error:  # noqa: BLE001  # of a thread nobody else would see it
                    failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
        assert not failed, failed


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listings(home: Path, agency: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home}/agencies/{agency}/listings.sqlite?mode=ro", uri=True)) as database:
        return list(database.execute(statement))


def sealed(home: Path, agency: str, epoch: int) -> int:
    return int(listings(home, agency, f"SELECT count(*) FROM seal WHERE epoch = {epoch}")[0][0])  # noqa: S608


def own(home: Path, party: str, epoch: int) -> Party:
    """A party as itself in an epoch, from the files as they are now."""
    terms = Home(home).terms()
    path = Home(home).party_path(party, terms.agreement)
    held, _ = keystore.load(keys_path(path, epoch), (path / "passphrase").read_bytes().strip())
    return held.party(party, terms)


def evaluate(home: Path, party: Party, receiver: str) -> int:
    """Ask for a pseudonym over HTTP, past the gateway; returns the status."""
    data = [to_bytes(canonical("cn.firm", "F0001"))]
    _, message = requester.evaluate(
        party, data, purpose=PURPOSE, case="case 3", now=int(time.time()), random=secrets.token_bytes
    )
    urls = json.loads((home / "urls.json").read_text())
    url = urls["coordinator"] if receiver == "coordinator" else urls["agencies"][receiver]
    return httpx.post(f"{url}/v1/{Evaluate.TYPE}", content=message, timeout=30, trust_env=False).status_code


def charges(home: Path, party: str) -> dict[tuple[str, str], int]:
    """What a party charged the requester's questions, by kind and period."""
    with closing(sqlite3.connect(f"file:{home}/{party}/state.sqlite?mode=ro", uri=True)) as database:
        found = database.execute("SELECT kind, period, used FROM charge WHERE sender = ?", [REQUESTER])
        return {(kind, period): used for kind, period, used in found if not period.startswith("canary")}


@pytest.mark.full
def test_an_epoch_begins_is_sealed_for_becomes_current_and_is_forgotten_while_questions_go_on(tmp_path: Path) -> None:
    registers: dict[str, dict[int, tuple[str, int]]] = {agency: {} for agency in AGENCIES}
    registers["labour"] = dict.fromkeys(range(0, 60, 3), ("active", 2))
    registers["tax"] = dict.fromkeys(range(0, 2 * MANY, 2), ("active", 2))
    first, second = 2 * MANY + 1, 2 * MANY + 3

    def enter(home: Path, agency: str, *numbers: int) -> None:
        file = write(tmp_path / f"{agency}.csv", [row(number, "active", 2, False) for number in numbers])
        concordat("import", home, "--agency", agency, "--register", f"{agency}-register", file)

    def fill(home: Path) -> None:
        for agency, listed in registers.items():
            if listed:
                enter(home, agency, *listed)

    with running(tmp_path, fill, anonymity={"population": 20_000, "k_min": 1000, "max_listings": 2_000}) as home:
        caller, databases = Caller(home, registers), sorted(home.glob("*/*/listings.sqlite*"))
        old = own(home, REQUESTER, 1)
        old_seals = [seal for (seal,) in listings(home, "tax", "SELECT entry FROM seal LIMIT 50")]
        assert caller.ask() == {1}

        # It begins, and registers are sealed in it, beside questions; who is killed meanwhile goes on where it was.
        with caller.asking():
            concordat("epoch", "begin", home)
            until(lambda: sealed(home, "tax", 2) > 0)
            os.kill(int((home / "agencies/tax/pid").read_text()), signal.SIGKILL)
            before = sealed(home, "tax", 2)
            assert 0 < before < MANY
            concordat("epoch", "switch", home, exit_code=INDETERMINATE)
            concordat("up", home, "--detach")
            until(lambda: sealed(home, "tax", 2) > before)
        assert (caller.wrong, caller.missing, caller.epochs) == ([], {"tax"}, {1})

        # What is entered meanwhile counts at once, and in the next epoch too. Nobody notices the change itself.
        caller.outcomes.clear()
        with caller.asking():
            enter(home, "court", first)
            assert measures(home, first) == ["exclude"]
            until(lambda: [sealed(home, agency, 2) for agency in ("tax", "labour", "court")] == [MANY, 20, 1])
            concordat("epoch", "switch", home)
            until(lambda: caller.epochs == {1, 2})
            caller.epochs.clear()
            assert measures(home, first) == ["exclude"]
            enter(home, "court", second)
            assert measures(home, second) == ["exclude"]
            assert [evaluate(home, old, receiver) for receiver in ("coordinator", "labour")] == [200, 200]
            concordat("epoch", "forget", home, "--now")
            until(lambda: evaluate(home, old, "coordinator") == UNAUTHENTICATED)
            until(lambda: evaluate(home, old, "labour") == UNAUTHENTICATED)
        assert (caller.wrong, set(caller.outcomes), caller.epochs) == ([], {"decided"}, {2})
        assert [measures(home, number) for number in (0, first, second)] == [
            ["exclude", "scrutinise"],
            *[["exclude"]] * 2,
        ]

        # Nothing of the old epoch is left on disk.
        assert not [*home.rglob("keys"), *home.rglob("previous.roster"), *home.rglob("next.roster")]
        assert len([*home.rglob("keys.2")]) == len(AGENCIES) + 3
        for agency in AGENCIES:
            for table in ("seal", "canary", "pending"):
                assert listings(home, agency, f"SELECT count(*) FROM {table} WHERE epoch < 2") == [(0,)]  # noqa: S608
        kept = b"".join(path.read_bytes() for path in databases if path.exists())
        assert old_seals
        assert not [seal for seal in old_seals if seal in kept]

        # Two epochs, one quota: each party counted all questions of the day together.
        days = {period for _, period in charges(home, f"gateways/{REQUESTER}")}
        for party in ("coordinator", "agencies/labour", "agencies/court"):
            counted = charges(home, party)
            assert {period for _, period in counted} <= days
            assert sum(used for (kind, _), used in counted.items() if kind == Ask.TYPE) >= sum(caller.outcomes.values())


def measures(home: Path, number: int) -> list[str]:
    """What applies to a subject; a question without a decision fails the test."""
    return [it["id"] for it in ask(home, [("cn.firm", f"F{number:04}")])[0]["measures"]]
