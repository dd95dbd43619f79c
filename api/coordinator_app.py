"""The coordinator as a service: routing and waiting here, arithmetic in worker processes."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.party_app import Role, create_party_app
from api.settings import Settings
from api.worker import Workers
from api.zetas import ZetaStock
from federation.coordinator import Arithmetic, Coordinator
from federation.transport import HttpTransport, probe_all
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol.messages import Ask, Evaluate, Look
from protocol.paillier import Randomiser

LIMITS = {Evaluate.TYPE: Evaluate.LIMIT, Ask.TYPE: Ask.LIMIT + Look.LIMIT + 64}


def create_app(settings: Settings) -> FastAPI:
    """Build the coordinator's service; verifies agreement, roster and keys before it starts."""
    held, _ = settings.secrets()
    party = held.party(settings.party, settings.terms)
    transport = HttpTransport(settings.parties, settings.deadline)
    workers = Workers(build_arithmetic, settings)
    coordinator = Coordinator(
        party, transport, ProtocolState(open_engine(settings.database("state"))), workers.run, lambda: int(time.time())
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        yield
        await transport.close()
        workers.stop()

    async def ready() -> bool:
        await probe_all(transport, party.terms.agencies)
        return True

    return create_party_app(Role(coordinator.handle, LIMITS, ready), lifespan, "Concordat coordinator")


def build_arithmetic(settings: Settings) -> Arithmetic:
    """Build what a worker process holds."""
    held, _ = settings.secrets()
    terms = settings.terms
    randomiser = ZetaStock(Randomiser.create(terms.public_key, secrets.token_bytes), secrets.token_bytes)
    return Arithmetic(held.party(settings.party, terms), randomiser, secrets.token_bytes)
