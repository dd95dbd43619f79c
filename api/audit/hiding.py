"""Hiding games: a fair coin chooses between two worlds, a federation answers a question, attackers guess the coin.

The worlds differ in what a party must not learn and share all that the protocol declares: two subjects in one bucket
with the same standing, or one subject listed and not listed. Every question runs through real nodes and a real
coordinator, as a session of its own. What a party sees is taken from the recorded messages and its own keys.
"""

import asyncio
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import combinations
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from api.audit.claim import Evidence
from api.audit.grounds import SIEVE, Clock, Grounds, agreement_text, firm, listing
from api.audit.transcripts import Stage
from api.charts import Chart
from api.founding import read_agreement
from api.home import FIRST_EPOCH
from api.setup import Established, establish
from federation.audit.attackers import GATED, Attacker, Result, Samples, Split
from federation.audit.observations import (
    Suspect,
    Transcript,
    View,
    compare,
    coordinator_view,
    nodes_view,
    observer_view,
    requester_view,
)
from federation.audit.statistics import (
    ALPHA,
    CONFIDENCE,
    DECISIONS,
    FALSE_ALARM,
    POWER,
    detectable,
    sample_size,
)
from protocol.agreement.roster import COORDINATOR
from protocol.identifiers import Identifier, to_bytes
from protocol.labels import SUITE
from protocol.rounds.party import Party
from protocol.sealing import bucket

AGENCY, KEYHOLDERS = "market", ("labour", "tax")
TWICE: Final = ", two sessions"
BY_SIEVE: Final = ", by the sieve"
LEARNT: Final = 0.7
"""Of a planted advantage, what an attacker is expected to learn from the few samples it has."""

SIZING: Final = (
    f"Under no leak the right guesses of held-out sessions are binomial with 1/2, and a breach needs p ≤ {ALPHA:.1e}: "
    f"{FALSE_ALARM:g} over the suite's {DECISIONS} statistical decisions. A control's leak fires in 100 % (CI), "
    f"60 % (quick) or 25 % (full) of its sessions, and its held-out sessions are the fewest in which {LEARNT:.0%} of "
    f"that advantage is found with probability {POWER:g}. The full run holds out 40,000, so that the upper "
    f"{CONFIDENCE:.0%} bound of no advantage lies below 0.02. Times are reported with Cohen's d and prove nothing."
)

_POOL = 100
_OTHERS = 8


@dataclass(frozen=True)
class World:
    """One side of the coin: which subject is asked about, and which agencies list it."""

    number: int
    subject: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    listed: tuple[str, ...]
    coordinator: Party


@dataclass(frozen=True)
class Leak:
    """A planted leak: rewrites what was recorded, as a defective party would have sent it; `views` must show it."""

    name: str
    views: tuple[str, ...]
    rewrite: Callable[[Transcript, World], Transcript]


@dataclass(frozen=True)
class Game:
    """A game: who asks, which agencies list the subject in each world, which views are attacked, and planted leaks.

    With the same agencies in both worlds there are two subjects in one bucket; with others, one subject. `beside` other
    subjects, the same in both worlds, are asked about in the same array; under a `sieve` any listing triggers.
    """

    name: str
    requester: str
    purpose: str
    listed: tuple[tuple[str, ...], tuple[str, ...]]
    views: tuple[str, ...]
    leaks: tuple[Leak, ...]
    sieve: bool = False
    beside: int = 0

    def agreement(self, **changes: object) -> str:
        """The agreement that it is played under."""
        return agreement_text(**{**(SIEVE if self.sieve else {}), **changes})


@dataclass(frozen=True)
class Plan:
    """How much is played in each of some federations, and of it with leaks that fire with a probability of `rate`."""

    federations: int
    split: Split
    control: Split
    rate: float


Outcome = dict[tuple[str | None, str], Result]
"""Results by planted leak (None: none) and view."""


def plan(grounds: Grounds) -> Plan:
    """What belongs to this scale; a control's samples follow from how often its leak fires, and in CI are all."""
    federations, rate = grounds.pick((1, 1.0), (2, 0.6), (2, 0.25))
    held_out = 1 + ceil(sample_size(LEARNT * rate) / federations)  # of two sessions there is one sample less
    control = grounds.pick(Split(24, 60, held_out), Split(60, 160, held_out), Split(400, 1_500, held_out))
    split = grounds.pick(control, Split(60, 160, 200), Split(400, 3_600, 20_000))
    return Plan(federations, split, control, rate)


