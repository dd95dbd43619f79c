"""Commands of an agency's own: load listings into its registers, count them, flag disputes.

They act as the agency, with its keys and on its database, beside its node where one is running.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Final, TypeVar

import httpx
import typer
from rich.console import Console
from rich.table import Table

from api.agency import open_listings, open_registrar
from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, PARTLY, REFUSED
from api.cli.terminal import progress_bar, stop
from api.home import Home
from api.settings import Settings
from federation.transport import HttpTransport
from nodes.catalogue import CatalogueEntry, load_catalogue
from nodes.entry import OVERFLOW, Entered, Registrar
from nodes.importers import Row, RowError
from nodes.importers.concordat_csv import read_csv
from nodes.importers.ofac import read_ofac
from nodes.lifecycle import State, state
from nodes.listings import Listing
from nodes.storage.listings import ListingStore
from protocol.agreement.roster import COORDINATOR
from protocol.errors import ConcordatError, IdentifierError, IndeterminateError, PeerError
from protocol.identifiers import canonical
from protocol.messages import Evaluate

T = TypeVar("T")

CSV: Final = "csv"
OFAC: Final = "ofac"
# Where a row has its first identifier, and where its others.
_COLUMNS: Final = {CSV: ("identifier", "other_identifiers"), OFAC: ("remarks", "remarks")}

_ALIVE_SECONDS = 2.0
_SEALING_SECONDS = 30.0

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The federation's directory.")]
Agency = Annotated[str, typer.Option(help="The agency's id.")]
Register = Annotated[str, typer.Option(help="The register's id.")]

node = typer.Typer(help="An agency's own work.", no_args_is_help=True)


def import_(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The listings.")],
    agency: Agency,
    register: Register,
    format_: Annotated[str, typer.Option("--format", metavar="csv|ofac", help="The file's format.")] = CSV,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and report, and store nothing.")] = False,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="The snapshot's day, for ofac; by default today.")
    ] = None,
) -> None:
    """Load listings into a register; a row with an error is reported, and the others load.

    While the federation runs they count in the very next question, otherwise from its next start. Run again, the
    command goes on where it was interrupted: what is loaded is not loaded twice.
    """
    settings = _settings(directory, agency)
    entry, snapshot = _preset(settings, register), _snapshot(format_, as_of)
    registrar = None if dry_run else _opened(lambda: open_registrar(settings))
    try:
        data = file.read_bytes()
    except OSError:
        stop(BAD_INPUT, "FILE: cannot be read", "Name a file that is there.")
    if snapshot is None:
        reading = _Reading(read_csv(BytesIO(data), register, entry), CSV)
    else:
        reading = _Reading(read_ofac(BytesIO(data), register, entry, register, snapshot), OFAC)
    lines = data.count(b"\n")
    try:
        with progress_bar(Console(stderr=True)) as progress:

            async def load() -> None:
                async for entered in _entering(registrar, settings, reading.listings()):
                    reading.refuse(entered)
                    progress("loading", reading.line, lines)

            asyncio.run(load())
    except RowError as error:
        stop(BAD_INPUT, str(error), "Correct the file; what was loaded before this line stays.")
    except IndeterminateError as error:
        stop(INDETERMINATE, str(error), "What was loaded stays; run the same command again to load the rest.")
    except PeerError as error:
        stop(REFUSED, str(error), "What was loaded stays. Whoever runs the federation can say why it refuses.")
    loaded, stored = ("could be loaded", "; nothing was stored") if dry_run else ("loaded", "")
    typer.echo(f"{reading.loaded} {loaded}, {reading.refused} refused{stored}")
    raise typer.Exit(PARTLY if reading.refused else DONE)


@node.command()
def listings(
    directory: Directory,
    agency: Agency,
    register: Annotated[str | None, typer.Option(help="Only this register.")] = None,
) -> None:
    """Count an agency's listings by register and state."""
    settings = _settings(directory, agency)
    presets = {name: _preset(settings, name) for name in ([register] if register else _registers(settings))}
    store, today = _listings(settings), datetime.now(UTC).date()
    table = Table("register", *(it.value for it in State), "all")
    for name, entry in presets.items():
        counts = Counter(state(listing, entry, today) for _, listing in store.all(name))
        table.add_row(name, *(str(counts[it]) for it in State), str(counts.total()))
    Console().print(table)
    if not store.is_ready(settings.terms.agreement.id, settings.terms.roster.epoch):
        typer.echo("Some are not sealed yet; until they are, the node answers no question.")


