"""A requester whose rule does not fire does not learn whether the subject is listed at all."""

from dataclasses import replace
from hashlib import sha256

from api.audit.claim import Claim, Evidence
from api.audit.grounds import OTHER_PURPOSE, OTHER_REQUESTER, Grounds
from api.audit.hiding import (
    BY_SIEVE,
    SIZING,
    TWICE,
    Game,
    Leak,
    World,
    controlled,
    decisions,
    measured,
    played,
    together,
)
from api.audit.transcripts import reblocked, rewritten
from federation.audit.observations import Transcript
from protocol.messages import Decide, Decision
from protocol.sealing import TAG_BYTES

VIEWS = ("requester", "observer")
REPEATED = f"requester{TWICE}"
DECISIONS = 2 * decisions(VIEWS)  # without a sieve and with one


def _count_in_decision(transcript: Transcript, world: World) -> Transcript:
    return rewritten(transcript, Decision, lambda it: {"measures": dict.fromkeys(it.body.measures, len(world.listed))})


def _longer_reply(transcript: Transcript, world: World) -> Transcript:
    return rewritten(transcript, Decide, lambda it: {"decisions": it.body.decisions * (1 + len(world.listed))})


def _matches_in_binding(transcript: Transcript, world: World) -> Transcript:
    binding = sha256(world.pseudonym + " ".join(world.listed).encode()).digest()
    return rewritten(transcript, Decision, lambda it: {"binding": it.body.binding if it.body.subject else binding})


def _filled_on_match(transcript: Transcript, world: World) -> Transcript:
    """An agency that fills its block up only where it lists the subject."""
    filler = 0 if world.listed else TAG_BYTES + world.coordinator.terms.element_bytes
    return reblocked(
        transcript, world.coordinator, lambda _, blocks: [block[: len(block) - filler] for block in blocks]
    )


def _filled_where_listed(transcript: Transcript, world: World) -> Transcript:
    """The same, where agencies differ."""
    filler = TAG_BYTES + world.coordinator.terms.element_bytes

    def changed(agency: str, blocks: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return blocks if agency in world.listed else tuple(block[:-filler] for block in blocks)

    return reblocked(transcript, world.coordinator, changed)


GAME = Game(
    name="match hiding",
    requester=OTHER_REQUESTER,
    purpose=OTHER_PURPOSE,
    listed=((), ("tax",)),
    views=(*VIEWS, REPEATED),
    leaks=(
        Leak("a decision that carries a count", ("requester", REPEATED), _count_in_decision),
        Leak("a longer reply if something matched", (*VIEWS, REPEATED), _longer_reply),
        Leak("a binding over who matched, without σ", ("requester", REPEATED), _matches_in_binding),
        Leak("a block that is filled up only on a match", ("observer",), _filled_on_match),
    ),
)

SIEVED = replace(
    GAME,
    name=f"match hiding{BY_SIEVE}",
    listed=(("labour",), ("tax",)),
    leaks=(
        Leak("a binding over who matched, without σ", ("requester", REPEATED), _matches_in_binding),
        Leak("a block that is filled up only on a match", ("observer",), _filled_where_listed),
    ),
    sieve=True,
    beside=2,
)
"""Any listing triggers, so that one is there shows; which agency's it is must not."""


def _measure(grounds: Grounds) -> Evidence:
    outcome, sieved = played(grounds, GAME), played(grounds, SIEVED)
    return measured(
        {view: outcome[None, view] for view in VIEWS} | {f"{view}{BY_SIEVE}": sieved[None, view] for view in VIEWS}
    )


def _control(grounds: Grounds) -> Evidence:
    return together(*(controlled(game, played(grounds, game), VIEWS) for game in (GAME, SIEVED)))


CLAIM = Claim(
    number=5,
    name="match-hiding",
    statement="Under a rule that does not fire, neither requester nor observer learns whether a subject is listed.",
    attack="A coin decides whether one agency lists the subject; the bank, whose only measure needs two, asks about "
    "it. Attackers on its whole view, and on sizes and times of all links, are trained on labelled sessions and guess "
    "the coin of others. Under an agreement with a sieve, where any listing triggers, the coin decides which agency "
    "lists the subject, one of three in an array.",
    sizing=SIZING,
    planted="Defects rewritten into recorded sessions: "
    + "; ".join(dict.fromkeys(leak.name for game in (GAME, SIEVED) for leak in game.leaks))
    + ".",
    measure=_measure,
    control=_control,
)
