"""An agency's node as a service: HTTP here, the node itself in worker processes."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.agency import open_listings, open_registrar
from api.logs import described, log
from api.party_app import Role, create_party_app
from api.settings import Settings
from api.worker import Workers
from api.zetas import ZetaStock
from federation.transport import HttpTransport, UnreachableError
from nodes.catalogue import load_catalogue
from nodes.service import Node, Shares
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.messages import Ask, Evaluate, Open, Prove
from protocol.paillier import Randomiser

LIMITS = {kind.TYPE: kind.LIMIT for kind in (Evaluate, Ask, Open, Prove)}
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 300.0


def create_app(settings: Settings) -> FastAPI:
    """Build a node's service; verifies agreement, roster and keys before it starts."""
    transport = HttpTransport(settings.parties, settings.deadline)
    workers = Workers(build_node, settings)
    registrar = open_registrar(settings)

    async def handle(kind: str, data: bytes) -> bytes:
        reply: bytes = await workers.run("handle", kind, data)
        return reply

    async def seal_pending() -> None:
        """Seal what waits, whenever something does: keyholders may be late, and imports may run while C is down.

        An attempt that reaches C costs the agency's allowance, so after failures the next ones come later and later.
        """
        pause = _PAUSE_SECONDS
        while True:
            try:
                async for batch in registrar.seal_pending(
                    lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message)
                ):
                    log.info("sealed", identifiers=batch.identifiers, refused=len(batch.refused))
                pause = _PAUSE_SECONDS
            except UnreachableError:
                pause = _PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001  # whatever it was, the node must not stay unready for good
                log.warning("sealing", **described(error))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        sealing = asyncio.create_task(seal_pending())
        yield
        sealing.cancel()
        await transport.close()
        workers.stop()

    async def ready() -> bool:
        return not await workers.run("pending")

    return create_party_app(Role(handle, LIMITS, ready), lifespan, "Concordat node")


def build_node(settings: Settings) -> Node:
    """Build what a worker process holds."""
    terms = settings.terms
    held, node_key = settings.secrets()
    shares = Shares(held.oprf_share, held.opening_share) if held.oprf_share and held.opening_share else None
    return Node(
        held.party(settings.party, terms),
        shares,
        open_listings(settings, node_key),
        ProtocolState(open_engine(settings.database("state"))),
        load_catalogue(),
        ZetaStock(Randomiser.create(terms.public_key, secrets.token_bytes), secrets.token_bytes),
        lambda: int(time.time()),
        secrets.token_bytes,
    )
