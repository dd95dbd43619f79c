"""How messages travel between parties: one abstract method, over HTTP or in memory.

A message is bytes, sent to a party under its message type (`Evaluate.TYPE` …); the reply is bytes. What a party refuses
arrives as the error it raised.
"""

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus

import aiohttp

from federation.problem import to_error
from protocol.errors import IndeterminateError, PeerError, ReplayedError
from protocol.messages import Answer

MEDIA_TYPE = "application/cbor"
MAX_REPLY = Answer.LIMIT
PROBE_SECONDS = 3.0
KEEP_ALIVE_SECONDS = 60.0
"""How long an idle connection is kept; services keep theirs longer, so that none is closed while a message is sent."""

_HEADERS = {"content-type": MEDIA_TYPE}

Handler = Callable[[str, bytes], Awaitable[bytes]]


class UnreachableError(IndeterminateError):
    """A party could not be reached, or its reply did not come; whether it acted on the message is not known."""


class Transport(ABC):
    """One party's way to all others."""

    @abstractmethod
    async def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        """Send a message and return the reply.

        Raises:
            IndeterminateError: the receiver cannot be reached; it is named.
            PeerError: the receiver refused.
        """

    @abstractmethod
    async def probe(self, receiver: str, seconds: float = PROBE_SECONDS) -> None:
        """Ask a party whether it is ready, and wait for `seconds`; no message of the protocol, and free.

        Raises:
            IndeterminateError: it is not, or cannot be reached; names whom it waits for, or itself.
        """


@dataclass(frozen=True)
class Record:
    """One message as it travelled."""

    sender: str
    receiver: str
    kind: str
    data: bytes = field(repr=False)


class MemoryNetwork:
    """A network inside one process: it delivers bytes to handlers and records every message in both directions."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._handlers: dict[str, Handler] = {}

    def attach(self, party: str, handler: Handler) -> None:
        """Connect a party."""
        self._handlers[party] = handler

    def detach(self, party: str) -> None:
        """Cut a party off; what is sent to it fails as if it were down."""
        self._handlers.pop(party, None)

    def transport(self, sender: str) -> Transport:
        """The network as one party sees it."""
        return _MemoryTransport(self, sender)

    def is_attached(self, party: str) -> bool:
        """Whether a party is connected."""
        return party in self._handlers

    async def deliver(self, sender: str, receiver: str, kind: str, data: bytes) -> bytes:
        """Carry one message and its reply."""
        self.records.append(Record(sender, receiver, kind, data))
        if receiver not in self._handlers:
            raise UnreachableError([receiver])
        reply = await self._handlers[receiver](kind, data)
        self.records.append(Record(receiver, sender, kind, reply))
        return reply


class _MemoryTransport(Transport):
    def __init__(self, network: MemoryNetwork, sender: str) -> None:
        self._network, self._sender = network, sender

    async def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        return await self._network.deliver(self._sender, receiver, kind, data)

    async def probe(self, receiver: str, seconds: float = PROBE_SECONDS) -> None:  # noqa: ARG002
        if not self._network.is_attached(receiver):
            raise IndeterminateError([receiver])


class HttpTransport(Transport):
    """POST to `{url}/v1/{kind}` over kept-alive connections; `urls` gives every party's current address.

    `timeout` bounds a whole exchange in seconds. Where a connection breaks before an answer came, the message is sent
    once more: had it arrived, its receiver refuses the second as replayed, so it is never answered twice, and the reply
    is lost. No redirect is followed. Certificates are checked against the system's authorities (or those of
    SSL_CERT_FILE).
    """

    def __init__(self, urls: Callable[[], Mapping[str, str]], timeout: float) -> None:
        self._urls = urls
        self._timeout = timeout
        self._ssl = ssl.create_default_context()

    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        """Made at the first message, for it belongs to the loop that runs then."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._ssl),
            timeout=aiohttp.ClientTimeout(total=None),  # a whole exchange has one of its own
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=False,
        )

    async def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        """Send and return the reply; whatever keeps it from coming whole and in time is the receiver's silence."""
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    return await self._post(receiver, kind, data)
                except aiohttp.ClientError:
                    return await self._post(receiver, kind, data)
        except (TimeoutError, aiohttp.ClientError, KeyError, ReplayedError) as error:
            raise UnreachableError([receiver]) from error

    async def probe(self, receiver: str, seconds: float = PROBE_SECONDS) -> None:
        """GET `{url}/readyz`."""
        try:
            async with asyncio.timeout(seconds):
                status, reply = await self._exchange("GET", receiver, "readyz")
        except (TimeoutError, aiohttp.ClientError, KeyError) as error:
            raise UnreachableError([receiver]) from error
        if status != HTTPStatus.OK:
            refusal = _refusal(reply, receiver)
            raise refusal if isinstance(refusal, IndeterminateError) else IndeterminateError([receiver])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _post(self, receiver: str, kind: str, data: bytes) -> bytes:
        status, reply = await self._exchange("POST", receiver, f"v1/{kind}", data)
        if status != HTTPStatus.OK:
            raise _refusal(reply, receiver)
        return reply

    async def _exchange(self, method: str, receiver: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        url, reply = f"{self._urls()[receiver]}/{path}", bytearray()
        async with self._client.request(method, url, data=data, headers=_HEADERS, allow_redirects=False) as response:
            async for part in response.content.iter_any():
                reply += part
                if len(reply) > MAX_REPLY:
                    raise UnreachableError([receiver])
        return response.status, bytes(reply)


async def probe_all(transport: Transport, receivers: Iterable[str]) -> None:
    """Probe parties, all at once.

    Raises:
        IndeterminateError: names those that are not ready.
    """
    receivers = list(receivers)
    results = await asyncio.gather(*map(transport.probe, receivers), return_exceptions=True)
    missing = [party for party, result in zip(receivers, results, strict=True) if isinstance(result, PeerError)]
    if missing:
        raise IndeterminateError(missing, "not ready")


def _refusal(reply: bytes, sender: str) -> PeerError:
    try:
        return to_error(json.loads(reply), sender)
    except (ValueError, RecursionError):
        return IndeterminateError([sender])
