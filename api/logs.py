"""Structured logs: one JSON object a line, and only fields on the list: what nobody thought of cannot leak."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

FIELDS = frozenset(
    {
        *("timestamp", "level", "event", "party", "request"),
        *("method", "route", "status", "kind", "outcome", "seconds", "bytes", "missing"),
        *("epoch", "identifiers", "refused", "rate", "error", "where"),
    }
)
"""`route` is a path template, never a path; `error` is an exception's class, never its text; `where` a line of code."""

log = structlog.stdlib.get_logger("concordat")


def configure(party: str) -> None:
    """Log to standard output, every line naming the party; other libraries' logs by level and class only."""
    structlog.contextvars.bind_contextvars(party=party)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            keep_listed_fields,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def keep_listed_fields(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field that is not on the list."""
    return {name: value for name, value in event.items() if name in FIELDS}


class _Forward(logging.Handler):
    """Another library's warning: that it came and from where, not what it says."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            log.warning("library", kind=record.name, error=record.levelname)
        else:
            log.error("library", kind=record.name, **described(error))


def described(error: BaseException) -> dict[str, str]:
    """An exception's class, and the line of code it came from; never its text, which may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "where": where}
