"""A payload beyond an agency's due, in its own slot or a neighbour's, is an integrity error and never a decision."""

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence

from api.audit.claim import Claim, Evidence
from api.audit.dishonest import Behaviour, Careless, Outcome, Scene
from api.audit.grounds import REQUESTER, Grounds, firm, listing
from nodes.storage.listings import Entry, record_of_told
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random
from protocol.lanes import CHECK_BITS, LaneKind, LaneLayout, Standing, check_factor, encode, vector
from protocol.messages import Answer, Ask
from protocol.paillier import Randomiser, Zetas, ciphertext_to_bytes
from protocol.rounds import agency
from protocol.rounds.party import Party
from protocol.sealing import build_block, mask, question_secret, tag

LIAR, OTHER = "labour", "tax"
LISTED = firm(1)
NEIGHBOURS = (firm(2), firm(3), firm(4))
"""Subjects one point of weight below a measure."""
GUESSES = 8


def _scene(grounds: Grounds, name: str) -> Scene:
    both = {agency: [listing(agency, LISTED, severity=3)] for agency in (LIAR, OTHER)}
    both[LIAR] += [listing(LIAR, subject, severity=1) for subject in NEIGHBOURS]
    both[OTHER] += [listing(OTHER, subject, severity=2) for subject in NEIGHBOURS]
    return Scene.create(grounds, name, both)


def _adding(scene: Scene, amount: int) -> Behaviour:
    """An agency that adds an amount, which may be negative, to what it encrypts for a question's first subject."""
    node, party = scene.federation.nodes[LIAR], scene.party(LIAR)
    layout, randomiser = _layout(scene), Randomiser.create(party.terms.public_key, secrets.token_bytes)

    def behave(kind: str, data: bytes) -> bytes:
        if kind != Ask.TYPE:
            return node.handle(kind, data)
        asked = agency.receive(party, data, scene.clock())
        blocks = [
            _block(party, asked, subject, _payloads(scene, layout, prefix), 0 if subject else amount, randomiser)
            for subject, prefix in enumerate(asked.prefixes)
        ]
        return party.reply(Answer(agency.seal_blocks(party, blocks, asked.request.hash)), asked.request, scene.clock())

    return behave


def _block(
    party: Party, asked: agency.Asked, subject: int, payloads: Mapping[bytes, int], amount: int, randomiser: Zetas
) -> bytes:
    public_key, entries = party.terms.public_key, {}
    for key, payload in payloads.items():
        secret = question_secret(key, asked.nonce, asked.request.hash, subject)
        ciphertext = public_key.encrypt((payload + amount) % public_key.n, randomiser.fresh(secrets.token_bytes))
        entries[tag(secret, party.id)] = mask(secret, party.id, ciphertext_to_bytes(public_key, ciphertext))
    return build_block(entries, party.terms.bucket_size, public_key.ciphertext_bytes, secrets.token_bytes)


def _payloads(scene: Scene, layout: LaneLayout, prefix: int) -> dict[bytes, int]:
    """What an honest agency would encrypt for each key of a bucket, its canary left out."""
    epoch = scene.federation.terms.agreement.id, scene.federation.terms.roster.epoch
    entries = scene.federation.listings[LIAR].bucket(*epoch, prefix)
    return {entry.key: _payload(layout, entry) for entry in entries if not entry.is_canary}


def _payload(layout: LaneLayout, entry: Entry) -> int:
    standings = [
        Standing(it.register, it.severity, disputed=False)
        for it in (record_of_told(told).listing for told in entry.told)
    ]
    return encode(layout, vector(layout, LIAR, standings))


def _layout(scene: Scene) -> LaneLayout:
    return scene.federation.terms.layout(REQUESTER)


def _lane(layout: LaneLayout, kind: LaneKind) -> int:
    """Bit at which the lane of this kind begins."""
    position = next(number for number, lane in enumerate(layout.lanes) if lane.kind is kind)
    return sum(layout.widths[:position])


# Beyond what one agency may bring.


def _amounts(scene: Scene) -> dict[str, int]:
    layout, n = _layout(scene), scene.federation.terms.public_key.n
    count, disputed, weight = (_lane(layout, kind) for kind in (LaneKind.COUNT, LaneKind.DISPUTED, LaneKind.WEIGHT))
    return {
        "one agency counts for two": 1 << count,
        "one agency counts for many": 6 << count,
        "disputes of three agencies": 3 << disputed,
        "more weight than agencies bring": 600 << weight,
        "carried into the next lane": 1 << weight - 1,
        "above the lanes": 1 << layout.width,
        "above the last slot": 1 << layout.stride * layout.slots(n.bit_length()),
        "more taken away than there is": -(3 << count),
        "its own count taken away": -(1 << count),
        "another's count taken away too": -(2 << count),
        "all weight taken away": -(6 << weight),
        "the greatest plaintext": n // 2,
        "any plaintext": secrets.randbelow(n - 1) + 1,
    }


