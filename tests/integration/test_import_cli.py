"""`concordat import`, with no federation running, and beside one."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stdnum.ru.inn import calc_company_check_digit
from typer.testing import CliRunner

from api.cli import app
from nodes.lifecycle import term_start
from protocol.errors import IndeterminateError
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect
from tests.agencies import AGENCY, REFUSED, SECRET, TODAY, Scene, firm, row, write

pytestmark = pytest.mark.usefixtures("quick_keys")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "federation")


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

    def test_what_is_to_come_cannot_have_been_served(self, scene: Scene, tmp_path: Path) -> None:
        tomorrow = str(TODAY + timedelta(days=1))
        result = scene.load(write(tmp_path / "future.csv", [row(1, served_on=tomorrow), row(2)]))
        assert (result.exit_code, result.stderr) == (5, "line 2, column served_on: a day to come\n")
        assert scene.references() == ["D 2"]

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
            (record,) = scene.store.all()
            assert str(term_start(record)) == day
            assert record.listing.decision_ref == "tax-register 36"
            assert record.listing.identifiers == (canonical("ru.inn", "7710140679"),)


BAD: dict[str, tuple[str, ...]] = {
    "no agency": ("--agency", SECRET),
    "no register": ("--register", SECRET),
    "another agency's register": ("--register", "court-register"),
    "no format": ("--format", SECRET),
    "no date": ("--format", "ofac", "--as-of", SECRET),
    "a date with csv": ("--as-of", "2026-11-01"),
    "a list with csv": ("--list", SECRET),
    "an official list for a register that follows none": ("--format", "ofac"),
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


def inn(number: int) -> Identifier:
    """A company's Russian tax number."""
    return canonical("ru.inn", f"77{number:07d}" + calc_company_check_digit(f"77{number:07d}"))


def entity(number: int, inn_code: str = "", topics: Sequence[str] = (), **members: Any) -> str:
    properties = {"name": [f"{SECRET} {number}"], "innCode": [inn_code or inn(number).value], "topics": list(topics)}
    return json.dumps({"id": f"E{number}", "schema": "Company", "properties": properties} | members)


class Official:
    """The sanctions register of `tax`, and editions of an official list for it."""

    def __init__(self, folder: Path) -> None:
        self.scene = Scene(folder / "federation", preset="sanctions")
        self._file = folder / "list.ftm.json"

    def publish(self, days_ago: int, *lines: str, options: Sequence[str] = ()) -> Any:
        self._file.write_text("\n".join(lines) + "\n")
        day = str(TODAY - timedelta(days=days_ago))
        result = self.scene.load(self._file, "--format", "ftm", "--as-of", day, *options)
        assert SECRET not in result.output
        return result

    def in_force(self) -> set[str]:
        return {it.listing.decision_ref for it in self.scene.store.all() if it.life.ended is None}


@pytest.fixture
def official(tmp_path: Path) -> Official:
    return Official(tmp_path)


