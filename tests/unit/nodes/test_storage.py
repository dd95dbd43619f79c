"""What is stored stays encrypted, in its place and once; what is claimed is claimed once, whoever claims first."""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import Engine

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore, Seal, Unsealed
from nodes.storage.state import GRACE, ProtocolState
from protocol.agreement.terms import Allowance
from protocol.codec import Random
from protocol.errors import (
    BucketOverflowError,
    ConcordatError,
    QuotaError,
    ReplayedError,
    SealError,
    SpentError,
    UsageError,
)
from protocol.identifiers import canonical
from protocol.rounds.ledger import Ledger
from protocol.wire import Header
from tests.unit.nodes.builders import LEI, USCC, make_listing

KEY = bytes(range(32))
SESSION = b"s" * 16
NOON = 20_000 * 86_400 + 43_200


def counter() -> Random:
    """Bytes that never repeat, as nonces must not."""
    state = iter(range(1 << 32))
    return lambda n: hashlib.shake_256(b"%d" % next(state)).digest(n)


def pseudonym(name: str) -> bytes:
    return hashlib.sha512(name.encode()).digest()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/node.db")
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: Engine) -> ListingStore:
    return ListingStore(database, ColumnCipher(KEY, counter()), bucket_size=2)


@pytest.fixture
def state(database: Engine) -> ProtocolState:
    return ProtocolState(database)


def at_rest(tmp_path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))


class TestCipher:
    def test_opens_in_its_place_only(self) -> None:
        cipher = ColumnCipher(KEY, counter())
        sealed = cipher.encrypt(b"secret", b"table", b"column", b"7")
        assert cipher.decrypt(sealed, b"table", b"column", b"7") == b"secret"
        for key, text, place in (
            (KEY, sealed, (b"table", b"column", b"8")),
            (KEY, sealed, (b"tablec", b"olumn", b"7")),
            (KEY, sealed[:-1], (b"table", b"column", b"7")),
            (KEY, b"", (b"table", b"column", b"7")),
            (bytes(32), sealed, (b"table", b"column", b"7")),
        ):
            with pytest.raises(SealError):
                ColumnCipher(key, counter()).decrypt(text, *place)

    def test_equal_values_are_stored_differently_and_digest_alike(self) -> None:
        cipher = ColumnCipher(KEY, counter())
        assert cipher.encrypt(b"x", b"t") != cipher.encrypt(b"x", b"t")
        assert cipher.digest(b"x") == cipher.digest(b"x") != ColumnCipher(bytes(32), counter()).digest(b"x")

    def test_shows_no_key(self) -> None:
        assert repr(ColumnCipher(KEY, counter())) == "ColumnCipher(key=<redacted>)"


class TestEngine:
    def test_sqlite_is_durable_and_forgets(self, database: Engine) -> None:
        with database.connect() as connection:
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "busy_timeout")
            }
        assert settings == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }


