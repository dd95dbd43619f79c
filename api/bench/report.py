"""The benchmark's report: JSON for programs, a page with plots, a table on the terminal, and the table in documents.

The page and the tables are made from the JSON, so a run that was kept is shown as it was.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Group
from rich.table import Table
from rich.text import Text

from api.bench.figure import Figure
from api.bench.run import Bench, Taken
from api.charts import Chart, as_svg

_WORDS: Final = {True: "reached", False: "not reached", None: ""}
_COLORS: Final = {True: "green", False: "bold red", None: ""}

Document = Mapping[str, Any]


def write(document: Document, directory: Path) -> None:
    """Write `bench.json` and `bench.html` into a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (directory / "bench.html").write_text(as_html(document), "utf-8")


def as_json(bench: Bench) -> dict[str, Any]:
    """The run as JSON values."""
    return {
        "scale": bench.scale,
        "began": bench.began,
        "seconds": bench.seconds,
        "machine": bench.machine,
        "processors": bench.processors,
        "load": bench.load,
        "measurements": [_taken(taken) for taken in bench.taken],
    }


def as_html(document: Document) -> str:
    """The run as a page, which loads nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("api.bench"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("bench.html").render(
        bench=document, about=_about(document), plots=_plots, number=shown, spread=spread, words=_WORDS
    )


def as_tables(document: Document) -> Group:
    """The run for a terminal."""
    table = Table("", "figure", "median", "spread", "runs", "to reach", "")
    for taken in document["measurements"]:
        table.add_section()
        table.add_row(taken["name"], Text(taken["title"], "bold"))
        for figure in taken["figures"]:
            words = Text(_WORDS[figure["reached"]], _COLORS[figure["reached"]])
            table.add_row(
                "", figure["name"], _median(figure), spread(figure), str(figure["runs"]), figure["target"], words
            )
        for undone in _undone(taken):
            table.add_row("", Text(f"not measured: {undone}", "yellow"))
    return Group(table, Text(_about(document)))


def markdown(document: Document) -> str:
    """The run for a document: what was to be reached, and each measurement with its parameters and what it left out."""
    lines = [_about(document), "", "| | to reach | measured | |", "| --- | --- | --- | --- |"]
    for taken in document["measurements"]:
        for it in taken["figures"]:
            if it["target"]:
                goal = f"{it['target']} {it['unit']}".strip()
                lines += [f"| {taken['name']}: {it['name']} | {goal} | {_median(it)} | {_WORDS[it['reached']]} |"]
    for taken in document["measurements"]:
        lines += ["", f"### {taken['name']}: {taken['title']}", "", taken["how"], ""]
        if taken["figures"]:
            lines += ["| figure | median | spread | runs |", "| --- | --- | --- | --- |"]
            lines += [f"| {it['name']} | {_median(it)} | {spread(it)} | {it['runs']} |" for it in taken["figures"]]
            lines += [""]
        lines += [f"{name}: {value}  " for name, value in taken["parameters"].items()]
        lines += [f"not measured: {undone}  " for undone in _undone(taken)]
    return "\n".join(lines) + "\n"


def inserted(text: str, document: Document, name: str) -> str:
    """A text with the run between the marks of its name, `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: it has no such marks.
    """
    before, start, rest = text.partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not (start and end):
        raise ValueError("the text has no marks for the benchmark's figures")
    return f"{before}{start}\n{markdown(document)}{end}{after}"


def shown(value: float) -> str:
    """Three digits that count, whole numbers whole."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def spread(figure: Document) -> str:
    """From the least value to the greatest, where there are several."""
    return f"{shown(figure['low'])} to {shown(figure['high'])}" if figure["runs"] > 1 else ""


def _taken(taken: Taken) -> dict[str, Any]:
    measured = taken.measured
    return {
        "name": taken.measurement.name,
        "title": taken.measurement.title,
        "how": taken.measurement.how,
        "seconds": taken.seconds,
        "failure": taken.failure,
        "figures": [_figure(figure) for figure in measured.figures] if measured else [],
        "parameters": dict(measured.parameters) if measured else {},
        "undone": list(measured.undone) if measured else [],
        "charts": [vars(chart) for chart in measured.charts] if measured else [],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    numbers = {"median": figure.median, "low": figure.low, "high": figure.high}
    return {
        "name": figure.name,
        "unit": figure.unit,
        "runs": len(figure.values),
        **{name: float(f"{value:.6g}") for name, value in numbers.items()},
        "target": figure.target,
        "reached": figure.reached,
    }


def _undone(taken: Document) -> list[str]:
    return [*taken["undone"], *([taken["failure"]] if taken["failure"] else [])]


def _median(figure: Document) -> str:
    return f"{shown(figure['median'])} {figure['unit']}".strip()


def _about(document: Document) -> str:
    took = f"{document['began']}, scale {document['scale']}, {shown(document['seconds'])} s"
    busy = document["load"] > document["processors"] / 2
    warning = " The machine was busy with other work: ratios of CPU say something, times do not." if busy else ""
    return f"{took}, on {document['machine']}; load average when it began: {document['load']}.{warning}"


def _plots(taken: Document) -> Iterator[Markup]:
    for chart in taken["charts"]:
        yield Markup(as_svg(Chart(**chart)))  # noqa: S704  # drawn here, from numbers
