"""Decisions of a whole federation are those of a plain evaluation over its raw registers (`tests.property.plain`)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import Phase

from api.local import LocalFederation
from nodes.standing import standings
from protocol.agreement import succession
from protocol.agreement.model import parse
from protocol.agreement.terms import DAY
from protocol.errors import NotGrantedError
from protocol.lanes import LaneKind, Standing
from protocol.messages import Effect
from tests.federations import forget
from tests.killed import random_after
from tests.parties import NOW, established
from tests.property.everything import (
    AGREEMENT,
    EMERGENCY,
    FIRST,
    LAST,
    TODAY,
    DifferenceError,
    Everything,
    federated,
    search,
)

# What differs stands in the assertion; beside it Hypothesis shows the whole example, however long.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with federated(AGREEMENT, tmp_path_factory.mktemp("everything")) as made:
        yield made


@pytest.fixture
def forgetful(everything: Everything) -> Iterator[Everything]:
    """The same, for faults: nodes neither know what they computed before, nor afterwards what they computed wrongly."""
    forget(everything.federation)
    yield everything
    forget(everything.federation)


@pytest.fixture(scope="module")
def overtaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """With an emergency version in the next epoch; the version that it follows rests on its days."""
    folder = tmp_path_factory.mktemp("overtaken")
    with federated(AGREEMENT, folder) as made:
        of = made.federation.established
        version = established(parse(yaml.safe_dump(EMERGENCY)), 2, of)
        random = random_after([*made.federation.node_keys.values()])
        made.emergency = LocalFederation(version, folder, made.clock, random)
        asyncio.run(made.emergency.start())
        first, last = (NOW - NOW % DAY + (day - TODAY).days * DAY for day in (FIRST, LAST))
        of.terms.force.elsewhere = range(first, last + DAY)
        yield made
        made.emergency.close()


def test_decisions_are_those_of_a_plain_evaluation_over_raw_registers(everything: Everything) -> None:
    search(everything, examples=16)
    assert everything.decided >= 2_000


@pytest.mark.full
def test_before_in_and_after_an_emergency_decisions_are_those_of_the_version_in_force(overtaken: Everything) -> None:
    search(overtaken, examples=8)
    assert overtaken.decided >= 1_000


@pytest.mark.parametrize("always", ["federation", "emergency"])
def test_who_asks_in_the_version_that_is_not_in_force_gets_no_decision(
    overtaken: Everything, monkeypatch: pytest.MonkeyPatch, always: str
) -> None:
    monkeypatch.setattr(succession, "in_force", lambda *_: getattr(overtaken, always).terms)
    with pytest.raises(NotGrantedError):
        search(overtaken, examples=10, least=1, phases=[Phase.generate])


@pytest.mark.full
def test_ten_thousand_decisions_are_those_of_a_plain_evaluation(everything: Everything, overtaken: Everything) -> None:
    before = everything.decided + overtaken.decided
    search(everything, examples=40)
    search(overtaken, examples=40)
    assert everything.decided + overtaken.decided - before >= 10_000
    assert {effect for _, effect in everything.seen} == {effect.name.lower() for effect in Effect}


Standings = Callable[..., list[Standing]]
right: Standings = standings


def disputed_counts(*given: Any) -> list[Standing]:
    return [replace(it, disputed=False) for it in right(*given)]


def listings_reward(*given: Any) -> list[Standing]:
    found = right(*given)
    return [*found, *(replace(it, positive=True) for it in found)]


def time_stands_still(records: Any, entries: Any, _today: date, *given: Any) -> list[Standing]:
    return right(records, entries, TODAY, *given)


def moratoria_are_over(records: Any, entries: Any, today: date, _suspends: Any) -> list[Standing]:
    return right(records, entries, today, lambda *_: False)


def only_one_register_counts(*given: Any) -> list[Standing]:
    return sorted(right(*given), key=lambda it: it.register)[:1]


@pytest.mark.parametrize(
    "fault", [disputed_counts, listings_reward, time_stands_still, moratoria_are_over, only_one_register_counts]
)
def test_an_agency_that_evaluates_otherwise_is_found_out(
    forgetful: Everything, monkeypatch: pytest.MonkeyPatch, fault: Standings
) -> None:
    monkeypatch.setattr("nodes.service.standings", fault)
    with pytest.raises(DifferenceError):
        search(forgetful, examples=50, least=6, phases=[Phase.generate])


def one_agency_suffices(_when: Any, sums: Mapping[LaneKind, int]) -> bool:
    return sums[LaneKind.COUNT] >= 1


def a_dispute_changes_nothing(_when: Any, _sums: Mapping[LaneKind, int]) -> bool:
    return False


@pytest.mark.parametrize(
    ("step", "fault"), [("_fires", one_agency_suffices), ("_is_disputed", a_dispute_changes_nothing)]
)
def test_a_coordinator_that_reads_the_rules_otherwise_is_found_out(
    everything: Everything, monkeypatch: pytest.MonkeyPatch, step: str, fault: Callable[..., bool]
) -> None:
    monkeypatch.setattr(f"protocol.agreement.rules.{step}", fault)
    with pytest.raises(DifferenceError):
        search(everything, examples=50, least=6, phases=[Phase.generate])