class TestListings:
    def test_come_back_as_they_were(self, store: ListingStore) -> None:
        listings = [
            make_listing(raw={"note": "n"}, expires_on=date(2026, 12, 31)),
            make_listing(
                identifiers=(canonical("lei", LEI), canonical("zz.free", "1")), disputed_since=date(2026, 2, 2)
            ),
        ]
        numbers = store.add_many(listings)
        assert list(store.all()) == list(zip(numbers, listings, strict=True))
        assert store.count("exclusions") == 2
        assert store.count("elsewhere") == 0

    def test_a_second_import_changes_nothing(self, store: ListingStore) -> None:
        one, other = make_listing(), make_listing(decision_ref="D 18/2026")
        first = store.add_many([one, one])
        assert first[0] == first[1]
        store.dispute(first[0], date(2026, 3, 1))
        assert store.add_many([one, other])[0] == first[0]
        assert [listing.disputed_since for _, listing in store.all()] == [date(2026, 3, 1), None]
        assert store.count("exclusions") == 2

    def test_many_are_numbered_in_order(self, store: ListingStore) -> None:
        numbers = store.add_many([make_listing(decision_ref=f"D {n}") for n in range(1_200)])
        assert numbers == list(range(1, 1_201))
        assert store.count("exclusions") == 1_200

    def test_disputes_begin_and_end(self, store: ListingStore) -> None:
        (number,) = store.add_many([make_listing()])
        for on in (date(2026, 3, 1), None):
            store.dispute(number, on)
            assert next(store.all())[1].disputed_since == on
        with pytest.raises(UsageError):
            store.dispute(number + 1, None)

    def test_nothing_of_a_subject_is_legible_at_rest(self, store: ListingStore, tmp_path: Path) -> None:
        (number,) = store.add_many([make_listing(raw={"note": "raw note"})])
        store.record_seals("procurement", 1, [Seal(number, 0, 7, pseudonym("t"))])
        files = at_rest(tmp_path)
        assert b"exclusions" in files  # the twin: what is in clear would be seen
        for secret in (USCC.encode(), b"Acme", b"D 17/2026", b"raw note", pseudonym("t"), pseudonym("t")[:8]):
            assert secret not in files

    def test_what_is_removed_is_in_no_file(self, store: ListingStore, tmp_path: Path) -> None:
        numbers = store.add_many([make_listing(register="gone-register"), make_listing(decision_ref="D 18/2026")])
        store.record_seals("procurement", 1, [Seal(numbers[0], 0, 7, pseudonym("t"))])
        assert b"gone-register" in at_rest(tmp_path)
        store.remove(numbers[:1])
        assert [number for number, _ in store.all()] == numbers[1:]
        assert store.bucket("procurement", 1, 7) == []
        assert b"gone-register" not in at_rest(tmp_path)

    def test_a_row_moved_to_another_is_noticed(self, store: ListingStore, tmp_path: Path) -> None:
        store.add_many([make_listing(), make_listing(decision_ref="D 18/2026")])
        with sqlite3.connect(tmp_path / "node.db") as raw:
            raw.execute("UPDATE listing SET payload = (SELECT payload FROM listing WHERE number = 2) WHERE number = 1")
        with pytest.raises(SealError):
            list(store.all())


class TestSeals:
    def test_a_bucket_gives_listings_by_pseudonym(self, store: ListingStore) -> None:
        one, two, three = listings = [make_listing(decision_ref=f"D {n}") for n in range(3)]
        numbers = store.add_many(listings)
        shared, own = pseudonym("shared"), pseudonym("own")
        store.record_seals("procurement", 1, [Seal(numbers[0], 0, 7, shared), Seal(numbers[1], 0, 7, own)])
        store.record_seals("procurement", 1, [Seal(numbers[2], 0, 7, shared)])
        assert store.bucket("procurement", 1, 7) == [(shared, (one, three)), (own, (two,))]
        assert store.bucket_load("procurement", 1, 7) == 2
        for elsewhere in (("procurement", 2, 7), ("other", 1, 7), ("procurement", 1, 8)):
            assert store.bucket(*elsewhere) == []

    def test_a_dispute_shows_in_the_next_bucket(self, store: ListingStore) -> None:
        (number,) = store.add_many([make_listing()])
        store.record_seals("procurement", 1, [Seal(number, 0, 7, pseudonym("t"))])
        store.dispute(number, date(2026, 3, 1))
        ((_, (listing,)),) = store.bucket("procurement", 1, 7)
        assert listing.disputed_since == date(2026, 3, 1)

    def test_a_bucket_overflows_by_distinct_pseudonyms(self, store: ListingStore) -> None:
        numbers = store.add_many([make_listing(decision_ref=f"D {n}") for n in range(5)])
        full = [Seal(numbers[0], 0, 7, b"a"), Seal(numbers[1], 0, 7, b"b"), Seal(numbers[2], 0, 7, b"a")]
        store.record_seals("procurement", 1, full)
        with pytest.raises(BucketOverflowError):
            store.record_seals("procurement", 1, [Seal(numbers[3], 0, 8, b"d"), Seal(numbers[4], 0, 7, b"c")])
        assert store.bucket_load("procurement", 1, 7) == 2
        assert store.bucket_load("procurement", 1, 8) == 0  # all or none

    def test_what_is_unsealed_is_each_identifier_once(self, store: ListingStore) -> None:
        lei, uscc = canonical("lei", LEI), canonical("cn.uscc", USCC)
        first, second, _ = store.add_many(
            [
                make_listing(identifiers=(uscc, lei)),
                make_listing(identifiers=(lei,)),
                make_listing(register="elsewhere"),
            ]
        )
        both = [Unsealed(first, 0, uscc), Unsealed(first, 1, lei), Unsealed(second, 0, lei)]
        registers = ["exclusions"]
        assert store.unsealed("procurement", 1, registers, 10) == both
        assert store.unsealed("procurement", 1, registers, 1) == both[:2]
        store.record_seals("procurement", 1, [Seal(first, 0, 7, b"u")])
        assert store.unsealed("procurement", 1, registers, 10) == both[1:]
        store.record_seals("procurement", 1, [Seal(first, 1, 8, b"l"), Seal(second, 0, 8, b"l")])
        assert store.unsealed("procurement", 1, registers, 10) == []
        assert store.unsealed("procurement", 2, registers, 10) == both
        assert store.unsealed("procurement", 1, [], 10) == []

    def test_concurrent_sealing_never_overfills(self, store: ListingStore) -> None:
        numbers = store.add_many([make_listing(decision_ref=f"D {n}") for n in range(8)])
        attempts = [partial(store.record_seals, "a", 1, [Seal(n, 0, 7, b"%d" % n)]) for n in numbers]
        assert refusals(attempts, BucketOverflowError) == 6
        assert store.bucket_load("a", 1, 7) == 2


