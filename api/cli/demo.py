"""The demonstration as a command."""

import json
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console

from api.cli.exits import BAD_INPUT, DONE, UNEXPECTED
from api.cli.terminal import progress_bar, stop
from api.demo.run import Report, demo_agreement, run
from api.demo.show import as_json, show
from api.demo.stage import DemoProcesses
from api.founding import found
from api.home import Home


def demo(
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep the parties' databases.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where the parties' databases go.")] = None,
) -> None:
    """Answer questions over two official sanctions lists and three made registers, and check every answer.

    Exit code 0 only if every decision agrees with a plain join and no name was found in anybody's traffic.
    """
    if directory is not None and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        stop(BAD_INPUT, "--dir: not an empty directory", "Name one that is empty, or does not exist yet.")
    console = Console(stderr=json_)
    place = directory or Path(mkdtemp(prefix="concordat-demo-"))
    report = Report()
    with progress_bar(console) as progress:
        with report.timed("keys"):
            found(place / "federation", demo_agreement(datetime.now(UTC).date()), None, progress)
            stage = DemoProcesses(Home(place / "federation"))
        progress("starting all parties", 0, None)
        with report.timed("in all, beside keys"), stage:
            run(stage, report, progress)
    # Not where it failed: then the parties' logs are wanted.
    if not keep and directory is None:
        rmtree(place)
    if json_:
        typer.echo(json.dumps(as_json(report), indent=2))
    else:
        show(report, console)
        if keep or directory:
            console.print(f"the parties' directories are in {place / 'federation'}")
    raise typer.Exit(DONE if report.right else UNEXPECTED)