@cache
def played(grounds: Grounds, game: Game) -> Outcome:
    """Play a game at this scale, once; federations of their own in one process each."""
    made = plan(grounds)
    run = partial(_play, game, made, game.agreement(), grounds.primes(full=False))
    tries = [(grounds.folder("hiding"), f"{grounds.seed} {game.name} {number}") for number in range(made.federations)]
    if made.federations == 1:
        return run(*tries[0])
    with ProcessPoolExecutor(made.federations, mp_context=get_context("spawn")) as pool:
        return _sum(pool.map(run, *zip(*tries, strict=True)))


def played_at_full_size(grounds: Grounds, game: Game) -> Outcome:
    """Play 500 sessions with a modulus in full size, without leaks."""
    small = Plan(1, Split(60, 140, 300), Split(0, 0, 0), 0.0)
    bare = replace(game, leaks=())
    return _play(
        bare,
        small,
        game.agreement(suite=SUITE),
        grounds.primes(full=True),
        grounds.folder("hiding"),
        f"{grounds.seed} {game.name} full size",
    )


def decisions(views: Sequence[str]) -> int:
    """How many statistical decisions are made over these views."""
    return len(views) * len(GATED)


def measured(outcomes: dict[str, Result]) -> Evidence:
    """Evidence of results by what was attacked: a breach if a gated attacker does better than chance."""
    figures: dict[str, float | int | str] = {}
    findings = []
    bars: dict[str, list[tuple[float | str, float]]] = defaultdict(list)
    for view, result in outcomes.items():
        for attacker, score in result.scores.items():
            name = f"{view}, {attacker}"
            figures |= {
                f"{name}: held out": score.tried,
                f"{name}: accuracy": round(score.accuracy, 4),
                f"{name}: advantage at most": round(score.upper_bound, 4),
                f"{name}: p": float(f"{score.p:.2g}"),
            }
            bars[f"{attacker}: advantage"].append((view, score.advantage))
            bars[f"{attacker}: upper bound"].append((view, score.upper_bound))
            if attacker in GATED and score.found:
                findings.append(f"told apart: {name}")
        tried = result.scores[Attacker.LEARNED].tried
        figures[f"{view}: least advantage sure to be found"] = detectable(tried)
        figures[f"{view}, timing: Cohen's d"] = round(result.timing_effect, 3)
    gated = [result.scores[attacker].upper_bound for result in outcomes.values() for attacker in GATED]
    figures["advantage at most, of the best attacker of any view"] = round(max(gated), 4)
    chart = Chart("Advantage of each attacker, with its upper bound", "view", "advantage", bars, bars=True)
    return Evidence(bool(findings), figures, findings, [chart])


def controlled(game: Game, outcome: Outcome, views: Sequence[str]) -> Evidence:
    """Evidence of the leaks planted in some views: a breach only if each is found in every view that shows it."""
    shown = [(leak.name, view) for leak in game.leaks for view in leak.views if view in views]
    found = {pair: any(outcome[pair].scores[attacker].found for attacker in GATED) for pair in shown}
    best = {pair: max(outcome[pair].scores[attacker].accuracy for attacker in GATED) for pair in shown}
    under = BY_SIEVE if game.sieve else ""
    figures = {f"{view}{under}, {leak}: accuracy": round(best[leak, view], 4) for leak, view in shown}
    bars = {"best attacker": [(f"{view}{under}, {leak}", 2 * best[leak, view] - 1) for leak, view in shown]}
    chart = Chart("Advantage of the best attacker with a planted leak", "view and leak", "advantage", bars, bars=True)
    verdicts = [
        f"{'found' if found[pair] else 'not found'}: {pair[0]}, in the view of {pair[1]}{under}" for pair in shown
    ]
    return Evidence(bool(found) and all(found.values()), figures, verdicts, [chart])


def together(*all_of: Evidence) -> Evidence:
    """Evidence of several controls: a breach only if each is one."""
    return Evidence(
        all(it.breached for it in all_of),
        {name: figure for it in all_of for name, figure in it.figures.items()},
        [finding for it in all_of for finding in it.findings],
        [chart for it in all_of for chart in it.charts],
    )


def _play(game: Game, made: Plan, agreement: str, primes: tuple[int, int], folder: Path, seed: str) -> Outcome:
    return asyncio.run(_rounds(game, made, agreement, primes, folder, random.Random(seed)))  # noqa: S311  # no secrets


