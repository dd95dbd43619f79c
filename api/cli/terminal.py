"""What commands share to talk to people: a progress bar, and how they end with a reason and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from api.primes import Progress


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show progress on a terminal, and nothing elsewhere."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("start", total=None)

        def progress(step: str, done: int, total: int | None) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield progress


def stop(code: int, reason: str, advice: str = "") -> NoReturn:
    """End with an exit code; `reason` names what was wrong, never the value that was."""
    typer.echo(reason, err=True)
    if advice:
        typer.echo(advice, err=True)
    raise typer.Exit(code)
