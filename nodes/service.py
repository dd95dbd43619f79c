"""An agency's node: it seals its registers, answers questions, and holds its shares of the joint keys.

`handle` takes a message and returns a message. What limits an answer is committed to the ledger before the answer is
computed; the payload is computed from each listing's state when the question comes, so expiry, dispute and repair act
on the very next question.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nodes.catalogue import CatalogueEntry
from nodes.storage.listings import ListingStore
from protocol.codec import Random
from protocol.dkg import KeyShare
from protocol.errors import DecodeError, SpentError
from protocol.messages import Ask, Evaluate, Open, Prove
from protocol.opening import OpeningShare
from protocol.paillier import Randomiser
from protocol.rounds import agency, keyholder
from protocol.rounds.ledger import Ledger, admit, logged
from protocol.rounds.party import Party


@dataclass(frozen=True)
class Shares:
    """A keyholder's shares of the OPRF key and the opening key."""

    oprf: KeyShare = field(repr=False)
    opening: OpeningShare = field(repr=False)


class Node:
    """One agency of one agreement and epoch; `shares` is None where the agency is no keyholder."""

    def __init__(
        self,
        party: Party,
        shares: Shares | None,
        listings: ListingStore,
        ledger: Ledger,
        catalogue: Mapping[str, CatalogueEntry],
        randomiser: Randomiser,
        clock: Callable[[], int],
        random: Random,
    ) -> None:
        self._party = party
        self._shares = shares
        self._listings = listings
        self._ledger = ledger
        self._randomiser = randomiser
        self._clock = clock
        self._random = random
        own = next(entry for entry in party.terms.agreement.agencies if entry.id == party.id)
        self._presets = {register.id: catalogue[register.preset] for register in own.registers}

    def handle(self, kind: str, data: bytes) -> bytes:
        """Serve one message of R (by way of C) or of C.

        Raises:
            PeerError: refused; nothing was computed.
        """
        handlers = {
            Evaluate.TYPE: self._evaluate,
            Ask.TYPE: self._ask,
            Open.TYPE: self._open,
            Prove.TYPE: self._prove,
        }
        if kind not in handlers:
            raise DecodeError("not a message that a node serves")
        return handlers[kind](data, self._clock())

    def _evaluate(self, data: bytes, now: int) -> bytes:
        with logged(self._ledger, Evaluate.TYPE, now) as entry:
            request = keyholder.receive_evaluate(self._party, data, now)
            entry.header = request.header
            shares = self._keyholder_shares()
            admit(self._ledger, self._party.terms, Evaluate.TYPE, request.header, now)
            return keyholder.evaluate(self._party, request, shares.oprf, self._random, now)

    def _ask(self, data: bytes, now: int) -> bytes:
        with logged(self._ledger, Ask.TYPE, now) as entry:
            asked = agency.receive(self._party, data, now)
            entry.header = asked.request.header
            admit(self._ledger, self._party.terms, Ask.TYPE, asked.request.header, now)
            buckets = {prefix: self._bucket(prefix, now) for prefix in sorted(set(asked.prefixes))}
            return agency.answer(self._party, asked, buckets, self._randomiser, self._random, now)

    def _open(self, data: bytes, now: int) -> bytes:
        with logged(self._ledger, Open.TYPE, now) as entry:
            opening = keyholder.receive_open(self._party, data, now)
            asked = entry.header = opening.ask.header
            shares = self._keyholder_shares()
            self._ledger.claim_opening(asked.sender, asked.session, opening.chunk, opening.request.body.x)
            terms = self._party.terms
            self._ledger.charge(Open.TYPE, asked.sender, opening.subjects(terms.slots), terms.quota(asked.sender), now)
            return keyholder.open_chunk(self._party, opening, shares.opening, now)

    def _prove(self, data: bytes, now: int) -> bytes:
        with logged(self._ledger, Prove.TYPE, now) as entry:
            proof = keyholder.receive_prove(self._party, data, now)
            entry.header, body = proof.request.header, proof.request.body
            shares = self._keyholder_shares()
            if not self._ledger.is_opened(body.requester, entry.header.session, body.chunk, body.x):
                raise SpentError("nothing was opened for this chunk and challenge")
            return keyholder.prove(self._party, proof, shares.opening, self._random, now)
