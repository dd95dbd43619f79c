"""The gateway as a service, for a requester's own systems (federation/docs/contract.md).

A request is checked in this order: token, form, agreement, purpose, quota; then it is asked.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from pydantic.json_schema import models_json_schema

from api import gateway_portfolios
from api.epochs import POLL_SECONDS, Epochs
from api.gateway_forms import MAX_BODY, Batch, Decided, DecidedStanding, Items, Problem, Question, read
from api.gateway_openapi import PROBLEMS, body, responses
from api.logs import described, log
from api.monitoring import Monitor
from api.portfolios import Desk
from api.problems import install, read_body
from api.settings import Settings
from federation.gateway import Answer, Gateway
from federation.problem import PREFIX, TokenError, kind_of
from federation.room import Room
from federation.transport import HttpTransport
from federation.webhooks import Webhooks
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.portfolios import Portfolios
from nodes.storage.state import ProtocolState
from protocol.errors import IdentifierError, IndeterminateError, PeerError
from protocol.identifiers import Identifier, canonical

TRANSPORT_SECONDS = 27.0
BODIES = 16 * MAX_BODY
"""Bytes of bodies whose answers are under way, of all who ask: what memory is left to callers."""
_LEAST_BODY = 4096  # what a request takes beside its body
_DESCRIPTION = """Which joint measures apply to a subject? Ask by identifier, for a purpose and a case.

Errors are problem documents (RFC 9457) of type `urn:concordat:problem:…`; none repeats what was sent. Bodies are UTF-8
JSON whatever their Content-Type says."""
_MODELS = (Question, Batch, Decided, DecidedStanding, Items, Problem, *gateway_portfolios.MODELS)


def create_app(settings: Settings) -> FastAPI:
    """Build a requester's gateway from its settings; verifies agreement, roster and keys before it starts."""
    transport = HttpTransport(settings.parties, TRANSPORT_SECONDS)
    ledger = ProtocolState(open_engine(settings.database("state")))

    def of_epoch(settings: Settings) -> Gateway:
        held, _ = settings.secrets()
        party = held.party(settings.party, settings.terms)
        return Gateway(party, transport, ledger, settings.door_url, lambda: int(time.time()), secrets.token_bytes)

    gateways = Gateways(Epochs(of_epoch, settings))
    cipher = ColumnCipher(settings.secrets()[1], secrets.token_bytes)
    store = Portfolios(open_engine(settings.database("portfolios")), cipher)
    webhooks = Webhooks({host.strip().lower() for host in settings.webhook_hosts.split(",")})
    desk = Desk(gateways, store, webhooks.hosts, lambda: int(time.time()))
    monitor = Monitor(desk, webhooks, CollectorRegistry())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        background = [asyncio.create_task(gateways.follow()), asyncio.create_task(monitor.run())]
        yield
        for task in background:
            task.cancel()
        await webhooks.close()
        await transport.close()

    return build(gateways, (settings.directory / "token.sha256").read_text("ascii").strip(), monitor, lifespan)


class Gateways:
    """The gateway to ask now: the current epoch's, from when its canaries came out right; until then the one before."""

    def __init__(self, epochs: Epochs[Gateway]) -> None:
        self._epochs = epochs
        self._asked = epochs.current

    def __call__(self) -> Gateway:
        """The gateway of the epoch that questions are asked in; if that is held no longer, the current one's."""
        return self._epochs.at(self._asked)

    async def follow(self) -> None:
        """Follow the current epoch, until cancelled; another party may find out later than this one that it changed."""
        self._epochs.follow()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            current = self._epochs.current
            if current != self._asked:
                try:
                    await self._epochs.at(current).check_canaries()
                    self._asked = current
                except IndeterminateError:
                    continue
                except Exception as error:  # noqa: BLE001  # whatever it was, the next attempt may succeed
                    log.error("fault", **described(error))


