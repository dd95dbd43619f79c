"""The benchmark runs: every measurement at tiny parameters, its report, and what it says when one cannot be done."""

import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from api.audit.grounds import Scale
from api.bench import report
from api.bench import run as running
from api.bench.figure import Measured
from api.bench.ground import Ground
from api.bench.run import Bench, Measurement, names, run
from api.cli import app
from api.cli.exits import BAD_INPUT, DONE

IN_PROCESS = {"P3", "P5", "P6", "P7", "P8"}
FIELDS = {"name", "title", "how", "seconds", "failure", "figures", "parameters", "undone", "charts"}


def taken(folder: Path, wanted: Collection[str]) -> dict[str, Any]:
    """A run at tiny parameters, as it is written."""
    with Ground(Scale.CI, folder / "ground") as ground:
        report.write(report.as_json(run(ground, wanted)), folder / "report")
    made: dict[str, Any] = json.loads((folder / "report/bench.json").read_text())
    return made


def wrong(document: dict[str, Any], wanted: Collection[str]) -> list[str]:
    """What a run lacks: a measurement, its figures or parameters, or a figure that is not a number above nothing."""
    found = [it["name"] for it in document["measurements"]]
    lacking = [f"{name}: not there" for name in wanted if name not in found]
    for it in document["measurements"]:
        if it.keys() != FIELDS or it["failure"] or not it["figures"] or not it["parameters"]:
            lacking.append(f"{it['name']}: {it['failure'] or 'not whole'}")
        for figure in it["figures"]:
            if not 0 <= figure["low"] <= figure["median"] <= figure["high"] and figure["unit"] != "%":
                lacking.append(f"{it['name']}: {figure['name']}")
            if (figure["target"] == "") != (figure["reached"] is None):
                lacking.append(f"{it['name']}: {figure['name']} is not judged")
    return lacking


def medians(document: dict[str, Any], name: str) -> dict[str, float]:
    [found] = [it for it in document["measurements"] if it["name"] == name]
    return {figure["name"]: figure["median"] for figure in found["figures"]}


def printed(document: dict[str, Any]) -> str:
    text = io.StringIO()
    Console(width=200, file=text).print(report.as_tables(document))
    return text.getvalue()


def test_what_is_measured_in_process_has_figures_spread_and_targets(tmp_path: Path) -> None:
    document = taken(tmp_path, IN_PROCESS)
    assert wrong(document, IN_PROCESS) == []
    assert (document["scale"], {"began", "seconds", "machine", "processors", "load"} <= document.keys()) == ("ci", True)
    assert medians(document, "P8")["an agency more"] > 0
    assert {"phe / table", "fresh ζ by table"} <= medians(document, "P3").keys()
    assert "question / textbook" in medians(document, "P6")
    assert any(name.startswith("sieve / openmined-psi") for name in medians(document, "P5"))
    text = printed(document)
    for said in ("phe / table", "≥ 12", "to reach", "not measured: registers beyond 2,000 listings"):
        assert said in text
    page = (tmp_path / "report/bench.html").read_text()
    assert page.count("<svg") == sum(len(it["charts"]) for it in document["measurements"]) > 0


@pytest.mark.full
def test_what_is_measured_of_processes_has_figures_spread_and_targets(tmp_path: Path) -> None:
    wanted = set(names()) - IN_PROCESS
    document = taken(tmp_path, wanted)
    assert wrong(document, wanted) == []
    assert medians(document, "P2")["questions without a decision"] == 0
    assert medians(document, "soak")["questions without a decision"] == 0
    assert medians(document, "P1")["question / floor"] > 1
    assert medians(document, "P4")["sealing / floor"] > 1
    assert all(median >= 1 for name, median in medians(document, "P9").items() if "/" in name)


@pytest.mark.full
def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--only", "P3", "-o", str(tmp_path / "out")])
    assert result.exit_code == DONE
    document = json.loads((tmp_path / "out/bench.json").read_text())
    assert [it["name"] for it in document["measurements"]] == ["P3"]
    assert "phe / table" in result.stdout
    assert (tmp_path / "out/bench.html").exists()


def test_one_measurement_that_fails_is_said_and_the_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_ground: Ground) -> Measured:
        raise ValueError("9111000010000106X1")

    failing = Measurement("P6", "What fails", "Not at all.", measure)
    monkeypatch.setattr(running, "MEASUREMENTS", (failing, *(it for it in running.MEASUREMENTS if it.name == "P3")))
    document = taken(tmp_path, {"P3", "P6"})
    assert wrong(document, {"P3", "P6"}) == [
        "P6: ValueError at test_bench.py:" + str(measure.__code__.co_firstlineno + 1)
    ]
    assert "not measured: ValueError" in printed(document)
    assert "9111000010000106X1" not in json.dumps(document) + printed(document) + report.markdown(document)


def test_a_run_that_is_ended_has_kept_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_ground: Ground) -> Measured:
        raise KeyboardInterrupt

    endless = Measurement("P6", "What takes too long", "Not to its end.", measure)
    monkeypatch.setattr(running, "MEASUREMENTS", (*(it for it in running.MEASUREMENTS if it.name == "P3"), endless))
    kept: list[Bench] = []
    with Ground(Scale.CI, tmp_path) as ground, pytest.raises(KeyboardInterrupt):
        run(ground, {"P3", "P6"}, kept.append)
    assert wrong(report.as_json(kept[-1]), {"P3"}) == []


def test_a_run_that_lacks_something_would_be_found() -> None:
    figure = {"name": "f", "unit": "ms", "runs": 1, "median": -1.0, "low": -1.0, "high": -1.0}
    figure |= {"target": "≤ 1", "reached": None}
    whole = dict.fromkeys(FIELDS, "") | {"name": "P3", "figures": [figure], "parameters": {"bits": 1}}
    found = wrong({"measurements": [whole, whole | {"parameters": {}}]}, {"P3", "P4"})
    assert found == ["P4: not there", "P3: f", "P3: f is not judged", "P3: not whole", "P3: f", "P3: f is not judged"]


@pytest.mark.parametrize("options", [["--only", "P99"], ["--only", "P3,"], ["-o", __file__]])
def test_what_is_no_measurement_or_directory_is_refused_before_anything_is_measured(options: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", *options])
    assert result.exit_code == BAD_INPUT
    assert "P99" not in result.output.partition("There are")[0]
