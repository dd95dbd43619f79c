"""Worker processes: each builds one party's heavy part by itself, so no key ever travels and no event loop blocks.

Arguments and results cross by pickle between a party's own processes only; messages cross as the bytes they are. Each
worker has a socket that the event loop watches. A `concurrent.futures` pool would pass every call through two threads
of the party's process: three times the CPU, as much as all else that is done there for a message.
"""

import asyncio
import pickle
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pkgutil import resolve_name
from typing import Any, Final

from api.settings import Settings
from protocol.errors import ConcordatError

_SIZE_BYTES: Final = 8
_START: Final = get_context("spawn")


class WorkerLostError(ConcordatError):
    """A worker process ended before it answered; whether it acted on the call is not known."""


class Workers:
    """Processes that each hold what `build(settings)` makes, and begin with it at once; one call at a time for each.

    `build` is a function's name, `module:function`: a worker imports it, its party's own process need not.
    """

    def __init__(self, build: str, settings: Settings) -> None:
        self._begin = partial(_Worker, build, settings)
        self._workers = [self._begin() for _ in range(settings.workers)]
        self._calls: asyncio.Queue[tuple[bytes, asyncio.Future[Any]]] = asyncio.Queue()
        self._working: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Wait until every worker has built what it holds; what keeps one from that is raised here."""
        await asyncio.gather(*(worker.join() for worker in self._workers))
        self._working = [asyncio.create_task(self._work(number)) for number in range(len(self._workers))]

    async def run(self, method: str, *arguments: Any) -> Any:
        """Call a method of what a worker holds.

        Raises:
            PeerError: what the method raised.
            WorkerLostError: the worker was killed; this call is lost, and the next one finds a new worker.
        """
        reply = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((_framed((method, arguments)), reply))
        return await reply

    def stop(self) -> None:
        """Finish what runs, and end all processes."""
        for working in self._working:
            working.cancel()
        for worker in self._workers:
            worker.end()

    async def _work(self, number: int) -> None:
        """Give one worker the calls that wait, and put another in its place when it was lost."""
        while True:
            call, reply = await self._calls.get()
            if reply.cancelled():
                continue
            try:
                if self._workers[number].is_lost:
                    self._workers[number].end()
                    self._workers[number] = self._begin()
                    await self._workers[number].join()
                result = await self._workers[number].call(call)
            except Exception as error:  # noqa: BLE001  # whatever it was, it is the caller's
                if not reply.cancelled():
                    reply.set_exception(error)
            else:
                if not reply.cancelled():
                    reply.set_result(result)


class _Worker:
    """One process, and this end of the socket to it."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, build: str, settings: Settings) -> None:
        self._socket, other = socket.socketpair()
        self._close = self._socket.close
        with other:
            self._process = _START.Process(target=_serve, args=(other, build, settings), daemon=True)
            self._process.start()

    async def join(self) -> None:
        """Wait until the process has built what it holds; raises what kept it from that."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._close = self._writer.close
        await self._answer()

    @property
    def is_lost(self) -> bool:
        """Whether the process has ended."""
        return self._reader.at_eof()

    async def call(self, message: bytes) -> Any:
        """Send a call and wait for what comes of it."""
        self._writer.write(message)
        return await self._answer()

    def end(self) -> None:
        """End the process once it has finished what it does: it reads that nothing comes any more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._close()
        self._process.join()

    async def _answer(self) -> Any:
        try:
            size = int.from_bytes(await self._reader.readexactly(_SIZE_BYTES), "big")
            message = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerLostError from None
        returned, value = pickle.loads(message)  # noqa: S301  # a process of this party's own wrote it
        if returned:
            return value
        raise value


def _serve(channel: socket.socket, build: str, settings: Settings) -> None:
    """Build, and answer calls until the party's own process closes its end of the socket, or is gone."""
    with channel, channel.makefile("rb") as calls, suppress(ConnectionError):
        built, held = _outcome(lambda: resolve_name(build)(settings))
        channel.sendall(_framed((built, None if built else held)))
        while built and (size := calls.read(_SIZE_BYTES)):
            method, arguments = pickle.loads(calls.read(int.from_bytes(size, "big")))  # noqa: S301  # as above
            channel.sendall(_framed(_outcome(getattr(held, method), *arguments)))


def _outcome(function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    """Whether a function returned, and what it returned or raised."""
    try:
        return True, function(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever it was, it is the caller's
        return False, error


def _framed(value: object) -> bytes:
    message = pickle.dumps(value)
    return len(message).to_bytes(_SIZE_BYTES, "big") + message
