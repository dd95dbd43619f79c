"""Quotas hold across processes that share a database, and refusals are logged."""

import asyncio
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx import ASGITransport, AsyncClient

from federation.gateway import QUESTION
from federation.problem import UnknownAgreementError
from nodes.storage.engine import open_engine
from nodes.storage.state import ADMITTED, ProtocolState
from protocol.agreement.terms import Allowance
from protocol.errors import NoLongerInForceError, NotGrantedError, QuotaError, ReplayedError
from protocol.wire import Header
from tests.gateways import CASE, NOBODY, TOKEN, Office
from tests.parties import NOW, PURPOSE
from tests.postgres import ON_BOTH, schema

LIMIT, PROCESSES, EACH = 50, 4, 50
DAY = Allowance(LIMIT, "day 1", NOW + 3_600)


@pytest.fixture(params=ON_BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        with schema() as made:
            yield made
    else:
        yield f"sqlite:///{tmp_path / 'state.sqlite'}"


def header(number: int, m: int) -> Header:
    return Header(
        *("procurement", 1, 1, "office", "agencies", number.to_bytes(16), PURPOSE, m),
        issued=NOW,
        expires=NOW + 60,
        answers=b"",
    )


def admit_all(url: str, process: int) -> tuple[int, int]:
    """Subjects admitted of requests that only this process makes, and how many that all make."""
    state, admitted, sessions = ProtocolState(open_engine(url)), 0, 0
    for number in range(EACH):
        m = 1 + number % 5
        try:
            state.admit("ask", header(process * EACH + number, m), DAY, NOW)
            admitted += m
        except (QuotaError, ReplayedError):
            pass
        try:
            state.admit("evaluate", header(number, 1), DAY, NOW)
            sessions += 1
        except (ReplayedError, QuotaError):
            pass
    return admitted, sessions


def race(url: str) -> tuple[int, int]:
    with get_context("spawn").Pool(PROCESSES) as pool:
        results = pool.starmap(admit_all, [(url, process) for process in range(PROCESSES)])
    return sum(admitted for admitted, _ in results), sum(sessions for _, sessions in results)


def test_processes_share_one_quota_and_one_memory_of_sessions(url: str) -> None:
    engine = open_engine(url)
    state = ProtocolState(engine)
    admitted, sessions = race(url)
    assert LIMIT - 4 <= admitted <= LIMIT
    assert sessions == EACH
    assert state.charges() == {("ask", "office", "day 1"): admitted, ("evaluate", "office", "day 1"): EACH}
    assert sum(entry.m for entry in state.entries() if (entry.kind, entry.outcome) == ("ask", ADMITTED)) == admitted
    assert race(url) == (0, 0)
    engine.dispose()


def test_whatever_a_gateway_refuses_is_in_its_ledger(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)

    def refused(error: type[Exception], **changes: Any) -> None:
        with pytest.raises(error):
            office.ask(NOBODY, NOBODY, **changes)

    refused(UnknownAgreementError, agreement="another")
    refused(NotGrantedError, purpose="FIRM000001")
    refused(QuotaError)
    office.clock.now += 400 * 86_400
    refused(NoLongerInForceError)
    logged = [(entry.kind, entry.outcome, entry.purpose, entry.m) for entry in office.ledger().entries()]
    assert logged == [
        (QUESTION, "UnknownAgreementError", "", 0),
        (QUESTION, "NotGrantedError", "", 0),
        (QUESTION, "QuotaError", PURPOSE, 2),
        (QUESTION, "NoLongerInForceError", PURPOSE, 2),
    ]


def test_a_caller_without_the_token_is_in_the_gateways_ledger(tmp_path: Path) -> None:
    office = Office.create(tmp_path)

    async def call() -> list[int]:
        async with AsyncClient(transport=ASGITransport(office.app()), base_url="http://gateway") as client:
            headers = {"authorization": f"Bearer {TOKEN}x"}
            return [
                (await client.post(f"/v1/{path}", headers=headers)).status_code
                for path in ("membership", "membership:batch")
            ]

    assert asyncio.run(call()) == [401, 401]
    assert [(entry.kind, entry.outcome, entry.sender) for entry in office.ledger().entries()] == [
        (QUESTION, "TokenError", "")
    ] * 2


def test_a_quota_spent_at_the_coordinator_reaches_the_caller_with_its_time(tmp_path: Path) -> None:
    """Two gateways with ledgers of their own: each has the quota, the coordinator counts them together."""
    first = Office.create(tmp_path, quota=1)
    assert first.ask(NOBODY)
    (first.folder / "gateway.sqlite").rename(first.folder / "first.sqlite")

    async def call() -> httpx.Response:
        async with AsyncClient(transport=ASGITransport(first.app()), base_url="http://gateway") as client:
            question = {"agreement": "procurement", "purpose": PURPOSE, "case": CASE}
            subject = {"scheme": NOBODY.scheme, "value": NOBODY.value}
            headers = {"authorization": f"Bearer {TOKEN}"}
            return await client.post("/v1/membership", json=question | {"subject": subject}, headers=headers)

    reply = asyncio.run(call())
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) == 86_400 - first.clock.now % 86_400
