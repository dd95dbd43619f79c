"""What a node's and the coordinator's services have in common: signed messages in, signed messages out."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from api.logs import log
from api.problems import install, read_body
from federation.problem import kind_of
from federation.transport import MEDIA_TYPE
from protocol.errors import PeerError

Handle = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Role:
    """What a party serves: how it handles a message, the size limit of each kind, and whether it is ready."""

    handle: Handle
    limits: Mapping[str, int]
    ready: Callable[[], Awaitable[bool]]


def create_party_app(
    role: Role, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], title: str
) -> FastAPI:
    """Build the service of a party that speaks signed messages."""
    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install(app)
    registry = CollectorRegistry()
    requests = Counter("concordat_requests", "Messages by kind and outcome", ["kind", "outcome"], registry=registry)
    seconds = Histogram("concordat_request_seconds", "Seconds a message took", ["kind"], registry=registry)

    async def serve(kind: str, request: Request) -> Response:
        started, outcome = time.perf_counter(), "error"
        try:
            reply = await role.handle(kind, await read_body(request, role.limits[kind]))
            outcome = "served"
        except PeerError as error:
            outcome = kind_of(error)
            raise
        finally:
            elapsed = time.perf_counter() - started
            requests.labels(kind, outcome).inc()
            seconds.labels(kind).observe(elapsed)
            log.info("message", kind=kind, outcome=outcome, seconds=round(elapsed, 4))
        return Response(reply, media_type=MEDIA_TYPE)

    for kind in role.limits:
        app.add_api_route(f"/v1/{kind}", _endpoint(serve, kind), methods=["POST"])

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        """Ready to answer questions; 503 while not."""
        if await role.ready():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "not ready"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times by message kind."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app


def _endpoint(
    serve: Callable[[str, Request], Awaitable[Response]], kind: str
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await serve(kind, request)

    return endpoint
