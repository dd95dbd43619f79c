"""A quarter is drawn once and paid for once, whoever asks, however often, and whatever breaks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nodes.storage.cipher import ColumnCipher
from nodes.storage.figures import Asked, Contributions, Price, Publications
from nodes.storage.state import ProtocolState
from protocol.errors import NotGrantedError, QuotaError, SealError
from protocol.figures import Quarter
from protocol.wire import Header
from tests.unit.nodes.stores import KEY, at_rest, counter

NOW = 1_800_000_000
HEADER = Header("procurement", 1, 1, "coordinator", "agencies", bytes(16), "figures", 0, NOW, NOW + 60, b"")
ASKED = Asked("procurement", Quarter(2026, 1), b"c" * 32, 1, 1)
PRICE = Price("tax", 1000, 4000)


def open_contributions(engine: Engine, key: bytes = KEY) -> Contributions:
    return Contributions(engine, ColumnCipher(key, counter()))


def write(numbers: Sequence[int]) -> bytes:
    return repr(list(numbers)).encode()


class Drawing:
    """Numbers that are never the same twice; knows how many were drawn."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = count(123_456_789)
        self.drawn = 0

    def __call__(self) -> list[int]:
        self.drawn += 1
        return [next(self.numbers), -5]


def contribute(
    contributions: Contributions,
    asked: Asked = ASKED,
    draw: Callable[[], Sequence[int]] | None = None,
    price: Price = PRICE,
) -> bytes:
    return contributions.contribute(asked, price, draw or Drawing(), write, HEADER, NOW)


def spent(engine: Engine) -> dict[str, int]:
    return {period: used for (kind, _, period), used in ProtocolState(engine).charges().items() if kind == "figures"}


def test_a_quarter_asked_again_is_neither_drawn_nor_paid_again(engine: Engine) -> None:
    contributions, draw = open_contributions(engine), Drawing()
    assert not contributions.is_drawn(ASKED)
    first = contribute(contributions, draw=draw)
    assert contributions.is_drawn(ASKED)
    assert {contribute(open_contributions(engine), draw=draw) for _ in range(3)} == {first}
    assert (draw.drawn, spent(engine)) == (1, {"year 2026": 1000})
    assert [(it.kind, it.outcome) for it in ProtocolState(engine).entries()] == [("tally", "admitted")] * 4


def test_a_year_costs_no_more_than_its_budget(engine: Engine) -> None:
    contributions, draw = open_contributions(engine), Drawing()
    for number in range(1, 4):
        contribute(contributions, replace(ASKED, quarter=Quarter(2026, number)), draw)
    dear = replace(PRICE, epsilon=1001)
    with pytest.raises(QuotaError):
        contribute(contributions, replace(ASKED, quarter=Quarter(2026, 4)), draw, dear)
    assert not contributions.is_drawn(replace(ASKED, quarter=Quarter(2026, 4)))
    contribute(contributions, replace(ASKED, quarter=Quarter(2026, 4)), draw)
    with pytest.raises(QuotaError):
        contribute(contributions, replace(ASKED, agreement="another"), draw)
    contribute(contributions, replace(ASKED, quarter=Quarter(2027, 1)), draw)
    assert (draw.drawn, spent(engine)) == (5, {"year 2026": 4000, "year 2027": 1000})


@pytest.mark.parametrize("fault", ["draw", "write"])
def test_what_fails_costs_nothing_and_leaves_nothing(engine: Engine, fault: str) -> None:
    def broken(*_: object) -> Any:
        raise BrokenPipeError

    contributions, draw = open_contributions(engine), Drawing()
    first: Any = broken if fault == "draw" else draw
    second: Any = broken if fault == "write" else write
    with pytest.raises(BrokenPipeError):
        contributions.contribute(ASKED, PRICE, first, second, HEADER, NOW)
    assert (contributions.is_drawn(ASKED), spent(engine)) == (False, {})


def test_another_epoch_has_the_same_numbers_and_another_version_none(engine: Engine) -> None:
    contributions, draw = open_contributions(engine), Drawing()
    first = contribute(contributions, draw=draw)
    assert contribute(contributions, replace(ASKED, epoch=2), draw) == first  # as `write` writes no epoch
    for other in (replace(ASKED, version=2), replace(ASKED, cells=b"d" * 32)):
        with pytest.raises(NotGrantedError, match="another version"):
            contribute(contributions, other, draw)
    assert draw.drawn == 1


def test_numbers_rest_encrypted_in_their_place_and_one_size(engine: Engine) -> None:
    contributions = open_contributions(engine)
    contributions.contribute(ASKED, PRICE, Drawing(), lambda _: b"message", HEADER, NOW)
    assert (123_456_789).to_bytes(4, "big") not in at_rest(engine)
    other = replace(ASKED, quarter=Quarter(2027, 1))
    contributions.contribute(other, PRICE, lambda: [1, (1 << 62)], lambda _: b"message", HEADER, NOW)
    with engine.connect() as connection:
        sizes = connection.execute(text("SELECT length(numbers) FROM contribution")).scalars().all()
    assert len(sizes) == 2
    assert len(set(sizes)) == 1
    with pytest.raises(SealError):
        contribute(open_contributions(engine, bytes(32)), replace(ASKED, epoch=2))
    with engine.begin() as connection:
        connection.execute(text("UPDATE contribution SET quarter = '2026-Q2' WHERE quarter = '2026-Q1'"))
    with pytest.raises(SealError):
        contribute(contributions, replace(ASKED, quarter=Quarter(2026, 2), epoch=2))


def test_many_at_once_draw_once(engine: Engine) -> None:
    contributions, draw = open_contributions(engine), Drawing()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: contribute(contributions, draw=draw), range(24)))
    assert (len(found), draw.drawn, spent(engine)) == (1, 1, {"year 2026": 1000})


def test_a_ledger_that_looks_before_it_draws_would_be_seen(engine: Engine) -> None:
    """The twin: without the claim, several look, find nothing, and draw."""
    contributions, draw = open_contributions(engine), Drawing()
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: contributions.is_drawn(ASKED), range(8)))
    found = {write(draw()) for is_drawn in looks if not is_drawn}
    assert len(found) > 1


def test_what_was_published_first_stays(engine: Engine) -> None:
    publications = Publications(engine)
    assert publications.all("procurement") == {}
    assert publications.publish("procurement", Quarter(2026, 2), b"second") == b"second"
    assert publications.publish("procurement", Quarter(2026, 1), b"first") == b"first"
    assert publications.publish("procurement", Quarter(2026, 1), b"another") == b"first"
    assert publications.publish("other", Quarter(2026, 1), b"other") == b"other"
    assert list(Publications(engine).all("procurement").values()) == [b"first", b"second"]
