"""Under seal: what stands in which bucket, what waits to be sealed, and that no bucket ever overflows."""

from datetime import date
from functools import partial

import pytest
from sqlalchemy import Engine

from nodes.life import Act
from nodes.lifecycle import State, state
from nodes.listings import Listing
from nodes.storage.cipher import ColumnCipher
from nodes.storage.listings import Entry, ListingStore, record_of_told
from nodes.storage.rows import summary
from protocol.codec import concat
from protocol.errors import BucketOverflowError
from protocol.identifiers import canonical
from protocol.sealing import session_key
from tests.unit.nodes.builders import LEI, USCC, make_listing
from tests.unit.nodes.stores import (
    CANARY,
    DEBARMENT,
    HERE,
    add,
    add_sealed,
    at_rest,
    entered,
    load,
    numbered,
    of_listing,
    pseudonym,
    references,
    refusals,
    seals,
    step,
)


def key(name: str) -> bytes:
    return session_key(pseudonym(name))


class TestSeals:
    def test_a_bucket_gives_listings_by_pseudonym(self, store: ListingStore) -> None:
        one, two, three = numbered(3)
        add_sealed(store, [(one, seals(7, "shared")), (two, seals(7, "own"))])
        add_sealed(store, [(three, seals(7, "shared"))])
        entries = store.bucket(*HERE, 7)
        found = {it.key: {store.get(reference).listing.decision_ref for reference in it.references} for it in entries}
        assert found == {key("shared"): {"D 0", "D 2"}, key("own"): {"D 1"}}
        for entry in entries:
            records = map(store.get, entry.references)
            assert entry.told == tuple((summary(record.listing), None) for record in records)
        for elsewhere in (("procurement", 2, 7), ("other", 1, 7), ("procurement", 1, 8)):
            assert store.bucket(*elsewhere) == []

    def test_a_dispute_shows_in_the_next_bucket(self, store: ListingStore) -> None:
        add_sealed(store, [(make_listing(), seals(7, "t"))])
        day = date(2026, 3, 2)
        store.take([store.reference(make_listing())], step(Act.OBJECT, day))
        ((_, (told,), _, _),) = store.bucket(*HERE, 7)
        record = record_of_told(told)
        assert record.life.dispute is not None
        assert record.life.dispute.since == day
        assert state(record, DEBARMENT, day) is State.DISPUTED

    def test_a_bucket_overflows_by_distinct_pseudonyms_and_the_others_load(self, store: ListingStore) -> None:
        """Two places: the third pseudonym is refused with all its listing's identifiers, a known one is not."""
        entries = list(zip(numbered(4), map(seals, (7, 7, 7, 7), "abab"), strict=True))
        assert add_sealed(store, entries) == {}
        late = make_listing(identifiers=(canonical("cn.uscc", USCC), canonical("lei", LEI)))
        fits = make_listing(decision_ref="fits")
        added = add_sealed(store, [(late, [*seals(8, "d"), *seals(7, "c")]), (fits, seals(8, "e"))])
        assert added == {0: 1}
        assert (load(store, 7), load(store, 8)) == (2, 1)
        assert references(store) == ["D 0", "D 1", "D 2", "D 3", "fits"]

    def test_one_listing_may_take_both_places_but_not_three(self, store: ListingStore) -> None:
        one, other = numbered(2, identifiers=tuple(canonical("zz.free", str(number)) for number in range(3)))
        assert add_sealed(store, [(one, seals(7, "a", "b", "c"))]) == {0: 2}
        assert add_sealed(store, [(other, seals(7, "a", "b", "a"))]) == {}
        assert references(store) == ["D 1"]

    def test_the_canary_takes_a_place(self, store: ListingStore) -> None:
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.bucket(*HERE, 7) == [Entry(key("canary"), (), (), is_canary=True)]
        assert store.bucket(*HERE, 8) == store.bucket("procurement", 2, 7) == []
        assert add_sealed(store, list(zip(numbered(2), map(seals, (7, 7), "ab"), strict=True))) == {1: 0}

    def test_a_canary_without_a_place_opens_nothing(self, store: ListingStore) -> None:
        add_sealed(store, list(zip(numbered(2), map(seals, (7, 7), "ab"), strict=True)))
        with pytest.raises(BucketOverflowError):
            store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert not store.is_open(*HERE)

    def test_concurrent_entry_never_overfills(self, store: ListingStore) -> None:
        def attempt(number: int, listing: Listing) -> None:
            if add_sealed(store, [(listing, seals(7, str(number)))]):
                raise BucketOverflowError

        attempts = [partial(attempt, *each) for each in enumerate(numbered(8))]
        assert refusals(attempts, BucketOverflowError) == 6
        assert load(store, 7) == 2 == store.count("exclusions")

    def test_only_a_bucket_with_too_many_rows_is_decrypted(
        self, store: ListingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_sealed(store, [(numbered(1)[0], seals(7, "a"))])
        opened: list[bytes] = []
        decrypt = ColumnCipher.decrypt_at

        def counting(cipher: ColumnCipher, ciphertext: bytes, at: bytes) -> bytes:
            opened.extend([b"seal"] * at.startswith(concat(b"seal")))
            return decrypt(cipher, ciphertext, at)

        monkeypatch.setattr(ColumnCipher, "decrypt_at", counting)
        add_sealed(store, [(make_listing(decision_ref="D 2"), seals(7, "b"))])
        assert opened == []
        assert add_sealed(store, [(make_listing(decision_ref="D 3"), seals(7, "c"))]) == {0: 0}
        assert opened == [b"seal", b"seal"]


class TestPending:
    def test_an_epoch_is_ready_once_it_is_open_and_nothing_waits(self, store: ListingStore) -> None:
        one, other, elsewhere = *numbered(2), make_listing(register="elsewhere")
        numbers = add(store, one)
        store.add_pending("procurement", 2, [other, elsewhere], entered())
        assert not store.is_ready(*HERE)
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.pending(*HERE, 10) == [(numbers[0], one), (numbers[0] + 1, other)]
        assert store.pending(*HERE, 1) == [(numbers[0], one)]
        assert store.seal(*HERE, {numbers[0]: seals(8, "t")}, entered()) == {}
        assert not store.is_ready(*HERE)
        assert add_sealed(store, [(other, seals(8, "u"))]) == {}
        assert store.is_ready(*HERE)
        assert not store.is_ready("procurement", 2)

    def test_what_waits_is_cut_into_parts_that_are_sealed_apart(self, store: ListingStore) -> None:
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        numbers = add(store, *numbered(7))
        store.seal(*HERE, {numbers[1]: seals(8, "t")}, entered())
        waiting = [number for number in numbers if number != numbers[1]]
        parts = store.partitions(*HERE, 4)
        assert parts == [(waiting[0], waiting[3]), (waiting[4], waiting[5])]
        found = [[number for number, _ in store.pending(*HERE, 10, part)] for part in parts]
        assert found == [waiting[:4], waiting[4:]]
        assert store.pending(*HERE, 1, parts[1]) == store.pending(*HERE, 10, parts[1])[:1]
        assert store.partitions("procurement", 2, 4) == []

    def test_what_is_added_unsealed_makes_an_open_epoch_wait_again(self, store: ListingStore) -> None:
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.is_ready(*HERE)
        (number,) = add(store, make_listing())
        assert not store.is_ready(*HERE)
        assert store.are_sealed(*HERE, [make_listing()]) == [False]
        store.seal(*HERE, {number: seals(8, "t")}, entered())
        assert store.is_ready(*HERE)
        assert store.are_sealed(*HERE, [make_listing(), make_listing(severity=3)]) == [True, False]
        add(store, make_listing())
        assert store.is_ready(*HERE)

    def test_a_half_sealed_listing_is_not_sealed(self, store: ListingStore) -> None:
        """The twin: no code of ours leaves one, so one is made by hand."""
        listing = make_listing(identifiers=(canonical("cn.uscc", USCC), canonical("lei", LEI)))
        (number,) = add(store, listing)
        store.seal(*HERE, {number: seals(8, "t")}, entered())
        assert store.are_sealed(*HERE, [listing]) == [False]
        store.open_epoch(*HERE, ["exclusions"], CANARY)
        assert store.pending(*HERE, 10) == [(number, listing)]

    def test_a_pending_listing_that_overflows_is_erased(self, store: ListingStore, engine: Engine) -> None:
        gone = make_listing(register="gone-register", identifiers=(canonical("lei", LEI),))
        numbers = add(store, *numbered(2), gone)
        traces = of_listing(engine, store.reference(gone))
        assert all(trace in at_rest(engine) for trace in traces)
        sealed = zip(numbers, map(seals, (7, 7, 7), "abc"), strict=True)
        assert store.seal(*HERE, dict(sealed), entered()) == {numbers[2]: 0}
        assert references(store) == ["D 0", "D 1"]
        assert not any(trace in at_rest(engine) for trace in traces)
        assert [(it.register, it.step.act) for it in store.trail()][2:] == [
            ("gone-register", Act.ENTER),
            ("gone-register", Act.REFUSE),
        ]
        add(store, make_listing())
        assert add_sealed(store, [(make_listing(), seals(7, "c"))]) == {0: 0}
        assert references(store) == ["D 0", "D 1"]
