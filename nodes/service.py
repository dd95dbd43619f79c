"""An agency's node: it answers questions, and holds its shares of the joint keys.

`handle` takes a message and returns a message. What limits an answer is committed to the ledger before the answer is
computed; the payload is computed from each listing's state when the question comes, so expiry, dispute and repair act
on the very next question.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from typing import Final

from nodes.catalogue import CatalogueEntry
from nodes.figures import count, figures_layout
from nodes.life import Act, Author, Transition, apply
from nodes.lifecycle import Life, Record
from nodes.listings import Listing
from nodes.noise import Noise, laplace
from nodes.rights import encoded, subject_file
from nodes.standing import standings
from nodes.storage.figures import Asked, Contributions, Price
from nodes.storage.listings import ListingStore, Told, record_of_told
from protocol.agreement.limits import listing_is_suspended
from protocol.codec import Random
from protocol.dkg import KeyShare
from protocol.errors import DecodeError, IndeterminateError, NotGrantedError, UsageError
from protocol.figures import Quarter
from protocol.lanes import Standing, canary_standings, vector
from protocol.messages import Access, Ask, Evaluate, Open, OpenFigures, Prove, Tally
from protocol.opening import OpeningShare
from protocol.paillier import Zetas
from protocol.rounds import access, agency, figures, keyholder, sieve
from protocol.rounds.ledger import Ledger, refusals_logged
from protocol.rounds.party import Party
from protocol.wire import Header

_REMEMBERED: Final = 16_384
"""How many different subjects' lane values a node remembers, at about a kilobyte each."""


@dataclass(frozen=True)
class Shares:
    """A keyholder's shares of the OPRF key and the opening key."""

    oprf: KeyShare = field(repr=False)
    opening: OpeningShare = field(repr=False)


