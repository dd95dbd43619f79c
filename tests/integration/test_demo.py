"""The demonstration at full size: every decision right, no name where none may be; and it would say so if not."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from api.demo import run as demo
from api.demo.run import REQUESTER, Answer, Report
from api.demo.show import as_json
from api.demo.views import View, views
from federation.transport import Record
from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.codec import encode
from protocol.rounds import coordinator
from protocol.rounds.party import Party
from tests.parties import FULL_SIZE_PRIMES, small_primes


def test_every_decision_is_right_and_no_name_was_seen(tmp_path: Path) -> None:
    steps: set[str] = set()
    report = asyncio.run(demo.run(tmp_path, lambda step, *_: steps.add(step), FULL_SIZE_PRIMES))
    assert report.right
    assert len(report.answers) >= 13
    assert {view.names_found for view in report.views.values()} == {0}
    assert {COORDINATOR, REQUESTER, "tax", "labour", "court"} <= set(report.views)
    assert any(step.startswith("sealing") for step in steps)
    assert json.loads(json.dumps(as_json(report)))["right"] is True

    fields = {party: set(view.fields) for party, view in report.views.items()}
    assert "look.secrets" in fields[COORDINATOR]
    assert not any(name.startswith("look.") for party in fields if party != COORDINATOR for name in fields[party])
    assert not any(name.startswith("answer.") for party in fields if party != COORDINATOR for name in fields[party])


def test_a_wrong_decision_and_a_name_that_was_seen_are_both_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On small keys; the coordinator decides that nothing applies, and one message carries a name in clear."""

    def small(today: date) -> Agreement:
        return agreement_of(today).model_copy(update={"suite": "concordat-v1-insecure-test"})

    def with_a_name(
        records: Iterable[Record], terms: Terms, agencies: Mapping[str, Party], canaries: Sequence[bytes]
    ) -> dict[str, View]:
        planted = Record(REQUESTER, "tax", "note", encode({canaries[0].decode(): encode({})}))
        return views([*records, planted], terms, agencies, canaries)

    agreement_of = demo.demo_agreement
    monkeypatch.setattr(demo, "demo_agreement", small)
    monkeypatch.setattr(demo, "views", with_a_name)
    monkeypatch.setattr(coordinator, "outcome", lambda *_: ())
    report = asyncio.run(demo.run(tmp_path, lambda *_: None, small_primes()))
    assert not report.right
    wrong = {answer.case for answer in report.answers if not answer.right}
    assert {"on one sanctions list", "on both sanctions lists"} <= wrong
    assert "unknown to every register" not in wrong
    assert {party for party, view in report.views.items() if view.names_found} == {"tax"}
    assert not Report(views=report.views).right
    assert Report(views={party: replace(view, names_found=0) for party, view in report.views.items()}).right


@pytest.mark.parametrize(
    ("answer", "right"), [("exclude", True), ("exclude (disputed)", False), ("no quorum without: tax", False)]
)
def test_one_wrong_answer_is_enough(answer: str, right: bool) -> None:
    answers: list[Any] = [Answer("a", "no measure", "no measure", 1), Answer("b", answer, "exclude", 1)]
    assert Report(answers=answers).right is right