async def _rounds(
    game: Game, made: Plan, agreement: str, primes: tuple[int, int], folder: Path, draws: random.Random
) -> Outcome:
    clock = Clock(int(time.time()))
    established = establish(read_agreement(agreement), FIRST_EPOCH, primes, secrets.token_bytes, clock())
    sides = await _sides(game, established, folder, clock)
    see = partial(_see, game, established, [Suspect(world.subject, world.pseudonym) for _, _, world in sides])
    honest = _Run(game.views, made.split)
    leaks = [(leak, _Run(leak.views, made.control)) for leak in game.leaks]
    for number in range(made.split.total):
        stage, subject, world = sides[draws.randrange(2)]
        transcript = await stage.ask(game.requester, game.purpose, subject, *_others()[: game.beside])
        seen = honest.see(partial(see, transcript))
        honest.add(seen, world.number)
        if number < made.control.total:
            for leak, run in leaks:
                leaky = run.see(partial(see, leak.rewrite(transcript, world)))
                run.add(leaky, world.number, seen if draws.random() >= made.rate else None)
    outcome: Outcome = {(None, view): result for view, result in honest.attack()}
    for leak, run in leaks:
        outcome |= {(leak.name, view): result for view, result in run.attack()}
    return outcome


class _Run:
    """The samples of some views, session by session.

    A sample of two sessions is this one and the last, and the question whether both were of one world. That is a fair
    coin of its own for every two neighbours, though neighbouring pairs share a session.
    """

    def __init__(self, views: Sequence[str], split: Split) -> None:
        self._samples = {view: Samples(split) for view in views}
        self._last: list[Mapping[str, View]] = []
        self._world = 0

    def see(self, look: Callable[[str], View]) -> dict[str, View]:
        """Every party's view of a session."""
        return {party: look(party) for party in {view.removesuffix(TWICE) for view in self._samples}}

    def add(self, seen: Mapping[str, View], world: int, instead: Mapping[str, View] | None = None) -> None:
        """Add a session; where a leak does not fire, samples are of what was seen `instead`, this time and last."""
        now = [seen, instead or seen]
        sample = now[-1] if instead else now[0]
        for view, samples in self._samples.items():
            party = view.removesuffix(TWICE)
            if party == view:
                samples.add(sample[party], bool(world))
            elif self._last:
                last = self._last[1] if instead else self._last[0]
                samples.add(compare(last[party], sample[party]), self._world == world)
        self._last, self._world = now, world

    def attack(self) -> Iterable[tuple[str, Result]]:
        """The results of all attackers."""
        return ((view, samples.attack()) for view, samples in self._samples.items())


async def _sides(
    game: Game, established: Established, folder: Path, clock: Clock
) -> list[tuple[Stage, Identifier, World]]:
    """Both worlds, in one federation or in one each."""
    subjects = list(map(firm, range(_POOL)))
    stages = [Stage(established, folder / "first", clock)]
    for stage in stages:
        await stage.federation.start()
    known = await stages[0].pseudonyms(game.requester, game.purpose, subjects)
    if game.listed[0] == game.listed[1]:
        bits = established.terms.bucket_bits
        prefixes = [bucket(pseudonym, bits) for pseudonym in known]
        chosen = next((one, two) for one, two in combinations(range(_POOL), 2) if prefixes[one] == prefixes[two])
        stages *= 2
    else:
        chosen = (0, 0)
        stages.append(Stage(established, folder / "second", clock))
        await stages[1].federation.start()
    for stage in dict.fromkeys(stages):
        for agency in established.terms.agencies:
            sides = zip(chosen, game.listed, stages, strict=True)
            here = [subjects[it] for it, agencies, on in sides if agency in agencies and on is stage]
            await stage.federation.enter(agency, [listing(agency, it) for it in [*here, *_others()]])
    coordinator = established.secrets[COORDINATOR].party(COORDINATOR, established.terms)
    return [
        (
            stages[number],
            subjects[it],
            World(number, to_bytes(subjects[it]), known[it], game.listed[number], coordinator),
        )
        for number, it in enumerate(chosen)
    ]


def _others() -> list[Identifier]:
    """Subjects whom every agency lists, in both worlds."""
    return [firm(_POOL + number) for number in range(_OTHERS)]


def _see(game: Game, established: Established, suspects: Sequence[Suspect], transcript: Transcript, who: str) -> View:
    terms = established.terms

    def party(name: str) -> Party:
        return established.secrets[name].party(name, terms)

    match who:
        case "agency":
            return nodes_view([party(AGENCY)], transcript, suspects, party(COORDINATOR))
        case "keyholders":
            return nodes_view(list(map(party, KEYHOLDERS)), transcript, suspects, party(COORDINATOR))
        case "coordinator":
            return coordinator_view(party(COORDINATOR), transcript, suspects)
        case "requester":
            return requester_view(party(game.requester), transcript, suspects)
    return observer_view(transcript)


def _sum(outcomes: Iterable[Outcome]) -> Outcome:
    """Add up the scores of federations; of effect sizes the greatest stands."""
    total: Outcome = {}
    for outcome in outcomes:
        for key, result in outcome.items():
            total[key] = total[key] + result if key in total else result
    return total
