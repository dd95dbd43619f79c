"""A local federation with made registers, its databases and every message recorded, as tests use it."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.local import LocalFederation, in_files
from nodes.listings import Listing
from protocol.errors import DecodeError, IndeterminateError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Ask, Effect
from protocol.wire import Body, read
from tests.parties import NOW, PURPOSE, REQUESTER, agreement, established
from tests.unit.nodes.builders import make_listing

Database = Callable[[Path], str]
FIGURES = {"population": 20_000, "k_min": 200, "max_listings": 100}
TODAY = datetime.fromtimestamp(NOW, UTC).date()


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY = (firm(number) for number in range(6))
SECOND = canonical("ru.inn_made", "7701-SECOND")
NAMES = ("Acme Ltd",)
NONE = {"exclude": Effect.NONE, "scrutinise": Effect.NONE}


def listing(agency: str, *identifiers: Identifier, **changes: Any) -> Listing:
    return make_listing(register=f"{agency}-register", identifiers=identifiers, **changes)


REGISTERS = {
    "labour": [
        listing("labour", BOTH, severity=3),
        listing("labour", DISPUTED),
        listing("labour", NOTIFIED, served_on=TODAY - timedelta(days=2)),
    ],
    "tax": [listing("tax", BOTH, SECOND, severity=1), listing("tax", ONE)],
    "court": [listing("court", EXPIRED, expires_on=TODAY - timedelta(days=1))],
}
DISPUTES = {"labour": [DISPUTED]}


def forget(federation: LocalFederation) -> None:
    """Let nodes forget what subjects stand like, as a restart does: a fault planted now is in all they answer."""
    for node in federation.nodes.values():
        node._lanes.cache_clear()


@dataclass
class Scene:
    """A local federation under one folder, its clock, and what tests do with it again and again."""

    folder: Path
    federation: LocalFederation
    clock: Clock = field(default_factory=Clock)
    database: Database = in_files
    others: list[LocalFederation] = field(default_factory=list)

    @classmethod
    def create(
        cls,
        folder: Path,
        registers: dict[str, list[Listing]] | None = None,
        disputes: dict[str, list[Identifier]] | None = None,
        database: Database = in_files,
        **document: Any,
    ) -> "Scene":
        clock = Clock()
        of = established(agreement(**{"anonymity": FIGURES} | document))
        scene = cls(folder, LocalFederation(of, folder, clock, secrets.token_bytes, database), clock, database)
        asyncio.run(scene.federation.start())
        for agency, listings in (REGISTERS if registers is None else registers).items():
            asyncio.run(scene.federation.enter(agency, listings))
        for agency, subjects in (DISPUTES if registers is None else disputes or {}).items():
            scene.federation.dispute(agency, *subjects)
        return scene

    def reopened(self, folder: Path | None = None) -> LocalFederation:
        """The same parties after a restart, on the same databases unless another folder is given."""
        of, clock = self.federation.established, self.clock
        self.others.append(LocalFederation(of, folder or self.folder, clock, secrets.token_bytes, self.database))
        return self.others[-1]

    def close(self) -> None:
        """Close every connection to a database."""
        for federation in (self.federation, *self.others):
            federation.close()

    def check(self, *subjects: Identifier) -> list[dict[str, Effect]]:
        decisions = asyncio.run(self.federation.requesters[REQUESTER].check(subjects, PURPOSE, "tender 7"))
        return [{name: Effect(effect) for name, effect in it.body.measures.items()} for it in decisions]

    def missing(self, *subjects: Identifier) -> tuple[str, ...]:
        """Whom an indeterminate answer names; a decision fails the test."""
        with pytest.raises(IndeterminateError) as caught:
            self.check(*subjects or (BOTH,))
        return caught.value.missing

    def key(self, name: str) -> Any:
        return self.federation.established.secrets[name].signing_key

    def recorded(self, kind: type[Body], receiver: str) -> bytes:
        """The last request of a kind that reached a party."""
        return next(
            record.data
            for record in reversed(self.federation.network.records)
            if (record.kind, record.receiver) == (kind.TYPE, receiver) and is_of(kind, record.data)
        )

    def outcomes(self, agency: str) -> list[tuple[str, str]]:
        ledger: Any = self.federation.nodes[agency]._ledger
        return [(entry.kind, entry.outcome) for entry in ledger.entries()]

    @contextmanager
    def dishonest(self, name: str, change: Callable[[str, bytes], bytes]) -> Iterator[None]:
        """A party that changes its replies (message type, honest reply) before they leave."""
        network = self.federation.network
        honest = network._handlers[name]

        async def handle(kind: str, data: bytes) -> bytes:
            return change(kind, await honest(kind, data))

        network.attach(name, handle)
        try:
            yield
        finally:
            network.attach(name, honest)

    @contextmanager
    def down(self, *names: str) -> Iterator[None]:
        network = self.federation.network
        handlers = {name: network._handlers[name] for name in names}
        for name in names:
            network.detach(name)
        try:
            yield
        finally:
            for name, handler in handlers.items():
                network.attach(name, handler)


def is_of(kind: type[Body], data: bytes) -> bool:
    try:
        read(data, kind, len(data))
    except DecodeError:
        return kind is Ask and data[:1] == b"\x82"  # the pair of ask and look at the coordinator
    return True
