"""The demonstration: every decision right, no name where none may be; and it would say so if not.

Here its stage is one process with a recording network, on small keys; CI runs `concordat demo` on separate processes.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.demo.registers import Source
from api.demo.run import REQUESTER, Answer, Report, demo_agreement, run
from api.demo.show import as_json
from api.demo.stage import PURPOSE
from api.founding import read_agreement
from api.local import LocalFederation
from api.setup import establish
from api.stage import Subject
from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import encode
from protocol.errors import IdentifierError
from protocol.identifiers import canonical
from protocol.messages import Effect
from protocol.rounds import coordinator
from protocol.rounds.party import Party
from tests.parties import small_primes


class Memory:
    """The stage of one process."""

    def __init__(self, directory: Path) -> None:
        text = demo_agreement(datetime.now(UTC).date()).replace(
            "suite: concordat-v1", "suite: concordat-v1-insecure-test"
        )
        now = int(time.time())
        established = establish(read_agreement(text), 1, small_primes(), secrets.token_bytes, now)
        self.terms: Terms = established.terms
        self.parties: Mapping[str, Party] = {
            name: established.secrets[name].party(name, self.terms) for name in (*self.terms.agencies, COORDINATOR)
        }
        self._local = LocalFederation(established, directory, lambda: int(time.time()), secrets.token_bytes)

    @property
    def records(self) -> list[Record]:
        return self._local.network.records

    def load_source(self, source: Source) -> None:
        asyncio.run(self._local.enter(source.agency, [record.listing for record in source.records]))
        if source.disputed:
            self._local.dispute(source.agency, source.disputed)

    def ask(self, subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        try:
            identifiers = [canonical(subject.scheme, subject.value) for subject in subjects]
        except IdentifierError:
            return [{"type": "urn:concordat:problem:malformed"}]
        decisions = asyncio.run(self._local.requesters[requester].check(identifiers, PURPOSE, "case"))
        return [
            {
                "outcome": "decided",
                "measures": [
                    {"id": measure, "disputed": effect == Effect.DISPUTED}
                    for measure, effect in decision.body.measures.items()
                    if effect != Effect.NONE
                ],
            }
            for decision in decisions
        ]


@pytest.fixture
def stage(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


def test_every_decision_is_right_and_no_name_was_seen(stage: Memory) -> None:
    report, steps = Report(), set()
    run(stage, report, lambda step, *_: steps.add(step))
    assert report.right
    assert len(report.answers) >= 13
    assert {view.names_found for view in report.views.values()} == {0}
    assert {COORDINATOR, REQUESTER, "tax", "labour", "court"} <= set(report.views)
    assert any(step.startswith("loading") for step in steps)
    assert json.loads(json.dumps(as_json(report)))["right"] is True

    fields = {party: set(view.fields) for party, view in report.views.items()}
    assert "look.secrets" in fields[COORDINATOR]
    assert not any(name.startswith("look.") for party in fields if party != COORDINATOR for name in fields[party])
    assert not any(name.startswith("answer.") for party in fields if party != COORDINATOR for name in fields[party])


def test_a_wrong_decision_and_a_name_that_was_seen_are_both_reported(
    stage: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator decides that nothing applies, and one message carries a name in clear."""
    ask = stage.ask

    def leaking(subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        planted = encode({subjects[0].value: encode({})})
        stage.records.append(Record(REQUESTER, "tax", "note", planted))
        return ask(subjects, requester)

    monkeypatch.setattr(stage, "ask", leaking)
    monkeypatch.setattr(coordinator, "outcome", lambda *_: ())
    report = Report()
    run(stage, report, lambda *_: None)
    assert not report.right
    wrong = {answer.case for answer in report.answers if not answer.right}
    assert {"on one sanctions list", "on both sanctions lists"} <= wrong
    assert "unknown to every register" not in wrong
    assert {party for party, view in report.views.items() if view.names_found} == {"tax"}


@pytest.mark.parametrize(
    ("answer", "right"), [("exclude", True), ("exclude (disputed)", False), ("no quorum without: tax", False)]
)
def test_one_wrong_answer_is_enough(answer: str, right: bool) -> None:
    answers: list[Any] = [Answer("a", "no measure", "no measure", 1), Answer("b", answer, "exclude", 1)]
    assert Report(answers=answers).right is right
