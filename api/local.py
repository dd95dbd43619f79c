"""A whole federation in one process: every party with its own databases, and a network that records every message."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from api.setup import Established
from federation.coordinator import Arithmetic, Coordinator, in_place
from federation.figures import FiguresOpener
from federation.requester import Requester
from federation.transport import MemoryNetwork
from nodes.catalogue import load_catalogue, own_entries
from nodes.entry import Entered, Registrar, Send
from nodes.figures import figures_layout
from nodes.life import Act, Author
from nodes.listings import Listing
from nodes.noise import Noise, laplace
from nodes.register import Register
from nodes.service import Node, Shares
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.figures import Contributions
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random
from protocol.identifiers import Identifier
from protocol.messages import Evaluate
from protocol.paillier import Randomiser
from protocol.rounds.party import Party


def in_files(path: Path) -> str:
    """The URL of a database in a file of this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}.sqlite"


class LocalFederation:
    """All parties of an established epoch; `database` says where each one's is that would lie under `directory`."""

    def __init__(
        self,
        established: Established,
        directory: Path,
        clock: Callable[[], int],
        random: Random,
        database: Callable[[Path], str] = in_files,
        noise: Callable[[int, int], Noise] = laplace,
    ) -> None:
        self.established = established
        self.terms = established.terms
        self.network = MemoryNetwork()
        self.listings: dict[str, ListingStore] = {}
        self.nodes: dict[str, Node] = {}
        self.registrars: dict[str, Registrar] = {}
        self.registers: dict[str, Register] = {}
        self.node_keys = {agency: random(KEY_BYTES) for agency in self.terms.agencies}
        self._started = False
        self._directory = directory
        self._database = database
        self._open = ExitStack()
        self._clock = clock
        self._random = random
        self._noise = noise
        for agency in self.terms.agencies:
            self._start_agency(agency)
        party = self._party(COORDINATOR)
        arithmetic = Arithmetic(party, Randomiser.create(self.terms.public_key, random), random)
        transport = self.network.transport(COORDINATOR)
        coordinator = Coordinator(party, transport, self._ledger(COORDINATOR), in_place(arithmetic), clock)
        self.network.attach(COORDINATOR, coordinator.handle)
        self.figures = FiguresOpener(party, transport, figures_layout(self.terms), clock)
        self.requesters = {
            requester.id: Requester(self._party(requester.id), self.network.transport(requester.id), clock, random)
            for requester in self.terms.agreement.requesters
        }

    def close(self) -> None:
        """Close all connections to databases."""
        self._open.close()

    async def start(self) -> None:
        """Seal what waits, canaries first; once it is, every node answers."""
        for agency, registrar in self.registrars.items():
            async for _ in registrar.seal_pending(self._send(agency)):
                pass
        self._started = True

    async def enter(self, agency: str, listings: Iterable[Listing]) -> None:
        """Enter checked listings at their agency."""
        async for _ in self.entering(agency, listings):
            pass

    async def entering(self, agency: str, listings: Iterable[Listing]) -> AsyncIterator[Entered]:
        """Enter checked listings at their agency, by way of the coordinator; yields as each batch is committed."""
        if not self._started:
            await self.start()
        async for entered in self.registrars[agency].enter(listings, self._send(agency)):
            yield entered

    def dispute(self, agency: str, *subjects: Identifier) -> None:
        """File subjects' objections to all their listings at an agency."""
        register = self.registers[agency]
        for record in register.find(subjects):
            register.act(record.reference, Act.OBJECT, Author("subject", "it was not me"))

    def _send(self, agency: str) -> Send:
        transport = self.network.transport(agency)
        return lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message)

    def _start_agency(self, agency: str) -> None:
        folder = f"agencies/{agency}"
        secrets = self.established.secrets[agency]
        cipher = ColumnCipher(self.node_keys[agency], self._random)
        listings = ListingStore(self._engine(folder, "listings"), cipher, self.terms.bucket_size)
        self.listings[agency] = listings
        entries = own_entries(self.terms.agreement, agency, load_catalogue())
        registrar = Registrar(self._party(agency), listings, entries, self._clock, self._random)
        self.registrars[agency] = registrar
        self.registers[agency] = Register(listings, registrar, entries, self._clock)
        shares = (
            Shares(secrets.oprf_share, secrets.opening_share) if secrets.oprf_share and secrets.opening_share else None
        )
        state = self._engine(folder, "state")
        node = self.nodes[agency] = Node(
            self._party(agency),
            shares,
            listings,
            ProtocolState(state),
            Contributions(state, cipher),
            entries,
            Randomiser.create(self.terms.public_key, self._random),
            self._clock,
            self._random,
            self._noise,
        )

        async def handle(kind: str, data: bytes) -> bytes:
            return node.handle(kind, data)

        self.network.attach(agency, handle)

    def _party(self, name: str) -> Party:
        return self.established.secrets[name].party(name, self.terms)

    def _ledger(self, folder: str) -> ProtocolState:
        return ProtocolState(self._engine(folder, "state"))

    def _engine(self, folder: str, name: str) -> Any:
        engine = open_engine(self._database(self._directory / folder / name))
        self._open.callback(engine.dispose)
        return engine
