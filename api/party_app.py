"""What a node's and the coordinator's services have in common: signed messages in, signed messages out."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.routing import Match, Route
from starlette.types import Scope

from api.problems import install, read_body
from federation.transport import MEDIA_TYPE

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
    registry = CollectorRegistry()
    requests = Counter("concordat_requests", "Requests by route and status", ["route", "status"], registry=registry)
    seconds = Histogram("concordat_request_seconds", "Seconds a request took", ["route"], registry=registry)

    def observe(route: str, status: int, elapsed: float) -> None:
        requests.labels(route, status).inc()
        seconds.labels(route).observe(elapsed)

    install(app, observe)

    for kind, limit in role.limits.items():
        app.router.routes.append(_MessageRoute(f"/v1/{kind}", _endpoint(role.handle, kind, limit), methods=["POST"]))

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
        """Counts and times by route."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app


class _MessageRoute(Route):
    """A plain route, told to who counts and logs; FastAPI's own looks for dependencies and takes twice as long."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def _endpoint(handle: Handle, kind: str, limit: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return Response(await handle(kind, await read_body(request, limit)), media_type=MEDIA_TYPE)

    return endpoint
