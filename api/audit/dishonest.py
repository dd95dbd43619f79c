"""Parties that deviate: a federation in this process whose handlers a claim exchanges, one question at a time."""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.audit.grounds import PURPOSE, REQUESTER, Clock, Grounds
from api.local import LocalFederation
from api.setup import Established
from federation.coordinator import Arithmetic, Coordinator, in_place
from federation.requester import Requester
from nodes.catalogue import load_catalogue, own_entries
from nodes.listings import Listing
from nodes.noise import Noise, laplace
from nodes.service import Node, Shares
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.figures import Contributions
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from protocol.agreement.roster import COORDINATOR
from protocol.errors import IndeterminateError, LaneError
from protocol.identifiers import Identifier
from protocol.lanes import LaneLayout, check, split_slots
from protocol.lanes import decode as lane_values
from protocol.opening import combine
from protocol.paillier import Randomiser
from protocol.rounds import coordinator as rounds
from protocol.rounds.ledger import Ledger
from protocol.rounds.party import Party
from protocol.wire import Body, read, write

Behaviour = Callable[[str, bytes], bytes]
"""What a party answers to a message of some kind; it may raise what the party refuses with."""


@dataclass(frozen=True)
class Outcome:
    """What became of a question: each subject's measures, or who is named for there being no decision."""

    decided: tuple[Mapping[str, int], ...] = ()
    missing: tuple[str, ...] = ()


@dataclass
class Scene:
    """A federation in one process, its clock, and its parties' own state under `folder`."""

    federation: LocalFederation
    clock: Clock
    folder: Path

    @classmethod
    def create(
        cls,
        grounds: Grounds,
        name: str,
        registers: Mapping[str, Sequence[Listing]],
        established: Established | None = None,
    ) -> Self:
        """A federation of the audit's agreement that has loaded its registers."""
        clock, folder = Clock(int(time.time())), grounds.folder(name)
        federation = LocalFederation(established or grounds.established(), folder, clock, secrets.token_bytes)
        scene = cls(federation, clock, folder)
        for agency in federation.terms.agencies:
            scene.enter(agency, *registers.get(agency, ()))
        return scene

    def enter(self, agency: str, *listings: Listing) -> None:
        """Enter listings at their agency."""
        asyncio.run(self.federation.enter(agency, listings))

    def party(self, name: str) -> Party:
        """A party with its keys."""
        return self.federation.established.secrets[name].party(name, self.federation.terms)

    def key(self, name: str) -> Ed25519PrivateKey:
        """A party's key for signatures, as a malicious insider has it."""
        return self.federation.established.secrets[name].signing_key

    def ask(self, *subjects: Identifier, requester: Requester | None = None) -> Outcome:
        """Ask one question through all parties, as they behave now."""
        asking = (requester or self.federation.requesters[REQUESTER]).check(subjects, PURPOSE, "audit")
        try:
            return Outcome(decided=tuple(decision.body.measures for decision in asyncio.run(asking)))
        except IndeterminateError as error:
            return Outcome(missing=error.missing)

    @contextmanager
    def playing(self, behaviours: Mapping[str, Behaviour | None]) -> Iterator[None]:
        """Let agencies behave so, and honestly again at the end; None is one that is down."""
        for agency, behaviour in behaviours.items():
            self._attach(agency, behaviour)
        try:
            yield
        finally:
            for agency in behaviours:
                self._attach(agency, self.federation.nodes[agency].handle)

    def coordinate(self, arithmetic: type[Arithmetic], coordinator: type[Coordinator] = Coordinator) -> None:
        """Put another coordinator in the place of the honest one."""
        party, random = self.party(COORDINATOR), secrets.token_bytes
        computing = arithmetic(party, Randomiser.create(party.terms.public_key, random), random)
        transport = self.federation.network.transport(COORDINATOR)
        handler = coordinator(party, transport, self.ledger(), in_place(computing), self.clock)
        self.federation.network.attach(COORDINATOR, handler.handle)

    def node(
        self,
        agency: str,
        ledger: Ledger,
        listings: ListingStore | None = None,
        noise: Callable[[int, int], Noise] = laplace,
        kind: type[Node] = Node,
    ) -> Node:
        """An agency's node on another ledger or other listings, with other noise, or of another kind."""
        held = self.federation.established.secrets[agency]
        shares = Shares(held.oprf_share, held.opening_share) if held.oprf_share and held.opening_share else None
        return kind(
            self.party(agency),
            shares,
            listings or self.federation.listings[agency],
            ledger,
            Contributions(self.database(), ColumnCipher(secrets.token_bytes(KEY_BYTES), secrets.token_bytes)),
            own_entries(self.federation.terms.agreement, agency, load_catalogue()),
            Randomiser.create(self.federation.terms.public_key, secrets.token_bytes),
            self.clock,
            secrets.token_bytes,
            noise,
        )

    def ledger(self) -> ProtocolState:
        """A new ledger, in a database of its own."""
        return ProtocolState(self.database())

    def database(self) -> Any:
        """A new database for a party's state."""
        return open_engine(f"sqlite:///{self.folder}/{secrets.token_hex(8)}.sqlite")

    def _attach(self, party: str, behaviour: Behaviour | None) -> None:
        if behaviour is None:
            self.federation.network.detach(party)
            return

        async def handle(kind: str, data: bytes) -> bytes:
            return behaviour(kind, data)

        self.federation.network.attach(party, handle)


class Careless(Arithmetic):
    """A coordinator's arithmetic whose checks of an opening can be left out one by one; as it stands, it makes all."""

    def combine(self, ciphertext: int, shares: Mapping[int, int]) -> int:
        """Open a chunk's sum."""
        return combine(self._party.terms.opening_key, ciphertext, shares)

    def split(self, layout: LaneLayout, plaintext: int, rhos: Sequence[int]) -> list[int]:
        """Cut it into the sums of its slots."""
        return split_slots(layout, plaintext, rhos)

    def check(self, layout: LaneLayout, values: Sequence[int], matched: Collection[str]) -> None:
        """Verify a subject's lanes."""
        check(layout, values, matched)

    def decide(
        self, session: rounds.Session, sums: rounds.Sums, shares: Sequence[Mapping[str, int]], now: int
    ) -> bytes:
        """Open the sums, apply the rules, and sign the decisions."""
        terms, layout = self._party.terms, self._party.terms.layout(session.requester)
        lanes: dict[int, tuple[int, ...]] = {}
        try:
            for chunk, parts in zip(sums.chunks, shares, strict=True):
                indexed = {terms.keyholder_index(keyholder): part for keyholder, part in parts.items()}
                slots = self.split(layout, self.combine(chunk.ciphertext, indexed), chunk.rhos)
                for subject, slot in zip(chunk.subjects, slots, strict=True):
                    lanes[subject] = lane_values(layout, slot)
                    self.check(layout, lanes[subject], sums.matched[subject])
        except LaneError as error:
            raise IndeterminateError([COORDINATOR], "integrity failure at") from error
        return rounds.decide(self._party, session, [lanes[subject] for subject in range(session.m)], now)


def forged(
    data: bytes,
    kind: type[Body],
    key: Ed25519PrivateKey,
    header: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
) -> bytes:
    """A message with fields of its header and body replaced, signed anew."""
    message = read(data, kind, len(data))
    changed: Any = replace(message.body, **body or {})
    return write(replace(message.header, **header or {}), changed, key)
