"""What the HTTP transport does with connections that break, replies that are too long, and redirects."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from federation.problem import from_error
from federation.transport import MAX_REPLY, HttpTransport, UnreachableError
from protocol.errors import QuotaError
from protocol.messages import Ask

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nreply"
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nrep"
BROKEN = b""
REFUSAL = json.dumps(from_error(QuotaError("spent", 9))).encode()
TOO_LONG = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_REPLY + 1) + bytes(MAX_REPLY + 1)


@dataclass
class Peer:
    """A party that answers its requests with these replies, in order, and closes the connection after a broken one."""

    replies: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            fields = dict(line.lower().split(b": ") for line in head.splitlines()[1:-1])
            self.requests.append(head + await reader.readexactly(int(fields[b"content-length"])))
            writer.write(reply := self.replies.pop(0))
            await writer.drain()
            if reply in {BROKEN, CUT}:
                break
        writer.close()


def exchange(peer: Peer, messages: int = 1, timeout: float = 10) -> list[bytes | BaseException]:
    """Send messages, one after the other, and return what came of each."""

    async def run() -> list[bytes | BaseException]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await peer.serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = HttpTransport(lambda: {"court": url}, timeout)
        results = []
        for number in range(messages):
            [result] = await asyncio.gather(
                transport.send("court", Ask.TYPE, b"message %d" % number), return_exceptions=True
            )
            results.append(result)
        await transport.close()
        server.close()
        return results

    return asyncio.run(run())


def test_connections_are_kept() -> None:
    peer = Peer([REPLY, REPLY, REPLY])
    assert exchange(peer, 3) == [b"reply"] * 3
    assert peer.connections == 1


@pytest.mark.parametrize("broken", [BROKEN, CUT])
def test_where_a_connection_breaks_before_a_reply_the_message_is_sent_once_more(broken: bytes) -> None:
    peer = Peer([broken, REPLY])
    assert exchange(peer) == [b"reply"]
    assert [request.endswith(b"\r\n\r\nmessage 0") for request in peer.requests] == [True, True]


def test_and_not_a_third_time() -> None:
    peer = Peer([BROKEN, BROKEN, REPLY])
    [error] = exchange(peer)
    assert isinstance(error, UnreachableError)
    assert error.missing == ("court",)
    assert len(peer.requests) == 2


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (TOO_LONG, 1),
        (b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /v1/other\r\ncontent-length: 0\r\n\r\n", 1),
        (b"no HTTP\r\n\r\n", 2),
    ],
)
def test_a_reply_that_is_too_long_elsewhere_or_none_is_silence(reply: bytes, requests: int) -> None:
    peer = Peer([reply, reply])
    [error] = exchange(peer)
    assert getattr(error, "missing", None) == ("court",)
    assert len(peer.requests) == requests


def test_a_refusal_is_the_error_that_was_raised() -> None:
    peer = Peer([b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: %d\r\n\r\n" % len(REFUSAL) + REFUSAL])
    [error] = exchange(peer)
    assert isinstance(error, QuotaError)
    assert error.retry_after == 9


def test_a_compressed_reply_is_not_unpacked() -> None:
    """Or a small one could fill this party's memory."""
    peer = Peer([REPLY.replace(b"OK\r\n", b"OK\r\ncontent-encoding: gzip\r\n")])
    assert exchange(peer) == [b"reply"]


def test_a_party_that_does_not_answer_in_time_is_unreachable() -> None:
    class Silent(Peer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

    [error] = exchange(Silent([]), timeout=0.2)
    assert isinstance(error, UnreachableError)
