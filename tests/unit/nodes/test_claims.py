"""What is claimed is claimed once, whoever claims first: sessions, openings, proofs, quotas."""

import time
from dataclasses import replace
from itertools import count
from multiprocessing import get_context

import pytest
from sqlalchemy import Engine

from nodes.storage.engine import open_engine
from nodes.storage.state import GRACE, ProtocolState
from protocol.agreement.terms import Allowance
from protocol.errors import QuotaError, ReplayedError, SpentError
from protocol.rounds.ledger import Ledger
from protocol.wire import Header
from tests.unit.nodes.stores import NOON, refusals

SESSION = b"s" * 16
DAY = Allowance(10, "day 20000", NOON + 43_200)


def header(session: bytes, sender: str = "office", m: int = 1, expires: int = NOON) -> Header:
    return Header(
        agreement="procurement",
        version=1,
        epoch=1,
        sender=sender,
        audience="agencies",
        session=session,
        purpose="award-contract",
        m=m,
        issued=NOON,
        expires=expires,
        answers=b"",
    )


SESSIONS = (b"%016d" % number for number in count())


def ask(state: ProtocolState, sender: str = "office", m: int = 1, limit: int = 10, now: int = NOON) -> None:
    """A request in a session of its own."""
    day = now // 86_400
    state.admit("ask", header(next(SESSIONS), sender, m), Allowance(limit, f"day {day}", (day + 1) * 86_400), now)


def ask_in_another_process(url: str, worker: int) -> int:
    engine = open_engine(url)
    state, granted = ProtocolState(engine), 0
    for number in range(10):
        try:
            state.admit("ask", header(b"%08d%08d" % (worker, number)), replace(DAY, limit=15), NOON)
            granted += 1
        except QuotaError:
            pass
    engine.dispose()
    return granted


class TestClaims:
    def test_admitted_and_refused_requests_are_logged(self, state: ProtocolState) -> None:
        ledger: Ledger = state
        ledger.admit("ask", header(SESSION, m=3), DAY, NOON)
        ledger.refuse("ask", header(SESSION, m=3), "ReplayedError", NOON)
        ledger.refuse("open", None, "DecodeError", NOON)
        assert [(it.time, it.kind, it.sender, it.purpose, it.m, it.outcome) for it in state.entries()] == [
            (NOON, "ask", "office", "award-contract", 3, "admitted"),
            (NOON, "ask", "office", "award-contract", 3, "ReplayedError"),
            (NOON, "open", "", "", 0, "DecodeError"),
        ]

    def test_a_session_is_used_once_a_kind_and_sender(self, state: ProtocolState) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        state.admit("evaluate", header(SESSION), DAY, NOON)
        state.admit("ask", header(SESSION, sender="bank"), DAY, NOON)
        with pytest.raises(ReplayedError):
            state.admit("ask", header(SESSION, expires=NOON + 60), DAY, NOON)

    def test_a_replay_charges_nothing_and_a_refused_charge_claims_nothing(self, state: ProtocolState) -> None:
        state.admit("ask", header(SESSION, m=9), DAY, NOON)
        with pytest.raises(ReplayedError):
            state.admit("ask", header(SESSION, m=1), DAY, NOON)
        with pytest.raises(QuotaError):
            state.admit("ask", header(b"t" * 16, m=2), DAY, NOON)
        state.admit("ask", header(b"t" * 16, m=1), DAY, NOON)

    def test_a_restart_forgets_no_claim(self, state: ProtocolState, url: str) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        reopened = open_engine(url)
        with pytest.raises(ReplayedError):
            ProtocolState(reopened).admit("ask", header(SESSION), DAY, NOON)
        reopened.dispose()

    def test_sessions_are_forgotten_an_hour_after_they_expired(self, state: ProtocolState) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        with pytest.raises(ReplayedError):
            state.admit("ask", header(SESSION), DAY, NOON + GRACE)
        state.admit("ask", header(SESSION), DAY, NOON + GRACE + 1)

    @pytest.mark.postgres
    @pytest.mark.parametrize("url", ["postgres"], indirect=True)
    def test_requests_that_forget_the_same_session_do_not_wait_for_each_other(
        self, state: ProtocolState, engine: Engine
    ) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        later = NOON + GRACE + 1
        with engine.begin() as other:
            other.exec_driver_sql("DELETE FROM session")
            started = time.monotonic()
            state.admit("ask", header(b"t" * 16, expires=later), DAY, later)
            assert time.monotonic() - started < 5

    def test_a_chunk_is_opened_once_even_for_the_same_x(self, state: ProtocolState) -> None:
        state.admit_opening(header(SESSION), 0, b"x", 1, DAY, NOON)
        state.admit_opening(header(SESSION), 1, b"x", 1, DAY, NOON)
        for x in (b"x", b"y"):
            with pytest.raises(SpentError):
                state.admit_opening(header(SESSION), 0, x, 1, DAY, NOON)

    def test_a_share_is_proven_once_and_only_for_what_was_opened(self, state: ProtocolState) -> None:
        request = replace(header(SESSION), sender="coordinator")
        state.admit_opening(header(SESSION), 0, b"x", 1, DAY, NOON)
        for requester, chunk, x in (("bank", 0, b"x"), ("office", 1, b"x"), ("office", 0, b"y")):
            with pytest.raises(SpentError):
                state.admit_proof(request, requester, chunk, x, NOON)
        assert refusals([lambda: state.admit_proof(request, "office", 0, b"x", NOON)] * 8, ReplayedError) == 7
        assert [entry.kind for entry in state.entries()] == ["open", "prove"]

    def test_an_opening_is_charged_to_its_requester(self, state: ProtocolState) -> None:
        with pytest.raises(QuotaError):
            state.admit_opening(header(SESSION, m=20), 0, b"x", 12, DAY, NOON)
        assert not state.openings()

    def test_one_of_many_claims_wins(self, state: ProtocolState) -> None:
        asked = [lambda: state.admit("ask", header(SESSION), DAY, NOON)] * 8
        assert refusals(asked, ReplayedError) == 7
        opened = [lambda: state.admit_opening(header(SESSION), 0, b"x", 1, DAY, NOON)] * 8
        assert refusals(opened, SpentError) == 7


