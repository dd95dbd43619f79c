"""A gateway's portfolios at rest: numbered without a gap, whole or not at all, encrypted, each in its own place."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nodes.storage.cipher import ColumnCipher
from nodes.storage.portfolio_rows import Portfolio, Watched
from nodes.storage.portfolios import Portfolios, UnknownPortfolioError
from protocol.errors import SealError
from tests.unit.nodes.stores import KEY, counter

NOW = 1_795_000_000
ONE, OTHER = "1" * 32, "2" * 32
CASE, REFERENCE = "CASE-4f1e", "SUPPLIER-9d"
BAN = {"id": "exclude", "effect": "restriction", "disputed": False}


def portfolio(number: str = ONE, **changes: Any) -> Portfolio:
    terms = Portfolio(number, NOW + 900, 1, "award", "6h", CASE, "https://hooks.example/SECRETPATH", "whsec_c2VjcmV0")
    return replace(terms, **changes)


def subject(number: int = 0, **changes: Any) -> Watched:
    reference = f"{REFERENCE} {changes.pop('name', number)}"
    made = Watched(number, 1, NOW, NOW + 100, "cn.uscc", NOW, reference, bytes(64), [BAN])
    return replace(made, **changes)


@pytest.fixture
def held(engine: Engine) -> Portfolios:
    store = Portfolios(engine, ColumnCipher(KEY, counter()))
    with store.creating(portfolio()) as opened:
        for name in range(3):
            opened.add(subject(name=name, due=NOW - name))
        opened.tell(lambda number: {"number": number}, NOW)
    return store


def test_what_is_written_comes_back(held: Portfolios) -> None:
    assert held.get(ONE) == portfolio()
    assert held.all() == [portfolio()]
    found = held.subjects(ONE, 0, 10)
    assert found == [subject(number, name=number - 1, due=NOW - number + 1) for number in (1, 2, 3)]
    assert held.subjects(ONE, 2, 10) == found[2:]
    assert held.changes(ONE, 0, 10) == [(1, {"number": 1})]


def test_the_longest_waiting_are_due_first_and_only_those_of_the_epoch(held: Portfolios) -> None:
    found = held.due(1, NOW, 2)
    assert found is not None
    assert (found[0], [it.number for it in found[1]]) == (portfolio(), [3, 2])
    assert held.due(2, NOW, 2) is None
    assert held.due(1, NOW - 3, 2) is None
    assert held.due(1, NOW + 900, 2) is None  # it has ended


def test_a_change_is_committed_with_what_it_comes_from_or_neither_is(held: Portfolios) -> None:
    def interrupted() -> None:
        with held.changing(ONE) as opened:
            opened.write(subject(1, measures=[]))
            opened.drop([subject(2)])
            opened.tell(lambda number: {"number": number}, NOW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [it.measures for it in held.subjects(ONE, 0, 10)] == [[BAN]] * 3
    assert held.changes(ONE, 1, 10) == []


def test_changes_are_numbered_without_a_gap_whoever_writes_at_once(held: Portfolios) -> None:
    def write(name: int) -> None:
        with held.changing(ONE) as opened:
            opened.add(subject(name=name))
            opened.tell(lambda number: {"number": number, "name": name}, NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert [number for number, _ in held.changes(ONE, 0, 99)] == list(range(1, 42))
    assert [it.number for it in held.subjects(ONE, 0, 99)] == list(range(1, 44))


def test_numbers_are_never_given_twice(held: Portfolios) -> None:
    with held.changing(ONE) as opened:
        opened.drop(opened.subjects())
    held.forget(NOW + 1, NOW)
    with held.changing(ONE) as opened:
        opened.add(subject())
        opened.tell(lambda number: {"number": number}, NOW)
    assert [it.number for it in held.subjects(ONE, 0, 9)] == [4]
    assert held.changes(ONE, 0, 9) == [(2, {"number": 2})]


def test_lapses_and_epochs_are_found_once(held: Portfolios) -> None:
    assert (held.lapsing(NOW + 99), held.lapsing(NOW + 100)) == ([], [ONE])
    with held.changing(ONE) as opened:
        assert [it.number for it in opened.lapsing(NOW + 100)] == [1, 2, 3]
        for it in opened.lapsing(NOW + 100):
            opened.write(replace(it, lapses=None))
    assert (held.lapsing(NOW + 100), held.lapsing(NOW + 900)) == ([], [ONE])
    assert (held.outdated(1), held.outdated(2)) == ([], [ONE])
    with held.changing(ONE) as opened:
        opened.rewrite(portfolio(epoch=2))
    assert held.outdated(2) == []


def test_a_webhook_goes_on_where_it_was_acknowledged(held: Portfolios) -> None:
    assert held.undelivered(NOW) == [ONE]
    assert held.next_delivery(ONE) == (1, {"number": 1})
    for pause in (5, 10):
        held.failed(ONE, lambda failures, pause=pause: pause * (failures + 1), NOW)  # type: ignore[misc]
    assert (held.undelivered(NOW + 19), held.undelivered(NOW + 20)) == ([], [ONE])
    held.delivered(ONE, 1)
    assert (held.undelivered(NOW), held.next_delivery(ONE), held.counts(ONE, 1, NOW).delivered) == ([], None, 1)
    with held.changing(ONE) as opened:
        opened.tell(lambda number: {"number": number}, NOW)
        opened.rewrite(portfolio(webhook="https://elsewhere.example/"))
        opened.tell(lambda number: {"number": number}, NOW)
    assert held.next_delivery(ONE) == (3, {"number": 3})  # what was told before is in the feed


def test_without_a_webhook_nothing_is_delivered(held: Portfolios) -> None:
    with held.changing(ONE) as opened:
        opened.rewrite(portfolio(webhook=None, secret=None))
    assert (held.undelivered(NOW), held.next_delivery(ONE)) == ([], None)


def test_deleting_takes_subjects_and_changes_along_and_nothing_of_others(held: Portfolios, engine: Engine) -> None:
    with held.creating(portfolio(OTHER)) as opened:
        opened.add(subject())
    held.delete(ONE)
    for missing in (held.get, held.delete, lambda it: held.counts(it, 1, NOW)):
        with pytest.raises(UnknownPortfolioError):
            missing(ONE)
    with pytest.raises(UnknownPortfolioError), held.changing(ONE):
        pass
    with engine.connect() as connection:
        for table in ("subject", "change"):
            left = connection.execute(text(f"SELECT portfolio FROM {table}")).scalars().all()  # noqa: S608  # two names
            assert set(left) <= {OTHER}
    assert len(held.subjects(OTHER, 0, 9)) == 1


def rows(engine: Engine) -> str:
    with engine.connect() as connection:
        return "".join(
            str([dict(it) for it in connection.execute(text(f"SELECT * FROM {table}")).mappings()])  # noqa: S608
            for table in ("portfolio", "subject", "change")
        )


@pytest.mark.usefixtures("held")
def test_nothing_that_tells_of_anybody_stands_in_clear(engine: Engine) -> None:
    for secret in (CASE, REFERENCE, "award", "cn.uscc", "exclude", "SECRETPATH", "whsec", bytes(64).hex()):
        assert secret not in rows(engine)
    assert ONE in rows(engine)  # the twin: what stands there is found


def test_another_key_opens_nothing_and_a_row_that_was_moved_neither(held: Portfolios, engine: Engine) -> None:
    with pytest.raises(SealError):
        Portfolios(engine, ColumnCipher(bytes(32), counter())).get(ONE)
    with engine.begin() as connection:
        first = connection.execute(text("SELECT payload FROM subject WHERE number = 1")).scalar_one()
        connection.execute(text("UPDATE subject SET payload = :first WHERE number = 2"), {"first": first})
    with pytest.raises(SealError):
        held.subjects(ONE, 0, 9)
