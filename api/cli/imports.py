"""`concordat import`: a file's listings into a register, as they are read."""

import asyncio
import io
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from api.agency import open_register
from api.cli.exits import BAD_INPUT, DONE, PARTLY
from api.cli.own import (
    Agency,
    Directory,
    RegisterId,
    day,
    explained,
    opened,
    own_entries,
    own_settings,
    sending,
    today,
)
from api.cli.terminal import progress_bar, stop
from api.settings import Settings
from nodes.catalogue import CatalogueEntry
from nodes.entry import IMPORT, Entered, Registrar
from nodes.importers import FORMATS, Format, Row, RowError
from nodes.listings import Listing, ListingError, check_days
from nodes.register import Register, SnapshotError

_NAMES: Final = "|".join(FORMATS)
_ROWS: Final = 1_000


def import_(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The listings; /dev/stdin for what is piped in.")],
    agency: Agency,
    register: RegisterId,
    format_: Annotated[str, typer.Option("--format", metavar=_NAMES, help="The file's format.")] = "csv",
    list_name: Annotated[
        str | None, typer.Option("--list", metavar="NAME", help="An official list's name; by default the register's.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="An official list's day of publication; by default today.")
    ] = None,
    all_that_left: Annotated[
        bool, typer.Option("--all-that-left", help="End what left an official list, however much it is.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and report, and store nothing.")] = False,
) -> None:
    """Load listings into a register; a row with an error is reported, and the others load.

    While the federation runs they count in the very next question, otherwise from its next start. Run again, the
    command goes on where it was interrupted: what is loaded is not loaded twice. A new edition of an official list
    renews what it names, and at its end what it names no more is ended.
    """
    settings = own_settings(directory, agency, register)
    entry = own_entries(settings, register)[register]
    chosen = _format(format_, entry, list_name, as_of)
    edition = _Edition(register, list_name or register, day(as_of, "--as-of") or today(), all_that_left)
    own = opened(lambda: open_register(settings)) if chosen.is_snapshot or not dry_run else None
    if own is not None and chosen.is_snapshot:
        edition.check(own)
    counted = _open(file)
    ended: int | None = 0
    with progress_bar(Console(stderr=True)) as progress, io.BufferedReader(counted) as data:
        rows = chosen.read(data, register, entry, edition.list_name, edition.day)
        reading = _Reading(rows, chosen, lambda: progress("loading", counted.done, counted.size))
        with explained("What was loaded stays."):
            try:
                asyncio.run(_load(None if dry_run or own is None else own.registrar, settings, reading))
            except RowError as error:
                stop(BAD_INPUT, str(error), "Correct the file; what was loaded before this line stays.")
            if own is not None and chosen.is_snapshot:
                progress("ending what left the list", 0, None)
                ended = edition.end(own, reading, dry_run=dry_run)
    could, stored = ("could be ", "; nothing was stored") if dry_run else ("", "")
    typer.echo(f"{reading.loaded} {could}loaded, {reading.refused} refused{stored}")
    if ended:
        typer.echo(f"{ended} {'would be ' if dry_run else ''}ended: no longer on the list")
    raise typer.Exit(PARTLY if reading.refused or ended is None else DONE)


def _format(format_: str, entry: CatalogueEntry, list_name: str | None, as_of: str | None) -> Format:
    chosen = FORMATS.get(format_)
    if chosen is None:
        stop(BAD_INPUT, f"--format: none of {', '.join(FORMATS)}")
    if chosen.is_snapshot and not entry.snapshot:
        stop(BAD_INPUT, "--format: this register follows no official list", "Name a register that does, or load csv.")
    for option, value in (("--as-of", as_of), ("--list", list_name)):
        if value is not None and not chosen.is_snapshot:
            stop(BAD_INPUT, f"{option}: only for an official list; rows of {format_} bring their own dates")
    return chosen


@dataclass(frozen=True)
class _Edition:
    """An edition of an official list, published on a day."""

    register: str
    list_name: str
    day: date
    all_that_left: bool

    def check(self, own: Register) -> None:
        """Refuse an edition older than what is there: it would bring back what has left the list since."""
        newest = own.newest_edition(self.register, self.list_name)
        if newest is not None and self.day < newest:
            stop(BAD_INPUT, f"--as-of: an edition of {newest} was loaded already", "Nothing was loaded.")

    def end(self, own: Register, reading: "_Reading", *, dry_run: bool) -> int | None:
        """End what the list names no more, if that can be told; returns how many listings that are."""
        of = self.register, self.list_name, self.day, reading.keys
        if reading.nameless:
            reason = "rows do not say whom they name: nothing that left the list was ended"
            typer.echo(f"{reading.nameless} {reason}.", err=True)
            return None
        try:
            if dry_run:
                return len(own.leaving(*of, any_number=self.all_that_left))
            return own.end_snapshot(*of, IMPORT, any_number=self.all_that_left)
        except SnapshotError as error:
            typer.echo(f"{error}. What was loaded stays, nothing was ended.", err=True)
            typer.echo("If it is the whole list, run the same command with --all-that-left.", err=True)
            return None


class _Counted(io.RawIOBase):
    """A file that counts the bytes that were read of it; the `size` of a pipe is not known."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        status = os.fstat(self._file.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self.done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        read = self._file.readinto(buffer)
        self.done += read or 0
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


class _Reading:
    """A file's rows as they are read: its listings go on, its errors are printed, one line each.

    `keys` are the decision references of all rows but those that say they are not listed, `nameless` is the number of
    rows that could not be read so far.
    """

    def __init__(self, rows: Iterable[Row], format_: Format, progress: Callable[[], None]) -> None:
        self._rows = rows
        self._format = format_
        self._progress = progress
        self._lines = array("L")  # of the listings that went on, but for the first `_done`, which are committed
        self._done = 0
        self.keys: set[str] = set()
        self.nameless = 0
        self.refused = 0
        self.loaded = 0

    def listings(self) -> Iterator[Listing]:
        """Those rows that are listings."""
        for number, row in enumerate(self._rows):
            if number % _ROWS == 0:
                self._progress()
            self._note(row)
            try:
                listing = _listing(row)
            except RowError as error:
                self._report(error)
            else:
                self._lines.append(row.line)
                self.loaded += 1
                yield listing

    def commit(self, entered: Entered) -> None:
        """Report what was refused at entry, and forget where the others stood."""
        for position, refusal in entered.refused.items():
            self.loaded -= 1
            column = self._format.others if refusal.identifier else self._format.first
            self._report(RowError(self._lines[position - self._done], column, refusal.reason))
        del self._lines[: entered.done - self._done]
        self._done = entered.done

    def _note(self, row: Row) -> None:
        if not self._format.is_snapshot or not row.is_listed:
            return
        if row.key:
            self.keys.add(row.key)
        else:
            self.nameless += 1

    def _report(self, error: RowError) -> None:
        self.refused += 1
        typer.echo(str(error), err=True)


def _listing(row: Row) -> Listing:
    if isinstance(row.outcome, RowError):
        raise row.outcome
    try:
        check_days(row.outcome, today())
    except ListingError as error:
        raise RowError(row.line, error.field, error.reason) from error
    return row.outcome


async def _load(registrar: Registrar | None, settings: Settings, reading: _Reading) -> None:
    """Enter listings in the way that is open now; without a registrar only read them."""
    if registrar is None:
        for _ in reading.listings():
            pass
        return
    async with sending(settings) as send:
        if send is None:
            for entered in registrar.enter_unsealed(reading.listings()):
                reading.commit(entered)
        else:
            async for entered in registrar.enter(reading.listings(), send):
                reading.commit(entered)


def _open(file: Path) -> _Counted:
    try:
        return _Counted(file)
    except OSError:
        stop(BAD_INPUT, "FILE: cannot be read", "Name a file that is there.")
