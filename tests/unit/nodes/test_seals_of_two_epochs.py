"""Epochs overlap: what is in force in one is never lost in the other, and what is forgotten does not come back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from protocol.agreement.terms import Allowance
from protocol.errors import BucketOverflowError, NotGrantedError, SpentError
from protocol.wire import Header
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import HERE, KEY, at_rest, counter, entered, numbered, references, seals

NEXT = (HERE[0], 2)
ELSEWHERE = ("another", 2)
LISTING = make_listing()


def open_both(store: ListingStore) -> None:
    for epoch in (HERE, NEXT):
        store.open_epoch(*epoch, ["exclusions"], seals(7, f"canary {epoch}")[0])


def test_what_is_entered_in_one_epoch_waits_in_every_other_that_is_open(store: ListingStore) -> None:
    open_both(store)
    store.add_sealed(*HERE, [(LISTING, seals(3, "here"))], entered())
    assert (store.is_ready(*HERE), store.is_ready(*NEXT)) == (True, False)
    [(number, waiting)] = store.pending(*NEXT, 9)
    assert waiting == LISTING
    store.seal(*NEXT, {number: seals(4, "there")}, entered())
    assert (store.is_ready(*HERE), store.is_ready(*NEXT)) == (True, True)

    # After the switch it is the other way round; and one that no federation was running for waits in both.
    store.add_sealed(*NEXT, [(replace(LISTING, decision_ref="D 18/2026"), seals(4, "later"))], entered())
    assert (store.is_ready(*HERE), store.is_ready(*NEXT)) == (False, True)
    store.add_pending(*NEXT, [replace(LISTING, decision_ref="D 19/2026")], entered())
    assert [store.progress(*epoch) for epoch in (HERE, NEXT)] == [(1, 2), (2, 1)]


def test_of_two_versions_each_waits_for_its_own_registers_only(store: ListingStore, engine: Engine) -> None:
    new = replace(LISTING, register="new", decision_ref="D 20/2026")
    first, second = (
        ListingStore(engine, ColumnCipher(KEY, counter()), 9, registers) for registers in (["exclusions"], ["new"])
    )
    first.add_pending(*HERE, [LISTING, new], entered())
    first.open_epoch(*HERE, ["exclusions"], seals(7, "canary here")[0])
    second.open_epoch(*NEXT, ["new"], seals(7, "canary next")[0])
    assert [it for _, it in first.pending(*HERE, 9)] == [LISTING]
    assert [it for _, it in second.pending(*NEXT, 9)] == [new]
    assert (first.progress(*HERE), second.progress(*NEXT)) == ((0, 1), (0, 1))
    assert not first.is_ready(*HERE)
    assert not second.is_ready(*NEXT)
    for of, epoch in ((first, HERE), (second, NEXT)):
        [(number, _)] = of.pending(*epoch, 9)
        of.seal(*epoch, {number: seals(3, f"in {epoch}")}, entered())
    assert first.is_ready(*HERE)
    assert second.is_ready(*NEXT)
    assert not store.is_ready(*HERE), "who does not know which registers are its own waits for all"


def test_an_epoch_that_is_not_open_or_of_another_agreement_is_left_alone(store: ListingStore) -> None:
    store.open_epoch(*HERE, ["exclusions"], seals(7, "canary")[0])
    store.open_epoch(*ELSEWHERE, [], seals(7, "other canary")[0])
    store.add_sealed(*HERE, [(LISTING, seals(3, "here"))], entered())
    assert store.pending(*NEXT, 9) == store.pending(*ELSEWHERE, 9) == []
    assert store.progress(*NEXT) == (0, 1)


def test_a_listing_in_force_is_not_erased_because_the_next_epoch_has_no_place_for_it(store: ListingStore) -> None:
    """Erased, its subject would be "not listed" in the epoch that questions are asked in."""
    open_both(store)
    first, second, third = numbered(3)
    for at, listing in enumerate((first, second, third)):
        store.add_sealed(*HERE, [(listing, seals(at, f"here {at}"))], entered())
    numbers = [number for number, _ in store.pending(*NEXT, 9)]
    given = {number: seals(5, f"there {number}") for number in numbers}
    with pytest.raises(BucketOverflowError):
        store.seal(*NEXT, given, entered())
    assert references(store) == [it.decision_ref for it in (first, second, third)]
    assert store.progress(*NEXT) == (2, 1)
    assert not store.is_ready(*NEXT)
    assert store.is_ready(*HERE)


def test_what_is_forgotten_is_gone_from_the_files_and_nobody_brings_it_back(
    store: ListingStore, engine: Engine
) -> None:
    open_both(store)
    store.add_sealed(*HERE, [(LISTING, seals(3, "here"))], entered())
    [(number, _)] = store.pending(*NEXT, 9)
    store.seal(*NEXT, {number: seals(4, "there")}, entered())
    with engine.connect() as connection:
        old = [
            bytes(row[0])
            for of in ("SELECT entry FROM seal WHERE epoch = 1", "SELECT pseudonym FROM canary WHERE epoch = 1")
            for row in connection.exec_driver_sql(of)
        ]
    assert len(old) == 2
    assert all(seal in at_rest(engine) for seal in old)

    store.forget_epochs_before(*NEXT)
    assert not [seal for seal in old if seal in at_rest(engine)]
    assert (store.is_ready(*NEXT), store.progress(*NEXT)) == (True, (1, 0))
    # A node or an import that was under way in the old epoch comes too late.
    late = replace(LISTING, decision_ref="D 18/2026")
    with pytest.raises(NotGrantedError):
        store.add_sealed(*HERE, [(late, seals(3, "late"))], entered())
    with pytest.raises(NotGrantedError):
        store.add_pending(*HERE, [late], entered())
    with pytest.raises(NotGrantedError):
        store.open_epoch(*HERE, ["exclusions"], seals(7, "canary again")[0])
    assert references(store) == [LISTING.decision_ref]
    assert not store.is_open(*HERE)
    assert store.bucket(*HERE, 3) == []
    store.forget_epochs_before(*NEXT)


Move = tuple[str, int, int]
_MOVES = st.lists(
    st.tuples(
        st.sampled_from(["open", "enter", "leave waiting", "seal", "forget"]),
        st.sampled_from([1, 2, 3]),
        st.integers(0, 9),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(_MOVES)
def test_whatever_happens_every_listing_is_sealed_or_waits_in_every_open_epoch(moves: list[Move]) -> None:
    engine = open_engine("sqlite://")
    store = ListingStore(engine, ColumnCipher(KEY, counter()), bucket_size=10**6)
    for kind, number, which in moves:
        epoch, listing = (HERE[0], number), make_listing(decision_ref=f"D {which}")
        try:
            if kind == "open":
                store.open_epoch(*epoch, ["exclusions"], seals(7, f"canary {number}")[0])
            elif kind == "enter":
                store.add_sealed(*epoch, [(listing, seals(which, f"{number} {which}"))], entered())
            elif kind == "leave waiting":
                store.add_pending(*epoch, [listing], entered())
            elif kind == "seal":
                store.seal(*epoch, {it: seals(it, f"{number} {it}") for it, _ in store.pending(*epoch, 2)}, entered())
            elif store.is_ready(*epoch):
                store.forget_epochs_before(*epoch)
        except NotGrantedError:
            assert not store.is_open(*epoch)
        for it in (1, 2, 3):
            if store.is_open(HERE[0], it):
                assert sum(store.progress(HERE[0], it)) == len(references(store))
                assert store.is_ready(HERE[0], it) == (store.progress(HERE[0], it)[1] == 0)
    engine.dispose()


HEADER = Header(
    agreement=HERE[0],
    version=1,
    epoch=1,
    sender="office",
    audience="keyholders",
    session=bytes(16),
    purpose="award",
    m=3,
    issued=100,
    expires=160,
    answers=b"",
)
ALLOWED = Allowance(10, "day 0", 86_400)


def test_a_chunk_is_opened_once_in_both_epochs_together(state: ProtocolState) -> None:
    state.admit_opening(HEADER, 0, b"x", 3, ALLOWED, 100)
    with pytest.raises(SpentError):
        state.admit_opening(replace(HEADER, epoch=2), 0, b"x", 3, ALLOWED, 100)


def test_a_share_of_one_epoch_is_not_proven_for_what_was_opened_in_the_other(state: ProtocolState) -> None:
    state.admit_opening(HEADER, 0, b"x", 3, ALLOWED, 100)
    with pytest.raises(SpentError):
        state.admit_proof(replace(HEADER, epoch=2, sender="coordinator"), "office", 0, b"x", 100)
    state.admit_proof(replace(HEADER, sender="coordinator"), "office", 0, b"x", 100)
