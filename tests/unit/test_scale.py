"""Bulk work: where work may be sent, what is tried again and what is not, and what there is without the extra."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import typer

from api.cli.engines import check_engine
from api.cli.exits import BAD_INPUT
from api.scale import sealing
from api.scale.cluster import ClusterError, Done, check_address

PARTS = [(number, number + 9) for number in range(0, 100, 10)]
WELL = Done((10, 12, 0, "", ""))
NO_QUORUM = Done((0, 0, 0, "indeterminate", "no answer from court"))
SPENT = Done((0, 0, 0, "quota", "the quota does not cover this request"))
KILLED = Done(None, "KilledWorker")


@pytest.mark.parametrize(
    "address", ["tls://10.0.0.7:8786", "tls://dask.tax.example:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:1"]
)
def test_work_is_sent_by_tls_or_stays_on_this_machine(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.0.0.7:8786",
        "tcp://dask.tax.example:8786",
        "tcp://localhost:8786",
        "10.0.0.7:8786",
        "ws://127.0.0.1:1",
        "",
        "tls://",
        "tls://h",
        "tls://h:x",
    ],
)
def test_work_is_not_sent_in_clear(address: str) -> None:
    with pytest.raises(ClusterError):
        check_address(address)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[tuple[int, int]], list[sealing.Sealed]]]:
    """Seal all parts where workers come to these outcomes, one after the other; what was tried, and what it came to."""
    monkeypatch.setattr(sealing, "PAUSE", 0.0)

    def run(*outcomes: Done, then: Done = WELL) -> tuple[list[tuple[int, int]], list[sealing.Sealed]]:
        attempts, rest = list[tuple[int, int]](), iter(outcomes)

        def each(_client: object, parts: Iterable[tuple[int, int]], _submit: object) -> Iterator[tuple[Any, Done]]:
            for part in parts:
                attempts.append(part)
                yield part, next(rest, then)

        monkeypatch.setattr(sealing, "each", each)
        return attempts, list(sealing.seal(None, 1, PARTS))

    return run


def test_every_partition_is_sealed_once(tried: Any) -> None:
    attempts, sealed = tried()
    assert attempts == PARTS
    assert sum(it.identifiers for it in sealed) == 120
    assert not any(it.problem for it in sealed)


def test_a_partition_that_failed_is_tried_again_after_the_others(tried: Any) -> None:
    attempts, sealed = tried(WELL, NO_QUORUM, WELL, KILLED)
    assert attempts == [*PARTS, PARTS[1], PARTS[3]]
    assert sum(it.identifiers for it in sealed) == 120
    assert not any(it.problem for it in sealed)


@pytest.mark.parametrize("failure", [NO_QUORUM, KILLED])
def test_where_nothing_can_be_sealed_few_attempts_are_charged(tried: Any, failure: Done) -> None:
    attempts, sealed = tried(then=failure)
    assert len(attempts) == 4
    assert (sealed[-1].problem, bool(sealed[-1].reason)) == ("indeterminate", True)


def test_a_spent_allowance_ends_it_at_once(tried: Any) -> None:
    attempts, sealed = tried(WELL, SPENT)
    assert attempts == PARTS[:2]
    assert (sealed[-1].problem, sealed[-1].reason) == ("quota", SPENT.result[-1])


@pytest.mark.parametrize(
    "options",
    [
        ("spark", None, None),
        ("local", "tls://h:1", None),
        ("local", None, 2),
        ("dask", "tls://h:1", 2),
        ("dask", None, 0),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, str | None, int | None]) -> None:
    with pytest.raises(typer.Exit) as ended:
        check_engine(*options)
    assert ended.value.exit_code == BAD_INPUT


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_engine("dask", None, None)
    monkeypatch.setitem(sys.modules, "api.scale.cluster", None)
    with pytest.raises(typer.Exit) as ended:
        check_engine("dask", None, None)
    assert ended.value.exit_code == BAD_INPUT
    assert "concordat-federation[scale]" in capsys.readouterr().err
    check_engine("local", None, None)
