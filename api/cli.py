"""The command line: `concordat`."""

import asyncio
import json
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from api.demo.run import Report, run
from api.demo.show import as_json, show

DONE, UNEXPECTED, BAD_INPUT = 0, 1, 2

app = typer.Typer(
    help="Joint answers from registers that stay at home.", no_args_is_help=True, pretty_exceptions_show_locals=False
)


@app.callback()
def concordat() -> None:
    """Joint answers from registers that stay at home."""


@app.command()
def demo(
    as_json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep the parties' databases.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where the parties' databases go.")] = None,
) -> None:
    """Answer questions over two official sanctions lists and three made registers, and check every answer.

    Exit code 0 only if every decision agrees with a plain join and no name was found in anybody's traffic.
    """
    if directory is not None and directory.exists() and any(directory.iterdir()):
        typer.echo("--dir: the directory is not empty", err=True)
        raise typer.Exit(BAD_INPUT)
    console = Console(stderr=as_json_)
    place = directory or Path(mkdtemp(prefix="concordat-demo-"))
    try:
        report = _run_demo(place, console)
    finally:
        if not keep and directory is None:
            rmtree(place)
    if as_json_:
        typer.echo(json.dumps(as_json(report), indent=2))
    else:
        show(report, console)
        if keep or directory:
            console.print(f"the parties' databases are in {place}")
    raise typer.Exit(DONE if report.right else UNEXPECTED)


def _run_demo(place: Path, console: Console) -> Report:
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("start", total=None)
        return asyncio.run(
            run(place, lambda step, done, total: bar.update(task, description=step, completed=done, total=total))
        )


def main() -> None:
    """Run the command line."""
    app()
