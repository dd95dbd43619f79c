"""The audit passes only if every claim holds and every control was caught, and its report says which did not."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.audit import report
from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds, Scale
from api.audit.run import Audit, run
from api.charts import Chart

CANARY = "9111000010000106X1"
CHART = Chart("Advantage <by> view", "view", "advantage", {"attack": [("agency", 0.01), ("C", 0.0)]}, bars=True)
LINE = Chart("Sizes", "m", "bytes", {"reply": [(1.0, 2.0), (2.0, 4.0)]})
NOTHING, FOUND = Evidence(breached=False, figures={"tried": 3}, charts=[CHART, LINE]), Evidence(breached=True)


def claim(name: str, measured: Evidence, control: Evidence, error: Exception | None = None) -> Claim:
    def measure(_grounds: Grounds) -> Evidence:
        if error:
            raise error
        return measured

    return Claim(1, name, f"{name} is claimed", "an <attack>", "sizing", "planted", measure, lambda _: control)


@pytest.fixture
def grounds(tmp_path: Path) -> Iterator[Grounds]:
    """Grounds whose federation is never started: these claims need none."""
    with Grounds(Scale.CI, 7, tmp_path / "grounds") as made:
        agreement = SimpleNamespace(id="procurement", suite="concordat-v1")
        cast("Any", made).__dict__["processes"] = SimpleNamespace(terms=SimpleNamespace(agreement=agreement))
        yield made


def audit(grounds: Grounds, *claims: Claim) -> Audit:
    return run(grounds, claims, lambda *_: None)


def test_an_audit_passes_if_every_attack_finds_nothing_and_every_control_is_caught(grounds: Grounds) -> None:
    assert audit(grounds, claim("first", NOTHING, FOUND), claim("second", NOTHING, FOUND)).passed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (claim("wrong", FOUND, FOUND), "refuted"),
        (claim("wrong", NOTHING, NOTHING), "means nothing: its control was not caught"),
        (claim("wrong", NOTHING, FOUND, ValueError(CANARY)), "not tried: ValueError at test_run.py:"),
    ],
)
def test_one_claim_that_fails_fails_the_audit_and_the_others_are_tried(
    wrong: Claim, words: str, grounds: Grounds, tmp_path: Path
) -> None:
    made = audit(grounds, wrong, claim("right", NOTHING, FOUND))
    assert not made.passed
    assert [verdict.passed for verdict in made.verdicts] == [False, True]
    assert made.verdicts[0].words.startswith(words)
    report.write(made, tmp_path / "report")
    assert json.loads((tmp_path / "report/report.json").read_text())["passed"] is False
    page = (tmp_path / "report/report.html").read_text()
    assert "Not every claim holds" in page
    assert words in page
    assert CANARY not in page


def test_the_report_has_every_claim_with_its_figures_and_plots_and_loads_nothing(
    grounds: Grounds, tmp_path: Path
) -> None:
    made = audit(grounds, claim("first", NOTHING, FOUND))
    report.write(made, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["passed"], document["seed"], document["scale"]) == (True, 7, "ci")
    assert document["claims"][0]["measured"] == {"breached": False, "figures": {"tried": 3}, "findings": []}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "an &lt;attack&gt;" in page
    for loads in ("<script", "src=", "@import", "url(http", 'rel="'):
        assert loads not in page


def test_the_same_audit_gives_the_same_page(grounds: Grounds) -> None:
    made = audit(grounds, claim("first", NOTHING, FOUND))
    assert report.as_html(made) == report.as_html(made)