class Node:
    """One agency of one agreement and epoch; `shares` is None where the agency is no keyholder.

    `entries` are its registers' catalogue entries (`nodes.catalogue.own_entries`); `noise` gives, for a number of cells
    and ε in thousandths, what makes counts public figures.
    """

    def __init__(
        self,
        party: Party,
        shares: Shares | None,
        listings: ListingStore,
        ledger: Ledger,
        contributions: Contributions,
        entries: Mapping[str, CatalogueEntry],
        randomiser: Zetas,
        clock: Callable[[], int],
        random: Random,
        noise: Callable[[int, int], Noise] = laplace,
    ) -> None:
        self._party = party
        self._shares = shares
        self._listings = listings
        self._ledger = ledger
        self._contributions = contributions
        self._noise = noise
        self._randomiser = randomiser
        self._clock = clock
        self._random = random
        self._entries = entries
        self._canary = canary_standings(entries)
        self._epoch = party.terms.agreement.id, party.terms.roster.epoch
        self._layout = figures_layout(party.terms)
        # Most subjects stand alike. Summaries and lives tell of nobody, so those of what was erased may be remembered.
        self._lanes = lru_cache(_REMEMBERED)(self._lanes_of)
        self._vector = lru_cache(_REMEMBERED)(self._vector_of)  # likewise of those whose days differ

    def handle(self, kind: str, data: bytes) -> bytes:
        """Serve one message of R or of a subject's door (by way of C), or of C.

        Raises:
            PeerError: refused; nothing was computed.
        """
        handlers = {
            Evaluate.TYPE: self._evaluate,
            Ask.TYPE: self._ask,
            Access.TYPE: self._access,
            Open.TYPE: self._open,
            Prove.TYPE: self._prove,
            Tally.TYPE: self._tally,
            OpenFigures.TYPE: self._open_figures,
        }
        if kind not in handlers:
            raise DecodeError("not a message that a node serves")
        return handlers[kind](data, self._clock())

    def _evaluate(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Evaluate.TYPE, now) as entry:
            request = keyholder.receive_evaluate(self._party, data, now)
            entry.header = request.header
            shares = self._keyholder_shares()
            self._ledger.admit(
                Evaluate.TYPE,
                request.header,
                self._party.terms.allowance(request.header, now),
                now,
            )
            return keyholder.evaluate(self._party, request, shares.oprf, self._random, now)

    def _ask(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Ask.TYPE, now) as entry:
            asked = agency.receive(self._party, data, now)
            entry.header = asked.request.header
            if self.pending():
                # "Not listed" would be a lie while a listing cannot be found; so C has no answer and names this agency.
                raise IndeterminateError([self._party.id], "sealing is not finished at")
            self._ledger.admit(Ask.TYPE, entry.header, self._party.terms.allowance(entry.header, now), now)
            buckets = self._buckets(set(asked.prefixes), entry.header.sender, now)
            if self._party.terms.agreement.sieve:
                return sieve.answer(self._party, asked, buckets, self._random, now)
            return agency.answer(self._party, asked, buckets, self._randomiser, self._random, now)

    def _access(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Access.TYPE, now) as entry:
            asked = access.receive(self._party, data, now)
            entry.header = asked.request.header
            if self.pending():
                raise IndeterminateError([self._party.id], "sealing is not finished at")
            self._ledger.admit(Access.TYPE, entry.header, self._party.terms.allowance(entry.header, now), now)
            content = self._told(self._asking(asked), Author(entry.header.sender), now)
            return access.answer(self._party, asked, content, now)

    def _asking(self, asked: access.Accessing) -> list[str]:
        """The references of this agency's records of the subject that asks, each once."""
        return list(
            dict.fromkeys(
                reference
                for _, entries in sorted(self._listings.buckets(*self._epoch, set(asked.prefixes)).items())
                for entry in entries
                if access.names(self._party, asked, entry.key)
                for told, reference in zip(entry.told, entry.references, strict=True)
                if record_of_told(told).listing.register in self._entries
            )
        )

    def _told(self, references: list[str], door: Author, now: int) -> bytes:
        """What the subject is told: first it is noted who asked for it, so that it stands in what is told."""

        def noted(record: Record) -> tuple[Transition, Life]:
            return apply(record, door.step(Act.ACCESS, now), self._entries[record.listing.register])

        records = self._listings.take(references, noted)
        steps = {it: [step.step for step in self._listings.steps(it)] for it in references}
        agreement, today = self._party.terms.agreement, datetime.fromtimestamp(now, UTC).date()
        return encoded(
            subject_file(self._party.id, records, steps, agreement, self._entries, today), access.MAX_CONTENT
        )

    def _open(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Open.TYPE, now) as entry:
            opening = keyholder.receive_open(self._party, data, now)
            asked = entry.header = opening.ask.header
            shares = self._keyholder_shares()
            terms, m = self._party.terms, opening.subjects(self._party.terms.slots(asked.sender))
            self._ledger.admit_opening(
                asked, opening.chunk, opening.request.body.x, m, terms.allowance(asked, now), now
            )
            return keyholder.open_chunk(self._party, opening, shares.opening, now)

    def _prove(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Prove.TYPE, now) as entry:
            proof = keyholder.receive_prove(self._party, data, now)
            entry.header, body = proof.request.header, proof.request.body
            shares = self._keyholder_shares()
            self._ledger.admit_proof(entry.header, body.requester, body.chunk, body.x, now)
            return keyholder.prove(self._party, proof, shares.opening, self._random, now)

    def _tally(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, Tally.TYPE, now) as entry:
            request, quarter = figures.receive_tally(self._party, data, self._layout, now)
            entry.header = request.header
            return figures.seal(self._party, request, self._contribution(request.header, quarter, now), now)

    def _contribution(self, request: Header, quarter: Quarter, now: int) -> bytes:
        """This agency's contribution: counted and drawn when it is first asked for, and the same ever after."""
        terms, layout = self._party.terms, self._layout
        own = terms.agreement.public_figures
        asked = Asked(terms.agreement.id, quarter, layout.digest, terms.agreement.version, terms.roster.epoch)
        price = Price(self._party.id, own.epsilon, own.budget)
        draw: Callable[[], list[int]] = _drawn_before
        if not self._contributions.is_drawn(asked):
            # Before the transaction in which it is drawn: both take time, and questions wait for that database.
            add_noise = self._noise(len(layout.cells), own.epsilon)
            draw = partial(add_noise, count(self._listings, self._entries, quarter, layout.cells))

        def write(numbers: Sequence[int]) -> bytes:
            return figures.contribute(self._party, quarter, layout, numbers, self._randomiser, self._random, now)

        return self._contributions.contribute(asked, price, draw, write, request, now)

    def _open_figures(self, data: bytes, now: int) -> bytes:
        with refusals_logged(self._ledger, OpenFigures.TYPE, now) as entry:
            opening = figures.receive_open(self._party, data, self._layout, now)
            entry.header = opening.request.header
            shares = self._keyholder_shares()
            self._ledger.admit_figures(entry.header, opening.xs, now)
            return figures.open_sums(self._party, opening, shares.opening, now)

    def pending(self) -> bool:
        """Whether anything of this agency's registers is not sealed yet in this epoch; then it answers no question."""
        return bool(self._entries) and not self._listings.is_ready(*self._epoch)

    def _buckets(
        self, prefixes: Collection[int], requester: str, now: int
    ) -> dict[int, list[tuple[bytes, tuple[int, ...]]]]:
        """The entries (key, lane values) of each bucket as the listings stand now."""
        lanes = partial(self._lanes, requester, datetime.fromtimestamp(now, UTC).date())
        return {
            prefix: [(entry.key, lanes(entry.told, is_canary=entry.is_canary)) for entry in entries]
            for prefix, entries in self._listings.buckets(*self._epoch, prefixes).items()
        }

    def _lanes_of(self, requester: str, today: date, told: Sequence[Told], *, is_canary: bool) -> tuple[int, ...]:
        """What one subject's listings come to in a requester's lanes, by nothing but what is told of them."""
        agreement = self._party.terms.agreement

        def suspends(listing: Listing) -> bool:
            return listing_is_suspended(agreement, listing.register, listing.subject_kind, today)

        own = self._canary if is_canary else standings(map(record_of_told, told), self._entries, today, suspends)
        return self._vector(requester, *own)

    def _vector_of(self, requester: str, *own: Standing) -> tuple[int, ...]:
        return vector(self._party.terms.layout(requester), self._party.id, own)

    def _keyholder_shares(self) -> Shares:
        if self._shares is None:
            raise NotGrantedError("this agency is no keyholder")
        return self._shares


def _drawn_before() -> list[int]:
    raise UsageError("a contribution was there, and is not any more: nothing is drawn in its place")
