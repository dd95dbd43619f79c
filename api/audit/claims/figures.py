"""Public figures: what is opened of a quarter is the sum over all agencies, once; no contribution is seen, or bare."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final

from api.audit.careless import CarelessLedger
from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Scene
from api.audit.grounds import Grounds, firm, listing
from federation.audit.leakage import compare, declared, observed_messages
from federation.audit.search import Fragments
from nodes.catalogue import load_catalogue, own_entries
from nodes.figures import count, figures_layout
from nodes.noise import Noise, laplace
from nodes.service import Node
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.codec import os2ip
from protocol.errors import PeerError
from protocol.figures import Quarter
from protocol.hpke import seal, unseal
from protocol.messages import Contribution, OpenFigures
from protocol.opening import challenge, combine, open_share
from protocol.rounds import figures
from protocol.rounds.party import Party
from protocol.wire import read, write

_LISTED: Final = 5
_TIMES: Final = 3


def bare(_size: int, _epsilon: int) -> Noise:
    """What adds no noise: planted."""
    return list


class TrustingNode(Node):
    """A keyholder that adds whatever C gives it: planted."""

    def _open_figures(self, data: bytes, now: int) -> bytes:
        request = self._party.receive(data, OpenFigures, now)
        sealed, session = request.body.sealed, request.header.session
        columns = []
        for agency, box in sealed.items():
            context = agency.encode(), self._party.id.encode(), session
            body = read(unseal(box, self._party.sealing_key, labels.SEALED_CONTRIBUTION, *context), Contribution).body
            columns.append([os2ip(it) for it in body.ciphertexts])
        key = self._party.terms.public_key
        sums = tuple(_product(key, column) for column in zip(*columns, strict=True))
        opening = figures.Opening(request, sums, tuple(_x(self._party, it) for it in sums))
        return figures.open_sums(self._party, opening, self._keyholder_shares().opening, now)


def _product(key: Any, ciphertexts: Sequence[int]) -> int:
    product = 1
    for it in ciphertexts:
        product = key.add(product, it)
    return product


def _x(party: Party, ciphertext: int) -> bytes:
    key = party.terms.opening_key
    return challenge(key, ciphertext).to_bytes(key.public_key.modulus_bytes, "big")


@dataclass
class Case:
    """A federation after the end of a quarter in which something was entered, its nodes on ledgers of their own."""

    scene: Scene
    nodes: Mapping[str, Node]
    quarter: Quarter

    @classmethod
    def create(
        cls,
        grounds: Grounds,
        lack: str = "",
        noise: Callable[[int, int], Noise] = laplace,
        kind: type[Node] = Node,
    ) -> "Case":
        """Build it, perhaps with something planted."""
        established = grounds.established()
        registers = {
            name: [listing(name, firm(number)) for number in range(_LISTED)] for name in established.terms.agencies
        }
        scene = Scene.create(grounds, "figures", registers, established)
        today = datetime.fromtimestamp(scene.clock(), UTC).date()
        quarter = Quarter(today.year, (today.month + 2) // 3)
        after = date(quarter.year + quarter.number // 4, 3 * (quarter.number % 4) + 1, 2)
        scene.clock.now = int(datetime(after.year, after.month, after.day, tzinfo=UTC).timestamp())
        nodes = {}
        for name in established.terms.agencies:
            nodes[name] = scene.node(name, CarelessLedger(scene.ledger(), lack), noise=noise, kind=kind)
            scene.federation.network.attach(name, _handler(nodes[name]))
        return cls(scene, nodes, quarter)

    def open(self) -> None:
        """Let the honest coordinator open the quarter."""
        asyncio.run(self.scene.federation.figures.open(self.quarter))

    def requests(self) -> dict[str, bytes]:
        """What the coordinator last sent each keyholder."""
        records = self.scene.federation.network.records
        asked = (it for it in records if (it.sender, it.kind) == (COORDINATOR, OpenFigures.TYPE))
        return {record.receiver: record.data for record in asked}

    def contributions(self, at: int = 0) -> dict[str, bytes]:
        """Every agency's contribution, as the first keyholder opens its boxes: of the first opening, or of another."""
        holder = self.scene.federation.terms.keyholders[0]
        request = read(list(self._to(holder))[at], OpenFigures)
        party, session = self.scene.party(holder), request.header.session
        return {
            agency: unseal(
                box, party.sealing_key, labels.SEALED_CONTRIBUTION, agency.encode(), holder.encode(), session
            )
            for agency, box in request.body.sealed.items()
        }

    def _to(self, holder: str) -> Iterator[bytes]:
        for record in self.scene.federation.network.records:
            if (record.kind, record.receiver) == (OpenFigures.TYPE, holder):
                yield record.data

    def numbers(self, contribution: bytes) -> tuple[int, ...]:
        """One agency's numbers, opened by all keyholders together: what nobody may be able to do alone."""
        terms, secrets_ = self.scene.federation.terms, self.scene.federation.established.secrets
        key, sums = terms.opening_key, []
        for encoded in read(contribution, Contribution).body.ciphertexts:
            x = challenge(key, os2ip(encoded))
            shares = [secrets_[holder].opening_share for holder in terms.keyholders]
            sums.append(combine(key, os2ip(encoded), {it.index: open_share(key, it, x) for it in shares if it}))
        return replace(figures_layout(terms), agencies=1).decode(self._narrow(sums))

    def _narrow(self, sums: Sequence[int]) -> list[int]:
        """One agency's plaintexts in the layout of an agreement of one agency."""
        wide = figures_layout(self.scene.federation.terms)
        narrow = replace(wide, agencies=1)
        values = [
            (whole >> (wide.width * at)) & ((1 << wide.width) - 1) for whole in sums for at in range(wide.per_plaintext)
        ][: len(wide.cells)]
        return narrow.encode([value - (1 << 31) + 1 for value in values])

    def counts(self, agency: str) -> tuple[int, ...]:
        """What an agency counts, without noise."""
        federation = self.scene.federation
        entries = own_entries(federation.terms.agreement, agency, load_catalogue())
        cells = figures_layout(federation.terms).cells
        return tuple(count(federation.listings[agency], entries, self.quarter, cells))


