"""How messages travel between parties: one abstract method, and the network in memory.

A message is bytes, sent to a party under its message type (`Evaluate.TYPE` …); the reply is bytes. What a party refuses
arrives as the error it raised.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from protocol.errors import IndeterminateError

Handler = Callable[[str, bytes], Awaitable[bytes]]


class Transport(ABC):
    """One party's way to all others."""

    @abstractmethod
    async def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        """Send a message and return the reply.

        Raises:
            IndeterminateError: the receiver cannot be reached; it is named.
            PeerError: the receiver refused.
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

    async def deliver(self, sender: str, receiver: str, kind: str, data: bytes) -> bytes:
        """Carry one message and its reply."""
        self.records.append(Record(sender, receiver, kind, data))
        if receiver not in self._handlers:
            raise IndeterminateError([receiver])
        reply = await self._handlers[receiver](kind, data)
        self.records.append(Record(receiver, sender, kind, reply))
        return reply


class _MemoryTransport(Transport):
    def __init__(self, network: MemoryNetwork, sender: str) -> None:
        self._network, self._sender = network, sender

    async def send(self, receiver: str, kind: str, data: bytes) -> bytes:
        return await self._network.deliver(self._sender, receiver, kind, data)
