"""The demonstration: load, ask, check every answer against the plain join, and show who learned what."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any

import yaml

from api.demo.plain import Outcome, PlainJoin
from api.demo.questions import Question, choose
from api.demo.registers import sources
from api.demo.stage import Stage
from api.demo.views import View, views
from api.primes import Progress
from api.stage import Subject
from federation.problem import MALFORMED, PREFIX
from nodes.catalogue import load_catalogue
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical

REQUESTER = "procurement-office"
BATCH = 60
REFUSED = "refused: malformed"


@dataclass(frozen=True)
class Answer:
    """One question, its joint answer, the plain join's, and how long it took."""

    case: str
    answer: str
    expected: str
    milliseconds: int

    @property
    def right(self) -> bool:
        """Whether both agree."""
        return self.answer == self.expected


@dataclass
class Report:
    """What the demonstration found."""

    registers: list[dict[str, str | int]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether every decision is right and no name was found where none may be."""
        found = sum(view.names_found for view in self.views.values())
        return all(answer.right for answer in self.answers) and found == 0

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        started = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - started, 2)


def demo_agreement(today: date) -> str:
    """The demonstration's agreement as YAML text, in force around `today`."""
    document = yaml.safe_load((files("api.demo") / "agreement.yaml").read_text("utf-8"))
    valid = {"from": today - timedelta(days=30), "until": today + timedelta(days=330)}
    document["valid"] = {name: day.isoformat() for name, day in valid.items()}
    return yaml.safe_dump(document, sort_keys=False)


def run(stage: Stage, report: Report, progress: Progress) -> None:
    """Run the demonstration on a stage and fill in its report."""
    today, catalogue = datetime.now(UTC).date(), load_catalogue()
    loaded = sources(stage.terms.agreement, catalogue, today)
    with report.timed("loading and sealing"):
        for number, source in enumerate(loaded):
            progress(f"loading {source.register}", number, len(loaded))
            stage.load_source(source)
            report.registers.append(
                {
                    "agency": source.agency,
                    "register": source.register,
                    "listings": len(source.records),
                    "identifiers": sum(len(record.listing.identifiers) for record in source.records),
                    "rows without a usable identifier": source.refused,
                }
            )
    listed = [record for source in loaded for record in source.records]
    listings = [record.listing for record in listed]
    join = PlainJoin(stage.terms.agreement, catalogue, listed)
    questions = list(choose(join, listings, REQUESTER, today))
    asked: list[Identifier] = []
    with report.timed("questions"):
        for number, question in enumerate(questions):
            progress("asking", number, len(questions))
            report.answers.append(_ask(stage, join, question, asked, today))
        report.answers.append(_ask_many(stage, join, asked, today))
    progress("reading what everybody received", 0, None)
    names = {listing.name for listing in listings if set(listing.identifiers) & set(asked)}
    canaries = [text.encode() for text in {identifier.value for identifier in asked} | names if len(text) > 6]
    report.views = views(stage.records, stage.terms, stage.parties, canaries)


def _ask(stage: Stage, join: PlainJoin, question: Question, asked: list[Identifier], today: date) -> Answer:
    expected = REFUSED
    try:
        subject = canonical(question.subject.scheme, question.subject.value)
    except IdentifierError:
        pass
    else:
        expected = _words(join.outcome(subject, REQUESTER, today))
        asked.append(subject)
    started = time.perf_counter()
    (answer,) = stage.ask([question.subject], REQUESTER)
    return Answer(question.case, _read(answer), expected, round(1000 * (time.perf_counter() - started)))


def _ask_many(stage: Stage, join: PlainJoin, asked: list[Identifier], today: date) -> Answer:
    """One batch of subjects, drawn at random; right only if every single decision is."""
    drawn = secrets.SystemRandom().sample(list(join.identifiers()), BATCH)
    asked.extend(drawn)
    started = time.perf_counter()
    items = stage.ask([Subject(subject.scheme, subject.value) for subject in drawn], REQUESTER)
    milliseconds = round(1000 * (time.perf_counter() - started))
    expected = [_words(join.outcome(subject, REQUESTER, today)) for subject in drawn]
    agree = sum(map(str.__eq__, map(_read, items), expected))
    return Answer(f"a batch of {BATCH} drawn at random", f"{agree} right", f"{BATCH} right", milliseconds)


def _read(answer: Mapping[str, Any]) -> str:
    """What an answer object says, in words."""
    if answer.get("outcome") == "decided":
        effects: dict[bool, list[str]] = {False: [], True: []}
        for measure in answer["measures"]:
            effects[measure["disputed"]].append(measure["id"])
        return _words(Outcome(tuple(sorted(effects[False])), tuple(sorted(effects[True]))))
    if answer.get("type") == PREFIX + MALFORMED:
        return REFUSED
    return f"indeterminate without {', '.join(answer.get('missing', ['?']))}"


def _words(outcome: Outcome) -> str:
    parts = [*outcome.measures, *(f"{measure} (disputed)" for measure in outcome.disputed)]
    return ", ".join(parts) or "no measure"
