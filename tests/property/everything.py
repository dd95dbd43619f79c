"""A federation with every kind of register and rule, random lives of its listings, and the plain evaluation beside it.

Hypothesis makes the subjects, what six agencies' registers of every kind hold of them, what happened to it, and the
questions: who asks, about which identifiers, and how many days later. Which steps a listing's life allows is
`tests.property.test_lives`'s; here a step that is refused is simply none that happened.
"""

import asyncio
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api.local import LocalFederation
from nodes.life import Act, Author, TransitionError
from nodes.listings import Listing, UnknownListingError, check_listing
from protocol.agreement import succession
from protocol.agreement.model import parse
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect
from tests.federations import Clock
from tests.parties import NOW, established
from tests.property.plain import Row, decision
from tests.unit.nodes.builders import make_listing

TODAY: Final = datetime.fromtimestamp(NOW, UTC).date()
CLERK, HEAD = Author("clerk", "entered"), Author("head", "as decided", "D 9")
AGREEMENT: Final[dict[str, Any]] = yaml.safe_load("""
concordat: 1
id: everything
version: 1
title: Every kind of register, and every kind of rule
legal_basis: {reference: Act s. 5, rank: law}
territory: national
valid: {from: "2026-11-01", until: "2028-04-30"}
subject_kinds: [legal, natural]
anonymity: {population: 1000000000, k_min: 2, max_listings: 40000}
keyholders: {agencies: [court, tax, city], threshold: 2}
suite: concordat-v1-insecure-test
agencies:
  - {id: court, name: Court, registers: [{id: defaulters, preset: judgment-defaulters}]}
  - {id: tax, name: Tax, registers: [{id: ratings, preset: tax-rating}, {id: debarred, preset: debarment}]}
  - {id: traffic-police, name: Police, registers: [{id: jaywalking, preset: conduct-jaywalking}]}
  - {id: railway, name: Railway, registers: [{id: rail, preset: conduct-points-rail}]}
  - {id: city, name: City, registers: [{id: praise, preset: red-list}, {id: scheme, preset: civic-points}]}
  - {id: treasury, name: Treasury, registers: [{id: sanctioned, preset: sanctions}]}
requesters:
  - {id: office, name: Office, purposes: [p], quota_per_day: 1000000,
     implements: [exclude, no-luxury, no-first-class, closer-look, green-channel]}
  - {id: bank, name: Bank, purposes: [p], quota_per_day: 1000000, implements: [exclude, strict-look]}
  - {id: library, name: Library, purposes: [p], quota_per_day: 1000000, implements: [medal, free-books, strict-look]}
measures:
  - {id: exclude, effect: restriction, severity: serious, max_months: 36, legal_basis: s. 1, notice: You are told.}
  - {id: no-luxury, effect: restriction, severity: serious, max_months: 36, legal_basis: s. 2, notice: You are told.}
  - {id: no-first-class, effect: restriction, severity: general, max_months: 9, legal_basis: s. 3, notice: Told.}
  - {id: closer-look, effect: notice, severity: general, max_months: 9, legal_basis: s. 4, notice: You are told.}
  - {id: strict-look, effect: notice, severity: general, max_months: 9, legal_basis: s. 5, notice: You are told.}
  - {id: green-channel, effect: incentive, severity: general, max_months: 9, legal_basis: s. 6, notice: Thank you.}
  - {id: medal, effect: incentive, severity: general, max_months: 9, legal_basis: s. 7, notice: Thank you.}
  - {id: free-books, effect: incentive, severity: general, max_months: 9, legal_basis: s. 8, notice: Thank you.}
rules:
  - {measure: exclude, when: {registers: [defaulters, debarred, sanctioned], min_agencies: 2, min_weight: 4}}
  - {measure: no-luxury, when: {registers: [defaulters]}}
  - {measure: no-luxury, when: {registers: [debarred, sanctioned, defaulters], min_weight: 5}}
  - {measure: no-first-class, when: {registers: [rail, jaywalking, ratings, defaulters], min_agencies: 2}}
  - {measure: no-first-class, when: {registers: [rail]}}
  - {measure: closer-look, when: {registers: [defaulters, ratings, debarred, jaywalking, rail, sanctioned]}}
  - {measure: strict-look, when: {registers: [ratings, debarred, defaulters, jaywalking], min_agencies: 2}}
  - {measure: green-channel, when: {registers: [ratings, praise]}}
  - {measure: medal, when: {registers: [ratings, praise], min_agencies: 2}}
  - {measure: free-books, when: {registers: [scheme], min_points: 500}}
opt_outs:
  - {agency: railway, measure: closer-look}
moratoria:
  - {registers: [defaulters], subject_kinds: [natural], until: "2026-12-20", legal_basis: s. 20}
  - {registers: [praise], until: "2026-11-24", legal_basis: s. 21}
  - {measures: [no-first-class], until: "2026-11-19", legal_basis: s. 22}
validity_of_decision: 24h
""")

