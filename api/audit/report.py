"""The audit's report: JSON for programs, one HTML page with plots for people, which loads nothing from anywhere."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from api.audit.claim import Chart, Evidence
from api.audit.run import Audit, Verdict
from federation.audit.leakage import declared, declared_views

_WIDTH, _HEIGHT = 7.2, 2.8


def write(audit: Audit, directory: Path) -> None:
    """Write `report.json` and `report.html` into a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(json.dumps(as_json(audit), indent=2, ensure_ascii=False) + "\n", "utf-8")
    (directory / "report.html").write_text(as_html(audit), "utf-8")


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit as JSON values."""
    return {
        "passed": audit.passed,
        "agreement": audit.agreement,
        "suite": audit.suite,
        "federation": "its own" if audit.own else "given",
        "scale": audit.scale,
        "seed": audit.seed,
        "began": audit.began,
        "seconds": audit.seconds,
        "machine": audit.machine,
        "claims": [_verdict(verdict) for verdict in audit.verdicts],
    }


def as_html(audit: Audit) -> str:
    """The audit as a page."""
    environment = Environment(
        loader=PackageLoader("api.audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        audit=audit, views=declared_views(), fields=declared(), plots=_plots
    )


def _verdict(verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "item": claim.number,
        "name": claim.name,
        "claim": claim.statement,
        "attack": claim.attack,
        "sizing": claim.sizing,
        "planted": claim.planted,
        "verdict": verdict.words,
        "passed": verdict.passed,
        "seconds": verdict.seconds,
        "measured": _evidence(verdict.measured),
        "control": _evidence(verdict.control),
    }


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {"breached": evidence.breached, "figures": dict(evidence.figures), "findings": list(evidence.findings)}


def _plots(evidence: Evidence) -> Iterable[Markup]:
    """Every chart as an inline SVG."""
    for chart in evidence.charts:
        # Deterministic ids, and text as text: the same audit gives the same page, which a reader can search.
        with mpl.rc_context({"svg.hashsalt": chart.title, "svg.fonttype": "none", "font.size": 9}):
            figure = _draw(chart)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
        yield Markup(text.getvalue()[text.getvalue().index("<svg") :])  # noqa: S704  # drawn here, from numbers


def _draw(chart: Chart) -> Figure:
    most = max((len(points) for points in chart.series.values()), default=0)
    height = _HEIGHT if not chart.bars else 1.2 + most * (0.25 + 0.12 * len(chart.series))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(chart.series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if chart.bars:  # lying, so that the names of categories have room
            width = 0.8 / len(chart.series)
            axes.barh([at + number * width for at in range(len(xs))], ys, width, label=name)
            axes.set_yticks([at + 0.4 - width / 2 for at in range(len(xs))], [str(x) for x in xs])
        else:
            axes.plot([float(x) for x in xs], ys, label=name)
    x_label, y_label = (chart.y_label, "") if chart.bars else (chart.x_label, chart.y_label)
    figure.suptitle(chart.title)
    axes.set(xlabel=x_label, ylabel=y_label)
    if chart.bars:
        axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.series) > 1:
        figure.legend(loc="outside lower center", ncols=min(3, len(chart.series)), frameon=False)
    return figure
