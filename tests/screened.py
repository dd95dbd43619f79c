"""A screening in a process that may be killed at any moment: `python -m tests.screened HOME FILE`.

As `tests.killed`: it is told `start OUT` or `careless OUT`, and `kill SECONDS` or `wait`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api.cli import screening
from api.cli.client import GatewayClient
from api.cli.screening import Answer, Batch, Engine, Screening, one_by_one
from api.home import Home
from tests.gateways import CASE
from tests.killed import serve
from tests.parties import PURPOSE

ROWS_AT_ONCE: Final = 4


def all_before_any(engine: Engine) -> Engine:
    """The engine of somebody who hands nothing on before everything is answered."""

    def careless(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Answer]]:
        yield from list(engine(batches))

    return careless


def main() -> None:
    """Serve one test."""
    home, file = map(Path, sys.argv[1:])
    screening.BATCH = ROWS_AT_ONCE  # type: ignore[misc]
    client = GatewayClient(Home(home), None)
    engine = one_by_one(client, {"purpose": PURPOSE, "case": CASE})

    def screen(engine: Engine, output: Path) -> None:
        assert Screening(file, output).run(engine, client.not_ready, lambda *_: None) is None

    serve({"start": lambda output: screen(engine, output), "careless": lambda out: screen(all_before_any(engine), out)})


if __name__ == "__main__":
    main()
