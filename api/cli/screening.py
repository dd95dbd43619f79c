"""Screening a file: rows in, answers appended as they come, so that an interrupted run goes on where it stopped.

While it runs, OUT grows by whole batches, each on disk before the next is asked; at the end it is put in the order of
the input. A row that occurs twice is asked once.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

from api.cli.client import GatewayClient, Reply
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
Span = tuple[int, int]  # of a row, in bytes of the file


@dataclass(frozen=True)
class Batch:
    """Rows that are asked together, and where each of them stands in the file."""

    subjects: tuple[Subject, ...] = field(repr=False)
    spans: tuple[Span, ...]


Answer = list[Result] | Reply
"""A result for each row of a batch, or why there is none for any."""
Engine = Callable[[Iterator[Batch]], Iterator[tuple[Batch, Answer]]]
"""Takes batches as it has room for them, and gives the answer of every one that it took, in any order."""


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
        self.places, rows = _rows(file, "FILE.csv", HEADER[:2])
        self._subjects = [(row[0], row[1]) for row, _ in rows]
        self._spans = {(row[0], row[1]): span for row, span in rows}
        self._results: dict[Subject, Result] = {}
        self._refusal: Reply | None = None
        if output.exists() and output.stat().st_size:
            kept = {(row[0], row[1]): (row[2], row[3]) for row, _ in _rows(output, "OUT.csv", HEADER)[1]}
            self._results = {key: kept[key] for key in self._subjects if key in kept and kept[key][0] in FINAL}

    def run(self, engine: Engine, not_ready: Callable[[], Reply | None], progress: Progress) -> Reply | None:
        """Ask for every row without a final answer; returns the refusal that ended it early, if one did.

        Where a batch has rows that somebody's silence left undecided, no other is taken before the gateway is ready:
        what is asked meanwhile would be charged for nothing.
        """
        self._replace(self._results)
        progress("screening", len(self._results), len(self._spans))
        for batch, answer in engine(self._batches()):
            if isinstance(answer, Reply):
                self._refusal = self._refusal or answer
                continue
            found = dict(zip(batch.subjects, answer, strict=True))
            self._results |= found
            with self._output.open("a", encoding="utf-8", newline="") as out:
                out.write(_text((*subject, *result) for subject, result in found.items()))
                _to_disk(out)
            progress("screening", len(self._results), len(self._spans))
            undecided = any(status not in FINAL for status, _ in answer)
            if undecided and self._refusal is None and len(self._results) < len(self._spans):
                self._refusal = not_ready()
        if self._refusal is None:
            self._replace({subject: self._results[subject] for subject in self._subjects}, self._subjects)
        return self._refusal

    def counts(self) -> dict[str, int]:
        """How many rows of the input have which status."""
        return dict(Counter(self._results.get(subject, ("not asked", ""))[0] for subject in self._subjects))

    def _batches(self) -> Iterator[Batch]:
        """What has no final answer, until a refusal."""
        pending = iter([subject for subject in self._spans if subject not in self._results])
        while self._refusal is None and (some := tuple(islice(pending, BATCH))):
            yield Batch(some, tuple(self._spans[subject] for subject in some))

    def _replace(self, results: dict[Subject, Result], order: Iterable[Subject] | None = None) -> None:
        """Write the output anew, in one step."""
        new = self._output.with_name(f".{self._output.name}.new")
        with new.open("w", encoding="utf-8", newline="") as out:
            out.write(_text([HEADER, *((*subject, *results[subject]) for subject in order or results)]))
            _to_disk(out)
        new.replace(self._output)


def one_by_one(client: GatewayClient, question: dict[str, str]) -> Engine:
    """The engine of this process: it asks a batch when the one before is on disk."""

    def engine(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Answer]]:
        for batch in batches:
            yield batch, ask(client, question, batch.subjects)

    return engine


def ask(client: GatewayClient, question: dict[str, str], subjects: Sequence[Subject]) -> Answer:
    """Ask for a batch of rows; one that cannot be an identifier is not sent."""
    sound = [subject for subject in subjects if is_identifier(*subject)]
    found = dict.fromkeys(subjects, ("error", ""))
    if sound:
        asked = [{"scheme": scheme, "value": value} for scheme, value in sound]
        reply = client.ask_patiently({**question, "subjects": asked})
        if reply.code != DONE:
            return reply
        found |= zip(sound, map(_result, reply.document["items"]), strict=True)
    return [found[subject] for subject in subjects]


def _result(item: dict[str, Any]) -> Result:
    """An item's status and measures; an error that is not the subject's own is no final answer."""
    if item["outcome"] == "decided":
        return "decided", ";".join(it["id"] + " (disputed)" * it["disputed"] for it in item["measures"])
    return ("error" if item.get("type") == PREFIX + MALFORMED else "indeterminate"), ""


def rows_at(path: Path, places: Sequence[int], spans: Sequence[Span]) -> tuple[Subject, ...]:
    """Read the rows that stand at these places of FILE.csv, without the rest of it."""
    found = []
    with path.open("rb") as file:
        for start, end in spans:
            file.seek(start)
            [row] = filter(None, csv.reader(_Lines(file.read(end - start)), strict=True))
            scheme, identifier = _taken(row, places)
            found.append((scheme, identifier))
    return tuple(found)


def digest(subjects: Sequence[Subject]) -> bytes:
    """By which two processes know that they read the same rows."""
    return sha256(_text(subjects).encode()).digest()


def _taken(row: Sequence[str], places: Sequence[int]) -> list[str]:
    return [row[place] if place < len(row) else "" for place in places]


def read_rows(path: Path, name: str, columns: Sequence[str]) -> list[list[str]]:
    """Read the columns of a CSV file; what a run cut off in writing left of its last line is no row.

    Raises:
        DecodeError: it is not such a file; names it and the reason.
    """
    return [row for row, _ in _rows(path, name, columns)[1]]


def _rows(path: Path, name: str, columns: Sequence[str]) -> tuple[list[int], list[tuple[list[str], Span]]]:
    """Read the columns of a CSV file: their places, and the rows, each with where it stands.

    What a run cut off in writing left of its last line is no row.
    """
    try:
        data = path.read_bytes()
        if name == "OUT.csv":
            data = data[: data.rfind(b"\n") + 1]
        lines = _Lines(data)
        reader = csv.reader(lines, strict=True)
        header = next(reader)
        places = [header.index(column) for column in columns]
        rows = []
        start = lines.end
        for row in reader:
            if row:
                rows.append((_taken(row, places), (start, lines.end)))
            start = lines.end
    except OSError:
        reason = "cannot be read"
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except (StopIteration, ValueError, csv.Error):
        reason = f"not CSV with the columns {', '.join(columns)}"
    else:
        return places, rows
    raise DecodeError(f"{name}: {reason}")


class _Lines:
    """The lines of a file; the first `end` bytes of it are read."""

    def __init__(self, data: bytes) -> None:
        self._lines = iter(data.splitlines(keepends=True))
        self._encoding = "utf-8-sig"
        self.end = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.end += len(line)
        encoding, self._encoding = self._encoding, "utf-8"
        return line.decode(encoding)


def _text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _to_disk(file: io.TextIOWrapper) -> None:
    file.flush()
    os.fsync(file.fileno())
