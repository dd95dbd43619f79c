"""What every service does alike: refuse with a problem document, read bodies within a limit, log each request.

Nothing that was sent is repeated: neither in a body, nor in a header, nor in the log.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.logs import described, log
from federation.problem import (
    MALFORMED,
    MEDIA_TYPE,
    UNEXPECTED,
    TokenError,
    TooLargeError,
    UnreadableError,
    document,
    from_error,
)
from protocol.errors import PeerError

BODY_SECONDS = 30.0
REQUEST_ID = b"x-request-id"
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

Observe = Callable[[str, int, float], None]


def install(app: FastAPI, observe: Observe = lambda _route, _status, _seconds: None) -> None:
    """Give a service its problem documents, request ids and request log.

    `observe(route, status, seconds)` is called after each request; `route` is a path's template, or empty.
    """
    app.router.redirect_slashes = False  # or a redirection would repeat path, query and host
    app.add_exception_handler(PeerError, _refused)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_middleware(_Guard, observe=observe)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's whole body, and no more of it than `limit` bytes, whatever it says of its length.

    Raises:
        TooLargeError: it is longer, or says that it is.
        UnreadableError: it was cut, or did not come in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise TooLargeError(f"body: longer than {limit} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise TooLargeError(f"body: longer than {limit} bytes")
    except (ClientDisconnect, TimeoutError):
        raise UnreadableError("body: did not come whole") from None
    return bytes(body)


def response(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Send a problem document."""
    return JSONResponse(problem, problem["status"], headers, MEDIA_TYPE)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PeerError)  # noqa: S101  # registered for nothing else
    problem = from_error(error)
    headers = {"retry-after": str(problem["retry_after"])} if "retry_after" in problem else {}
    if isinstance(error, TokenError):
        headers["www-authenticate"] = "Bearer"
    return response(problem, headers)


async def _not_served(_request: Request, error: Exception) -> JSONResponse:
    """Answer what no route serves (404, 405); the framework's own words are replaced by the status's name."""
    assert isinstance(error, HTTPException)  # noqa: S101
    detail = HTTPStatus(error.status_code).phrase
    kind = MALFORMED if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else UNEXPECTED
    return response(document(kind, detail, error.status_code), error.headers)


async def _not_valid(_request: Request, _error: Exception) -> JSONResponse:
    return response(document(MALFORMED, "the request is not of the documented form"))


class _Guard:
    """Around everything: a request id, one line of log, and a bare 500 where a bug would show its insides."""

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Random, made here, and never passed on: the logs of two parties must not be joined by it.
        request = secrets.token_hex(8)
        started, status, sent = time.perf_counter(), 0, 0

        async def reply(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (REQUEST_ID, request.encode())]}
            sent += len(message.get("body", b""))
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request):
            try:
                await self._app(scope, receive, reply)
            except Exception as error:  # noqa: BLE001  # a bug's text may hold anything: its class and line are logged
                log.error("fault", **described(error))
                if not status:
                    await response(document(UNEXPECTED, "see the service's log"))(scope, receive, reply)
            route, seconds = _route(scope), time.perf_counter() - started
            self._observe(route, status, seconds)
            write = log.debug if route in _QUIET else log.info
            write("request", method=_method(scope), route=route, status=status, bytes=sent, seconds=round(seconds, 4))


def _route(scope: Scope) -> str:
    """The template of the path that was asked for; a path that no route serves could be anything, and is not told."""
    return str(getattr(scope.get("route"), "path", ""))


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else ""
