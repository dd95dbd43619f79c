"""A portfolio in an office's service, the steps of its monitoring, and what its feed tells."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.monitoring import Monitor
from nodes.life import Act, Author
from protocol.identifiers import Identifier
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, Office, listing, send
from tests.parties import NOW, PURPOSE

PORTFOLIOS = "/v1/portfolios"
HOUR, DAY = 3_600, 86_400
TODAY = datetime.fromtimestamp(NOW, UTC).date()
REFERENCES = {"supplier one": ONE, "supplier two": BOTH, "supplier three": DISPUTED, "supplier four": NOBODY}
HEAD = Author("head", "not so", "D 1")


def watch(subjects: dict[str, Identifier]) -> list[dict[str, str]]:
    return [{"scheme": it.scheme, "value": it.value, "reference": reference} for reference, it in subjects.items()]


def registration(subjects: dict[str, Identifier] = REFERENCES, **changes: Any) -> dict[str, Any]:
    return {
        "agreement": "procurement",
        "purpose": PURPOSE,
        "case": CASE,
        "every": "6h",
        "until": str(TODAY + timedelta(days=90)),
        "subjects": watch(subjects),
    } | changes


class Watching:
    """An office's service with its monitoring, whose steps a test takes, and one portfolio."""

    def __init__(self, folder: Path, subjects: dict[str, Identifier] = REFERENCES, **document: Any) -> None:
        self.office = Office.create(folder, **document)
        self.start()
        shown = self.call("POST", json=registration(subjects))
        assert shown.status_code == 200, shown.text
        self.id: str = shown.json()["id"]

    def start(self) -> None:
        """The service, as a new process would begin: all that it knows stands in its databases."""
        self.monitor: Monitor = self.office.monitor()
        self.app: FastAPI = self.office.app(monitor=self.monitor)

    def call(self, method: str, path: str = "", **request: Any) -> httpx.Response:
        return send(self.app, method, f"{PORTFOLIOS}{path}", **request)

    def show(self) -> dict[str, Any]:
        return dict(self.call("GET", f"/{self.id}").json())

    def later(self, seconds: int = 6 * HOUR) -> None:
        """So much later the background has done its work."""
        self.office.clock.now += seconds
        self.work()

    def work(self) -> None:
        async def work() -> None:
            await self.monitor.keep()
            await self.monitor.screen()

        asyncio.run(work())

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"/{self.id}/changes", params={"after": after}).json()
            assert page["complete"]
            found += page["changes"]
            if not page["changes"]:
                return found
            after = page["next"]

    def told(self, after: int = 0) -> list[tuple[str, ...]]:
        """Each change in short: the reference and what became of which measure, or that it lapsed."""
        return [
            (it["data"]["reference"], *(f"{each['measure']} {each['change']}" for each in it["data"]["changes"]))
            if it["type"].endswith("changed")
            else (it["data"].get("reference", ""), it["type"].rpartition(".")[2])
            for it in self.events(after)
        ]

    def enter(self, agency: str, subject: Identifier, **changes: Any) -> None:
        asyncio.run(self.office.federation.enter(agency, [listing(agency, subject, **changes)]))

    def act(self, agency: str, subject: Identifier, act: Act) -> None:
        register = self.office.federation.registers[agency]
        for record in register.find([subject]):
            register.act(record.reference, act, HEAD)


class CrashError(RuntimeError):
    """Stands for a process that ends here."""
