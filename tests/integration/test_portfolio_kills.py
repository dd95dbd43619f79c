"""`kill -9` while decisions are recorded: the feed is without a gap, and its replay is how every subject stands."""

import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event

from api.portfolios import decide
from federation.changes import timestamp
from federation.requester import Known
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.portfolio_rows import Portfolio
from nodes.storage.portfolios import Portfolios
from tests.parties import NOW

KEY: Final = bytes(range(32))
ID: Final = "7" * 32
SUBJECTS: Final = 5
KILLS: Final = 12


def store_at(folder: Path, spoil: Callable[[Engine], None] = lambda _: None) -> Portfolios:
    engine = open_engine(f"sqlite:///{folder}/portfolios.sqlite")
    store = Portfolios(engine, ColumnCipher(KEY, secrets.token_bytes))
    spoil(engine)
    return store


def answer(now: int, applies: bool) -> dict[str, Any]:
    measures = [{"id": "exclude", "effect": "restriction", "disputed": False}] if applies else []
    return {"outcome": "decided", "measures": measures, "as_of": timestamp(now), "valid_until": timestamp(now + 86_400)}


def screen(folder: Path, seed: int, careless: bool = False) -> None:
    """Record runs of random decisions without end."""
    store, draws = store_at(folder, commits_at_once if careless else lambda _: None), random.Random(seed)  # noqa: S311
    now = NOW + 1_000 * seed
    while True:
        now += 1
        with store.changing(ID) as opened:
            for was in opened.subjects():
                known = Known(1, was.scheme, was.pseudonym)
                decide(opened, was, was.reference, known, answer(now, draws.random() < 0.5), now)
        (folder / f"started {seed}").touch()


def commits_at_once(engine: Engine) -> None:
    """Whoever commits after every statement."""

    def commit(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith(("INSERT INTO change", "UPDATE subject")):
            cursor.connection.execute("COMMIT")
            cursor.connection.execute("BEGIN IMMEDIATE")

    event.listen(engine, "after_cursor_execute", commit)


def register(folder: Path) -> None:
    with store_at(folder).creating(Portfolio(ID, NOW + 10**6, 1, "award", "6h", "case")) as opened:
        for number in range(SUBJECTS):
            decide(opened, None, f"s{number}", Known(1, "cn.uscc", bytes(64)), answer(NOW, False), NOW)


def killed(folder: Path, seed: int, pause: float, careless: bool) -> None:
    child: SpawnProcess = get_context("spawn").Process(target=screen, args=(folder, seed, careless))
    child.start()
    while not (folder / f"started {seed}").exists():
        time.sleep(0.005)
    time.sleep(pause)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL


def is_whole(folder: Path) -> bool:
    """Whether the changes are numbered without a gap and, replayed, say of every subject how it stands."""
    store = store_at(folder)
    changes = store.changes(ID, 0, 10**6)
    state: dict[str, list[Any]] = {}
    for _, document in changes:
        data = document["data"]
        if state.get(data["reference"], []) != data["before"]:
            return False
        state[data["reference"]] = data["after"]
    numbers = [number for number, _ in changes]
    stand = {it.reference: it.measures for it in store.subjects(ID, 0, SUBJECTS)}
    counted = store.counts(ID, 1, NOW).changes
    return numbers == list(range(1, counted + 1)) and all(state.get(it, []) == stand[it] for it in stand)


def run(folder: Path, careless: bool) -> bool:
    """Kill a dozen runs; returns whether everything was whole after each."""
    register(folder)
    draws = random.Random(7)  # noqa: S311
    for seed in range(1, KILLS + 1):
        killed(folder, seed, draws.uniform(0.02, 0.3), careless)
        if not is_whole(folder):
            return False
    assert store_at(folder).counts(ID, 1, NOW).changes > KILLS
    return True


@pytest.mark.full
def test_a_killed_run_leaves_all_of_a_decision_or_none_of_it(tmp_path: Path) -> None:
    assert run(tmp_path, careless=False)


@pytest.mark.full
def test_a_store_that_commits_halfway_is_found_out(tmp_path: Path) -> None:
    """The twin."""
    assert not run(tmp_path, careless=True)
