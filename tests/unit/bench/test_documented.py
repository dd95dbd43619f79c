"""The page about performance shows the runs that are kept, and says everything that can be measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.bench.document import PAGE, RUNS, kept, shown
from api.bench.report import inserted
from api.bench.run import names

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / PAGE).read_text()
RUN = kept("bench", ROOT)


def test_the_page_shows_the_runs_that_are_kept() -> None:
    assert shown(TEXT, ROOT) == TEXT


def test_a_figure_that_is_shown_otherwise_would_be_found() -> None:
    planted: dict[str, Any] = json.loads(json.dumps(RUN))
    [figure] = [it for it in planted["measurements"][2]["figures"] if it["name"] == "phe / table"]
    figure["median"] *= 2
    assert inserted(TEXT, planted, "bench") != TEXT
    assert inserted(TEXT.replace("phe / table", "table / phe"), RUN, "bench") == TEXT
    with pytest.raises(ValueError, match="marks"):
        inserted(TEXT.replace("<!-- /bench -->", "<!-- bench -->"), RUN, "bench")


def listed(text: str) -> list[str]:
    return re.findall(r"^\| (P\d+|soak) \|", text, flags=re.MULTILINE)


def test_every_measurement_is_listed_and_is_in_a_run_that_is_kept() -> None:
    assert listed(TEXT) == names()
    assert [it["name"] for it in RUN["measurements"]] == names()
    assert listed(TEXT.replace("| P4 | sealing", "| P5 | sealing")) != names()


def test_what_is_only_measured_at_full_size_is_in_a_run_of_that_size() -> None:
    undone = {it["name"] for it in RUN["measurements"] if it["undone"] and it["name"] != "P9"}
    of_full_size = [kept(name, ROOT) for name in RUNS if kept(name, ROOT)["scale"] == "full"]
    assert undone <= {it["name"] for run in of_full_size for it in run["measurements"] if not it["failure"]}