class TestOfficialList:
    def test_a_new_edition_renews_what_it_names_and_ends_what_it_names_no_more(self, official: Official) -> None:
        everybody = [inn(1), inn(2), inn(3)]
        with official.scene.running():
            assert official.publish(3, *map(entity, (1, 2, 3))).stdout == "3 loaded, 0 refused\n"
            assert official.scene.check(*everybody) == [Effect.APPLIES] * 3
            second = official.publish(2, entity(1), entity(2, "not a number"))
            assert (second.exit_code, second.stdout) == (
                5,
                "1 loaded, 1 refused\n1 ended: no longer on the list\n",
            )
            # The second is named still, though its row could not be read.
            assert official.scene.check(*everybody) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]
            assert official.publish(1, *map(entity, (1, 2, 3))).exit_code == 0
            assert official.scene.check(*everybody) == [Effect.APPLIES] * 3
        assert {term_start(it) for it in official.scene.store.all()} == {TODAY - timedelta(days=1)}

    def test_what_an_edition_names_only_as_not_listed_ends(self, official: Official) -> None:
        official.publish(2, *map(entity, (1, 2, 3, 4)))
        told = official.publish(
            1, entity(1), entity(2, target=False), entity(3, topics=["role.pep"]), entity(4, target=None)
        )
        assert (told.exit_code, told.stdout) == (5, "1 loaded, 3 refused\n2 ended: no longer on the list\n")
        # Whether the fourth is listed its row does not say: it stays.
        assert official.in_force() == {"tax-register E1", "tax-register E4"}

    def test_the_same_edition_twice_changes_nothing(self, official: Official) -> None:
        for _ in range(2):
            assert official.publish(1, entity(1), entity(2)).stdout == "2 loaded, 0 refused\n"
        assert official.scene.store.trail_head().number == 2

    def test_an_entry_with_another_number_replaces_the_one_before(self, official: Official) -> None:
        with official.scene.running():
            official.publish(2, entity(1), entity(2))
            official.publish(1, entity(1, inn(7).value), entity(2))
            assert official.scene.check(inn(1), inn(7), inn(2)) == [Effect.NONE, Effect.APPLIES, Effect.APPLIES]

    def test_an_edition_that_would_end_most_ends_nothing_unless_that_is_said(self, official: Official) -> None:
        official.publish(2, *map(entity, range(20)))
        for others in (range(9), range(20, 60)):
            result = official.publish(1, *map(entity, others))
            assert result.exit_code == 5
            assert "another list" in result.stderr
            assert len(official.in_force() & {f"tax-register E{number}" for number in range(20)}) == 20
        result = official.publish(1, *map(entity, range(20, 60)), options=["--all-that-left"])
        assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "11 ended: no longer on the list")

    def test_a_row_that_does_not_say_whom_it_names_ends_nobody(self, official: Official) -> None:
        official.publish(2, entity(1), entity(2))
        result = official.publish(1, entity(1), "{")
        assert result.exit_code == 5
        assert "nothing that left the list was ended" in result.stderr
        assert official.in_force() == {"tax-register E1", "tax-register E2"}

    def test_an_edition_older_than_what_is_there_is_refused(self, official: Official) -> None:
        official.publish(3, entity(1), entity(2))
        official.publish(1, entity(2))
        result = official.publish(2, entity(1), entity(2), entity(3))
        assert (result.exit_code, result.stdout) == (2, "")
        assert official.in_force() == {"tax-register E2"}

    def test_a_day_to_come_is_no_edition(self, official: Official) -> None:
        result = official.publish(-1, entity(1))
        assert (result.exit_code, result.stderr) == (2, "--as-of: a day to come\n")

    def test_a_dry_run_says_what_would_end_and_ends_nothing(self, official: Official) -> None:
        official.publish(2, entity(1), entity(2))
        result = official.publish(1, entity(1), options=["--dry-run"])
        assert result.stdout.splitlines() == [
            "1 could be loaded, 0 refused; nothing was stored",
            "1 would be ended: no longer on the list",
        ]
        assert official.in_force() == {"tax-register E1", "tax-register E2"}

    def test_lists_of_other_names_end_nothing_of_each_other(self, official: Official) -> None:
        official.publish(2, entity(1), options=["--list", "first"])
        official.publish(1, entity(2), options=["--list", "second"])
        assert official.in_force() == {"first E1", "second E2"}

    def test_a_listing_that_staff_revoked_is_not_brought_back(self, official: Official) -> None:
        official.publish(2, entity(1))
        (record,) = official.scene.store.all()
        words = "--reason", "wrongly named", "--document", "D 1"
        assert official.scene.run("node revoke", record.reference, *AGENCY, *words).exit_code == 0
        result = official.publish(1, entity(1))
        assert result.exit_code == 5
        assert result.stderr == "line 1, column properties: it was revoked by a decision of this agency\n"


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
