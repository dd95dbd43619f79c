"""Screening on Dask: batches of a file's rows as tasks, asked of the gateway by whoever runs them.

A task names a file and where its rows stand in it: the worker reads them there, and the token in the federation's
directory, so neither identifiers nor the token travel through the scheduler. What comes back are the rows' results and
a digest of what was read, by which the command, which alone writes OUT.csv, knows that it is of the same rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed import Client, Future

from api.cli.client import GatewayClient, NoGatewayError, Reply
from api.cli.exits import BAD_INPUT, UNEXPECTED
from api.cli.screening import Answer, Batch, Engine, Result, Span, ask, digest, rows_at
from api.home import Home
from api.logs import described
from api.scale.cluster import each
from federation import problem
from protocol.errors import DecodeError

Asked = tuple[str, str | None, str, dict[str, str], list[int]]
"""The federation's directory, the requester, the file, the question, and the places of its columns."""


def ask_rows(asked: Asked, spans: Sequence[Span]) -> tuple[bytes, list[Result] | tuple[Any, ...]]:
    """Ask about the rows at these places: the task, as a worker runs it; results, or the parts of a refusal.

    It raises nothing: Dask would log what it was called with.
    """
    directory, requester, file, question, places = asked
    try:
        subjects = rows_at(Path(file), places, spans)
        answer = ask(GatewayClient(Home(Path(directory)), requester), question, subjects)
    except (OSError, NoGatewayError):
        return b"", (problem.document(problem.MALFORMED, "a worker does not find DIR or FILE.csv"), BAD_INPUT, None)
    except Exception as error:  # noqa: BLE001  # its text may hold anything
        detail = "a worker failed: {error} at {where}".format(**described(error))
        return b"", (problem.document(problem.UNEXPECTED, detail), UNEXPECTED, None)
    if isinstance(answer, Reply):
        return digest(subjects), (answer.document, answer.code, answer.retry_after)
    return digest(subjects), answer


def on_dask(client: Client, asked: Asked) -> Engine:
    """The engine that has batches asked by a cluster's workers."""

    def submit(batch: Batch) -> Future:
        return client.submit(ask_rows, asked, list(batch.spans), pure=False)

    def engine(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Answer]]:
        for batch, done in each(client, batches, submit):
            if done.result is None:
                reason = f"the workers of a batch ended: {done.reason}"
                yield batch, Reply(problem.document(problem.UNEXPECTED, reason), UNEXPECTED)
                continue
            read, answer = done.result
            if isinstance(answer, tuple):
                yield batch, Reply(*answer)
            elif read != digest(batch.subjects):
                raise DecodeError("FILE.csv: is another file where a worker reads it, or was changed")
            else:
                yield batch, answer

    return engine
