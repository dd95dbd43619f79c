"""A screening that is killed at any moment, and run again: the same answers, and only what was in flight asked anew."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.gateways import BOTH, DISPUTED, ONE, firm
from tests.integration.test_cli_ask import Server, read, write
from tests.integration.test_kills import DONE, ROOT
from tests.screened import ROWS_AT_ONCE

ROWS: Final = 60
KILLS: Final = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, quota=100 * ROWS) as running:
        yield running


@pytest.fixture
def people(server: Server) -> Path:
    listed = {7: BOTH, 20: ONE, 41: DISPUTED}
    subjects = [listed.get(number, firm(1000 + number)) for number in range(ROWS)]
    return write(server.home.directory / "people.csv", [(it.scheme, it.value) for it in subjects])


@pytest.fixture
def tell(server: Server, people: Path) -> Iterator[Callable[..., int]]:
    """Tell a screening process something; returns how the attempt ended, where it was told to end one."""
    command, pipe = [sys.executable, "-m", "tests.screened", str(server.home.directory), str(people)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:  # noqa: S603

        def say(word: str, argument: object = "") -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{word} {argument}\n")
            process.stdin.flush()
            return int(process.stdout.readline()) if word in {"kill", "wait"} else 0

        yield say


def charged(server: Server) -> int:
    return sum(used for (kind, *_), used in server.office.ledger().charges().items() if kind == "question")


@pytest.mark.full
def test_a_killed_screening_comes_out_as_undisturbed_and_asks_only_what_was_in_flight_twice(
    server: Server, tell: Callable[..., int]
) -> None:
    undisturbed, output = server.home.directory / "undisturbed.csv", server.home.directory / "out.csv"
    tell("start", output)
    assert tell("wait") == DONE  # its process is there, and all is imported
    started, before = time.monotonic(), charged(server)
    tell("start", undisturbed)
    assert tell("wait") == DONE
    seconds = time.monotonic() - started
    assert charged(server) == before + ROWS
    measures = [row[3] for row in read(undisturbed)[1:] if row[3]]
    assert measures == ["exclude;scrutinise", "exclude", "exclude (disputed)"]

    output.unlink()
    before, kills = charged(server), 0
    moments = random.Random("screening")  # noqa: S311  # any moments will do
    while kills < KILLS:
        tell("start", output)
        if tell("kill", moments.uniform(0, seconds / 4)) == DONE:
            break
        kills += 1
    tell("start", output)
    assert tell("wait") == DONE
    assert kills > 2
    assert read(output) == read(undisturbed)
    assert ROWS <= charged(server) - before <= ROWS + kills * ROWS_AT_ONCE


def test_answers_that_are_not_kept_at_once_would_be_asked_again(server: Server, tell: Callable[..., int]) -> None:
    output, kills = server.home.directory / "out.csv", 3
    for number in range(1, kills + 1):
        tell("careless", output)
        while charged(server) < number * ROWS // 2:
            time.sleep(0.01)
        tell("kill", 0)
    tell("careless", output)
    assert tell("wait") == DONE
    assert charged(server) > ROWS + kills * ROWS_AT_ONCE
