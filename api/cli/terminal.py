"""What commands share to talk to people: a progress bar, and how they end with a reason and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from api.primes import Progress


@contextmanager
def progress_bar(console: Console, unit: str = "") -> Iterator[Progress]:
    """Show progress on a terminal, and nothing elsewhere; where things of a `unit` are done, also how fast."""
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    ]
    if unit:
        columns += [_Rate(unit), TimeRemainingColumn()]
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


class _Rate(ProgressColumn):
    """How many of how many are done, and how many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Of one task."""
        done = f"{task.completed:,.0f} of {task.total:,.0f} {self._unit}" if task.total else ""
        return Text(f"{done}, {task.speed:,.0f} a second" if done and task.speed else done)
