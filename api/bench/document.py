"""Writing kept runs into the document about performance: `python -m api.bench.document`, from the project's root."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from api.bench.report import inserted

PAGE: Final = Path("federation/docs/performance.md")
RUNS: Final = ("bench", "full", "soak")
"""Everything in one run, what grows at full size, half an hour of load: each a file, and marks in the page."""


def kept(name: str, root: Path = Path()) -> Mapping[str, Any]:
    """A run that is kept."""
    run: Mapping[str, Any] = json.loads((root / PAGE.with_suffix("") / f"{name}.json").read_text("utf-8"))
    return run


def shown(text: str, root: Path = Path()) -> str:
    """The page with every run that is kept, as it is kept."""
    for name in RUNS:
        text = inserted(text, kept(name, root), name)
    return text


if __name__ == "__main__":
    PAGE.write_text(shown(PAGE.read_text("utf-8")), "utf-8")