def build(
    gateway: Callable[[], Gateway],
    token_hash: str,
    monitor: Monitor | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Build a service; `gateway` gives the gateway to ask, `token_hash` is the hex SHA-256 of its callers' token.

    Without a monitor it keeps no portfolios; with one, whoever builds it sees that it runs.
    """
    app = FastAPI(title="Concordat gateway", description=_DESCRIPTION, lifespan=lifespan, redoc_url=None)
    registry = monitor.registry if monitor else CollectorRegistry()
    requests = Counter("concordat_requests", "Requests by route and status", ["route", "status"], registry=registry)
    seconds = Histogram("concordat_request_seconds", "Seconds a request took", ["route"], registry=registry)
    subjects = Counter("concordat_subjects", "Subjects asked about, by outcome", ["outcome"], registry=registry)

    def observe(route: str, status: int, elapsed: float) -> None:
        requests.labels(route, status).inc()
        seconds.labels(route).observe(elapsed)

    def count(items: Iterable[Answer | PeerError]) -> None:
        for item in items:
            subjects.labels(kind_of(item) if isinstance(item, PeerError) else item["outcome"]).inc()

    install(app, observe)
    token, room = _token(gateway, token_hash), _room_for_bodies()
    app.include_router(_questions(gateway, token, room, count))
    if monitor:
        app.include_router(gateway_portfolios.routes(monitor, token, room))
    app.include_router(_state(gateway, registry))
    _describe(app)
    return app


def _token(gateway: Callable[[], Gateway], token_hash: str) -> list[Any]:
    """What asks for the token, as dependencies of a router."""

    async def require_token(request: Request) -> None:
        """Compare hashes in constant time; who is refused is logged.

        Raises:
            TokenError: no bearer token, or another.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = sha256(token.strip().encode("latin-1")).hexdigest()
        if not compare_digest(given, token_hash) or scheme.lower() != "bearer":
            error = TokenError("a bearer token of this gateway is needed")
            await gateway().refuse(error)
            raise error

    bearer = HTTPBearer(auto_error=False, description="The token of this gateway's callers")
    return [Depends(require_token), Depends(bearer)]


def _room_for_bodies() -> Callable[[Request], AbstractContextManager[None]]:
    """What takes room for a request's body until it is answered, of all that is left to callers."""
    bodies = Room(BODIES)

    @contextmanager
    def room(request: Request) -> Iterator[None]:
        """One that does not say its length may have any."""
        declared = request.headers.get("content-length", "")
        length = int(declared) if declared.isdecimal() and len(declared) < 18 else MAX_BODY
        with bodies.taken(min(max(length, _LEAST_BODY), MAX_BODY)):
            yield

    return room


def _questions(
    gateway: Callable[[], Gateway],
    token: list[Any],
    room: Callable[[Request], AbstractContextManager[None]],
    count: Any,
) -> APIRouter:
    """Questions, which need the token."""

    def one(answer: Answer | PeerError) -> Response:
        count([answer])
        if isinstance(answer, PeerError):
            raise answer
        return JSONResponse(answer)

    router = APIRouter(prefix="/v1", dependencies=token)

    @router.post("/membership", openapi_extra=body(Question), responses=responses(Decided, *PROBLEMS))
    async def membership(request: Request) -> Response:
        """Ask about one subject."""
        with room(request):
            question = read(Question, await read_body(request, MAX_BODY))
            subject = canonical(question.subject.scheme, question.subject.value)
            [answer] = await gateway().ask(question.agreement, [subject], question.purpose, question.case)
        return one(answer)

    @router.post("/membership:batch", openapi_extra=body(Batch), responses=responses(Items, *PROBLEMS))
    async def membership_batch(request: Request) -> Response:
        """Ask about up to 1,000 subjects; each gets its own answer, indeterminate, or error."""
        with room(request):
            batch = read(Batch, await read_body(request, MAX_BODY))
            asked = [_subject(subject.scheme, subject.value) for subject in batch.subjects]
            answers = await gateway().ask(batch.agreement, asked, batch.purpose, batch.case)
        count(answers)
        return JSONResponse({"items": [_item(answer) for answer in answers]})

    @router.post("/standing", openapi_extra=body(Question), responses=responses(DecidedStanding, *PROBLEMS))
    async def standing(request: Request) -> Response:
        """Ask about one subject for a certificate that names it: the subject's, to show to whom it likes."""
        with room(request):
            question = read(Question, await read_body(request, MAX_BODY))
            subject = canonical(question.subject.scheme, question.subject.value)
            answer = await gateway().standing(question.agreement, subject, question.purpose, question.case)
        return one(answer)

    @router.get("/agreements", responses=responses(None, 401))
    async def agreements() -> dict[str, list[dict[str, Any]]]:
        """What may be asked here, and under which rules."""
        return {"agreements": gateway().agreements()}

    return router


def _state(gateway: Callable[[], Gateway], registry: CollectorRegistry) -> APIRouter:
    """What needs no token, and tells nothing of any subject."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @router.get("/readyz", responses=responses(None, 503))
    async def readyz() -> dict[str, str]:
        """Ready: all agencies answer, and their canaries rightly."""
        await gateway().check_canaries()
        return {"status": "ready"}

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return router


def _subject(scheme: str, value: str) -> Identifier | IdentifierError:
    try:
        return canonical(scheme, value)
    except IdentifierError as error:
        return error


def _item(answer: Answer | PeerError) -> Answer:
    if isinstance(answer, IndeterminateError):
        return {"outcome": "indeterminate", "missing": list(answer.missing)}
    if isinstance(answer, PeerError):
        return {"outcome": "error", "type": PREFIX + kind_of(answer)}
    return answer


def _describe(app: FastAPI) -> None:
    """Add the forms' schemas: bodies are read by hand, in the order the contract asks for, so FastAPI knows none."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    app.openapi().setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