class TestQuota:
    def test_a_charge_is_all_or_nothing_and_says_when_to_come_back(self, state: ProtocolState) -> None:
        ask(state, m=6)
        with pytest.raises(QuotaError) as caught:
            ask(state, m=5)
        assert caught.value.retry_after == 43_200
        ask(state, m=4)
        with pytest.raises(QuotaError):
            ask(state)

    def test_days_kinds_and_senders_are_apart(self, state: ProtocolState) -> None:
        ask(state, m=10)
        ask(state, "bank", m=10)
        ask(state, m=10, now=NOON + 43_200)
        state.admit("evaluate", header(SESSION, m=10), DAY, NOON)
        state.admit_opening(header(SESSION, m=10), 0, b"x", 10, DAY, NOON)

    def test_the_first_charge_is_bounded_too(self, state: ProtocolState) -> None:
        with pytest.raises(QuotaError):
            ask(state, m=11)
        ask(state, m=10)

    def test_threads_cannot_take_more_than_is_left(self, state: ProtocolState) -> None:
        assert refusals([lambda: ask(state, limit=5)] * 16, QuotaError) == 11

    def test_processes_cannot_take_more_than_is_left(self, state: ProtocolState, url: str) -> None:
        state.refuse("ask", None, "", NOON)
        with get_context("spawn").Pool(2) as pool:
            granted = pool.starmap(ask_in_another_process, [(url, worker) for worker in range(2)])
        assert sum(granted) == 15

    def test_reading_first_and_writing_then_would_give_too_much(self) -> None:
        """The twin: a quota that is read, compared and written in three steps."""
        used = [0]

        def charge() -> None:
            before = used[0]
            time.sleep(0.01)
            if before >= 5:
                raise QuotaError("spent", 0)
            used[0] = before + 1

        assert refusals([charge] * 16, QuotaError) < 11
