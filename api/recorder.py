"""A recording proxy between the parties: every message that is watched passes through it and is kept as it was.

Each party is told other parties' addresses under the proxy's own, one path for each pair of sender and receiver; so
what is recorded is what travelled, and no party has a recording mode.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from federation.transport import MAX_REPLY, MEDIA_TYPE, Record

_START_SECONDS = 10.0


class Recorder:
    """The proxy; `records` are all messages so far, in both directions, `problems` what was sent back instead."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.problems: list[Record] = []
        self._urls: Mapping[str, str] = {}
        app = FastAPI(openapi_url=None, lifespan=self._connected)
        app.add_api_route("/{sender}/{receiver}/v1/{kind}", self._forward, methods=["POST"])
        app.add_api_route("/{sender}/{receiver}/readyz", self._probe, methods=["GET"])
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def route(self, urls: Mapping[str, str]) -> Callable[[str], dict[str, str]]:
        """Take the parties' real addresses; returns, for a sender, those under which it shall reach the others."""
        self._urls = urls
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return lambda sender: {receiver: f"http://127.0.0.1:{port}/{sender}/{receiver}" for receiver in urls}

    @asynccontextmanager
    async def _connected(self, _app: FastAPI) -> AsyncIterator[None]:
        """Connections to the parties belong to the server's event loop: it opens them, and closes them as it ends."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as self._client:
            yield

    async def _forward(self, sender: str, receiver: str, kind: str, request: Request) -> Response:
        data = await request.body()
        self.records.append(Record(sender, receiver, kind, data))
        try:
            reply = await self._client.post(
                f"{self._urls[receiver]}/v1/{kind}", content=data, headers={"content-type": MEDIA_TYPE}
            )
        except httpx.TransportError:
            return Response(status_code=502)
        good = reply.status_code == httpx.codes.OK and len(reply.content) <= MAX_REPLY
        (self.records if good else self.problems).append(Record(receiver, sender, kind, reply.content))
        return Response(reply.content, reply.status_code, media_type=reply.headers.get("content-type"))

    async def _probe(self, receiver: str) -> Response:
        """Pass on whether a party is ready; no message of the protocol, so it is not kept."""
        try:
            reply = await self._client.get(f"{self._urls[receiver]}/readyz")
        except httpx.TransportError:
            return Response(status_code=502)
        return Response(reply.content, reply.status_code, media_type=reply.headers.get("content-type"))