def refusals(attempts: Sequence[Callable[[], object]], expected: type[ConcordatError]) -> int:
    """Run all attempts at once; how many were refused with the expected error."""

    def run(attempt: Callable[[], object]) -> int:
        try:
            attempt()
        except expected:
            return 1
        return 0

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(run, attempts))


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

    def test_a_restart_forgets_no_claim(self, state: ProtocolState, tmp_path: Path) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        reopened = open_engine(f"sqlite:///{tmp_path}/node.db")
        with pytest.raises(ReplayedError):
            ProtocolState(reopened).admit("ask", header(SESSION), DAY, NOON)
        reopened.dispose()

    def test_sessions_are_forgotten_an_hour_after_they_expired(self, state: ProtocolState) -> None:
        state.admit("ask", header(SESSION), DAY, NOON)
        with pytest.raises(ReplayedError):
            state.admit("ask", header(SESSION), DAY, NOON + GRACE)
        state.admit("ask", header(SESSION), DAY, NOON + GRACE + 1)

    def test_a_chunk_is_opened_once_even_for_the_same_x(self, state: ProtocolState) -> None:
        assert not state.is_opened("office", SESSION, 0, b"x")
        state.admit_opening(header(SESSION), 0, b"x", 1, DAY, NOON)
        state.admit_opening(header(SESSION), 1, b"x", 1, DAY, NOON)
        for x in (b"x", b"y"):
            with pytest.raises(SpentError):
                state.admit_opening(header(SESSION), 0, x, 1, DAY, NOON)
        assert state.is_opened("office", SESSION, 0, b"x")
        assert not state.is_opened("office", SESSION, 0, b"y")

    def test_an_opening_is_charged_to_its_requester(self, state: ProtocolState) -> None:
        with pytest.raises(QuotaError):
            state.admit_opening(header(SESSION, m=20), 0, b"x", 12, DAY, NOON)
        assert not state.is_opened("office", SESSION, 0, b"x")

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

    def test_processes_cannot_take_more_than_is_left(self, state: ProtocolState, tmp_path: Path) -> None:
        state.refuse("ask", None, "", NOON)
        with get_context("spawn").Pool(2) as pool:
            url = f"sqlite:///{tmp_path}/node.db"
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


def test_listings_and_state_may_not_share_tables(tmp_path: Path) -> None:
    listings, state = (open_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("listings", "state"))
    ListingStore(listings, ColumnCipher(KEY, counter()), 2)
    ProtocolState(state)
    tables = []
    for engine in (listings, state):
        with engine.connect() as connection:
            tables.append(
                set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
            )
        engine.dispose()
    assert tables == [{"listing", "seal"}, {"session", "opening", "charge", "log"}]


def test_a_replaced_listing_is_another(store: ListingStore) -> None:
    one = make_listing()
    assert len(set(store.add_many([one, replace(one, severity=3)]))) == 2
