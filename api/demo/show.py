"""Print the demonstration's report: tables for people, JSON for programs."""

from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table

from api.demo.run import Report

HEADER_FIELDS = {"agreement", "version", "epoch", "sender", "audience", "session", "m", "issued", "expires", "answers"}


def as_json(report: Report) -> dict[str, object]:
    """The report as JSON values."""
    return {
        "right": report.right,
        "registers": report.registers,
        "answers": [{**asdict(answer), "right": answer.right} for answer in report.answers],
        "views": {
            party: {**vars(view), "fields": {name: sorted(shapes) for name, shapes in sorted(view.fields.items())}}
            for party, view in report.views.items()
        },
        "seconds": report.seconds,
    }


def show(report: Report, console: Console) -> None:
    """Print the report as tables."""
    registers = Table("agency", "register", "listings", "identifiers", "not usable", title="Registers, each at home")
    for row in report.registers:
        registers.add_row(*(str(value) for value in row.values()))
    answers = Table(
        *(Column(name, overflow="fold") for name in ("case", "joint decision", "plain join", "right", "ms")),
        title="Decisions",
    )
    for answer in report.answers:
        right = "[green]yes" if answer.right else "[bold red]NO"
        answers.add_row(answer.case, answer.answer, answer.expected, right, str(answer.milliseconds))
    for table in (registers, answers):
        console.print(table)
    console.print("[bold]Who learned what[/bold], from the recorded messages:")
    for party, view in report.views.items():
        console.print(f"\n[bold]{party}[/bold] received {view.messages} messages, {view.bytes / 1e6:.1f} MB")
        for line in _fields(view.fields):
            console.print(Padding(line, (0, 0, 0, 2)))
        for line in view.computed:
            console.print(Padding(f"[italic]it follows: {line}", (0, 0, 0, 2)))
        console.print(f"  identifiers and names that were asked about, found in it: {view.names_found}")
    console.print("seconds: " + ", ".join(f"{step} {seconds}" for step, seconds in report.seconds.items()))


def _fields(fields: dict[str, set[str]]) -> Iterable[str]:
    by_type: dict[str, list[str]] = {}
    for name, shapes in fields.items():
        kind, _, item = name.partition(".")
        if item not in HEADER_FIELDS:
            by_type.setdefault(kind, []).append(f"{item}: {' | '.join(sorted(shapes)[:4])}")
    return [f"[bold]{kind}[/bold] " + "; ".join(items) for kind, items in by_type.items()]