FIRST, LAST = TODAY + timedelta(3), TODAY + timedelta(30)
EMERGENCY: Final[dict[str, Any]] = AGREEMENT | {
    "version": 2,
    "valid": {"from": str(FIRST), "until": str(LAST)},
    "emergency": {"follows": 1, "basis": "s. 30"},
    "requesters": [
        requester | {"implements": ["exclude", "closer-look", "medal"]} if requester["id"] == "bank" else requester
        for requester in AGREEMENT["requesters"]
    ],
    "rules": [
        {"measure": "exclude", "when": {"registers": ["defaulters", "debarred"]}},
        {"measure": "medal", "when": {"registers": ["praise"]}},
        *(rule for rule in AGREEMENT["rules"] if rule["measure"] not in {"exclude", "medal"}),
    ],
    "opt_outs": [{"agency": "tax", "measure": "closer-look"}],
    "moratoria": [{"registers": ["praise"], "until": str(FIRST + timedelta(2)), "legal_basis": "s. 31"}],
}

GROUNDS: Final = {
    "legal": {
        "defaulters": ["evasion-by-means"],
        "ratings": ["grade-a", "grade-b", "grade-d"],
        "debarred": ["debarred"],
        "praise": ["award"],
        "scheme": ["enrolled"],
        "sanctioned": ["designated"],
    },
    "natural": {
        "defaulters": ["evasion-by-means"],
        "jaywalking": ["jaywalking"],
        "rail": ["smoking", "fare-evasion"],
        "praise": ["award"],
        "scheme": ["enrolled"],
        "sanctioned": ["designated"],
    },
}
POINTS: Final = {"grade-a": (90, 100), "grade-b": (70, 89), "grade-d": (0, 39), "enrolled": (0, 1000)}
OFTEN: Final = {"jaywalking": 7, "fare-evasion": 6}  # rows, where one does nothing
LIVES: Final[list[list[Act]]] = [
    [Act.OBJECT],
    [Act.OBJECT, Act.REJECT],
    [Act.REQUEST_CORRECTION],
    [Act.REQUEST_CORRECTION, Act.REJECT],
    [Act.SUSPEND],
    [Act.SUSPEND, Act.RESUME],
    [Act.REVOKE],
    [Act.REQUEST_REPAIR, Act.REPAIR],
    [Act.REQUEST_REPAIR, Act.REFUSE_REPAIR],
    [Act.SERVE],
    [Act.RENEW],
    [Act.LEAVE],
    [Act.CORRECT],
]
SHRINKING: Final = (Phase.generate, Phase.shrink)
NOTHING: Final[list[Act]] = []
lives_ = st.just(NOTHING) | st.just([Act.OBJECT]) | st.sampled_from(LIVES)
numbers = count()  # nobody is made twice, and no decision: one federation serves all examples