@node.command()
def dispute(
    directory: Directory,
    subject: Annotated[str, typer.Argument(metavar="SCHEME:VALUE", help="One of the subject's identifiers.")],
    agency: Agency,
    register: Register,
    end: Annotated[bool, typer.Option("--end", help="End the dispute.")] = False,
) -> None:
    """Flag a subject's listings in a register as disputed: from the next question on they restrict nothing."""
    settings = _settings(directory, agency)
    _preset(settings, register)
    scheme, colon, value = subject.partition(":")
    if not colon:
        stop(BAD_INPUT, "SCHEME:VALUE: a colon between scheme and value is missing")
    try:
        identifier = canonical(scheme, value)
    except IdentifierError as error:
        stop(BAD_INPUT, f"SCHEME:VALUE: {error}")
    store = _listings(settings)
    found = [(number, it) for number, it in store.all(register) if identifier in it.identifiers]
    if not found:
        stop(BAD_INPUT, "SCHEME:VALUE: no listing of this subject is in this register")
    for number, listing in found:
        if end or listing.disputed_since is None:
            store.dispute(number, None if end else datetime.now(UTC).date())
    typer.echo(f"{'no longer disputed' if end else 'disputed'}: {len(found)}")


class _Reading:
    """A file's rows as they are read: its listings go on, its errors are printed, one line each."""

    def __init__(self, rows: Iterable[Row], format_: str) -> None:
        self._rows = rows
        self._first, self._others = _COLUMNS[format_]
        self._lines: list[int] = []
        self.line = 0
        self.refused = 0
        self.loaded = 0

    def listings(self) -> Iterator[Listing]:
        """Those rows that are listings."""
        for row in self._rows:
            self.line = row.line
            if isinstance(row.outcome, RowError):
                self._report(row.outcome)
            else:
                self._lines.append(row.line)
                self.loaded += 1
                yield row.outcome

    def refuse(self, entered: Entered) -> None:
        """Report what was refused at entry."""
        for position, identifier in entered.refused.items():
            self.loaded -= 1
            self._report(RowError(self._lines[position], self._others if identifier else self._first, OVERFLOW))

    def _report(self, error: RowError) -> None:
        self.refused += 1
        typer.echo(str(error), err=True)


async def _entering(registrar: Registrar | None, settings: Settings, them: Iterable[Listing]) -> AsyncIterator[Entered]:
    """Enter listings in the way that is open now; without a registrar only read them."""
    if registrar is None:
        yield Entered(sum(1 for _ in them))
    elif not _is_running(settings):
        for entered in registrar.enter_unsealed(them):
            yield entered
    else:
        transport = HttpTransport(settings.parties, _SEALING_SECONDS)
        try:
            async for entered in registrar.enter(
                them, lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message)
            ):
                yield entered
        finally:
            await transport.close()


def _is_running(settings: Settings) -> bool:
    url = settings.parties().get(COORDINATOR)
    try:
        return url is not None and httpx.get(f"{url}/healthz", timeout=_ALIVE_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _settings(directory: Path, agency: str) -> Settings:
    """The settings of an agency whose directory lies in a federation's."""
    home = Home(directory)
    try:
        terms = home.terms()
    except OSError:
        stop(BAD_INPUT, "DIR: no federation's directory", "Make one with `concordat init`.")
    except PeerError as error:
        stop(BAD_INPUT, f"DIR: {error}")
    if agency not in terms.agencies:
        stop(BAD_INPUT, "--agency: not an agency of this agreement", f"There are {', '.join(terms.agencies)}.")
    own = home.party_path(agency, terms.agreement)
    peers = own / "peers.json"
    # While parties run here, the agency finds the others as its node does; on hosts of their own there is one file.
    urls = peers if home.urls_path.exists() and peers.exists() else home.urls_path
    return Settings(party=agency, directory=own, roster=home.roster_path, urls=urls)


def _registers(settings: Settings) -> dict[str, str]:
    """The agency's registers with their presets."""
    own = next(agency for agency in settings.terms.agreement.agencies if agency.id == settings.party)
    return {register.id: register.preset for register in own.registers}


def _preset(settings: Settings, register: str) -> CatalogueEntry:
    registers = _registers(settings)
    if register not in registers:
        known = f"It has {', '.join(registers)}." if registers else "It has none."
        stop(BAD_INPUT, "--register: not a register of this agency", known)
    return load_catalogue()[registers[register]]


def _snapshot(format_: str, as_of: str | None) -> date | None:
    """The day of an ofac snapshot; None for csv, whose rows bring their own dates."""
    if format_ not in _COLUMNS:
        stop(BAD_INPUT, "--format: neither csv nor ofac")
    if format_ == CSV:
        if as_of is not None:
            stop(BAD_INPUT, "--as-of: csv brings its own dates", "Leave it out, or say --format ofac.")
        return None
    try:
        return date.fromisoformat(as_of) if as_of else datetime.now(UTC).date()
    except ValueError:
        stop(BAD_INPUT, "--as-of: not a date of the form YYYY-MM-DD")


def _opened(opening: Callable[[], T]) -> T:
    try:
        return opening()
    except (OSError, ConcordatError) as error:
        reason = "not there" if isinstance(error, OSError) else str(error)
        stop(BAD_INPUT, f"the agency's keys do not open: {reason}")


def _listings(settings: Settings) -> ListingStore:
    return _opened(lambda: open_listings(settings, settings.secrets()[1]))
