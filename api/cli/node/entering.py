"""Entering one listing by hand, and correcting one: from options, or from a JSON file in the form that HTTP takes."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ConfigDict

from api.agency import open_register
from api.cli.exits import BAD_INPUT
from api.cli.own import (
    Agency,
    By,
    Directory,
    Document,
    Reason,
    Reference,
    RegisterId,
    explained,
    opened,
    own_entries,
    own_settings,
    sending,
    whoever,
)
from api.cli.terminal import stop
from api.gateway_forms import Form, read
from api.node_forms import MAX_BODY, Entry
from api.settings import Settings
from federation.problem import UnreadableError
from nodes.entry import Send
from nodes.life import Author
from nodes.lifecycle import Record
from nodes.listings import Listing
from nodes.register import Register
from protocol.errors import DecodeError


class _Object(Form):
    """Any JSON object; what its fields must be, `Entry` says."""

    model_config = ConfigDict(extra="allow")


def enter(
    directory: Directory,
    agency: Agency,
    register: RegisterId,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE.json", help="The fields as a JSON object; options go before.")
    ] = None,
    identifier_scheme: Annotated[str | None, typer.Option(metavar="SCHEME", help="Of the first identifier.")] = None,
    identifier: Annotated[str | None, typer.Option(metavar="VALUE", help="The subject's first identifier.")] = None,
    other_identifiers: Annotated[
        str | None, typer.Option(metavar="SCHEME:VALUE", help="The subject's other identifiers.")
    ] = None,
    subject_kind: Annotated[str | None, typer.Option(metavar="legal|natural", help="What the subject is.")] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="The subject's name.")] = None,
    ground: Annotated[str | None, typer.Option(metavar="GROUND", help="One of the register's grounds.")] = None,
    decision_ref: Annotated[str | None, typer.Option(metavar="TEXT", help="The decision's reference.")] = None,
    decided_on: Annotated[str | None, typer.Option(metavar="DATE", help="The day of the decision.")] = None,
    served_on: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day of service; without it, a draft.")
    ] = None,
    severity: Annotated[int | None, typer.Option(metavar="N", help="The listing's weight in rules.")] = None,
    expires_on: Annotated[str | None, typer.Option(metavar="DATE", help="By default the ground's term.")] = None,
    points: Annotated[int | None, typer.Option(metavar="N", help="Of a rating or points scheme.")] = None,
    by: By = None,
) -> None:
    """Enter one listing; without a day of service it is a draft, which nobody sees until its notice is served.

    What stands on a command line may be seen by others on the machine: a file is read by its owner alone.
    """
    given = {
        "register": register,
        "identifier_scheme": identifier_scheme,
        "identifier": identifier,
        "other_identifiers": other_identifiers,
        "subject_kind": subject_kind,
        "name": name,
        "ground": ground,
        "decision_ref": decision_ref,
        "decided_on": decided_on,
        "served_on": served_on,
        "severity": severity,
        "expires_on": expires_on,
        "points": points,
    }
    settings = own_settings(directory, agency)
    own_entries(settings, register)
    fields = _read_file(file) if file else {}
    author = Author(whoever(by), "entered by hand")
    own = opened(lambda: open_register(settings))
    with explained():
        listing = _listing(fields | {field: value for field, value in given.items() if value is not None})
        _show(own, _run(settings, lambda send: own.enter(listing, author, send)))


def correct(
    directory: Directory,
    reference: Reference,
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="What changes, as a JSON object of fields.")],
    agency: Agency,
    by: By = None,
    reason: Reason = "",
    document: Document = "",
) -> None:
    """End a listing as corrected, and enter the corrected one, in one step; prints the latter."""
    settings = own_settings(directory, agency)
    changes = _read_file(file)
    author = Author(whoever(by), reason, document)
    own = opened(lambda: open_register(settings))
    with explained():
        corrected = _listing(_form(own.get(reference).listing) | changes)
        _show(own, _run(settings, lambda send: own.correct(reference, corrected, author, send)))


def _run(settings: Settings, work: Callable[[Send | None], Coroutine[Any, Any, Record]]) -> Record:
    """Work that seals through the coordinator if it answers; otherwise what was entered waits to be sealed."""

    async def run() -> Record:
        async with sending(settings) as send:
            return await work(send)

    return asyncio.run(run())


def _show(own: Register, record: Record) -> None:
    due = f"  due {record.life.due}" if record.life.due else ""
    typer.echo(f"{record.reference}  {own.state(record).value}{due}")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            fields = read(_Object, file.read(MAX_BODY))
    except OSError:
        stop(BAD_INPUT, "FILE.json: cannot be read", "Name a file that is there.")
    except (DecodeError, UnreadableError):
        stop(BAD_INPUT, f"FILE.json: not a JSON object of at most {MAX_BODY} bytes")
    return dict(fields.model_extra or {})


def _listing(fields: Mapping[str, Any]) -> Listing:
    try:
        return read(Entry, json.dumps(fields).encode()).listing()
    except DecodeError as error:
        stop(BAD_INPUT, str(error), "Nothing was changed.")


def _form(listing: Listing) -> dict[str, Any]:
    """A listing in the form in which it is entered."""
    first, *others = listing.identifiers
    fields = {
        "register": listing.register,
        "identifier_scheme": first.scheme,
        "identifier": first.value,
        "other_identifiers": ";".join(f"{it.scheme}:{it.value}" for it in others),
        "subject_kind": listing.subject_kind,
        "name": listing.name,
        "ground": listing.ground,
        "decision_ref": listing.decision_ref,
        "decided_on": listing.decided_on.isoformat(),
        "served_on": listing.served_on and listing.served_on.isoformat(),
        "severity": listing.severity,
        "expires_on": listing.expires_on and listing.expires_on.isoformat(),
        "points": listing.points,
    }
    return {name: value for name, value in fields.items() if value is not None}
