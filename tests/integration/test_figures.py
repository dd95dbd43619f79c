"""A quarter's figures of a whole federation: right, opened once, over all agencies, whoever fails or cheats."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.local import LocalFederation
from nodes.noise import Noise
from protocol.agreement.roster import COORDINATOR
from protocol.codec import i2osp, os2ip
from protocol.errors import DecodeError, IndeterminateError, SpentError
from protocol.figures import Quarter
from protocol.messages import Effect, Figures, OpenedFigures, OpenFigures, Proved, Tallied, Tally
from protocol.rounds import figures
from protocol.wire import read
from tests.federations import BOTH, DISPUTES, REGISTERS, Scene, firm, listing
from tests.parties import AGENCIES, forged

QUARTER = Quarter(2026, 4)
LATER = int(datetime(2027, 1, 2, tzinfo=UTC).timestamp())
MANY = [listing("tax", firm(number)) for number in range(100, 112)]


def without_noise(_size: int, _epsilon: int) -> Noise:
    return list


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene.create(tmp_path, {**REGISTERS, "tax": [*REGISTERS["tax"], *MANY]}, DISPUTES)
    made.clock.now = LATER
    yield made
    made.close()


@pytest.fixture
def exact(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> LocalFederation:
    """The same federation, whose agencies add no noise."""
    for node in scene.federation.nodes.values():
        monkeypatch.setattr(node, "_noise", without_noise)
    return scene.federation


def opened(federation: LocalFederation, quarter: Quarter = QUARTER) -> Figures:
    return read(asyncio.run(federation.figures.open(quarter)), Figures).body


def missing(federation: LocalFederation) -> tuple[str, ...]:
    with pytest.raises(IndeterminateError) as caught:
        opened(federation)
    return caught.value.missing


def recorded(federation: LocalFederation, kind: str, receiver: str) -> bytes:
    records = federation.network.records
    return next(it.data for it in reversed(records) if (it.kind, it.receiver) == (kind, receiver))


def test_the_sum_over_all_agencies_is_opened_and_small_numbers_are_not_told(exact: LocalFederation) -> None:
    """18 listings of three agencies, one of them disputed and never answered, one expired before the quarter's end."""
    body = opened(exact)
    assert dict(zip(body.cells, body.numbers, strict=True)) == {
        "listings debarment debarred": 18,
        **dict.fromkeys(("listings erased since", "disputes", "overturned", "late answers", "expiries"), 0),
    }
    assert (body.agencies, body.within, body.threshold, body.epsilon) == (5, 32, 10, 1000)


def test_with_noise_a_second_opening_gives_the_same_numbers(scene: Scene) -> None:
    first = opened(scene.federation)
    assert {opened(scene.federation) for _ in range(2)} == {first}
    assert opened(scene.reopened()) == first  # after a restart of everybody
    number = first.numbers[first.cells.index("listings debarment debarred")]
    assert number == 0 or abs(number - 18) <= 5 * first.within
    assert {scene.federation.nodes[it]._ledger.charges()["figures", it, "year 2026"] for it in AGENCIES} == {1000}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Tally, OpenFigures])
def test_figures_are_of_all_agencies_or_there_are_none(exact: LocalFederation, kind: Any) -> None:
    handler = exact.network._handlers["market"]

    async def refusing(asked: str, data: bytes) -> bytes:
        if asked == kind.TYPE:
            raise IndeterminateError(["market"])
        return await handler(asked, data)

    exact.network.attach("market", refusing)
    if kind is Tally:
        assert missing(exact) == ("market",)
    else:  # four keyholders are a quorum
        assert 18 in opened(exact).numbers


def test_without_a_quorum_nothing_is_opened_and_who_fails_is_named(exact: LocalFederation) -> None:
    for name in ("labour", "tax", "court"):
        handler = exact.network._handlers[name]

        async def silent(asked: str, data: bytes, handler: Any = handler, name: str = name) -> bytes:
            if asked == OpenFigures.TYPE:
                raise IndeterminateError([name])
            reply: bytes = await handler(asked, data)
            return reply

        exact.network.attach(name, silent)
    assert missing(exact) == ("court", "labour", "tax")


