"""A node's portal: what its staff and its subjects are served alike, each by a bearer token of their own.

A request is checked in this order: token, role, form; then the step itself decides. Work on the database runs in
threads beside the event loop, which other parties' messages wait for.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from api.agency import Desk
from api.gateway_forms import F, read
from api.node_forms import MAX_BODY
from api.problems import read_body, response
from federation.problem import MALFORMED, TokenError, document
from federation.transport import Transport
from nodes.door import Ask
from nodes.life import TransitionError
from nodes.listings import ListingError, UnknownListingError
from nodes.roles import Role, require
from nodes.storage.credentials import CredentialError, Holder
from protocol.agreement.roster import COORDINATOR

T = TypeVar("T")

_NOT_KEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_NOT_FOUND, _CONFLICT = 404, 409
_THREADS = 8


class Portal:
    """The desk of the current epoch, and what every route does with it."""

    def __init__(
        self, desk: Callable[[], Desk], transport: Transport, clock: Callable[[], int] = lambda: int(time.time())
    ) -> None:
        self._desk = desk
        self._transport = transport
        self._threads = ThreadPoolExecutor(_THREADS)
        self.clock = clock

    @property
    def desk(self) -> Desk:
        """The desk of the current epoch."""
        return self._desk()

    @property
    def today(self) -> date:
        """The day, UTC."""
        return datetime.fromtimestamp(self.clock(), UTC).date()

    async def holder(self, request: Request, *roles: Role) -> Holder:
        """Who speaks, if it is somebody in one of these roles.

        Raises:
            TokenError: no bearer token, none of this agency's, or one that has expired.
            NotGrantedError: another role.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise TokenError("a bearer token of this agency is needed")
        try:
            holder = await asyncio.to_thread(self.desk.credentials.who, token.strip(), self.clock())
        except CredentialError as error:
            raise TokenError(str(error)) from None
        require(holder.role, *roles)
        return holder

    async def beside(self, work: Callable[[Ask], Coroutine[Any, Any, T]]) -> T:
        """Run what works on the database and also asks the coordinator, in a thread of its own.

        Its messages are sent from here: connections belong to this event loop, and so do the threads that resolve
        names, which is why those that wait for messages are others.
        """
        loop = asyncio.get_running_loop()

        async def ask(kind: str, message: bytes) -> bytes:
            sending = asyncio.run_coroutine_threadsafe(self._transport.send(COORDINATOR, kind, message), loop)
            return await asyncio.wrap_future(sending)

        return await loop.run_in_executor(self._threads, lambda: asyncio.run(work(ask)))


def answer_refusals(app: FastAPI) -> None:
    """Let a service answer what a portal refuses: a listing that is not there, a step that its life does not allow."""
    app.add_exception_handler(UnknownListingError, _unknown)
    app.add_exception_handler(TransitionError, _not_allowed)
    app.add_exception_handler(ListingError, _not_as_required)


async def form(kind: type[F], request: Request) -> F:
    """Read a form from a request's body.

    Raises:
        UnreadableError, TooLargeError, DecodeError: as `read` and `read_body`.
    """
    return read(kind, await read_body(request, MAX_BODY))


def answered(content: Mapping[str, Any], **headers: str) -> JSONResponse:
    """What is told of a subject is told to this caller, and kept by nobody on the way."""
    return JSONResponse(content, headers=_NOT_KEPT | headers)


def downloaded(content: Mapping[str, Any], name: str) -> JSONResponse:
    """The same as a file to keep, indented for people."""
    return _Indented(content, headers=_NOT_KEPT | {"content-disposition": f'attachment; filename="{name}"'})


class _Indented(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, indent=2).encode()


async def _unknown(_request: Request, error: Exception) -> JSONResponse:
    return response(document(MALFORMED, str(error), _NOT_FOUND))


async def _not_allowed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TransitionError)  # noqa: S101  # registered for nothing else
    problem = document(MALFORMED, str(error), _CONFLICT)
    return response(problem | {"act": error.act.value, "reason": error.reason})


async def _not_as_required(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ListingError)  # noqa: S101  # registered for nothing else
    return response(document(MALFORMED, str(error)) | {"field": error.field, "reason": error.reason})
