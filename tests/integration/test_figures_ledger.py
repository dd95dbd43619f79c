"""A thousand spends at once, over processes that are killed at any moment: never overspent, never two draws."""

import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.figures import Contributions
from nodes.storage.state import ADMITTED, ProtocolState
from tests.spending import KEY, PRICE, YEARS
from tests.unit.nodes.stores import counter

ROOT = Path(__file__).parents[2]
SPENDS, PROCESSES, KILLS = 1000, 4, 8


def spender(folder: Path, seed: int, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.spending", str(folder), str(seed), str(count)], cwd=ROOT)  # noqa: S603


def answered(folder: Path) -> dict[str, set[str]]:
    """What left the agency, by agreement and quarter; a last line that was cut is none."""
    path, found = folder / "left", defaultdict(set)
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        what, _, number = line.strip().partition(":")
        if line.endswith("\n"):
            found[what].add(number)
    return found


def wrong(folder: Path) -> list[str]:
    """What must never be, in what left and in what is stored."""
    state = ProtocolState(open_engine(f"sqlite:///{folder}/state.sqlite"))
    paid = {int(period.split()[1]): used for (_, _, period), used in state.charges().items()}
    found = [f"{year} is overspent" for year, used in paid.items() if used > PRICE.budget]
    drawn = {what: numbers - {"refused"} for what, numbers in answered(folder).items()}
    found += [f"two draws of {what}" for what, numbers in drawn.items() if len(numbers) > 1]
    for year in YEARS:
        given = sum(1 for what, numbers in drawn.items() if numbers and f" {year}-" in what)
        if PRICE.epsilon * given > paid.get(year, 0):
            found.append(f"{year} gave more than it paid for")
    return found


@pytest.mark.full
def test_a_thousand_spends_with_crashes_never_overspend(tmp_path: Path) -> None:
    moments = random.Random("spending")  # noqa: S311  # any moments will do
    Contributions(open_engine(f"sqlite:///{tmp_path}/state.sqlite"), ColumnCipher(KEY, counter()))
    killed, seeds = 0, iter(range(1000))
    running = [spender(tmp_path, next(seeds), SPENDS) for _ in range(PROCESSES)]
    while killed < KILLS:
        time.sleep(moments.uniform(0.3, 1.5))
        victim = running.pop(0)
        if victim.poll() is None:
            victim.send_signal(signal.SIGKILL)
            killed += 1
        victim.wait()
        running.append(spender(tmp_path, next(seeds), SPENDS))
    last = spender(tmp_path, next(seeds), SPENDS)
    for process in (*running, last):
        assert process.wait(timeout=300) == 0
    assert wrong(tmp_path) == []
    state = ProtocolState(open_engine(f"sqlite:///{tmp_path}/state.sqlite"))
    admitted = sum(entry.outcome == ADMITTED for entry in state.entries())
    assert admitted >= SPENDS
    assert set(state.charges().values()) == {2 * PRICE.epsilon}
    assert sum(bool(numbers - {"refused"}) for numbers in answered(tmp_path).values()) == 2 * len(YEARS)


def test_what_must_never_be_would_be_seen(tmp_path: Path) -> None:
    """The twin: a second draw of a quarter, and one that nobody paid for."""
    Contributions(open_engine(f"sqlite:///{tmp_path}/state.sqlite"), ColumnCipher(KEY, counter()))
    (tmp_path / "left").write_text("procurement 2026-Q1:1\nprocurement 2026-Q1:2\nprocurement 2027-Q1:5\n")
    assert wrong(tmp_path) == [
        "two draws of procurement 2026-Q1",
        "2026 gave more than it paid for",
        "2027 gave more than it paid for",
    ]
