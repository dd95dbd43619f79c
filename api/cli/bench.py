"""The benchmark as a command."""

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer
from rich.console import Console

from api.cli.exits import BAD_INPUT, DONE, UNEXPECTED
from api.cli.terminal import progress_bar, stop


def bench(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where bench.json and bench.html go.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Everything at full size: an hour or two.")] = False,
    only: Annotated[str, typer.Option(metavar="LIST", help="What to measure, like P3,P4; without it, all.")] = "",
) -> None:
    """Measure what everything costs, each figure beside its floor or peer of the same run.

    Exit code 0 if all was measured; targets that were not reached are shown.
    """
    try:
        from api.audit.grounds import Scale  # noqa: PLC0415  # needs the extra, and takes seconds to load
        from api.bench import report, run  # noqa: PLC0415
        from api.bench.ground import Ground  # noqa: PLC0415
    except ModuleNotFoundError:
        stop(BAD_INPUT, "bench: its libraries are not installed", "pip install 'concordat-federation[bench]'")
    wanted = only.split(",") if only else run.names()
    if not set(wanted) <= set(run.names()):
        stop(BAD_INPUT, "--only: not a list of measurements", f"There are {','.join(run.names())}.")
    if output is not None and output.exists() and not output.is_dir():
        stop(BAD_INPUT, "--output: not a directory")
    console = Console()
    folder = Path(mkdtemp(prefix="concordat-bench-"))
    scale = Scale.FULL if full else Scale.QUICK

    def keep(made: run.Bench) -> None:
        if output is not None:
            report.write(report.as_json(made), output)

    try:
        with progress_bar(console) as progress, Ground(scale, folder, progress) as ground:
            made = run.run(ground, wanted, keep)
    finally:
        rmtree(folder, ignore_errors=True)
    console.print(report.as_tables(report.as_json(made)))
    if output is not None:
        console.print(f"the report is {output / 'bench.html'}")
    raise typer.Exit(DONE if made.ran else UNEXPECTED)
