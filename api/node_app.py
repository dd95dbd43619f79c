"""An agency's node as a service: HTTP and sealing here, the node itself in worker processes; one of each an epoch."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.agency import open_desk
from api.epochs import Epochs
from api.node_clerk import clerk_routes
from api.node_portal import Portal, answer_refusals
from api.node_subject import subject_routes
from api.party_app import Role, create_party_app
from api.sealing import seal_epochs
from api.settings import Settings
from api.worker import Workers
from federation.transport import HttpTransport
from protocol.messages import Access, Ask, Evaluate, Open, OpenFigures, Prove, Tally

LIMITS = {kind.TYPE: kind.LIMIT for kind in (Evaluate, Ask, Access, Open, Prove, Tally, OpenFigures)}
DESK_SECONDS = 27.0
"""How long the portal waits for the coordinator, which itself waits for every agency."""


def create_app(settings: Settings, workers: Workers) -> FastAPI:
    """Build a node's service over workers that hold its nodes; verifies agreement, roster and keys before it starts."""
    transport = HttpTransport(settings.parties, settings.deadline)
    desks, asking = Epochs(open_desk, settings), HttpTransport(settings.parties, DESK_SECONDS)

    async def handle(kind: str, data: bytes) -> bytes:
        reply: bytes = await workers.run("give", data, "handle", kind)
        return reply

    async def handle_evenly(kind: str, data: bytes) -> bytes:
        return await (at_a_whole_second(handle(kind, data)) if kind == Access.TYPE else handle(kind, data))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        desks.follow()
        sealing = asyncio.create_task(
            seal_epochs(desks, lambda desk: desk.register.registrar, transport, settings.directory)
        )
        yield
        sealing.cancel()
        await transport.close()
        await asking.close()
        workers.stop()

    async def ready() -> bool:
        return not await workers.run("call", None, "pending")

    app = create_party_app(Role(handle_evenly, LIMITS, ready), lifespan, "Concordat node")
    add_portal(app, Portal(desks.at, asking))
    return app


def add_portal(app: FastAPI, portal: Portal) -> None:
    """Serve an agency's staff and subjects, too."""
    answer_refusals(app)
    app.include_router(subject_routes(portal))
    app.include_router(clerk_routes(portal))


async def at_a_whole_second(reply: Awaitable[bytes]) -> bytes:
    """Let a reply or refusal leave whole seconds after its request came.

    To note who asked for a listing takes longer than to find none; so the time would tell who is listed.
    """
    started = time.monotonic()
    try:
        return await reply
    finally:
        await asyncio.sleep((started - time.monotonic()) % 1.0)
