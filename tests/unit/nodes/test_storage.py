"""What is stored stays encrypted, in its place and once; what is claimed is claimed once, whoever claims first."""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect

from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import Entry, ListingStore
from nodes.storage.seals import Seal
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
from tests.unit.nodes.builders import LEI, USCC, make_listing, sqlite_only

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
def store(engine: Engine) -> ListingStore:
    return ListingStore(engine, ColumnCipher(KEY, counter()), bucket_size=2)


@pytest.fixture
def state(engine: Engine) -> ProtocolState:
    return ProtocolState(engine)


def at_rest(engine: Engine) -> bytes:
    """What lies in SQLite's files; on PostgreSQL every value of every table."""
    if engine.url.database and engine.dialect.name == "sqlite":
        return b"".join(file.read_bytes() for file in sorted(Path(engine.url.database).parent.iterdir()))
    with engine.connect() as connection:
        rows = [row for name in tables(engine) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")]  # noqa: S608
    return b" ".join(it if isinstance(it, bytes) else str(it).encode() for row in rows for it in row)


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


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


HERE = ("procurement", 1)
CANARY = Seal(7, pseudonym("canary"))


def add(store: ListingStore, *listings: Listing) -> list[int]:
    return store.add_pending(*HERE, listings)


def seals(prefix: int, *names: str) -> list[Seal]:
    return [Seal(prefix, pseudonym(name)) for name in names]


def load(store: ListingStore, prefix: int) -> int:
    """How many of a bucket's places are taken."""
    return len(store.bucket(*HERE, prefix))


def references(store: ListingStore) -> list[str]:
    return [listing.decision_ref for _, listing in store.all()]


def numbered(count: int, **changes: Any) -> list[Listing]:
    return [make_listing(decision_ref=f"D {number}", **changes) for number in range(count)]


class TestListings:
    def test_come_back_as_they_were(self, store: ListingStore) -> None:
        listings = [
            make_listing(raw={"note": "n"}, expires_on=date(2026, 12, 31)),
            make_listing(
                identifiers=(canonical("lei", LEI), canonical("zz.free", "1")), disputed_since=date(2026, 2, 2)
            ),
        ]
        numbers = add(store, *listings)
        assert list(store.all()) == list(store.all("exclusions")) == list(zip(numbers, listings, strict=True))
        assert list(store.all("elsewhere")) == []
        assert store.count("exclusions") == 2
        assert store.count("elsewhere") == 0

    def test_a_second_import_changes_nothing(self, store: ListingStore) -> None:
        one, other = make_listing(), make_listing(decision_ref="D 18/2026")
        first = add(store, one, one)
        assert first[0] == first[1]
        store.dispute(first[0], date(2026, 3, 1))
        assert add(store, one, other)[0] == first[0]
        assert store.add_sealed(*HERE, [(one, seals(7, "t"))]) == {}
        assert [listing.disputed_since for _, listing in store.all()] == [date(2026, 3, 1), None]
        assert store.count("exclusions") == 2

    def test_many_are_numbered_in_order(self, store: ListingStore) -> None:
        assert add(store, *numbered(1_200)) == list(range(1, 1_201))
        assert store.count("exclusions") == 1_200

    def test_disputes_begin_and_end(self, store: ListingStore) -> None:
        (number,) = add(store, make_listing())
        for on in (date(2026, 3, 1), None):
            store.dispute(number, on)
            assert next(store.all())[1].disputed_since == on
        with pytest.raises(UsageError):
            store.dispute(number + 1, None)

    def test_nothing_of_a_subject_is_legible_at_rest(self, store: ListingStore, engine: Engine) -> None:
        store.add_sealed(*HERE, [(make_listing(raw={"note": "raw note"}), seals(7, "t"))])
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        found = at_rest(engine)
        assert b"exclusions" in found  # the twin: what is in clear would be seen
        for secret in (USCC.encode(), b"Acme", b"D 17/2026", b"raw note", pseudonym("t"), pseudonym("t")[:8]):
            assert secret not in found
        assert CANARY.pseudonym[:8] not in found

    @sqlite_only
    def test_what_is_removed_is_in_no_file(self, store: ListingStore, engine: Engine) -> None:
        gone, kept = make_listing(register="gone-register"), make_listing(decision_ref="D 18/2026")
        store.add_sealed(*HERE, [(gone, seals(7, "t"))])
        numbers = add(store, gone, kept)
        assert b"gone-register" in at_rest(engine)
        store.remove(numbers[:1])
        assert [number for number, _ in store.all()] == numbers[1:]
        assert store.bucket(*HERE, 7) == []
        assert b"gone-register" not in at_rest(engine)

    def test_a_row_moved_to_another_is_noticed(self, store: ListingStore, engine: Engine) -> None:
        add(store, make_listing(), make_listing(decision_ref="D 18/2026"))
        moved = "UPDATE listing SET payload = (SELECT payload FROM listing WHERE number = 2) WHERE number = 1"
        with engine.begin() as connection:
            connection.exec_driver_sql(moved)
        with pytest.raises(SealError):
            list(store.all())


class TestSeals:
    def test_a_bucket_gives_listings_by_pseudonym(self, store: ListingStore) -> None:
        one, two, three = numbered(3)
        store.add_sealed(*HERE, [(one, seals(7, "shared")), (two, seals(7, "own"))])
        store.add_sealed(*HERE, [(three, seals(7, "shared"))])
        assert store.bucket(*HERE, 7) == [Entry(pseudonym("shared"), (one, three)), Entry(pseudonym("own"), (two,))]
        for elsewhere in (("procurement", 2, 7), ("other", 1, 7), ("procurement", 1, 8)):
            assert store.bucket(*elsewhere) == []

    def test_a_dispute_shows_in_the_next_bucket(self, store: ListingStore) -> None:
        store.add_sealed(*HERE, [(make_listing(), seals(7, "t"))])
        store.dispute(1, date(2026, 3, 1))
        ((_, (listing,), _),) = store.bucket(*HERE, 7)
        assert listing.disputed_since == date(2026, 3, 1)

    def test_a_bucket_overflows_by_distinct_pseudonyms_and_the_others_load(self, store: ListingStore) -> None:
        """Two places: the third pseudonym is refused with all its listing's identifiers, a known one is not."""
        entries = list(zip(numbered(4), map(seals, (7, 7, 7, 7), "abab"), strict=True))
        assert store.add_sealed(*HERE, entries) == {}
        late = make_listing(identifiers=(canonical("cn.uscc", USCC), canonical("lei", LEI)))
        fits = make_listing(decision_ref="fits")
        added = store.add_sealed(*HERE, [(late, [*seals(8, "d"), *seals(7, "c")]), (fits, seals(8, "e"))])
        assert added == {0: 1}
        assert (load(store, 7), load(store, 8)) == (2, 1)
        assert references(store) == ["D 0", "D 1", "D 2", "D 3", "fits"]

    def test_one_listing_may_take_both_places_but_not_three(self, store: ListingStore) -> None:
        one, other = numbered(2, identifiers=tuple(canonical("zz.free", str(number)) for number in range(3)))
        assert store.add_sealed(*HERE, [(one, seals(7, "a", "b", "c"))]) == {0: 2}
        assert store.add_sealed(*HERE, [(other, seals(7, "a", "b", "a"))]) == {}
        assert references(store) == ["D 1"]

    def test_the_canary_takes_a_place(self, store: ListingStore) -> None:
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.bucket(*HERE, 7) == [Entry(CANARY.pseudonym, (), is_canary=True)]
        assert store.bucket(*HERE, 8) == store.bucket("procurement", 2, 7) == []
        assert store.add_sealed(*HERE, list(zip(numbered(2), map(seals, (7, 7), "ab"), strict=True))) == {1: 0}

    def test_a_canary_without_a_place_opens_nothing(self, store: ListingStore) -> None:
        store.add_sealed(*HERE, list(zip(numbered(2), map(seals, (7, 7), "ab"), strict=True)))
        with pytest.raises(BucketOverflowError):
            store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert not store.is_open(*HERE)

    def test_concurrent_entry_never_overfills(self, store: ListingStore) -> None:
        def attempt(number: int, listing: Listing) -> None:
            if store.add_sealed(*HERE, [(listing, seals(7, str(number)))]):
                raise BucketOverflowError

        attempts = [partial(attempt, *each) for each in enumerate(numbered(8))]
        assert refusals(attempts, BucketOverflowError) == 6
        assert load(store, 7) == 2 == store.count("exclusions")

    def test_only_a_bucket_with_too_many_rows_is_decrypted(self, store: ListingStore) -> None:
        cipher = store._cipher
        store.add_sealed(*HERE, [(numbered(1)[0], seals(7, "a"))])
        opened: list[bytes] = []
        decrypt = cipher.decrypt
        cipher.decrypt = lambda *given: opened.append(given[0]) or decrypt(*given)  # type: ignore[method-assign, func-returns-value]
        store.add_sealed(*HERE, [(make_listing(decision_ref="D 2"), seals(7, "b"))])
        assert opened == []
        assert store.add_sealed(*HERE, [(make_listing(decision_ref="D 3"), seals(7, "c"))]) == {0: 0}
        assert len(opened) == 2


class TestPending:
    def test_an_epoch_is_ready_once_it_is_open_and_nothing_waits(self, store: ListingStore) -> None:
        one, other, elsewhere = *numbered(2), make_listing(register="elsewhere")
        numbers = add(store, one)
        store.add_pending("procurement", 2, [other, elsewhere])
        assert not store.is_ready(*HERE)
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.pending(*HERE, 10) == [(numbers[0], one), (numbers[0] + 1, other)]
        assert store.pending(*HERE, 1) == [(numbers[0], one)]
        assert store.seal(*HERE, {numbers[0]: seals(8, "t")}) == {}
        assert not store.is_ready(*HERE)
        assert store.add_sealed(*HERE, [(other, seals(8, "u"))]) == {}
        assert store.is_ready(*HERE)
        assert not store.is_ready("procurement", 2)

    def test_what_is_added_unsealed_makes_an_open_epoch_wait_again(self, store: ListingStore) -> None:
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.is_ready(*HERE)
        (number,) = add(store, make_listing())
        assert not store.is_ready(*HERE)
        assert store.are_sealed(*HERE, [make_listing()]) == [False]
        store.seal(*HERE, {number: seals(8, "t")})
        assert store.is_ready(*HERE)
        assert store.are_sealed(*HERE, [make_listing(), make_listing(severity=3)]) == [True, False]
        add(store, make_listing())
        assert store.is_ready(*HERE)

    def test_a_half_sealed_listing_is_not_sealed(self, store: ListingStore) -> None:
        """The twin: no code of ours leaves one, so one is made by hand."""
        listing = make_listing(identifiers=(canonical("cn.uscc", USCC), canonical("lei", LEI)))
        (number,) = add(store, listing)
        store.seal(*HERE, {number: seals(8, "t")})
        assert store.are_sealed(*HERE, [listing]) == [False]
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.pending(*HERE, 10) == [(number, listing)]

    def test_a_pending_listing_that_overflows_is_erased(self, store: ListingStore, engine: Engine) -> None:
        numbers = add(store, *numbered(2), make_listing(register="gone-register"))
        sealed = zip(numbers, map(seals, (7, 7, 7), "abc"), strict=True)
        assert store.seal(*HERE, dict(sealed)) == {numbers[2]: 0}
        assert references(store) == ["D 0", "D 1"]
        assert b"gone-register" not in at_rest(engine)
        add(store, make_listing())
        assert store.add_sealed(*HERE, [(make_listing(), seals(7, "c"))]) == {0: 0}
        assert references(store) == ["D 0", "D 1"]


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


def test_listings_and_state_have_no_table_in_common(engine: Engine) -> None:
    ListingStore(engine, ColumnCipher(KEY, counter()), 2)
    listings = tables(engine)
    ProtocolState(engine)
    assert listings == {"listing", "seal", "pending", "canary", "listings_version"}
    assert tables(engine) - listings == {"session", "opening", "charge", "log", "state_version"}


def test_a_replaced_listing_is_another(store: ListingStore) -> None:
    one = make_listing()
    assert len(set(add(store, one, replace(one, severity=3)))) == 2
