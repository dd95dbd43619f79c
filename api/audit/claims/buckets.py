"""Buckets hide: at least k_min people share each, and no reply tells how many an agency lists in one."""

import asyncio
import math
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from scipy.stats import binom, chisquare

from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Behaviour, Scene, forged
from api.audit.grounds import ENTERED, SIEVE, Grounds, firm, listing
from api.charts import Chart
from api.setup import Established
from federation.audit.statistics import ALPHA
from nodes.entry import Registrar
from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import Entry, ListingStore
from nodes.storage.seals import Seal
from protocol import oprf
from protocol.agreement import parameters
from protocol.agreement.roster import COORDINATOR
from protocol.group import ORDER, ZERO, Scalar, scalar_add, scalar_from_int, scalar_mul
from protocol.identifiers import Identifier, canary, to_bytes
from protocol.messages import Answer, Ask, Evaluate
from protocol.rounds import agency
from protocol.sealing import bucket
from protocol.shamir import lagrange_at_zero

AGENCY = "tax"
DECISIONS = 1  # whether the spread is uniform

Prefix = Callable[[Identifier, bytes, int], int]
"""The bucket of an identifier whose pseudonym is known, of so many bits."""


def _joint_key(established: Established) -> Scalar:
    """The OPRF key from a quorum's shares: in a real epoch nobody ever has it."""
    terms, key = established.terms, ZERO
    quorum = terms.keyholders[: terms.threshold]
    coefficients = lagrange_at_zero([terms.keyholder_index(holder) for holder in quorum], ORDER)
    for holder in quorum:
        share = established.secrets[holder].oprf_share
        if share:
            key = scalar_add(key, scalar_mul(scalar_from_int(coefficients[share.index]), share.secret))
    return key


def _sealed(established: Established, identifiers: Iterable[Identifier]) -> Iterator[tuple[Identifier, bytes]]:
    """Identifiers with their pseudonyms."""
    key = _joint_key(established)
    for identifier in identifiers:
        yield identifier, oprf.evaluate(key, to_bytes(identifier))


# The people who share a bucket.


@dataclass(frozen=True)
class _Spread:
    """How many of the population each bucket holds, and the least that it must."""

    counts: Sequence[int]
    k_min: int

    @property
    def uniformity(self) -> float:
        """The probability that a uniform function spreads people as unevenly: a chi-square test's p."""
        return float(chisquare(self.counts).pvalue)

    def found(self) -> list[str]:
        """What is wrong with it."""
        few = min(self.counts) < self.k_min
        return ["a bucket of fewer than k_min people"] * few + ["no uniform spread"] * (self.uniformity < ALPHA)


def _spread(established: Established, prefix: Prefix) -> _Spread:
    """Put the agreement's whole population into buckets."""
    figures, bits = established.terms.agreement.anonymity, established.terms.bucket_bits
    people = _sealed(established, map(firm, range(figures.population)))
    counts = Counter(prefix(identifier, pseudonym, bits) for identifier, pseudonym in people)
    return _Spread([counts[number] for number in range(1 << bits)], figures.k_min)


def _honest(_identifier: Identifier, pseudonym: bytes, bits: int) -> int:
    return bucket(pseudonym, bits)


def _without_a_key(identifier: Identifier, _pseudonym: bytes, bits: int) -> int:
    """The first bits of the number itself: people of one region, trade or year share them."""
    return int.from_bytes(identifier.value.encode()) >> (8 * len(identifier.value) - bits)


def _strayed(_identifier: Identifier, pseudonym: bytes, bits: int) -> int:
    """A function that gives all prefixes but one."""
    return bucket(pseudonym, bits) or 1


# Its parameters.


