"""The privacy audit as a command."""

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.cli.exits import BAD_INPUT, DONE, UNEXPECTED
from api.cli.terminal import progress_bar, stop
from api.home import Home

SEED = 20261120


def audit(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A federation's directory; without it one is founded.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPORT_DIR", help="Where report.html and report.json go.")
    ] = Path("audit-report"),
    quick: Annotated[bool, typer.Option("--quick", help="Smaller samples: ten minutes, not an hour.")] = False,
    seed: Annotated[int, typer.Option(help="What the samples are drawn by.")] = SEED,
) -> None:
    """Attack every privacy claim, and beside it a variant with a planted leak, which must be found.

    A federation that runs goes on running; meanwhile its parties find each other through a recorder. Nothing is entered
    into its registers. Exit code 0 only if every claim holds and every planted leak was caught.
    """
    try:
        from api.audit import report, run  # noqa: PLC0415  # needs the extra, and takes seconds to load
        from api.audit.claims import all_claims  # noqa: PLC0415
        from api.audit.grounds import Grounds, Scale  # noqa: PLC0415
    except ModuleNotFoundError:
        stop(BAD_INPUT, "audit: its libraries are not installed", "pip install 'concordat-federation[audit]'")
    home = Home(directory) if directory else None
    if home and not home.roster_path.exists():
        stop(BAD_INPUT, "DIR: no federation here", "Found one with `concordat init DIR --agreement FILE`.")
    if output.exists() and not output.is_dir():
        stop(BAD_INPUT, "--output: not a directory")
    console = Console()
    folder = Path(mkdtemp(prefix="concordat-audit-"))
    scale = Scale.QUICK if quick else Scale.FULL
    try:
        with progress_bar(console) as progress, Grounds(scale, seed, folder, progress, home) as grounds:
            made = run.run(grounds, all_claims(), progress)
    finally:
        rmtree(folder, ignore_errors=True)
    report.write(made, output)
    table = Table("item", "claim", "verdict", "seconds")
    for verdict in made.verdicts:
        color = "green" if verdict.passed else "bold red"
        words = f"[{color}]{verdict.words}[/{color}]"
        table.add_row(str(verdict.claim.number), verdict.claim.statement, words, str(verdict.seconds))
    console.print(table)
    console.print(f"seed {seed}, {made.seconds} s; the report is {output / 'report.html'}")
    raise typer.Exit(DONE if made.passed else UNEXPECTED)
