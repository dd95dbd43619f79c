"""The audit's report: JSON for programs, one HTML page with plots for people, which loads nothing from anywhere."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.audit.claim import Evidence
from api.audit.run import Audit, Verdict
from api.charts import as_svg
from federation.audit.leakage import declared, declared_views


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
        yield Markup(as_svg(chart))  # noqa: S704  # drawn here, from numbers
