"""Screening a file: rows in, answers appended as they come, so that an interrupted run goes on where it stopped.

While it runs, OUT grows by whole batches, each on disk before the next is asked; at the end it is put in the order of
the input. A row that occurs twice is asked once.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from api.cli.client import BATCH_SECONDS, GatewayClient, Reply
from api.cli.exits import DONE
from api.gateway_forms import is_identifier
from api.primes import Progress
from federation.problem import MALFORMED, PREFIX
from protocol.errors import DecodeError

BATCH: Final = 360  # three arrays, so that some of what a gateway asks at once is left to others
HEADER: Final = ("scheme", "identifier", "status", "measures")
FINAL: Final = frozenset({"decided", "error"})

Subject = tuple[str, str]
Result = tuple[str, str]  # status, measures


class Screening:
    """One input file and its output, with what an earlier run left there."""

    def __init__(self, file: Path, output: Path) -> None:
        """Read both.

        Raises:
            DecodeError: one of them is not such a file; names it and the reason.
        """
        if output.exists() and output.samefile(file):
            raise DecodeError("OUT.csv: is FILE.csv itself")
        self._output = output
        self._subjects = [(row[0], row[1]) for row in read_rows(file, "FILE.csv", HEADER[:2])]
        self._results: dict[Subject, Result] = {}
        if output.exists() and output.stat().st_size:
            kept = {(row[0], row[1]): (row[2], row[3]) for row in read_rows(output, "OUT.csv", HEADER)}
            self._results = {key: kept[key] for key in self._subjects if key in kept and kept[key][0] in FINAL}

    def run(self, client: GatewayClient, question: dict[str, str], progress: Progress) -> Reply | None:
        """Ask for every row without a final answer; returns the refusal that ended it early, if one did."""
        pending = iter([subject for subject in dict.fromkeys(self._subjects) if subject not in self._results])
        progress("screening", len(self._results), len(self._subjects))
        self._replace(self._results)
        while batch := list(islice(pending, BATCH)):
            sound = [subject for subject in batch if is_identifier(*subject)]
            answers: list[Result] = []
            if sound:
                asked = [{"scheme": scheme, "value": value} for scheme, value in sound]
                reply = client.ask({**question, "subjects": asked}, "membership:batch", BATCH_SECONDS)
                if reply.code != DONE:
                    return reply
                answers = [_result(item) for item in reply.document["items"]]
            found = dict.fromkeys(batch, ("error", "")) | dict(zip(sound, answers, strict=True))
            self._results |= found
            with self._output.open("a", encoding="utf-8", newline="") as out:
                out.write(_text((*subject, *result) for subject, result in found.items()))
                _to_disk(out)
            progress("screening", len(self._results), len(self._subjects))
        self._replace({subject: self._results[subject] for subject in self._subjects}, self._subjects)
        return None

    def counts(self) -> dict[str, int]:
        """How many rows of the input have which status."""
        return dict(Counter(self._results.get(subject, ("not asked", ""))[0] for subject in self._subjects))

    def _replace(self, results: dict[Subject, Result], order: Iterable[Subject] | None = None) -> None:
        """Write the output anew, in one step."""
        new = self._output.with_name(f".{self._output.name}.new")
        with new.open("w", encoding="utf-8", newline="") as out:
            out.write(_text([HEADER, *((*subject, *results[subject]) for subject in order or results)]))
            _to_disk(out)
        new.replace(self._output)


def _result(item: dict[str, Any]) -> Result:
    """An item's status and measures; an error that is not the subject's own is no final answer."""
    if item["outcome"] == "decided":
        return "decided", ";".join(it["id"] + " (disputed)" * it["disputed"] for it in item["measures"])
    return ("error" if item.get("type") == PREFIX + MALFORMED else "indeterminate"), ""


def read_rows(path: Path, name: str, columns: Sequence[str]) -> list[list[str]]:
    """Read the columns of a CSV file; what a run cut off in writing left of its last line is no row.

    Raises:
        DecodeError: it is not such a file; names it and the reason.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if name == "OUT.csv":
            text = text[: text.rfind("\n") + 1]
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        places = [header.index(column) for column in columns]
    except OSError:
        reason = "cannot be read"
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except (ValueError, csv.Error):
        reason = f"not CSV with the columns {', '.join(columns)}"
    else:
        return [[row[place] if place < len(row) else "" for place in places] for row in rows if row]
    raise DecodeError(f"{name}: {reason}")


def _text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _to_disk(file: io.TextIOWrapper) -> None:
    file.flush()
    os.fsync(file.fileno())
