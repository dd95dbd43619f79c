"""An agency's own directory in a federation of this process, for tests of the commands that its staff would type."""

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from typer.testing import CliRunner

from api import keystore
from api.cli import app
from api.home import Home, write_urls
from api.local import LocalFederation
from api.setup import Established
from federation.problem import from_error
from nodes.importers.concordat_csv import REQUIRED
from protocol.agreement.model import Register
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import terms_to_bytes
from protocol.errors import PeerError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect
from tests.parties import PURPOSE, REQUESTER, agreement, established

TODAY = datetime.now(UTC).date()
VALID = {"from": str(TODAY - timedelta(days=30)), "until": str(TODAY + timedelta(days=300))}
SECRET = "SECRETFIRM"  # noqa: S105  # stands in refused rows, and must stand in no output
REFUSED = ["line 3, column identifier: cn.uscc: wrong length", "line 5, column severity: not 1, 2 or 3"]
"""What an import says of the fixture `file`."""
ROOT = Path(__file__).parents[1]
EPOCH = ("procurement", 1)


def now() -> int:
    return int(time.time())


def found(preset: str, **document: Any) -> Established:
    """A new epoch in which `tax` keeps a register of this preset."""
    text = agreement(valid=VALID, **document)
    registers = (Register(id="tax-register", preset=preset),)
    agencies = [it.model_copy(update={"registers": registers}) if it.id == "tax" else it for it in text.agencies]
    return established(text.model_copy(update={"agencies": tuple(agencies)}))


@cache
def epoch(preset: str) -> Established:
    """The same, made once a test process."""
    return found(preset)


class Scene:
    """A federation in this process, of which the agency `tax` has its directory under DIR, keys and all."""

    def __init__(self, directory: Path, preset: str = "debarment", **document: Any) -> None:
        of = epoch(preset) if not document else found(preset, **document)
        self.home = Home(directory)
        self.federation = LocalFederation(of, directory, now, secrets.token_bytes)
        self.store = self.federation.listings["tax"]
        self.home.roster_path.write_bytes(terms_to_bytes(of.terms.agreement, of.roster))
        own = self.home.party_path("tax", of.terms.agreement)
        (own / "passphrase").write_text("correct horse\n")
        keystore.save(
            own / "keys", of.secrets["tax"], self.federation.node_keys["tax"], b"correct horse", secrets.token_bytes
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """The federation's coordinator behind HTTP, named in urls.json."""
        app = FastAPI()

        @app.get("/healthz")
        def healthz() -> str:
            return "alive"

        @app.post("/v1/{kind}")
        async def serve(kind: str, request: Request) -> Response:
            try:
                data = await request.body()
                return Response(await self.federation.network.deliver("tax", COORDINATOR, kind, data))
            except PeerError as error:
                problem = from_error(error)
                return JSONResponse(problem, problem["status"])

        asyncio.run(self.federation.start())
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            parties = self.federation.terms.roster.signing
            write_urls(self.home.urls_path, dict.fromkeys(parties, url), self.federation.terms.agreement)
            yield
        finally:
            server.should_exit = True
            thread.join()

    def load(self, path: Path, *options: str, register: str = "tax-register") -> Any:
        return self.run("import", *AGENCY, "--register", register, str(path), *options)

    def run(self, command: str, *options: str) -> Any:
        first, *rest = command.split()
        return CliRunner().invoke(app, [first, *rest, str(self.home.directory), *options])

    def check(self, *subjects: Identifier) -> list[Effect]:
        decisions = asyncio.run(self.federation.requesters[REQUESTER].check(subjects, PURPOSE, "tender 7"))
        return [Effect(decision.body.measures["exclude"]) for decision in decisions]

    def references(self) -> list[str]:
        return [record.listing.decision_ref for record in self.store.all()]


AGENCY = ("--agency", "tax")


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


def row(number: int, **changes: str) -> str:
    values = {
        "identifier_scheme": "cn.reg_no",
        "identifier": firm(number).value,
        "subject_kind": "legal",
        "name": f"Firm {number}",
        "ground": "debarred",
        "decision_ref": f"D {number}",
        "decided_on": str(TODAY - timedelta(days=90)),
        "served_on": str(TODAY - timedelta(days=60)),
        "severity": "2",
        "expires_on": "",
        "other_identifiers": f"cn.alias:A{number}" if number % 3 == 0 else "",
    } | changes
    return ",".join(values[name] for name in (*REQUIRED, "other_identifiers"))


def write(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("\n".join([",".join((*REQUIRED, "other_identifiers")), *rows]) + "\n")
    return path