def _wrong_parameters(
    draws: random.Random, cases: int, bits: Callable[[int, int], int], size: Callable[[int, int], int]
) -> list[str]:
    """Where β is not the largest, or B not the smallest, within its bound, by exact binomial tails."""
    found = []
    for _ in range(cases):
        population = round(10 ** draws.uniform(3, 8))
        k_min = round(10 ** draws.uniform(0.5, math.log10(population) - 1))
        listings = round(10 ** draws.uniform(1, math.log10(population)))
        beta = bits(population, k_min)
        few = [2.0**b * binom.cdf(k_min - 1, population, 2.0**-b) for b in (beta, beta + 1)]
        if not (beta == 0 or few[0] < parameters.FEW_PEOPLE) or few[1] < parameters.FEW_PEOPLE:
            found.append(f"β of population {population}, k_min {k_min}")
        held = size(listings, beta)
        over = [2.0**beta * binom.sf(b, listings, 2.0**-beta) for b in (held, held - 1)]
        if over[0] >= parameters.OVERFLOW or over[1] < parameters.OVERFLOW:
            found.append(f"B of max_listings {listings}, β {beta}")
    return found


def _mean_bits(population: int, k_min: int) -> int:
    """Parameters by the mean, as if hashing spread people evenly."""
    return (population // k_min).bit_length() - 1


def _mean_size(listings: int, bits: int) -> int:
    return 2 * -(-listings >> bits)


# What an agency answers from them.


@dataclass(frozen=True)
class _Rooms:
    """Firms of four buckets, the agency's canary in none; of them it lists B, half of B, one, none."""

    full: Sequence[Identifier]
    half: Sequence[Identifier]
    one: Sequence[Identifier]
    empty: Sequence[Identifier]
    size: int

    @classmethod
    def find(cls, established: Established) -> "_Rooms":
        terms, numbers = established.terms, iter(range(1 << 24))
        rooms: dict[int, list[Identifier]] = defaultdict(list)
        [(_, of_canary)] = _sealed(established, [canary(AGENCY)])
        found: list[list[Identifier]] = []
        while len(found) < 4:
            for identifier, pseudonym in _sealed(established, [firm(next(numbers))]):
                room = rooms[bucket(pseudonym, terms.bucket_bits)]
                room.append(identifier)
                if len(room) == terms.bucket_size + 4 and room[0] not in rooms[bucket(of_canary, terms.bucket_bits)]:
                    found.append(room)
        full, half, one, empty = found
        return cls(full, half, one, empty, terms.bucket_size)

    def listed(self) -> list[Listing]:
        """What is entered at the agency before any attack."""
        them = [*self.full[: self.size], *self.half[: self.size // 2], self.one[0]]
        return [listing(AGENCY, identifier) for identifier in them]


def _sizes(scene: Scene, rooms: _Rooms) -> tuple[int, list[str]]:
    """Ask about listed and unlisted subjects of each bucket: how many messages there were, and whose sizes differ."""
    firsts, lasts = ([getattr(rooms, name)[at] for name in ("full", "half", "one", "empty")] for at in (0, -1))
    sizes: dict[tuple[object, ...], set[int]] = defaultdict(set)
    messages = 0
    for question in [[it] for it in firsts + lasts] + [firsts, lasts, [firsts[0]] * 4, [lasts[3]] * 4]:
        before = len(scene.federation.network.records)
        scene.ask(*question)
        for record in scene.federation.network.records[before:]:
            sizes[record.sender, record.receiver, record.kind, len(question)].add(len(record.data))
            messages += 1
    return messages, [
        f"{kind} from {sender}: sizes differ" for (sender, _, kind, _), it in sizes.items() if len(it) > 1
    ]


def _overfilled(scene: Scene, rooms: _Rooms, registrar: Registrar) -> list[str]:
    """Enter what a full bucket has no place for: alone, as a second identifier, and while no federation runs."""
    spare, terms = list(rooms.full[rooms.size :]), scene.federation.terms
    transport = scene.federation.network.transport(AGENCY)

    async def send(message: bytes) -> bytes:
        return await transport.send(COORDINATOR, Evaluate.TYPE, message)

    async def enter(*identifiers: Identifier) -> bool:
        entries = registrar.enter([listing(AGENCY, *identifiers)], send)
        return not [refused async for entered in entries for refused in entered.refused]

    async def enter_later(identifier: Identifier) -> bool:
        for _ in registrar.enter_unsealed([listing(AGENCY, identifier)]):
            pass
        return not [number async for sealed in registrar.seal_pending(send) for number in sealed.refused]

    tried = {
        "alone": enter(spare[0]),
        "as a second identifier": enter(rooms.empty[1], spare[1]),
        "while no federation runs": enter_later(spare[2]),
    }
    found = [f"entered beyond B {how}" for how, done in tried.items() if asyncio.run(done)]
    [(_, pseudonym)] = _sealed(scene.federation.established, [rooms.full[0]])
    prefix = bucket(pseudonym, terms.bucket_bits)
    held = scene.federation.listings[AGENCY].bucket(terms.agreement.id, terms.roster.epoch, prefix)
    return found + ["a bucket holds more than B"] * (len(held) > rooms.size)


def _overflowing(scene: Scene, rooms: _Rooms) -> None:
    """Put one pseudonym too many into the full bucket, past all checks."""
    terms, store = scene.federation.terms, _store(scene, rooms.size + 1)
    [(identifier, pseudonym)] = _sealed(scene.federation.established, [rooms.full[-1]])
    seal = Seal(bucket(pseudonym, terms.bucket_bits), pseudonym)
    store.add_sealed(terms.agreement.id, terms.roster.epoch, [(listing(AGENCY, identifier), [seal])], ENTERED)


def _store(scene: Scene, size: int, kind: type[ListingStore] = ListingStore) -> ListingStore:
    """The agency's listings, with another B."""
    cipher = ColumnCipher(scene.federation.node_keys[AGENCY], secrets.token_bytes)
    return kind(open_engine(f"sqlite:///{scene.folder}/agencies/{AGENCY}/listings.sqlite"), cipher, size)


def _answered_from_overflow(scene: Scene, rooms: _Rooms) -> list[str]:
    full, other = scene.ask(rooms.full[0]), scene.ask(rooms.half[0])
    found = ["no answer from other buckets either: nothing was tried"] * (not other.decided)
    return found + ["an answer from an overflowing bucket"] * (full.missing != (AGENCY,))


# Agencies that are otherwise.


def _unpadded(scene: Scene) -> Behaviour:
    """An agency that sends as many entries as its bucket holds."""
    party, terms, store = scene.party(AGENCY), scene.federation.terms, scene.federation.listings[AGENCY]

    def behave(kind: str, data: bytes) -> bytes:
        reply = scene.federation.nodes[AGENCY].handle(kind, data)
        if kind != Ask.TYPE:
            return reply
        asked = agency.receive(party, data, scene.clock())
        held = [len(store.bucket(terms.agreement.id, terms.roster.epoch, prefix)) for prefix in asked.prefixes]
        width = 16 + terms.element_bytes
        blocks = tuple(secrets.token_bytes(max(1, count) * width) for count in held)
        sealed = agency.seal_blocks(party, blocks, asked.request.hash)
        return forged(reply, Answer, party.signing_key, body={"sealed": sealed})

    return behave


class _Truncating(ListingStore):
    """Drops an entry of each bucket, so that a node answers from one that holds one too many."""

    def buckets(self, agreement: str, epoch: int, prefixes: Collection[int]) -> dict[int, list[Entry]]:
        return {prefix: held[:-1] for prefix, held in super().buckets(agreement, epoch, prefixes).items()}


def _crowded(grounds: Grounds) -> Established:
    """An epoch whose whole population is put into buckets."""
    population, k_min = grounds.pick((5_000, 30), (40_000, 100), (200_000, 250))
    return grounds.established(anonymity={"population": population, "k_min": k_min, "max_listings": 500})


def _settled(grounds: Grounds, name: str, **changes: object) -> tuple[Scene, _Rooms]:
    established = grounds.established(**changes)
    rooms = _Rooms.find(established)
    return Scene.create(grounds, name, {AGENCY: rooms.listed()}, established), rooms


def _measure(grounds: Grounds) -> Evidence:
    crowded = _crowded(grounds)
    spread = _spread(crowded, _honest)
    cases = grounds.pick(20, 100, 500)
    wrong = _wrong_parameters(grounds.draws("buckets"), cases, parameters.bucket_bits, parameters.bucket_size)
    scene, rooms = _settled(grounds, "buckets")
    messages, differ = _sizes(scene, rooms)
    overfilled = _overfilled(scene, rooms, scene.federation.registrars[AGENCY])
    _overflowing(scene, rooms)
    sieved, others = _settled(grounds, "buckets-sieve", **SIEVE)
    more, otherwise = _sizes(sieved, others)
    _overflowing(sieved, others)
    answered = [*_answered_from_overflow(scene, rooms), *_answered_from_overflow(sieved, others)]
    found = [*spread.found(), *wrong, *differ, *otherwise, *overfilled, *answered]
    held = Counter(spread.counts)
    return Evidence(
        bool(found),
        {
            "population, all under their real pseudonyms": sum(spread.counts),
            "buckets": len(spread.counts),
            "k_min": spread.k_min,
            "people in the smallest bucket": min(spread.counts),
            "p of a uniform spread": round(spread.uniformity, 6),
            "figures whose β and B were compared with exact tails": cases,
            "of these wrong": len(wrong),
            "messages whose sizes were compared": messages + more,
            "kinds of messages whose sizes differ": len(differ) + len(otherwise),
            "B of the agency whose buckets were filled": rooms.size,
        },
        found,
        [Chart("People in a bucket", "people", "buckets", {"buckets": sorted(held.items())}, bars=True)],
    )


def _control(grounds: Grounds) -> Evidence:
    crowded = _crowded(grounds)
    draws = grounds.draws("buckets")
    scene, rooms = _settled(grounds, "buckets-control")
    planted = {
        "prefixes of the number itself": _spread(crowded, _without_a_key).found(),
        "a prefix that is never given": _spread(crowded, _strayed).found(),
        "parameters by the mean": _wrong_parameters(draws, 20, _mean_bits, _mean_size),
    }
    with scene.playing({AGENCY: _unpadded(scene)}):
        planted["an unpadded reply"] = _sizes(scene, rooms)[1]
    _overflowing(scene, rooms)
    node = scene.node(AGENCY, scene.ledger(), _store(scene, rooms.size, _Truncating))
    with scene.playing({AGENCY: node.handle}):
        planted["an answer from an overflowing bucket"] = _answered_from_overflow(scene, rooms)
    sieved, others = _settled(grounds, "buckets-sieve-control", **SIEVE)
    with sieved.playing({AGENCY: _unpadded(sieved)}):
        planted["an unpadded reply by the sieve"] = _sizes(sieved, others)[1]
    entries = scene.federation.registers[AGENCY].entries
    lax = Registrar(scene.party(AGENCY), _store(scene, rooms.size + 4), entries, scene.clock, secrets.token_bytes)
    planted["an entry that looks at no bucket"] = _overfilled(scene, rooms, lax)
    return Evidence(all(planted.values()), {name: len(found) for name, found in planted.items()}, list(planted))


CLAIM = Claim(
    number=10,
    name="buckets",
    statement="At least k_min people of the stated population share each bucket, and every reply has the same size "
    "whatever a bucket holds.",
    attack="A whole population goes through the OPRF into its buckets; β and B are compared with exact binomial tails; "
    "subjects of full, half-full and empty buckets are asked about; a full bucket is overfilled in every way "
    "there is. Sizes and overflow also under an agreement with a sieve.",
    sizing="By the choice of β the smallest bucket is too small with probability 2^-20; the chi-square test of "
    f"the spread is one of the suite's statistical decisions, p ≤ {ALPHA:.1e}. A function that never gives one prefix "
    "leaves an empty bucket, at any size. Sizes, parameters and overflow are deterministic.",
    planted="Prefixes of the number itself; a prefix that is never given; parameters by the mean; a reply without "
    "fillers; a node that answers from an overflowing bucket; an entry that does not look whether there is a place.",
    measure=_measure,
    control=_control,
)