@dataclass
class Subject:
    """Somebody, under several identifiers, and what registers hold of them, each with what happened then."""

    identifiers: list[Identifier]
    listings: list[Listing]
    lives: list[tuple[list[Act], date]]


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    kind = draw(st.sampled_from(["legal", "natural"]))
    identifiers = [canonical("zz.made", f"S{next(numbers):08d}") for _ in range(draw(st.integers(1, 2)))]
    listings, lives = [], []
    for register in draw(st.lists(st.sampled_from(sorted(GROUNDS[kind])), min_size=1, max_size=5, unique=True)):
        ground = draw(st.sampled_from(GROUNDS[kind][register]))
        severity = draw(st.integers(1, 3))
        for _ in range(draw(st.integers(OFTEN.get(ground, 2) - 1, OFTEN.get(ground, 2)))):
            listings.append(draw(rows(kind, register, ground, severity, identifiers)))
            lives.append((draw(lives_), TODAY - timedelta(draw(st.integers(0, 8) | st.integers(0, 30)))))
            if ground not in OFTEN:
                ground = draw(st.sampled_from(GROUNDS[kind][register]))
    return Subject(identifiers, listings, lives)


@st.composite
def rows(
    draw: st.DrawFn, kind: str, register: str, ground: str, severity: int, identifiers: list[Identifier]
) -> Listing:
    ages = st.integers(20, 60) | st.integers(20, 300) | (st.nothing() if ground in OFTEN else st.integers(0, 1200))
    decided = TODAY - timedelta(draw(ages))
    served = min(TODAY, decided + timedelta(draw(st.sampled_from([0, 0, 5, 10]))))
    published = register == "sanctioned"
    is_drafted = not published and draw(st.integers(0, 9)) == 0
    least, most = POINTS.get(ground, (None, None))
    return make_listing(
        register=register,
        subject_kind=kind,
        identifiers=tuple(draw(st.permutations(identifiers)))[: draw(st.integers(1, len(identifiers)))],
        ground=ground,
        decision_ref=f"{register} {next(numbers)}",
        decided_on=decided,
        served_on=None if is_drafted else decided if published else served,
        severity=severity,
        # Of what is counted the ground's own term; of all others also a shorter one.
        expires_on=None if ground in OFTEN or draw(st.booleans()) else decided + timedelta(draw(st.integers(20, 180))),
        points=None if least is None else draw(st.integers(least, most)),
        published=published,
    )


@dataclass(frozen=True)
class Question:
    """A requester's question so many days later."""

    requester: str
    days: int


questions = st.builds(
    Question,
    st.sampled_from([requester["id"] for requester in AGREEMENT["requesters"]]),
    st.integers(0, 5) | st.integers(0, 40) | st.integers(0, 500),
)


