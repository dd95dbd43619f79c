"""Opt-outs and moratoria in a whole federation: what they take away, for whom and until when, and what they cost C."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation.canaries import known_answers
from protocol.identifiers import canary
from protocol.messages import Effect
from tests.federations import BOTH, DISPUTED, NONE, ONE, TODAY, Scene
from tests.parties import AGENCIES, NOW, REQUESTER

MIDNIGHT = int(datetime.combine(TODAY + timedelta(days=1), datetime.min.time(), UTC).timestamp())
Make = Callable[..., Scene]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Make]:
    made: list[Scene] = []

    def make(**document: Any) -> Scene:
        made.append(Scene.create(tmp_path, **document))
        return made[-1]

    yield make
    for it in made:
        it.close()


def until_today(**suspends: Any) -> dict[str, Any]:
    return {"moratoria": [{**suspends, "until": str(TODAY), "legal_basis": "s. 9"}]}


def test_an_agency_that_opted_out_counts_for_the_other_measures_alone(scene: Make) -> None:
    of = scene(opt_outs=[{"agency": "tax", "measure": "exclude"}])
    assert of.check(ONE, BOTH) == [
        NONE,
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
    ]


def test_a_suspended_measure_returns_with_the_day_of_the_question_after_the_last(scene: Make) -> None:
    of = scene(**until_today(measures=["exclude"]))
    of.clock.now = MIDNIGHT - 1
    assert of.check(ONE, DISPUTED) == [NONE, NONE]
    of.clock.now = MIDNIGHT
    assert of.check(ONE, DISPUTED) == [NONE | {"exclude": Effect.APPLIES}, NONE | {"exclude": Effect.DISPUTED}]


def test_a_suspended_register_is_without_effect_and_others_go_on(scene: Make) -> None:
    of = scene(**until_today(registers=["tax-register"], subject_kinds=["legal"]))
    assert of.check(ONE, BOTH) == [NONE, NONE | {"exclude": Effect.APPLIES}]
    of.clock.now = MIDNIGHT
    assert of.check(ONE, BOTH) == [
        NONE | {"exclude": Effect.APPLIES},
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
    ]


def test_a_register_suspended_for_people_goes_on_for_firms(scene: Make) -> None:
    of = scene(subject_kinds=["legal", "natural"], **until_today(registers=["tax-register"], subject_kinds=["natural"]))
    assert of.check(ONE) == [NONE | {"exclude": Effect.APPLIES}]


@pytest.mark.parametrize("now", [NOW, MIDNIGHT])
def test_every_gateway_knows_its_canaries_answers_on_each_day(scene: Make, now: int) -> None:
    of = scene(opt_outs=[{"agency": "tax", "measure": "exclude"}], **until_today(measures=["scrutinise"]))
    of.clock.now = now
    today = datetime.fromtimestamp(now, UTC).date()
    known = {name: effects for name, _, effects in known_answers(of.federation.terms, REQUESTER, today)}
    assert of.check(*map(canary, AGENCIES)) == [known[agency] for agency in AGENCIES]
    assert known["tax"] == NONE
