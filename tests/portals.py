"""The portals of a local federation's agencies over HTTP, their staff and subjects, and a gateway that asks."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi import FastAPI

from api.agency import Desk
from api.door import asking
from api.local import LocalFederation
from api.node_app import add_portal
from api.node_portal import Portal
from api.problems import install
from nodes.roles import Role
from nodes.storage.cipher import ColumnCipher
from nodes.storage.credentials import Credentials
from protocol.agreement.model import Agreement, parse
from protocol.identifiers import Identifier, canonical
from tests.gateways import FIGURES, Clock, Office, listing
from tests.parties import AGENCIES, NOW, agreement, established

DAY = 86_400
TODAY = datetime.fromtimestamp(NOW, UTC).date()
POINTS = "market-register"
FIRM = canonical("cn.uscc", "91110000600037341L")
STRANGER = canonical("cn.reg_no", "STRANGER-1")
NOBODY = canonical("cn.reg_no", "NOBODY-1")
NAME, OTHER_NAME = "Acme Quarry Ltd", "Other Quarry Ltd"
ENTRY = {
    "register": "tax-register",
    "identifier_scheme": "cn.reg_no",
    "identifier": "ENTRY-1",
    "subject_kind": "legal",
    "name": NAME,
    "ground": "debarred",
    "decision_ref": "D 18/2026",
    "decided_on": "2026-02-02",
    "served_on": "2026-02-05",
    "severity": 2,
    "expires_on": "2027-01-31",
}


def document() -> Agreement:
    """Labour and tax bring listings, the market a points scheme; people and firms are listed."""
    registers = [f"{agency}-register" for agency in AGENCIES if agency != "market"]
    rules = [
        {"measure": "exclude", "when": {"registers": registers}},
        {"measure": "scrutinise", "when": {"registers": list(registers), "min_agencies": 2}},
        {"measure": "fast", "when": {"registers": [POINTS], "min_points": 100}},
    ]
    made = agreement(anonymity=FIGURES, rules=rules, subject_kinds=["legal", "natural"])
    fields = made.model_dump(mode="json", by_alias=True, exclude_none=True)
    fields["agencies"][AGENCIES.index("market")]["registers"][0]["preset"] = "civic-points"
    fields["measures"].append({**fields["measures"][0], "id": "fast", "effect": "incentive"})
    fields["requesters"][0]["implements"].append("fast")
    return parse(yaml.safe_dump(fields))


@dataclass
class Town:
    """Agencies with portals, and the procurement office that asks them."""

    office: Office
    _desks: dict[str, Desk] = field(default_factory=dict)
    _apps: dict[str, FastAPI] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> "Town":
        clock = Clock()
        town = cls(Office(folder, LocalFederation(established(document()), folder, clock, secrets.token_bytes), clock))
        for agency, listings in {
            "labour": [listing("labour", FIRM, name=NAME, expires_on=TODAY.replace(month=12, day=31))],
            "tax": [
                listing("tax", FIRM, name=NAME, decision_ref="D 9/2026"),
                listing("tax", STRANGER, name=OTHER_NAME),
            ],
            "market": [listing("market", FIRM, name=NAME, ground="enrolled", points=500)],
        }.items():
            asyncio.run(town.federation.enter(agency, listings))
        return town

    @property
    def federation(self) -> LocalFederation:
        return self.office.federation

    @property
    def clock(self) -> Clock:
        return self.office.clock

    def close(self) -> None:
        self.federation.close()

    def desk(self, agency: str) -> Desk:
        if agency not in self._desks:
            federation = self.federation
            cipher = ColumnCipher(federation.node_keys[agency], secrets.token_bytes)
            credentials = Credentials(federation._engine(f"agencies/{agency}", "listings"), cipher)
            ledger = federation._ledger(f"agencies/{agency}")
            self._desks[agency] = Desk(federation._party(agency), federation.registers[agency], credentials, ledger)
        return self._desks[agency]

    def app(self, agency: str) -> FastAPI:
        if agency not in self._apps:
            app = self._apps[agency] = FastAPI(openapi_url=None)
            install(app)
            transport = self.federation.network.transport(agency)
            add_portal(app, Portal(lambda: self.desk(agency), transport, self.clock))
        return self._apps[agency]

    def token(self, agency: str, role: Role, *identifiers: Identifier, name: str = "", days: int = 30) -> str:
        expires = self.clock.now + days * DAY
        made = f"subject-{secrets.token_hex(6)}" if role is Role.SUBJECT else f"a-{role}"
        return self.desk(agency).credentials.issue(role, name or made, expires, identifiers)

    def send(self, agency: str, method: str, path: str, token: str = "", **request: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        app = self.app(agency)

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
                return await client.request(method, path, headers=headers | request.pop("headers", {}), **request)

        return asyncio.run(call())

    def post(self, agency: str, path: str, token: str, body: object) -> httpx.Response:
        return self.send(agency, "POST", path, token, json=body)

    def get(self, agency: str, path: str, token: str) -> httpx.Response:
        return self.send(agency, "GET", path, token)

    def door(self, agency: str, token: str) -> tuple[X25519PrivateKey, httpx.Response]:
        """What a subject's client does at a door; the key that opens the answers, and what came back."""
        key = X25519PrivateKey.generate()
        return key, self.post(agency, "/subject/door", token, asking(key))

    def reference(self, agency: str, subject: Identifier) -> str:
        """The reference of a subject's latest listing at an agency."""
        return self.federation.registers[agency].find([subject])[-1].reference

    def measures(self, *subjects: Identifier) -> list[dict[str, bool]]:
        """What the gateway decides: which measures are named, and whether they are disputed."""
        decided: Sequence[Any] = self.office.ask(*subjects)
        return [{it["id"]: it["disputed"] for it in answer["measures"]} for answer in decided]
