"""Two epochs are served side by side, and every party counts a requester's questions of both together."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.local import LocalFederation, in_files
from federation.gateway import Gateway
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol.errors import PeerError, QuotaError
from protocol.rounds.ledger import Ledger
from tests.federations import FIGURES, NOBODY, ONE, Clock
from tests.parties import PURPOSE, REQUESTER, agreement, established, party

QUOTA = 3


class Overlap:
    """Two epochs of one agreement, each with registers of its own here, on the same ledgers, as after a switch."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.epochs = [self._federation(epoch, folder / str(epoch)) for epoch in (1, 2)]

    def _federation(self, epoch: int, own: Path) -> LocalFederation:
        def database(path: Path) -> str:
            return in_files(self.folder / path.relative_to(own) if path.name == "state" else path)

        of = established(agreement(quota=QUOTA, anonymity=FIGURES), epoch)
        federation = LocalFederation(of, own, self.clock, secrets.token_bytes, database)
        asyncio.run(federation.start())
        return federation

    def gateway(self, epoch: int, ledger: Ledger) -> Gateway:
        of = self.epochs[epoch - 1]
        transport = of.network.transport(REQUESTER)
        return Gateway(party(REQUESTER, of.established), transport, ledger, str, self.clock, secrets.token_bytes)

    def ledger(self, name: str) -> ProtocolState:
        return ProtocolState(open_engine(f"sqlite:///{self.folder}/{name}.sqlite"))


@pytest.fixture
def overlap(tmp_path: Path) -> Iterator[Overlap]:
    made = Overlap(tmp_path)
    yield made
    for federation in made.epochs:
        federation.close()


def ask(gateway: Gateway, count: int) -> list[object]:
    return list(asyncio.run(gateway.ask("procurement", [NOBODY, ONE][:count], PURPOSE, "tender 7")))


def test_a_gateways_quota_is_not_doubled(overlap: Overlap) -> None:
    ledger = overlap.ledger("gateway")
    first, second = (overlap.gateway(epoch, ledger) for epoch in (1, 2))
    ask(first, 2)
    ask(second, 1)
    for gateway in (first, second):
        with pytest.raises(QuotaError):
            ask(gateway, 1)


def test_nor_is_it_at_the_coordinator_and_the_agencies_whatever_the_gateway_counts(overlap: Overlap) -> None:
    """The twin: gateways that count each epoch apart are stopped by everybody else."""
    first, second = (overlap.gateway(epoch, overlap.ledger(f"gateway {epoch}")) for epoch in (1, 2))
    assert not any(isinstance(answer, PeerError) for answer in [*ask(first, 2), *ask(second, 1)])
    for gateway in (first, second):
        [answer] = ask(gateway, 1)
        assert isinstance(answer, QuotaError)
