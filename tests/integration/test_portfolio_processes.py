"""Monitoring among processes: agencies change their registers by command, a gateway is killed, nothing is lost."""

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.integration.test_processes import concordat, row, running, write
from tests.parties import PURPOSE, REQUESTER
from tests.unit.federation.test_webhooks import receiving

pytestmark = pytest.mark.full
SECONDS = 150


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_an_addition_and_a_removal_arrive_though_the_gateway_is_killed_in_between(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.csv"
    file.write_text("scheme,identifier,reference\n" + "".join(f"cn.firm,F{it:04},firm {it}\n" for it in range(3)))
    with running(tmp_path) as home, receiving() as receiver:
        listed = write(tmp_path / "tax.csv", [row(0, "active", 2, False)])
        concordat("import", home, "--agency", "tax", "--register", "tax-register", listed)
        terms = ("--purpose", PURPOSE, "--case", "c", "--every", "1m", "--until", str(datetime.now(UTC).date()))
        [made] = lines(concordat("portfolio", "register", home, file, *terms, "--webhook", receiver.url))

        listed = write(tmp_path / "court.csv", [row(1, "active", 2, False)])
        concordat("import", home, "--agency", "court", "--register", "court-register", listed)
        pid = int((home / f"gateways/{REQUESTER}/pid").read_text())
        os.kill(pid, signal.SIGKILL)
        concordat("up", home, "--wait")
        until(lambda: len(receiver.got) >= 2)

        [entry] = lines_of(concordat("node", "find", home, "cn.firm:F0000", "--agency", "tax"))
        concordat("node", "revoke", home, entry, "--agency", "tax", "--by", "head", "--reason", "r", "--document", "d")
        until(lambda: len({headers["webhook-id"] for headers, _ in receiver.got}) == 3)

        events = {
            headers["webhook-id"]: Webhook(made["secret"]).verify(body, headers) for headers, body in receiver.got
        }
        feed = lines(concordat("portfolio", "changes", home, made["id"]))
        assert list(events.values()) == feed
        told = [(it["data"]["reference"], it["data"]["changes"]) for it in feed]
        assert told == [
            ("firm 0", [{"measure": "exclude", "change": "added"}]),
            ("firm 1", [{"measure": "exclude", "change": "added"}]),
            ("firm 0", [{"measure": "exclude", "change": "removed"}]),
        ]
        assert [name for name in home.rglob("gateways/**/*") if name.is_file() and b"F000" in name.read_bytes()] == []


def lines_of(text: str) -> list[str]:
    """References in what `node find` prints."""
    return [word for word in text.split() if len(word) == 32 and set(word) <= set("0123456789abcdef")]
