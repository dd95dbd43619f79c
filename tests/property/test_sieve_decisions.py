"""The sieve decides as a plain evaluation over the raw registers does, and as the same agreement without a sieve."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import Phase

from protocol.agreement.model import Agreement
from protocol.agreement.rules import MeasureOutcome
from protocol.rounds import sieve
from tests.property.everything import AGREEMENT, DifferenceError, Everything, federated, search

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

ANY_LISTING: Final[dict[str, Any]] = AGREEMENT | {
    "rules": [rule | {"when": {"registers": rule["when"]["registers"]}} for rule in AGREEMENT["rules"]]
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Everything, Everything]]:
    """The same agreement with a sieve and without."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(federated(ANY_LISTING | {"sieve": True}, tmp_path_factory.mktemp("sieve"))),
            stack.enter_context(federated(ANY_LISTING, tmp_path_factory.mktemp("strict"))),
        )


@pytest.mark.full
def test_the_sieve_decides_as_the_strict_mode_and_a_plain_evaluation(both: tuple[Everything, Everything]) -> None:
    search(*both, examples=4)
    assert all(it.decided >= 500 for it in both)


@pytest.mark.full
def test_ten_thousand_decisions_of_the_sieve_are_those_of_a_plain_evaluation(
    both: tuple[Everything, Everything],
) -> None:
    before = both[0].decided
    search(both[0], examples=80)
    assert both[0].decided - before >= 10_000
    assert {effect for _, effect in both[0].seen} == {"none", "disputed", "applies"}


encoded, decoded, own = sieve.encode, sieve.decode, sieve.own_effects


def disputed_counts(agreement: Agreement, outcomes: Iterable[MeasureOutcome]) -> int:
    return encoded(agreement, [replace(it, disputed=False) for it in outcomes])


def a_dispute_is_not_told(agreement: Agreement, outcomes: Iterable[MeasureOutcome]) -> int:
    return encoded(agreement, [it for it in outcomes if not it.disputed])


def a_dispute_at_one_dominates(agreement: Agreement, effects: int) -> list[MeasureOutcome]:
    both = {it.measure for it in decoded(agreement, effects & (1 << 64) - 1)}
    return [replace(it, disputed=it.measure in both) for it in decoded(agreement, effects)]


def one_agency_is_not_believed(agreement: Agreement, *given: Any) -> dict[str, int]:
    return own(agreement, *given) | {"court": 0}


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("encode", disputed_counts),
        ("encode", a_dispute_is_not_told),
        ("decode", a_dispute_at_one_dominates),
        ("own_effects", one_agency_is_not_believed),
    ],
)
def test_a_sieve_that_marks_or_reads_otherwise_is_found_out(
    both: tuple[Everything, Everything], monkeypatch: pytest.MonkeyPatch, step: str, fault: Callable[..., Any]
) -> None:
    monkeypatch.setattr(sieve, step, fault)
    with pytest.raises(DifferenceError):
        search(both[0], examples=50, least=6, phases=[Phase.generate])
