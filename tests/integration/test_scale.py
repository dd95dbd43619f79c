"""Bulk work on Dask: real worker processes, one killed in the middle, and the result as undisturbed."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from api.agency import open_listings
from api.cli.exits import BAD_INPUT
from api.cli.own import own_settings
from api.sealing import is_sealed_by_another, sealing_alone
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from tests.integration.test_processes import DONE, INDETERMINATE, PARTLY, TODAY, concordat, row, write
from tests.killed import FIGURES
from tests.parties import AGENCIES, PURPOSE, REQUESTER, agreement

pytestmark = pytest.mark.full

LISTINGS = 1_500
TAX = ("--agency", "tax")
ON_DASK = ("--engine", "dask", "--workers", "2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A federation that runs, but for the node of `tax`, all of whose listings wait to be sealed."""
    folder = tmp_path_factory.mktemp("scale")
    valid = {"from": str(TODAY - timedelta(days=9)), "until": str(TODAY + timedelta(days=300))}
    document = agreement(valid=valid, anonymity=FIGURES).model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / "agreement.yml").write_text(yaml.safe_dump(document))
    home = folder / "federation"
    concordat("init", home, "--agreement", folder / "agreement.yml")
    rows = write(folder / "tax.csv", [row(number, "active", 1, number % 5 == 0) for number in range(LISTINGS)])
    concordat("import", home, "--register", "tax-register", rows, *TAX)
    with sealing_alone(home / "agencies" / "tax") as alone:
        assert alone
        concordat("up", home, "--detach")
        time.sleep(2)  # the node looks for what waits twice a second
        assert progress(home) == (0, LISTINGS)  # and leaves it to whoever seals alone
        os.kill(int((home / "agencies/tax/pid").read_text()), signal.SIGKILL)
    yield home
    concordat("down", home)


def store(home: Path) -> Any:
    settings = own_settings(home, "tax")
    return open_listings(settings, settings.secrets()[1])


def progress(home: Path) -> tuple[int, int]:
    sealed: tuple[int, int] = store(home).progress("procurement", 1)
    return sealed


def buckets(home: Path) -> dict[int, list[tuple[bytes, list[str]]]]:
    """Everything that is sealed, as questions find it."""
    listings = store(home)
    settings = own_settings(home, "tax")
    return {
        prefix: sorted(
            (entry.key, sorted(listings.get(reference).listing.decision_ref for reference in entry.references))
            for entry in listings.bucket("procurement", 1, prefix)
        )
        for prefix in range(1 << settings.terms.bucket_bits)
    }


def charged(home: Path) -> int:
    """How many identifiers the agency had evaluated, as the keyholder counts that counts most."""
    states = (ProtocolState(open_engine(f"sqlite:///{home}/agencies/{name}/state.sqlite")) for name in AGENCIES)
    return max(sum(used for (_, who, _), used in state.charges().items() if who == "tax") for state in states)


@contextmanager
def command(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "api.cli", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603
        yield process


def workers(parent: int) -> list[int]:
    """The worker processes that a command has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            own = path.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            words = path.joinpath("cmdline").read_text()
        except OSError:
            continue
        if int(own) == parent and "spawn_main" in words:
            found.append(int(path.name))
    return found


def kill_one_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    while not is_time():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    both = workers(process.pid)
    assert len(both) == 2
    os.kill(both[0], signal.SIGKILL)


def ended(process: subprocess.Popen[str], *codes: int) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode in {DONE, *codes}, (out, err)
    return out


def test_sealing_with_a_worker_killed_in_the_middle_comes_out_as_sealing_undisturbed(home: Path) -> None:
    copytree(home, home.parent / "undisturbed")
    undisturbed = home.parent / "undisturbed"
    assert f"{LISTINGS + LISTINGS // 5 + 1} identifiers" in concordat("node", "seal", undisturbed, *TAX)
    before = charged(home)

    with command("node", "seal", home, *TAX, *ON_DASK) as process:
        kill_one_when(process, lambda: progress(home)[0] > 0)
        assert is_sealed_by_another(home / "agencies" / "tax")
        assert "identifiers sealed" in ended(process)

    assert progress(home) == (LISTINGS, 0)
    assert buckets(home) == buckets(undisturbed)
    assert charged(home) - before <= before + 2 * 120  # what its worker had begun, and what was on its way
    assert concordat("node", "seal", home, *TAX, *ON_DASK).startswith("0 identifiers")
    assert charged(home) - before <= before + 2 * 120
    with sealing_alone(home / "agencies" / "tax"):
        concordat("node", "seal", home, *TAX, exit_code=BAD_INPUT)  # somebody seals already


def test_a_partition_that_was_left_out_would_be_seen(home: Path) -> None:
    """The twin: what is compared above differs by one listing that waits."""
    undisturbed = home.parent / "undisturbed"
    changed = write(home.parent / "one.csv", [row(LISTINGS, "active", 1, False)])
    settings = own_settings(undisturbed, "tax")
    whole = buckets(undisturbed)
    with sealing_alone(settings.directory):
        concordat("import", undisturbed, "--register", "tax-register", changed, *TAX)
    assert buckets(undisturbed) != whole


def test_screening_with_a_worker_killed_in_the_middle_comes_out_as_screening_undisturbed(home: Path) -> None:
    concordat("up", home, "--wait")
    file, on_dask, here = (home.parent / name for name in ("people.csv", "dask.csv", "here.csv"))
    firms = [f"cn.firm,F{number:04}" for number in range(LISTINGS - 400, LISTINGS + 400)]
    file.write_text("scheme,identifier\n" + "\n".join(firms) + "\n")
    asked = ("--purpose", PURPOSE, "--case", "case 7")
    state = ProtocolState(open_engine(f"sqlite:///{home}/gateways/{REQUESTER}/state.sqlite"))

    def questions() -> int:
        return sum(used for (kind, *_), used in state.charges().items() if kind == "question")

    def undecided(output: Path) -> int:
        with output.open(newline="") as rows:
            return len(firms) - len([row for row in csv.DictReader(rows) if row["status"] == "decided"])

    def settle(output: Path) -> None:
        """Ask again for what a slow machine left undecided."""
        for _ in range(9):
            if not undecided(output):
                return
            with command("screen", home, file, "-o", output, *asked) as process:
                ended(process, PARTLY, INDETERMINATE)

    with command("screen", home, file, "-o", here, *asked) as process:
        ended(process, PARTLY, INDETERMINATE)
    settle(here)
    before = questions()
    with command("screen", home, file, "-o", on_dask, *asked, *ON_DASK) as process:
        kill_one_when(process, lambda: questions() > before)
        ended(process, PARTLY, INDETERMINATE)
    charged = questions() - before
    assert charged <= len(firms) + 2 * 360  # what its worker had in flight, and had next
    settle(on_dask)
    assert on_dask.read_text() == here.read_text()
    with on_dask.open(newline="") as rows:
        assert sum(row["measures"] == "exclude" for row in csv.DictReader(rows)) == 400
