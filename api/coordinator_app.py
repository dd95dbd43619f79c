"""The coordinator as a service: routing and waiting here, arithmetic in worker processes; one of each an epoch."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI

from api.epochs import Epochs
from api.party_app import Role, create_party_app
from api.settings import Settings
from api.worker import Workers
from federation.coordinator import Coordinator
from federation.transport import HttpTransport, probe_all
from nodes.storage.engine import open_engine
from nodes.storage.figures import Publications
from nodes.storage.state import ProtocolState
from protocol.certificate import figures_to_json
from protocol.messages import Access, Ask, Evaluate, Figures, Look
from protocol.wire import read

LIMITS = {
    Evaluate.TYPE: Evaluate.LIMIT,
    Ask.TYPE: Ask.LIMIT + Look.LIMIT + 64,
    Access.TYPE: Access.LIMIT,
}


def create_app(settings: Settings, workers: Workers) -> FastAPI:
    """Build the coordinator's service over workers that hold its arithmetic; verifies all before it starts."""
    transport = HttpTransport(settings.parties, settings.deadline)
    state = open_engine(settings.database("state"))
    ledger, published = ProtocolState(state), Publications(state)

    def build(of_epoch: Settings) -> Coordinator:
        held, _ = of_epoch.secrets()
        run = partial(workers.run, "call", of_epoch.terms.roster.epoch)
        return Coordinator(held.party(settings.party, of_epoch.terms), transport, ledger, run, lambda: int(time.time()))

    coordinators = Epochs(build, settings)

    async def handle(kind: str, data: bytes) -> bytes:
        return await coordinators.of(data).handle(kind, data)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        coordinators.follow()
        yield
        await transport.close()
        workers.stop()

    async def ready() -> bool:
        await probe_all(transport, coordinators.terms.agencies)
        return True

    app = create_party_app(Role(handle, LIMITS, ready), lifespan, "Concordat coordinator")

    @app.get("/v1/figures")
    def figures() -> dict[str, list[dict[str, Any]]]:
        """Every quarter's figures that were published, for anybody."""
        messages = published.all(settings.terms.agreement.id).values()
        return {"figures": [figures_to_json(read(message, Figures)) for message in messages]}

    return app