def dishonest(federation: LocalFederation, name: str, kind: Any, change: Callable[[Any], dict[str, Any]]) -> None:
    """An agency that changes its reply to one kind of message."""
    handler, key = federation.network._handlers[name], federation.established.secrets[name].signing_key

    async def changing(asked: str, data: bytes) -> bytes:
        reply: bytes = await handler(asked, data)
        try:
            return forged(reply, kind, key, body=change(read(reply, kind).body))
        except DecodeError:
            return reply

    federation.network.attach(name, changing)


def first_changed(values: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (i2osp(os2ip(values[0]) + 1, len(values[0])), *values[1:])


def test_a_keyholder_with_a_wrong_share_is_named(exact: LocalFederation) -> None:
    dishonest(exact, "labour", OpenedFigures, lambda body: {"shares": first_changed(body.shares)})
    assert missing(exact) == ("labour",)


def test_one_that_has_no_proof_either(exact: LocalFederation) -> None:
    dishonest(exact, "labour", OpenedFigures, lambda body: {"shares": first_changed(body.shares)})
    dishonest(exact, "labour", Proved, lambda _body: {"challenge": bytes(32)})
    assert missing(exact) == ("labour",)


def test_a_keyholder_that_says_another_sum_is_outvoted(exact: LocalFederation) -> None:
    dishonest(exact, "labour", OpenedFigures, lambda body: {"sums": first_changed(body.sums)})
    assert 18 in opened(exact).numbers


def test_an_agency_whose_boxes_are_not_for_the_keyholders_is_named(exact: LocalFederation) -> None:
    dishonest(exact, "tax", Tallied, lambda body: {"sealed": {"tax": body.sealed["tax"]}})
    assert missing(exact) == ("tax",)


def test_a_number_beyond_all_agencies_is_an_integrity_failure(
    exact: LocalFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = exact.nodes["tax"]._layout

    def too_much(_self: Any, _numbers: Any) -> list[int]:
        return [1 << (layout.width * len(layout.cells) + 1)]

    with monkeypatch.context() as patched:
        patched.setattr(type(layout), "encode", too_much)
        assert missing(exact) == (COORDINATOR,)


def test_no_second_sum_of_a_quarter_is_opened(exact: LocalFederation) -> None:
    """An agency that contributes otherwise the second time does not get the difference."""
    opened(exact)
    with pytest.raises(IndeterminateError):
        opened_with_another_contribution(exact, "tax")
    with pytest.raises(SpentError):
        exact.nodes["court"].handle(OpenFigures.TYPE, recorded(exact, OpenFigures.TYPE, "court"))


def opened_with_another_contribution(federation: LocalFederation, agency: str) -> Figures:
    """The same quarter once more, to which one agency contributes otherwise."""
    node: Any = federation.nodes[agency]
    party, layout = node._party, node._layout

    def other(_request: Any, quarter: Quarter, now: int) -> bytes:
        numbers = [100] * len(layout.cells)
        return figures.contribute(party, quarter, layout, numbers, node._randomiser, secrets.token_bytes, now)

    node._contribution = other
    return opened(federation)


def test_a_keyholder_without_that_memory_would_open_it(exact: LocalFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with ledgers that forget, the difference of two openings is one agency's numbers."""
    first = opened(exact)
    for node in exact.nodes.values():
        monkeypatch.setattr(node._ledger, "admit_figures", lambda *_: None)
    assert opened_with_another_contribution(exact, "tax").numbers != first.numbers


def test_questions_and_figures_do_not_disturb_each_other(scene: Scene) -> None:
    scene.clock.now = LATER
    before = scene.check(BOTH)
    opened(scene.federation)
    assert scene.check(BOTH) == before


def test_an_agreement_that_opens_nothing_else_has_figures_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a sieve the opening key is for figures alone."""
    rules = [
        {"measure": measure, "when": {"registers": [f"{agency}-register" for agency in AGENCIES]}}
        for measure in ("exclude", "scrutinise")
    ]
    made = Scene.create(tmp_path, {"tax": MANY}, sieve=True, rules=rules)
    made.clock.now = LATER
    for node in made.federation.nodes.values():
        monkeypatch.setattr(node, "_noise", without_noise)
    assert made.check(firm(100)) == [{"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES}]
    assert opened(made.federation).numbers[0] == 12
    made.close()
