"""Run the demonstration: set up, load, ask, check against the plain join, and show who learned what."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from api.demo.plain import Outcome, PlainJoin
from api.demo.questions import Question, choose
from api.demo.registers import load
from api.demo.views import View, views
from api.local import LocalFederation
from api.primes import MODULUS_BITS, Progress, find_primes
from api.setup import establish
from nodes.catalogue import load_catalogue
from protocol.agreement.model import Agreement, Validity, parse
from protocol.agreement.validator import validate
from protocol.errors import IdentifierError, IndeterminateError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect

REQUESTER = "procurement-office"
PURPOSE = "award-contract"
BATCH = 60
MALFORMED = "refused: malformed"


@dataclass(frozen=True)
class Answer:
    """One question, its joint answer, the plain join's, and what it cost."""

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
        return all(answer.right for answer in self.answers) and not any(
            view.names_found for view in self.views.values()
        )


async def run(directory: Path, progress: Progress, primes: tuple[int, int] | None = None) -> Report:
    """Run the whole demonstration with all databases under `directory`.

    `primes` spares the search for safe primes in tests; a real run finds its own.
    """
    report, today = Report(), datetime.now(UTC).date()
    agreement, catalogue = demo_agreement(today), load_catalogue()
    validate(agreement, {preset: entry.facts() for preset, entry in catalogue.items()})
    with _timed(report, "safe primes"):
        primes = primes or find_primes(MODULUS_BITS // 2, progress)
    with _timed(report, "keys"):
        progress("key generation, ceremony, tables", 0, None)
        established = establish(agreement, 1, primes, secrets.token_bytes, _now())
        federation = LocalFederation(established, directory, _now, secrets.token_bytes)
    loaded = load(agreement, catalogue, today)
    with _timed(report, "sealing"):
        await federation.start()
        for register in loaded:
            total = sum(len(listing.identifiers) for listing in register.listings)
            async for entered in federation.entering(register.agency, register.listings):
                progress(f"sealing {register.register}", entered.done, len(register.listings))
            report.registers.append(
                {
                    "agency": register.agency,
                    "register": register.register,
                    "listings": len(register.listings),
                    "identifiers": total,
                    "rows without a usable identifier": register.refused,
                }
            )
    listings = [listing for register in loaded for listing in register.listings]
    join = PlainJoin(agreement, catalogue, listings)
    questions = list(choose(join, listings, REQUESTER, today))
    asked: list[Identifier] = []
    with _timed(report, "questions"):
        for number, question in enumerate(questions):
            progress("questions", number, len(questions))
            report.answers.append(await _ask(federation, join, question, asked, today))
        report.answers.append(await _ask_many(federation, join, list(join.identifiers()), asked, today))
    terms = federation.terms
    agencies = {agency: established.secrets[agency].party(agency, terms) for agency in terms.agencies}
    names = {listing.name for listing in listings if set(listing.identifiers) & set(asked)}
    canaries = [text.encode() for text in {identifier.value for identifier in asked} | names if len(text) > 6]
    report.views = views(federation.network.records, terms, agencies, canaries)
    return report


async def _ask(
    federation: LocalFederation, join: PlainJoin, question: Question, asked: list[Identifier], today: date
) -> Answer:
    started = time.process_time()
    expected = MALFORMED
    try:
        subject = canonical(question.scheme, question.value)
        expected = _words(join.outcome(subject, REQUESTER, today))
        asked.append(subject)
        answer = _words((await _check(federation, [subject], question.case))[0])
    except IdentifierError:
        answer = MALFORMED
    except IndeterminateError as error:
        answer = str(error)
    return Answer(question.case, answer, expected, round(1000 * (time.process_time() - started)))


async def _ask_many(
    federation: LocalFederation, join: PlainJoin, subjects: list[Identifier], asked: list[Identifier], today: date
) -> Answer:
    """One array of subjects, drawn at random; right only if every single decision is."""
    drawn = secrets.SystemRandom().sample(subjects, BATCH)
    asked.extend(drawn)
    started = time.process_time()
    answers = [_words(outcome) for outcome in await _check(federation, drawn, "batch")]
    expected = [_words(join.outcome(subject, REQUESTER, today)) for subject in drawn]
    agree = sum(map(str.__eq__, answers, expected))
    milliseconds = round(1000 * (time.process_time() - started))
    return Answer(f"an array of {BATCH} drawn at random", f"{agree} right", f"{BATCH} right", milliseconds)


async def _check(federation: LocalFederation, subjects: list[Identifier], case: str) -> list[Outcome]:
    decisions = await federation.requesters[REQUESTER].check(subjects, PURPOSE, case)
    return [
        Outcome(decision.body.having(Effect.APPLIES), decision.body.having(Effect.DISPUTED)) for decision in decisions
    ]


def _words(outcome: Outcome) -> str:
    parts = [*outcome.measures, *(f"{measure} (disputed)" for measure in outcome.disputed)]
    return ", ".join(parts) or "no measure"


def demo_agreement(today: date) -> Agreement:
    """The demonstration's agreement, in force around `today`."""
    agreement = parse((files("api.demo") / "agreement.yaml").read_text("utf-8"))
    valid = Validity.model_validate({"from": today - timedelta(days=30), "until": today + timedelta(days=330)})
    return agreement.model_copy(update={"valid": valid})


def _now() -> int:
    return int(time.time())


@contextmanager
def _timed(report: Report, step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    report.seconds[step] = round(time.perf_counter() - started, 2)