@dataclass
class Everything:
    """An agreement's federation, and how it decided in comparison with the plain evaluation.

    Beside it, on the same databases, perhaps that of an emergency version which follows it.
    """

    agreement: dict[str, Any]
    federation: LocalFederation
    clock: Clock
    emergency: LocalFederation | None = None
    decided: int = 0
    seen: set[tuple[str, str]] = field(default_factory=set)

    def enter(self, subjects: list[Subject]) -> list[Row]:
        """The registers as they are after everything was entered and has happened."""
        self.clock.now = NOW
        rows = []
        for agency, register in self.federation.registers.items():
            listings = [it for subject in subjects for it in subject.listings if it.register in register.entries]
            for listing in listings:
                check_listing(listing, register.entries[listing.register])
            asyncio.run(self.federation.enter(agency, listings))
            rows += [Row(it, self.federation.listings[agency].reference(it)) for it in listings]
        by_listing = {row.listing.decision_ref: row for row in rows}
        for subject in subjects:
            for listing, (acts, on) in zip(subject.listings, subject.lives, strict=True):
                for act in acts:
                    rows = self.take(by_listing[listing.decision_ref], act, on, rows)
        if self.emergency is not None:
            asyncio.run(self.emergency.start())
        return rows

    def take(self, row: Row, act: Act, on: date, rows: list[Row]) -> list[Row]:
        """Take a step, unless it is refused; returns the rows as they are then."""
        listing = row.listing
        if listing.ground in OFTEN and act in {Act.REQUEST_REPAIR, Act.REPAIR, Act.REFUSE_REPAIR}:
            return rows  # concerns all that are counted together: tests.property.test_lives
        agency = next(name for name, own in self.federation.registers.items() if listing.register in own.entries)
        register = self.federation.registers[agency]
        try:
            if act is Act.CORRECT:
                corrected = replace(listing, decision_ref=f"{listing.decision_ref}, corrected", severity=1)
                send = self.federation._send(agency)
                made = asyncio.run(register.correct(row.reference, corrected, HEAD, send))
                rows = [*rows, Row(corrected, made.reference)]
            else:
                register.act(row.reference, act, HEAD, on)
        except (TransitionError, UnknownListingError):  # not allowed, or erased when somebody left the scheme
            return rows
        row.events.append((act.value, on))
        if act is Act.LEAVE and not listing.published:  # a scheme that is left forgets the person
            return [
                it
                for it in rows
                if it.listing.register != listing.register or not {*it.listing.identifiers} & {*listing.identifiers}
            ]
        return rows

    def answers(self, question: Question, asked: list[Identifier]) -> list[dict[str, str]]:
        """The federation's answers."""
        self.clock.now = NOW + 86_400 * question.days
        federation = self.federation
        if self.emergency is not None:
            current = succession.in_force(self.emergency.terms, self.federation.terms, self.clock.now)
            federation = self.emergency if current is self.emergency.terms else self.federation
        requester = federation.requesters[question.requester]
        return [
            {name: Effect(effect).name.lower() for name, effect in decision.body.measures.items()}
            for decision in asyncio.run(requester.check(asked, "p", "case 7"))
        ]

    def differences(self, subjects: list[Subject], questions: list[Question]) -> list[str]:
        """What the federation says otherwise than the plain evaluation."""
        rows = self.enter(subjects)
        asked = [it for subject in subjects for it in subject.identifiers]
        asked.append(canonical("zz.made", "NOBODY"))
        found = []
        for question in questions:
            day = TODAY + timedelta(question.days)
            answers = self.answers(question, asked)
            for subject, answer in zip(asked, answers, strict=True):
                agreement = EMERGENCY if self.emergency is not None and FIRST <= day <= LAST else self.agreement
                expected = decision(agreement, rows, subject, question.requester, day)
                self.seen |= set(expected.items())
                self.decided += 1
                if answer != expected:
                    found.append(f"{question} on {day}: {answer}, plainly {expected}: {_of(rows, subject)}")
        return found


def _of(rows: list[Row], subject: Identifier) -> list[Row]:
    return [row for row in rows if subject in row.listing.identifiers]


@contextmanager
def federated(agreement: dict[str, Any], folder: Path) -> Iterator[Everything]:
    """A federation under an agreement, with registers of these agencies."""
    clock = Clock()
    federation = LocalFederation(established(parse(yaml.safe_dump(agreement))), folder, clock, secrets.token_bytes)
    asyncio.run(federation.start())
    yield Everything(agreement, federation, clock)
    federation.close()


class DifferenceError(AssertionError):
    """A decision is not the plain one."""


def search(*those: Everything, examples: int, least: int = 20, phases: Collection[Phase] = SHRINKING) -> None:
    """Compare six questions an example: about `least` subjects or some more, and nobody, with each federation.

    Raises:
        DifferenceError: a decision is not the plain one.
    """

    @settings(deadline=None, max_examples=examples, phases=phases, database=None, suppress_health_check=[*HealthCheck])
    @given(st.lists(subjects(), min_size=least, max_size=least + 4), st.lists(questions, min_size=6, max_size=6))
    def same(subjects: list[Subject], questions: list[Question]) -> None:
        for everything in those:
            if found := everything.differences(subjects, questions):
                raise DifferenceError(f"{len(found)} differ, the first: {found[0]}")

    same()
