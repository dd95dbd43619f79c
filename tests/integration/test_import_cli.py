"""`concordat import` and an agency's own commands, with no federation running, beside one, and killed in between."""

import asyncio
import os
import random as seeded
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from typer.testing import CliRunner

from api import keystore
from api.cli import app
from api.home import Home, write_urls
from api.local import LocalFederation
from api.setup import Established
from federation.problem import from_error
from nodes.importers.concordat_csv import REQUIRED
from protocol.agreement.model import Register
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import terms_to_bytes
from protocol.errors import IndeterminateError, PeerError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect
from tests.parties import PURPOSE, REQUESTER, agreement, established

TODAY = datetime.now(UTC).date()
VALID = {"from": str(TODAY - timedelta(days=30)), "until": str(TODAY + timedelta(days=300))}
SECRET = "SECRETFIRM"  # noqa: S105  # stands in refused rows, and must stand in no output
ROOT = Path(__file__).parents[2]
EPOCH = ("procurement", 1)


def now() -> int:
    return int(time.time())


def found(preset: str, **document: Any) -> Established:
    """A new epoch in which `tax` keeps a register of this preset."""
    text = agreement(valid=VALID, **document)
    registers = (Register(id="tax-register", preset=preset),)
    agencies = [it.model_copy(update={"registers": registers}) if it.id == "tax" else it for it in text.agencies]
    return established(text.model_copy(update={"agencies": tuple(agencies)}))


@cache
def epoch(preset: str) -> Established:
    """The same, made once a test process."""
    return found(preset)


class Scene:
    """A federation in this process, of which the agency `tax` has its directory under DIR, keys and all."""

    def __init__(self, directory: Path, preset: str = "debarment", **document: Any) -> None:
        of = epoch(preset) if not document else found(preset, **document)
        self.home = Home(directory)
        self.federation = LocalFederation(of, directory, now, secrets.token_bytes)
        self.store = self.federation.listings["tax"]
        self.home.roster_path.write_bytes(terms_to_bytes(of.terms.agreement, of.roster))
        own = self.home.party_path("tax", of.terms.agreement)
        (own / "passphrase").write_text("correct horse\n")
        keystore.save(
            own / "keys", of.secrets["tax"], self.federation.node_keys["tax"], b"correct horse", secrets.token_bytes
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """The federation's coordinator behind HTTP, named in urls.json."""
        app = FastAPI()

        @app.get("/healthz")
        def healthz() -> str:
            return "alive"

        @app.post("/v1/{kind}")
        async def serve(kind: str, request: Request) -> Response:
            try:
                data = await request.body()
                return Response(await self.federation.network.deliver("tax", COORDINATOR, kind, data))
            except PeerError as error:
                problem = from_error(error)
                return JSONResponse(problem, problem["status"])

        asyncio.run(self.federation.start())
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            parties = self.federation.terms.roster.signing
            write_urls(self.home.urls_path, self.federation.terms.agreement, dict.fromkeys(parties, url))
            yield
        finally:
            server.should_exit = True
            thread.join()

    def load(self, path: Path, *options: str, register: str = "tax-register") -> Any:
        return self.run("import", *AGENCY, "--register", register, str(path), *options)

    def run(self, command: str, *options: str) -> Any:
        first, *rest = command.split()
        return CliRunner().invoke(app, [first, *rest, str(self.home.directory), *options])

    def check(self, *subjects: Identifier) -> list[Effect]:
        decisions = asyncio.run(self.federation.requesters[REQUESTER].check(subjects, PURPOSE, "tender 7"))
        return [Effect(decision.body.measures["exclude"]) for decision in decisions]

    def references(self) -> list[str]:
        return [listing.decision_ref for _, listing in self.store.all()]


AGENCY = ("--agency", "tax")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "federation")


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


def row(number: int, **changes: str) -> str:
    values = {
        "identifier_scheme": "cn.reg_no",
        "identifier": firm(number).value,
        "subject_kind": "legal",
        "name": f"Firm {number}",
        "ground": "debarred",
        "decision_ref": f"D {number}",
        "decided_on": str(TODAY - timedelta(days=90)),
        "served_on": str(TODAY - timedelta(days=60)),
        "severity": "2",
        "expires_on": "",
        "other_identifiers": f"cn.alias:A{number}" if number % 3 == 0 else "",
    } | changes
    return ",".join(values[name] for name in (*REQUIRED, "other_identifiers"))


