"""Founding, starting and stopping a federation, and checking its documents."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api import rollover
from api.cli.exits import BAD_INPUT, UNEXPECTED
from api.cli.own import day, today
from api.cli.terminal import progress_bar, stop
from api.founding import found, read_agreement, read_terms
from api.home import Home, parties
from api.launcher import Launcher, LaunchError
from api.rosters import obey, read_documents, withdrawal_paths
from protocol.agreement.model import schema
from protocol.agreement.violation import InvalidAgreementError
from protocol.certificate import verify, verify_standing
from protocol.errors import ConcordatError, PeerError
from protocol.messages import Effect

PASSPHRASE = "CONCORDAT_PASSPHRASE"  # noqa: S105  # a variable's name

agreement_app = typer.Typer(no_args_is_help=True, help="Agreements as documents.")
certificate_app = typer.Typer(no_args_is_help=True, help="Decisions as documents.")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The federation's directory.")]


def init(
    directory: Directory,
    agreement: Annotated[Path, typer.Option("--agreement", help="The agreement's YAML.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is in DIR.")] = False,
) -> None:
    """Make everything a federation needs: key generation, ceremony, signatures, keys, tokens, databases.

    Without CONCORDAT_PASSPHRASE in the environment each party gets a passphrase in a file only it may read.
    """
    home = Home(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        if not force:
            stop(
                BAD_INPUT,
                "DIR: not empty; nothing was changed",
                "Name another directory, or say --force to replace it.",
            )
        if home.roster_path.exists() and Launcher(home, *home.agreements()).running():
            stop(BAD_INPUT, "DIR: its parties are running; nothing was changed", "Run `concordat down DIR` first.")
    try:
        with progress_bar(Console(stderr=True)) as report:
            made = found(directory, read_text(agreement), os.environ.get(PASSPHRASE), report)
    except InvalidAgreementError as error:
        show_violations(error)
        raise typer.Exit(BAD_INPUT) from error
    typer.echo(f"{made.id} is founded: {len(made.agencies)} agencies. Next: concordat up {directory} --wait")


def up(
    directory: Directory,
    wait: Annotated[bool, typer.Option("--wait", help="Return, or report, only when every party is ready.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the parties running and return.")] = False,
) -> None:
    """Run all parties as local processes on free ports; starts whoever is missing. Addresses are in DIR/urls.json."""
    launcher = _launcher(directory)
    try:
        urls = launcher.start()
        if wait:
            # Who joins with a version to come answers nothing before that.
            current = parties(Home(directory).terms().agreement)
            launcher.await_ready({party: urls[party] for party in current})
    except LaunchError as error:
        stop(UNEXPECTED, str(error), f"The others keep running; `concordat down {directory}` stops them.")
    typer.echo(f"{len(urls)} parties run; addresses are in {directory / 'urls.json'}")
    if detach or wait:
        return
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    typer.echo("Press Ctrl-C to stop them.")
    stopped.wait()
    launcher.stop()


def down(directory: Directory) -> None:
    """Stop all parties; returns when all have ended."""
    _launcher(directory).stop()
    typer.echo("all parties have ended")


@agreement_app.command("validate")
def validate_agreement(file: Annotated[Path, typer.Argument(metavar="FILE", help="The agreement's YAML.")]) -> None:
    """List every rule that an agreement breaks, with the field's path and what would satisfy it."""
    try:
        read_agreement(read_text(file))
    except InvalidAgreementError as error:
        show_violations(error)
        raise typer.Exit(BAD_INPUT) from error
    typer.echo("the agreement breaks no rule")


@agreement_app.command()
def withdraw(
    directory: Directory,
    agency: Annotated[str, typer.Option("--agency", help="The agency's id.")],
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="DATE", help="The first day without the agreement, UTC; default today."),
    ] = None,
) -> None:
    """Withdraw an agency from the agreement, which from that day on answers nothing: at no party, and to nobody.

    Only a new version takes it back.
    """
    home = Home(directory)
    if not home.roster_path.exists():
        stop(BAD_INPUT, "DIR: no federation here", "Found one with `concordat init DIR --agreement FILE`.")
    first = day(on, "--on", to_come=True) or today()
    try:
        paths = rollover.withdraw(home, agency, first)
    except ConcordatError as error:
        stop(BAD_INPUT, f"--agency, --on: {error}")
    typer.echo(f"{agency} has withdrawn: from {first} on the agreement answers nothing")
    typer.echo(f"Parties elsewhere need beside their agreement.roster: {', '.join(path.name for path in paths)}")


@agreement_app.command("schema")
def show_schema() -> None:
    """Print the agreement's JSON Schema, by which editors complete and check its YAML."""
    typer.echo(json.dumps(schema(), indent=2, ensure_ascii=False))


@certificate_app.command("verify")
def verify_certificate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate or an answer with one, as JSON.")],
    roster: Annotated[Path, typer.Option("--roster", help="The federation's agreement.roster.")],
) -> None:
    """Verify a decision offline; says whom it concerns if the certificate has the evidence of it."""
    try:
        terms = read_terms(_bytes(roster))
        obey([terms], read_documents(withdrawal_paths(roster.parent)))
    except PeerError as error:
        stop(BAD_INPUT, f"--roster: {error}")
    try:
        document = json.loads(read_text(file))
    except ValueError:
        stop(BAD_INPUT, "FILE: not JSON")
    now, about = int(time.time()), "nobody that it names: it is without evidence"
    try:
        match document:
            case {"standing": standing} | ({"certificate": _, "evidence": _} as standing):
                decision, subject = verify_standing(terms, standing, now)
                about = f"{subject.scheme}:{subject.value}"
            case {"certificate": certificate} | certificate:
                decision = verify(terms, certificate, now)
    except PeerError as error:
        stop(BAD_INPUT, f"FILE: {error}")
    header, body = decision.header, decision.body
    typer.echo(f"valid: a decision for {header.audience} under {header.agreement}, version {header.version}")
    typer.echo(f"about: {about}")
    typer.echo(f"session {header.session.hex()}, as of {_time(header.issued)}, valid until {_time(header.expires)}")
    typer.echo(f"decided: {', '.join(sorted(body.measures))}")
    typer.echo(f"applies: {', '.join(body.having(Effect.APPLIES)) or 'no measure'}")
    typer.echo(f"disputed: {', '.join(body.having(Effect.DISPUTED)) or 'none'}")


def _launcher(directory: Path) -> Launcher:
    home = Home(directory)
    if not home.roster_path.exists():
        stop(BAD_INPUT, "DIR: no federation here", "Found one with `concordat init DIR --agreement FILE`.")
    try:
        return Launcher(home, *home.agreements())
    except PeerError as error:
        stop(BAD_INPUT, f"DIR: {error}")


def show_violations(error: InvalidAgreementError) -> None:
    """Print every broken rule, one line each."""
    for violation in error.violations:
        typer.echo(f"{violation.path}: {violation.rule}; {violation.remedy}", err=True)


def read_text(path: Path) -> str:
    """A file that an option or argument names; of one that cannot be read the command ends."""
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        stop(BAD_INPUT, "FILE: not UTF-8 text")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        stop(BAD_INPUT, f"FILE: cannot be read ({error.strerror})")


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
