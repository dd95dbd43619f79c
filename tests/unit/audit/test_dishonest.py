"""The audit's stage for dishonest parties: who behaves honestly on it is decided about, who does not is seen."""

from collections.abc import Iterator

import pytest

from api.audit.dishonest import Careless, Outcome, Scene
from api.audit.grounds import Grounds, Scale, firm, listing

LISTED, UNLISTED = firm(1), firm(2)
DECIDED = Outcome(decided=({"exclude": 2, "scrutinise": 0}, {"exclude": 0, "scrutinise": 0}))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Grounds(Scale.CI, 1, tmp_path_factory.mktemp("audit")) as grounds:
        yield Scene.create(grounds, "scene", {"tax": [listing("tax", LISTED)]})


def test_a_question_is_decided_and_who_is_down_is_named(scene: Scene) -> None:
    assert scene.ask(LISTED, UNLISTED) == DECIDED
    with scene.playing({"tax": None}):
        assert scene.ask(LISTED, UNLISTED) == Outcome(missing=("tax",))
    assert scene.ask(LISTED, UNLISTED) == DECIDED


def test_a_coordinator_that_leaves_no_check_out_decides_as_the_honest_one(scene: Scene) -> None:
    """So what a control finds is due to the check that it leaves out."""
    scene.coordinate(Careless)
    assert scene.ask(LISTED, UNLISTED) == DECIDED


def test_a_node_on_another_ledger_answers_beside_the_honest_one(scene: Scene) -> None:
    with scene.playing({"tax": scene.node("tax", scene.ledger()).handle}):
        assert scene.ask(LISTED, UNLISTED) == DECIDED
