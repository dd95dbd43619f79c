"""Looking into an agency's registers. A name is shown only where the agency's own staff asks for that one record."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from api.agency import open_register
from api.cli.own import (
    Agency,
    AsJson,
    AsOf,
    Directory,
    Reference,
    SomeRegister,
    Subject,
    day,
    explained,
    opened,
    own_entries,
    own_register,
    own_settings,
    subject_of,
)
from nodes.catalogue.document import section
from nodes.lifecycle import Record, State
from nodes.register import Register
from nodes.rights import described, identified, step_of


def listings(directory: Directory, agency: Agency, register: SomeRegister = None, as_of: AsOf = None) -> None:
    """Count an agency's listings by register and state, today or on a past day; what was erased is not among them."""
    settings = own_settings(directory, agency)
    names, on = own_entries(settings, register), day(as_of, "--as-of")
    own = opened(lambda: open_register(settings))
    table = Table("register", "state", "listings")
    for name in names:
        counts = Counter(state for _, state in (own.all_as_of(name, on) if on else own.all(name)))
        for state in State:
            if counts[state]:
                table.add_row(name, state.value, str(counts[state]))
        table.add_row(name, "all", str(counts.total()), end_section=True)
    Console().print(table)
    if not own.registrar.is_ready:
        typer.echo("Some are not sealed yet; until they are, the node answers no question.")


def show(directory: Directory, reference: Reference, agency: Agency, as_of: AsOf = None, json_: AsJson = False) -> None:
    """Show one listing: whom it is about, its facts, state and clocks, and every step; today or as of a past day."""
    on = day(as_of, "--as-of")
    own = own_register(directory, agency)
    with explained(""):
        record = own.as_of(reference, on)[0] if on else own.get(reference)
        document = _document(own, record, on or own.today)
    if json_:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    steps = document.pop("history")
    for line in _lines(document):
        _echo(line)
    for step in steps:
        said = [f"{name} {step[name]}" for name in ("on", "due", "document", "replacement", "reason") if step[name]]
        _echo("  ".join([step["time"], step["act"], f"by {step['actor']}", *said]))


def find(directory: Directory, subject: Subject, agency: Agency) -> None:
    """Print reference, register and state of each of a subject's listings, whatever became of them."""
    identifier = subject_of(subject)
    own = own_register(directory, agency)
    found = own.find([identifier])
    for record in found:
        typer.echo(f"{record.reference}  {record.listing.register}  {own.state(record).value}")
    if not found:
        typer.echo("no listing of this subject", err=True)


def due(directory: Directory, agency: Agency) -> None:
    """Print what is to be done, the first deadline first."""
    own = own_register(directory, agency)
    for it in own.due():
        when = "overdue" if it.by < own.today else "       "
        typer.echo(f"{it.by}  {when}  {it.record.reference}  {it.record.listing.register}  {it.what}")


def catalogue(directory: Directory, agency: Agency, register: SomeRegister = None) -> None:
    """Print the rules in force for an agency's registers, its own overlay applied: every figure with its source."""
    for name, entry in own_entries(own_settings(directory, agency), register).items():
        typer.echo(f"## {name}")
        for line in section(entry):
            typer.echo(line)
        typer.echo()


def _document(own: Register, record: Record, on: date) -> dict[str, Any]:
    entry = own.entries[record.listing.register]
    history = [step_of(step) for step in own.history(record.reference)]
    return {
        **described(record, entry, on),
        "as_of": on.isoformat(),
        "subject": identified(record),
        "raw": dict(record.listing.raw),
        "history": [step for step in history if step["time"] <= f"{on.isoformat()}T23:59:59Z"],
    }


def _lines(document: dict[str, Any], path: str = "") -> Iterable[str]:
    """Everything that is not empty, one line each, under its path."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{path}{name}.")
        elif isinstance(value, list):
            yield from (f"{path}{name}: {' '.join(map(str, one.values()))}" for one in value)
        elif value not in (None, ""):
            yield f"{path}{name}: {value}"


def _echo(line: str) -> None:
    """Print one line: what a file or a subject brought must not move the terminal's cursor."""
    typer.echo("".join(character if character.isprintable() else "·" for character in line))
