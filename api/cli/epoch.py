"""Commands that change the epoch of a federation while it runs."""

import os
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from api import rollover
from api.cli.exits import BAD_INPUT, INDETERMINATE, REFUSED, UNEXPECTED
from api.cli.federation import PASSPHRASE, read_text, show_violations
from api.cli.terminal import progress_bar, stop
from api.home import Home
from api.rosters import GRACE_SECONDS
from protocol.agreement.violation import InvalidAgreementError
from protocol.errors import ConcordatError, IndeterminateError

_LOW_PRIORITY: Final = 10

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The federation's directory.")]

epoch = typer.Typer(help="New keys for a running federation: begin, switch, forget.", no_args_is_help=True)


@epoch.command()
def begin(
    directory: Directory,
    agreement: Annotated[
        Path | None, typer.Option("--agreement", help="The YAML of a new version of the agreement.")
    ] = None,
) -> None:
    """Found the next epoch beside the current one; agencies seal their registers in it.

    It is of the same agreement, or of a new version of it. Questions are answered in the current epoch as before.
    """
    home, text = _home(directory), None if agreement is None else read_text(agreement)
    os.nice(_LOW_PRIORITY)  # the search for primes takes every processor, and the parties are answering on them
    try:
        with progress_bar(Console(stderr=True)) as report:
            number = rollover.begin(home, report, text, os.environ.get(PASSPHRASE))
    except InvalidAgreementError as error:
        show_violations(error)
        raise typer.Exit(BAD_INPUT) from error
    except ConcordatError as error:
        _refuse(error)
    typer.echo(f"epoch {number} has begun. Next: concordat epoch status {directory}")


@epoch.command()
def status(directory: Directory) -> None:
    """Show which epochs there are, and how far each agency has sealed its registers in the newest."""
    home = _home(directory)
    try:
        current, coming, before = home.terms(), rollover.coming(home), rollover.before(home)
        sealings = rollover.sealings(home, coming or current)
    except ConcordatError as error:
        _refuse(error)
    for terms, what in ((before, "before, still served"), (current, "current"), (coming, "next")):
        if terms is not None:
            typer.echo(f"epoch {terms.roster.epoch}: {what}")
    table = Table("agency", "sealed", "waiting", "ready", title=f"epoch {(coming or current).roster.epoch}")
    for it in sealings:
        table.add_row(it.agency, str(it.sealed), str(it.waiting), "yes" if it.ready else "no")
    Console().print(table)


@epoch.command()
def switch(directory: Directory) -> None:
    """Make the next epoch the current one for everybody, once every agency's registers are sealed in it."""
    try:
        number = rollover.switch(_home(directory))
    except ConcordatError as error:
        _refuse(error)
    after = f"Next, in {GRACE_SECONDS} s: concordat epoch forget {directory}"
    typer.echo(f"epoch {number} is the current one. {after}")


@epoch.command()
def forget(
    directory: Directory,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for questions that are under way.")] = False,
) -> None:
    """Erase the epoch before: its keys, shares, roster and seals, everywhere."""
    try:
        number = rollover.forget(_home(directory), 0 if now else GRACE_SECONDS)
    except TimeoutError as error:
        stop(UNEXPECTED, str(error), "Run the same command again.")
    except ConcordatError as error:
        _refuse(error)
    typer.echo(f"epoch {number} is forgotten")


def _home(directory: Path) -> Home:
    home = Home(directory)
    if not home.roster_path.exists():
        stop(BAD_INPUT, "DIR: no federation here", "Found one with `concordat init DIR --agreement FILE`.")
    return home


def _refuse(error: ConcordatError) -> NoReturn:
    if isinstance(error, IndeterminateError):
        stop(INDETERMINATE, str(error), "See `concordat epoch status DIR`; their nodes must run, and a quorum's.")
    if isinstance(error, rollover.GraceError):
        stop(REFUSED, str(error), "Wait, or say --now: questions under way would get no decision.")
    stop(BAD_INPUT, f"DIR: {error}")
