"""The page about performance shows the run that is kept, and says everything that can be measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.bench.document import KEPT, PAGE
from api.bench.report import END, START, inserted
from api.bench.run import names

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / PAGE).read_text()
RUN: dict[str, Any] = json.loads((ROOT / KEPT).read_text())


def test_the_page_shows_the_run_that_is_kept() -> None:
    assert inserted(TEXT, RUN) == TEXT


def test_a_figure_that_is_shown_otherwise_would_be_found() -> None:
    [median] = [figure["median"] for figure in RUN["measurements"][2]["figures"] if figure["name"] == "phe / table"]
    planted = json.loads(json.dumps(RUN))
    planted["measurements"][2]["figures"][2]["median"] = 2 * median
    assert inserted(TEXT, planted) != TEXT
    assert inserted(TEXT.replace("phe / table", "table / phe"), RUN) == TEXT
    with pytest.raises(ValueError, match="marks"):
        inserted(TEXT.replace(END, START), RUN)


def listed(text: str) -> list[str]:
    return re.findall(r"^\| (P\d+|soak) \|", text, flags=re.MULTILINE)


def test_every_measurement_is_listed_and_is_in_the_run_that_is_kept() -> None:
    assert listed(TEXT) == names()
    assert [it["name"] for it in RUN["measurements"]] == names()
    assert listed(TEXT.replace("| P4 | sealing", "| P5 | sealing")) != names()
