"""`concordat import` in processes of their own: piped into, and killed in between."""

import os
import random as seeded
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol.messages import Effect
from tests.agencies import AGENCY, EPOCH, REFUSED, ROOT, Scene, firm, row, write


def test_what_is_piped_in_is_read_as_it_comes(tmp_path: Path, file: Path) -> None:
    scene = Scene(tmp_path / "federation")
    command = [sys.executable, "-m", "api.cli", "import", str(scene.home.directory), "/dev/stdin", *AGENCY]
    with file.open("rb") as content:
        piped = subprocess.run(  # noqa: S603
            [*command, "--register", "tax-register"],
            input=content.read(),
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
    assert (piped.returncode, piped.stdout) == (5, b"3 loaded, 2 refused\n")
    assert piped.stderr.decode().splitlines() == REFUSED


COUNT = 1_500


def spawn(scene: Scene, path: Path) -> subprocess.Popen[bytes]:
    arguments = ["import", str(scene.home.directory), *AGENCY, "--register", "tax-register", str(path)]
    program = "from api.cli import main; main()"
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.full
def test_killed_at_any_moment_it_leaves_whole_listings_and_the_next_run_ends_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    anonymity = {"population": 20_000, "k_min": 1000, "max_listings": 4 * COUNT}
    scene = Scene(tmp_path / "federation", anonymity=anonymity)
    rows = [row(number) for number in range(COUNT)]
    path = write(tmp_path / "many.csv", rows)
    moments = seeded.Random("kill -9")  # noqa: S311  # any moments will do
    found = []
    with scene.running():
        for _ in range(4):
            already = len(scene.references())
            process = spawn(scene, path)
            while process.poll() is None and len(scene.references()) == already:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
            stored = [record.listing for record in scene.store.all()]
            found.append(len(stored))
            assert scene.store.are_sealed(*EPOCH, stored) == [True] * len(stored)
            assert scene.check(firm(0)) == [Effect.APPLIES]
        assert 0 < found[0] < COUNT
        assert found == sorted(found)
        assert spawn(scene, path).wait() == 0
        assert scene.references() == [f"D {number}" for number in range(COUNT)]
        assert scene.check(firm(0), firm(COUNT - 1), firm(COUNT)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]