def _handler(node: Node) -> Callable[[str, bytes], Any]:
    async def handle(kind: str, data: bytes) -> bytes:
        return node.handle(kind, data)

    return handle


def _attacks(case: Case) -> Iterator[tuple[str, str, bytes]]:
    """What a modified coordinator, with one agency, asks every keyholder to open: its name, the keyholder, the message.

    Single agencies are asked for first, since a keyholder opens one sum only.
    """
    key, first = case.scene.key(COORDINATOR), case.scene.federation.terms.agencies[0]
    party = case.scene.party(first)
    layout, zetas = figures_layout(party.terms), case.nodes[first]._randomiser  # noqa: SLF001  # the attacker's own
    changed = figures.contribute(
        party, case.quarter, layout, [1] * len(layout.cells), zetas, secrets.token_bytes, case.scene.clock()
    )
    for holder, data in case.requests().items():
        request = read(data, OpenFigures)
        now, sealed = case.scene.clock(), dict(request.body.sealed)
        header = replace(request.header, issued=now, expires=now + 60)
        context = first.encode(), holder.encode(), header.session
        box = seal(changed, party.terms.sealing_key(holder), labels.SEALED_CONTRIBUTION, *context)
        without = {name: it for name, it in sealed.items() if name != first}
        for name, boxes in (
            ("one agency alone", {first: sealed[first]}),
            ("all agencies but one", without),
            ("one agency in every place", dict.fromkeys(sealed, sealed[first])),
            ("a second sum", {**sealed, first: box}),
        ):
            yield name, holder, write(header, replace(request.body, sealed=boxes), key)


def _opened(case: Case) -> set[str]:
    """Which attacks some keyholder answered."""
    found = set()
    for name, holder, message in _attacks(case):
        try:
            case.nodes[holder].handle(OpenFigures.TYPE, message)
        except PeerError:
            continue
        found.add(name)
    return found


def _seen(case: Case, more: bytes = b"") -> int:
    """How many contributions stand in what the coordinator received, or in `more` that is planted there."""
    ciphertexts = {it for own in case.contributions().values() for it in read(own, Contribution).body.ciphertexts}
    fragments = Fragments(ciphertexts)
    records = case.scene.federation.network.records
    received = [record.data for record in records if record.receiver == COORDINATOR]
    return sum(bool(fragments.search(data)) for data in [*received, more])


def _bare(case: Case) -> list[str]:
    """Agencies whose contribution is what they counted."""
    return [it for it, own in case.contributions().items() if case.numbers(own) == case.counts(it)]


def _measure(grounds: Grounds) -> Evidence:
    case = Case.create(grounds)
    for _ in range(_TIMES):
        case.open()
    terms = case.scene.federation.terms
    undeclared, _ = compare(declared(), observed_messages(case.scene.federation.network.records, terms), terms)
    opened, bared, seen = _opened(case), _bare(case), _seen(case)
    findings = [f"a keyholder opened {name}" for name in sorted(opened)]
    findings += [f"without noise: {name}" for name in bared]
    findings += ["the coordinator received a contribution"] * bool(seen)
    findings += ["a contribution was drawn again"] * (case.contributions() != case.contributions(-1))
    findings += sorted(undeclared)
    figures_ = {
        "openings of one quarter": _TIMES,
        "attacks answered": len(opened),
        "contributions in what C received": seen,
        "contributions without noise": len(bared),
    }
    return Evidence(bool(findings), figures_, findings)


def _control(grounds: Grounds) -> Evidence:
    trusting, forgetful, exact = (
        Case.create(grounds, kind=TrustingNode),
        Case.create(grounds, lack="any sum"),
        Case.create(grounds, noise=bare),
    )
    for case in (trusting, forgetful, exact):
        case.open()
    found = {
        "keyholders that add what they are given": _opened(trusting)
        >= {"one agency alone", "all agencies but one", "a second sum"},
        "keyholders that forget what they opened": "a second sum" in _opened(forgetful),
        "agencies without noise": len(_bare(exact)) == len(exact.nodes),
        "a contribution that the coordinator receives": _seen(exact, next(iter(exact.contributions().values()))) == 1,
    }
    missed = [f"not found: {name}" for name, was_found in found.items() if not was_found]
    return Evidence(not missed, {"planted": len(found), "found": len(found) - len(missed)}, missed)


CLAIM = Claim(
    number=19,
    name="figures",
    statement=(
        "Of a quarter's public figures only the sum over all agencies is opened, and only one such sum; the "
        "coordinator receives no agency's contribution, and none leaves an agency without its noise."
    ),
    attack=(
        "A modified coordinator, with one agency, has every keyholder asked to open one agency alone, all but one, one "
        "in every place, and a second sum. Contributions are looked for in all that it received; each is opened by all "
        "keyholders and held against what its agency counts. Fields that travel are held against the leakage table."
    ),
    sizing=(
        "Deterministic, but for noise that happens to be zero in all six cells of an agency, with probability 10⁻⁶ "
        "each. How large the noise is, is tested by its distribution elsewhere."
    ),
    planted=(
        "Keyholders that add what they are given, or forget what they opened; agencies that add no noise; a "
        "contribution in what the coordinator receives."
    ),
    measure=_measure,
    control=_control,
)