def write(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("\n".join([",".join((*REQUIRED, "other_identifiers")), *rows]) + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three good rows and two that are refused, on lines 3 and 5."""
    bad = row(2, identifier=SECRET, identifier_scheme="cn.uscc"), row(4, severity="9", name=SECRET)
    return write(tmp_path / "listings.csv", [row(1), bad[0], row(3), bad[1], row(5)])


REFUSED = ["line 3, column identifier: cn.uscc: wrong length", "line 5, column severity: not 1, 2 or 3"]


class TestReport:
    def test_each_refused_row_is_one_line_and_the_others_load(self, scene: Scene, file: Path) -> None:
        result = scene.load(file)
        assert result.exit_code == 5
        assert result.stderr.splitlines() == REFUSED
        assert result.stdout == "3 loaded, 2 refused\n"
        assert SECRET not in result.output
        assert scene.references() == ["D 1", "D 3", "D 5"]

    def test_all_loaded(self, scene: Scene, tmp_path: Path) -> None:
        result = scene.load(write(tmp_path / "good.csv", [row(1), row(2)]))
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "2 loaded, 0 refused\n"

    def test_a_long_reason_is_not_wrapped(self, scene: Scene, tmp_path: Path) -> None:
        rows = [row(1, expires_on="2999-01-01"), row(2, identifier_scheme="[bold]no such scheme[/bold]")]
        result = scene.load(write(tmp_path / "long.csv", rows))
        assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
            "line 2, column expires_on",
            "line 3, column identifier_scheme",
        ]
        assert max(map(len, result.stderr.splitlines())) > 80

    def test_a_dry_run_reports_the_same_and_stores_nothing(self, scene: Scene, file: Path) -> None:
        result = scene.load(file, "--dry-run")
        assert (result.exit_code, result.stderr.splitlines()) == (5, REFUSED)
        assert scene.references() == []

    def test_once_more_changes_nothing(self, scene: Scene, file: Path) -> None:
        first, second = scene.load(file), scene.load(file)
        assert (first.exit_code, first.output) == (second.exit_code, second.output)
        assert len(scene.references()) == 3

    def test_an_ofac_list_is_dated_as_of_its_snapshot(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path / "federation", preset="sanctions")
        empty = ",-0-" * 7
        rows = f'36,"A",-0-,"CUBA"{empty},"Tax ID No. 7710140679 (Russia)."', f'9,"{SECRET}",-0-,"CUBA"{empty},-0-'
        path = tmp_path / "sdn.csv"
        path.write_text("\n".join(rows) + "\n")
        for options, day in ((("--as-of", "2026-09-01"), "2026-09-01"), ((), str(TODAY))):
            result = scene.load(path, "--format", "ofac", *options)
            assert (result.exit_code, result.stdout) == (5, "1 loaded, 1 refused\n")
            assert result.stderr.startswith("line 2, column remarks: ")
            *_, (_, listing) = scene.store.all()
            assert (str(listing.decided_on), str(listing.served_on)) == (day, day)
            assert (listing.decision_ref, listing.identifiers) == (
                "tax-register 36",
                (canonical("ru.inn", "7710140679"),),
            )


BAD: dict[str, tuple[str, ...]] = {
    "no agency": ("--agency", SECRET),
    "no register": ("--register", SECRET),
    "another agency's register": ("--register", "court-register"),
    "no format": ("--format", SECRET),
    "no date": ("--format", "ofac", "--as-of", SECRET),
    "a date with csv": ("--as-of", "2026-11-01"),
}


class TestBadInput:
    @pytest.mark.parametrize("options", BAD.values(), ids=BAD.keys())
    def test_names_what_is_wrong_and_repeats_nothing(self, scene: Scene, file: Path, options: tuple[str, ...]) -> None:
        result = scene.load(file, *options)
        assert result.exit_code == 2
        assert result.stderr.startswith("--")
        assert SECRET not in result.output
        assert scene.references() == []

    def test_no_such_file_and_no_file_at_all(self, scene: Scene, tmp_path: Path) -> None:
        for path in (tmp_path / SECRET, tmp_path):
            result = scene.load(path)
            assert (result.exit_code, result.stderr.partition(":")[0]) == (2, "FILE")
            assert SECRET not in result.output

    @pytest.mark.parametrize("content", [b"", b"name,ground\nx,y\n", b"\xff\xfe\x00", b"name,name\n"])
    def test_a_file_without_its_header(self, scene: Scene, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "bad.csv"
        path.write_bytes(content)
        result = scene.load(path)
        assert result.exit_code == 2
        assert result.stderr.startswith("line 1, column ")

    def test_a_directory_without_a_federation(self, tmp_path: Path, file: Path) -> None:
        result = CliRunner().invoke(app, ["import", str(tmp_path), *AGENCY, "--register", "r", str(file)])
        assert (result.exit_code, result.stderr.partition(":")[0]) == (2, "DIR")

    def test_keys_that_do_not_open(self, scene: Scene, file: Path) -> None:
        (scene.home.directory / "agencies/tax/passphrase").write_text("another\n")
        result = scene.load(file)
        assert result.exit_code == 2
        assert "passphrase" in result.stderr


class TestRunning:
    def test_listings_count_in_the_very_next_question(self, scene: Scene, file: Path) -> None:
        with scene.running():
            assert scene.check(firm(1), firm(3)) == [Effect.NONE] * 2
            assert scene.load(file).exit_code == 5
            alias = canonical("cn.alias", "A3")
            assert scene.check(firm(1), firm(2), firm(3), alias, firm(5)) == [
                *(Effect.APPLIES, Effect.NONE, Effect.APPLIES, Effect.APPLIES, Effect.APPLIES)
            ]

    def test_without_the_federation_they_count_from_its_next_start(self, scene: Scene, file: Path) -> None:
        asyncio.run(scene.federation.start())
        assert scene.load(file).exit_code == 5
        with pytest.raises(IndeterminateError):
            scene.check(firm(1))
        asyncio.run(scene.federation.start())
        assert scene.check(firm(1), firm(2)) == [Effect.APPLIES, Effect.NONE]

    def test_a_full_bucket_refuses_its_row_by_line_and_column(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path / "federation", anonymity={"population": 500, "k_min": 400, "max_listings": 3})
        path = write(tmp_path / "many.csv", [row(1), row(0), row(2), row(4)])
        with scene.running():
            result = scene.load(path)
            assert result.exit_code == 5
            assert result.stderr.splitlines() == [
                "line 3, column other_identifiers: cannot be entered: its bucket is full",
                "line 5, column identifier: cannot be entered: its bucket is full",
            ]
            assert result.stdout == "2 loaded, 2 refused\n"
            assert scene.check(firm(1), firm(0), firm(2), firm(4)) == [
                *(Effect.APPLIES, Effect.NONE, Effect.APPLIES, Effect.NONE)
            ]

    def test_without_a_quorum_it_says_how_to_go_on(self, scene: Scene, file: Path) -> None:
        with scene.running():
            for agency in ("labour", "court", "market"):
                scene.federation.network.detach(agency)
            result = scene.load(file)
            assert result.exit_code == 3
            assert "again" in result.stderr
            assert scene.references() == []

    def test_beyond_the_agencys_quota_it_is_refused(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path / "federation", anonymity={"population": 500, "k_min": 400, "max_listings": 2})
        path = write(tmp_path / "many.csv", [row(number) for number in range(20)])
        with scene.running():
            result = scene.load(path)
        assert result.exit_code == 4
        assert "quota" in result.stderr


class TestNode:
    def test_a_dispute_acts_on_the_next_question_and_so_does_its_end(self, scene: Scene, file: Path) -> None:
        options = (*AGENCY, "--register", "tax-register")
        with scene.running():
            scene.load(file)
            assert scene.run("node dispute", *options, "cn.alias:a-3").exit_code == 0
            assert scene.check(firm(3), firm(1)) == [Effect.DISPUTED, Effect.APPLIES]
            assert scene.run("node dispute", *options, "--end", f"cn.reg_no:{firm(3).value}").exit_code == 0
            assert scene.check(firm(3)) == [Effect.APPLIES]

    @pytest.mark.parametrize("subject", [f"cn.reg_no:{SECRET}", SECRET, f"{SECRET}:1", f"cn.uscc:{SECRET}"])
    def test_a_subject_that_is_not_listed_is_not_repeated(self, scene: Scene, file: Path, subject: str) -> None:
        scene.load(file)
        result = scene.run("node dispute", *AGENCY, "--register", "tax-register", subject)
        assert result.exit_code == 2
        assert SECRET not in result.output

    def test_listings_are_counted_by_state(self, scene: Scene, tmp_path: Path) -> None:
        rows = [row(1), row(2, served_on=str(TODAY)), row(3, expires_on=str(TODAY - timedelta(days=1))), row(4)]
        scene.load(write(tmp_path / "states.csv", rows))
        scene.run("node dispute", *AGENCY, "--register", "tax-register", f"cn.reg_no:{firm(4).value}")
        result = scene.run("node listings", *AGENCY)
        assert result.exit_code == 0
        numbers = [word for word in result.stdout.replace("│", " ").split() if word.isdigit()]
        assert numbers == ["1", "1", "1", "1", "4"]
        assert "not sealed" in result.stdout


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
            stored = [listing for _, listing in scene.store.all()]
            found.append(len(stored))
            assert scene.store.are_sealed(*EPOCH, stored) == [True] * len(stored)
            assert scene.check(firm(0)) == [Effect.APPLIES]
        assert 0 < found[0] < COUNT
        assert found == sorted(found)
        assert spawn(scene, path).wait() == 0
        assert scene.references() == [f"D {number}" for number in range(COUNT)]
        assert scene.check(firm(0), firm(COUNT - 1), firm(COUNT)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]
