"""A caller of a gateway: where it is, its token, one request, and the patience of who has many to send."""

import json
import random
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from api.cli.exits import BAD_INPUT, DONE, INDETERMINATE, REFUSED, UNEXPECTED
from api.home import Home, read_urls
from federation import problem
from protocol.agreement.model import Agreement, parse
from protocol.errors import AgreementError, IndeterminateError, PeerError

SECONDS = 60.0
"""For one question; the gateway itself takes at most 30."""
BATCH_SECONDS = 600.0

PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt where nobody says how long to wait."""
LONGEST_WAIT: Final = 60.0
"""Seconds; who tells callers to wait for longer is left to a later run."""
PATIENCE: Final = 600.0
"""Seconds that a busy gateway is tried for."""


class NoGatewayError(PeerError):
    """There is no gateway to ask: the directory holds none."""


@dataclass(frozen=True)
class Reply:
    """What a gateway answered: the JSON as it was sent, and the exit code it means."""

    document: dict[str, Any]
    code: int
    retry_after: int | None = None


class GatewayClient:
    """One requester's gateway in a federation's directory."""

    def __init__(self, home: Home, requester: str | None) -> None:
        """Find the gateway; the agreement's first requester's unless one is named.

        Raises:
            NoGatewayError: no federation lies there, or it has no such requester.
        """
        self._home = home
        self._agreement = _agreement(home)
        names = [known.id for known in self._agreement.requesters]
        if requester is not None and requester not in names:
            raise NoGatewayError(f"--requester: the agreement has {', '.join(names)}")
        self._requester = requester or names[0]

    def ask(self, question: dict[str, Any], path: str = "membership", seconds: float = SECONDS) -> Reply:
        """Ask for this agreement."""
        return self.call("POST", path, {"agreement": self._agreement.id, **question}, seconds)

    def call(
        self, method: str, path: str, document: dict[str, Any] | None = None, seconds: float = BATCH_SECONDS
    ) -> Reply:
        """Send a request to the gateway; one that cannot be reached is an indeterminate answer, too."""
        try:
            url = read_urls(self._home.urls_path)[self._requester]
            token = self._home.token_path(self._requester).read_text("ascii").strip()
            response = httpx.request(
                method,
                f"{url}/v1/{path}",
                content=None if document is None else json.dumps(document).encode(),
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
                timeout=seconds,
                trust_env=False,
            )
            told = response.headers.get("retry-after", "")
            retry_after = int(told) if told.isdecimal() and len(told) < 9 else None
            return Reply(dict(response.json()), _code(response.status_code), retry_after)
        except (OSError, httpx.HTTPError, KeyError, TypeError, ValueError):
            return Reply(problem.from_error(IndeterminateError(["gateway"])), INDETERMINATE)

    def ask_patiently(self, question: dict[str, Any]) -> Reply:
        """Ask a batch; a gateway that is busy or cannot be reached is tried again, for as long as it says.

        A refusal that lasts, as that of a spent quota, is returned.
        """
        pauses, end = iter(PAUSES), time.monotonic() + PATIENCE
        while True:
            reply = self.ask(question, "membership:batch", BATCH_SECONDS)
            if reply.code not in {INDETERMINATE, REFUSED} or (reply.code == REFUSED and reply.retry_after is None):
                return reply
            pause = next(pauses, None) if reply.retry_after is None else float(reply.retry_after)
            if pause is None or pause > LONGEST_WAIT or time.monotonic() + pause > end:
                return reply
            _wait(pause)

    def not_ready(self) -> Reply | None:
        """Wait until the gateway is ready, for no longer than an outage that passes; returns why it is not."""
        for pause in (*PAUSES, None):
            reply = self._readiness()
            if reply.code == DONE or pause is None:
                break
            _wait(pause)
        return None if reply.code == DONE else reply

    def _readiness(self) -> Reply:
        try:
            url = read_urls(self._home.urls_path)[self._requester]
            response = httpx.get(f"{url}/readyz", timeout=SECONDS, trust_env=False)
            return Reply(dict(response.json()), _code(response.status_code))
        except (OSError, httpx.HTTPError, KeyError, TypeError, ValueError):
            return Reply(problem.from_error(IndeterminateError(["gateway"])), INDETERMINATE)

    @property
    def agreement(self) -> str:
        """The id of the agreement that it asks under."""
        return self._agreement.id


def _wait(seconds: float) -> None:
    """Wait a little longer than asked for, and not all callers alike, or they would come back together."""
    time.sleep(seconds * random.uniform(1.0, 1.5))  # noqa: S311  # nothing depends on it but when this one comes


def _agreement(home: Home) -> Agreement:
    try:
        return parse(home.agreement_path.read_text("utf-8"))
    except (OSError, ValueError, AgreementError):
        raise NoGatewayError("DIR: no federation lies there; `concordat init` makes one") from None


def _code(status: int) -> int:
    match status:
        case HTTPStatus.OK:
            return DONE
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return INDETERMINATE
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN | HTTPStatus.CONFLICT | HTTPStatus.TOO_MANY_REQUESTS:
            return REFUSED
        case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return BAD_INPUT
    return UNEXPECTED
