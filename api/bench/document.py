"""Writing a kept run into the document about performance: `python -m api.bench.document`, from the project's root."""

import json
from pathlib import Path

from api.bench.report import inserted

PAGE = Path("federation/docs/performance.md")
KEPT = Path("federation/docs/performance/bench.json")

if __name__ == "__main__":
    PAGE.write_text(inserted(PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))), "utf-8")