def _out_of_range(scene: Scene) -> Iterator[tuple[str, Outcome]]:
    """Each amount, for a subject alone and beside others."""
    for name, amount in _amounts(scene).items():
        for subjects in ((LISTED,), (LISTED, *NEIGHBOURS)):
            with scene.playing({LIAR: _adding(scene, amount)}):
                yield f"{name}, {len(subjects)} subjects", scene.ask(*subjects)


# Into another subject's slot, within its bounds.


def _reaching(scene: Scene, guesses: int) -> Iterator[tuple[str, Outcome]]:
    """Add a point to a neighbour's weight, and to its slot's check what it would have to hold for guessed ρ.

    The sum that the payload belongs to is multiplied by its own ρ, so both are guessed; every other guess is that the
    two are equal, which is as likely as any.
    """
    layout, n = _layout(scene), scene.federation.terms.public_key.n
    point = 1 << _lane(layout, LaneKind.WEIGHT)
    for number in range(guesses):
        own, theirs = (secrets.randbits(CHECK_BITS) * (number % 2) for _ in range(2))
        factor = check_factor(layout, theirs) * pow(check_factor(layout, own), -1, n)
        for distance in (1, -1):
            amount = pow(2, layout.stride * distance, n) * point * factor % n
            with scene.playing({LIAR: _adding(scene, amount)}):
                yield f"a payload {distance:+d} slot away", scene.ask(LISTED, *NEIGHBOURS)


def _found(tried: Iterator[tuple[str, Outcome]]) -> tuple[int, list[str]]:
    """How many lies there were, and those that were no integrity error."""
    outcomes = list(tried)
    return len(outcomes), [
        f"decided: {name}" if outcome.decided else f"others are named: {name}"
        for name, outcome in outcomes
        if outcome.missing != (COORDINATOR,)
    ]


# Coordinators that leave a check out.


class _WithoutBounds(Careless):
    """Takes lanes as they come."""

    def check(self, layout: LaneLayout, values: Sequence[int], matched: Collection[str]) -> None:
        """Let everything pass."""


class _WithoutSlotChecks(Careless):
    """Reads each slot's sum and not its check."""

    def split(self, layout: LaneLayout, plaintext: int, rhos: Sequence[int]) -> list[int]:
        """Cut without looking."""
        return [plaintext >> (layout.stride * slot) & ((1 << layout.width) - 1) for slot in range(len(rhos))]


class _WithOneRho(Careless):
    """Draws the same ρ for every slot."""

    def __init__(self, party: Party, randomiser: Zetas, random: Random) -> None:
        super().__init__(party, randomiser, lambda count: bytes(count) if count == CHECK_BITS // 8 else random(count))


def _measure(grounds: Grounds) -> Evidence:
    scene = _scene(grounds, "dishonest-agency")
    guesses = grounds.pick(10, 60, 500)
    with scene.playing({LIAR: _adding(scene, 0)}):
        honest = scene.ask(LISTED, *NEIGHBOURS).decided
    lies, out_of_range = _found(_out_of_range(scene))
    reaches, reached = _found(_reaching(scene, guesses))
    found = [] if honest else ["no decision without a lie either: nothing was tried"]
    found += out_of_range + reached
    return Evidence(
        bool(found),
        {
            "payloads out of range": lies,
            "payloads out of range that were no integrity error": len(out_of_range),
            "payloads carried into a neighbour's slot": reaches,
            "carried payloads that were no integrity error": len(reached),
            "probability that a carried payload passes": f"2^-{CHECK_BITS}",
        },
        found,
    )


def _control(grounds: Grounds) -> Evidence:
    scene = _scene(grounds, "dishonest-agency-control")
    planted = {}
    scene.coordinate(_WithoutBounds)
    planted["lanes without bounds"] = _found(_out_of_range(scene))[1]
    scene.coordinate(_WithoutSlotChecks)
    planted["slots without checks"] = _found(_reaching(scene, GUESSES))[1]
    scene.coordinate(_WithOneRho)
    planted["one ρ for all slots"] = _found(_reaching(scene, GUESSES))[1]
    return Evidence(all(planted.values()), {name: len(found) for name, found in planted.items()}, list(planted))


CLAIM = Claim(
    number=14,
    name="dishonest-agency",
    statement="An agency's payload that is out of range, or carried into a neighbour's slot, is an integrity error and "
    "never a decision.",
    attack="In whole questions an agency adds to its payload what no agency may bring, and what would move a neighbour "
    "over a rule's threshold, with guesses of both slots' checks.",
    sizing=f"Bounds are deterministic: each kind is tried for a subject alone and beside three others. A guess of the "
    f"checks passes with probability 2^-{CHECK_BITS}: the false-alarm rate of 1000 guesses is below 10^-8. Against the "
    f"controls each of the {GUESSES} tries in which both checks are guessed alike finds a neighbour with probability "
    "3/4: all miss with probability below 10^-4.",
    planted="A coordinator that takes lanes as they come; one that does not look at slots' checks; one that draws the "
    "same ρ for all slots.",
    measure=_measure,
    control=_control,
)
