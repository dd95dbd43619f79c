"""A gateway before a local federation: real rounds and databases, small keys, a network that tests can disturb."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.gateway_app import build
from api.local import LocalFederation
from api.monitoring import Monitor
from api.portfolios import Desk
from federation.gateway import PATIENCE, Answer, Gateway
from federation.webhooks import LOOPBACK, Webhooks
from nodes.listings import Listing
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.portfolios import Portfolios
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.errors import PeerError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Ask
from tests.parties import NOW, PURPOSE, REQUESTER, agreement, established, party
from tests.unit.nodes.builders import make_listing

T = TypeVar("T")

FIGURES = {"population": 20_000, "k_min": 200, "max_listings": 100}
TOKEN = "a token of the procurement office's own systems"  # noqa: S105  # a test's
DOOR = "https://door.invalid/subject"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
CASE = "tender-2026-17"


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


BOTH, ONE, DISPUTED, NOBODY = (firm(number) for number in range(4))


def listing(agency: str, *identifiers: Identifier, **changes: Any) -> Listing:
    return make_listing(register=f"{agency}-register", identifiers=identifiers, **changes)


def registers() -> dict[str, list[Listing]]:
    return {
        "labour": [listing("labour", BOTH, severity=3), listing("labour", DISPUTED)],
        "tax": [listing("tax", BOTH, severity=1), listing("tax", ONE)],
    }


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now


@dataclass
class Office:
    """The procurement office: its gateway, the federation behind it, and their clock."""

    folder: Path
    federation: LocalFederation
    clock: Clock = field(default_factory=Clock)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)

    @classmethod
    def create(cls, folder: Path, **document: Any) -> "Office":
        clock = Clock()
        of = established(agreement(**{"anonymity": FIGURES} | document))
        office = cls(folder, LocalFederation(of, folder, clock, secrets.token_bytes), clock)
        for agency, listings in registers().items():
            asyncio.run(office.federation.enter(agency, listings))
        office.federation.dispute("labour", DISPUTED)
        return office

    def gateway(self, patience: float = PATIENCE) -> Gateway:
        """A gateway of this office; all of them share one ledger, as processes would."""
        return Gateway(
            party(REQUESTER, self.federation.established),
            self.federation.network.transport(REQUESTER),
            self.ledger(),
            lambda: DOOR,
            self.clock,
            secrets.token_bytes,
            patience,
        )

    def ledger(self) -> ProtocolState:
        return ProtocolState(open_engine(f"sqlite:///{self.folder}/gateway.sqlite"))

    def portfolios(self) -> Portfolios:
        engine = open_engine(f"sqlite:///{self.folder}/portfolios.sqlite")
        return Portfolios(engine, ColumnCipher(self.key, secrets.token_bytes))

    def monitor(self, patience: float = PATIENCE, gateway: Gateway | None = None) -> Monitor:
        """This office's monitoring, as it is after a start: tests take its steps one by one."""
        asked = gateway or self.gateway(patience)
        webhooks = Webhooks(LOOPBACK)
        return Monitor(
            Desk(lambda: asked, self.portfolios(), webhooks.hosts, self.clock), webhooks, CollectorRegistry()
        )

    def app(self, patience: float = PATIENCE, monitor: Monitor | None = None) -> FastAPI:
        gateway = self.gateway(patience)
        watching = monitor or self.monitor(gateway=gateway)
        return build(lambda: gateway, sha256(TOKEN.encode()).hexdigest(), watching)

    def ask(
        self,
        *subjects: Identifier | PeerError,
        gateway: Gateway | None = None,
        agreement: str = "procurement",
        purpose: str = PURPOSE,
    ) -> list[Answer | PeerError]:
        return asyncio.run((gateway or self.gateway()).ask(agreement, subjects, purpose, CASE))

    def asked(self) -> int:
        """How many questions reached the coordinator so far."""
        records = self.federation.network.records
        return sum(
            (record.sender, record.receiver, record.kind) == (REQUESTER, COORDINATOR, Ask.TYPE) for record in records
        )

    def disturb(self, receiver: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Let a party answer by `handler` instead."""
        self.federation.network.attach(receiver, handler)

    def handler(self, receiver: str) -> Callable[[str, bytes], Awaitable[bytes]]:
        """How a party answers now."""
        return self.federation.network._handlers[receiver]


def send(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    """A request to a gateway's service, by the office's own systems."""

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=AUTHORIZED) as client:
            return await client.request(method, path, **request)

    return asyncio.run(call())


async def forever(_kind: str, _data: bytes) -> bytes:
    """A party that hangs."""
    await asyncio.sleep(3600)
    raise AssertionError


def spoil_canaries(office: Office, agencies: Sequence[str]) -> None:
    """Let agencies give another answer to their canaries than everybody knows."""
    for agency in agencies:
        node = office.federation.nodes[agency]
        node._canary = [replace(standing, disputed=True) for standing in node._canary]
