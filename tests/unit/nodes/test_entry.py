"""A listing enters wholly or not at all; until all are sealed, their node answers nothing."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.local import LocalFederation, in_files
from nodes.catalogue import load_catalogue
from nodes.entry import OVERFLOW, Entered, Registrar
from nodes.listings import Listing, ListingError, check_listing
from nodes.reading import Refusal
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY
from protocol.errors import IndeterminateError, QuotaError
from protocol.identifiers import CANARY_SCHEME, Identifier, canary, canonical
from protocol.messages import Effect, Evaluate
from protocol.wire import MAX_SUBJECTS, read
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, agreement, established
from tests.postgres import ON_BOTH, places
from tests.unit.nodes.builders import make_listing

EPOCH = ("procurement", 1)
REGISTERS = [f"{agency}-register" for agency in AGENCIES]
ONE_BUCKET = {"population": 500, "k_min": 400, "max_listings": 3}


class Scene:
    """A local federation, of which the agency `tax` enters listings; counts what it has evaluated."""

    def __init__(self, folder: Path, database: Callable[[Path], str] = in_files, **document: Any) -> None:
        of = established(agreement(**document))
        self.federation = LocalFederation(of, folder, lambda: NOW, secrets.token_bytes, database)
        self.registrar: Registrar = self.federation.registrars["tax"]
        self.store = self.federation.listings["tax"]
        self.sent: list[int] = []

    async def send(self, message: bytes) -> bytes:
        self.sent.append(read(message, Evaluate).header.m)
        return await self.federation.network.deliver("tax", COORDINATOR, Evaluate.TYPE, message)

    def enter(self, listings: Iterable[Listing], send: Any = None) -> list[Entered]:
        async def entering() -> list[Entered]:
            return [entered async for entered in self.registrar.enter(listings, send or self.send)]

        return asyncio.run(entering())

    def seal(self, send: Any = None) -> list[tuple[int, frozenset[int]]]:
        async def sealing() -> list[tuple[int, frozenset[int]]]:
            return [(it.identifiers, it.refused) async for it in self.registrar.seal_pending(send or self.send)]

        return asyncio.run(sealing())

    def start(self) -> None:
        asyncio.run(self.federation.start())

    def check(self, *subjects: Identifier, purpose: str = PURPOSE) -> list[Effect]:
        decisions = asyncio.run(self.federation.requesters[REQUESTER].check(subjects, purpose, "tender 7"))
        return [Effect(decision.body.measures["exclude"]) for decision in decisions]

    def references(self) -> list[str]:
        return [record.listing.decision_ref for record in self.store.all()]


@pytest.fixture(params=ON_BOTH)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with places(request.param) as database:
        scene = Scene(tmp_path, database)
        scene.start()
        yield scene
        scene.federation.close()


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


def listing(number: int, *identifiers: Identifier, register: str = "tax-register") -> Listing:
    return make_listing(register=register, identifiers=identifiers or (firm(number),), decision_ref=f"D {number}")


def many(count: int) -> list[Listing]:
    return [listing(number) for number in range(count)]


def failing_after(scene: Scene, calls: int, error: Exception) -> Callable[[bytes], Any]:
    async def send(message: bytes) -> bytes:
        if len(scene.sent) == calls:
            raise error
        return await scene.send(message)

    return send


class TestEntry:
    def test_to_look_whether_anything_waits_reads_no_listing(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.enter(many(3))
        with monkeypatch.context() as patched:
            patched.setattr(scene.store, "pending", None)
            assert scene.seal() == []

    def test_counts_from_the_next_question_on_under_each_identifier(self, scene: Scene) -> None:
        assert scene.check(firm(1), firm(2)) == [Effect.NONE, Effect.NONE]
        scene.enter([listing(1, firm(1), firm(2))])
        assert scene.check(firm(1), firm(2), firm(3)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]

    def test_goes_in_batches_of_at_most_120_identifiers_each_evaluated_once(self, scene: Scene) -> None:
        entries = [*many(130), *(listing(number, firm(number), firm(1_000)) for number in range(200, 240))]
        progress = scene.enter(entries)
        assert scene.sent == [MAX_SUBJECTS, 10 + 40 + 1]
        assert [entered.done for entered in progress] == [120, 170]
        assert scene.store.are_sealed(*EPOCH, entries) == [True] * 170

    def test_once_more_costs_nothing_and_changes_nothing(self, scene: Scene) -> None:
        scene.enter(many(5))
        scene.sent.clear()
        assert scene.enter(many(5)) == []
        assert scene.sent == []
        (entered,) = scene.enter([*many(5), listing(9)])
        assert (scene.sent, entered.done) == ([1], 6)
        assert scene.references() == [f"D {number}" for number in (0, 1, 2, 3, 4, 9)]

    def test_reads_no_further_than_it_enters(self, scene: Scene) -> None:
        """A file of a million rows is never held as a whole."""
        read_so_far: list[int] = []

        def rows() -> Iterable[Listing]:
            for number in range(3_000):
                read_so_far.append(number)
                yield listing(number % 7)

        async def first() -> None:
            async for _ in scene.registrar.enter(rows(), scene.send):
                return

        asyncio.run(first())
        assert len(read_so_far) <= 1_000

    def test_a_listing_longer_than_a_message_is_entered_whole(self, scene: Scene) -> None:
        long = listing(0, *(firm(number) for number in range(130)))
        scene.enter([listing(1), long])
        assert scene.store.are_sealed(*EPOCH, [long]) == [True]
        assert scene.sent == [1, 120, 10]

    @pytest.mark.parametrize("error", [IndeterminateError(["court"]), QuotaError("spent", 1)])
    def test_an_interrupted_entry_leaves_whole_batches_and_goes_on(self, scene: Scene, error: Exception) -> None:
        entries = [listing(number, firm(2 * number), firm(2 * number + 1)) for number in range(150)]
        with pytest.raises(type(error)):
            scene.enter(entries, failing_after(scene, 2, error))
        assert scene.references() == [f"D {number}" for number in range(120)]
        assert scene.store.are_sealed(*EPOCH, entries[:120]) == [True] * 120
        assert scene.store.is_ready(*EPOCH)
        scene.sent.clear()
        scene.enter(entries)
        assert scene.sent == [60]
        assert scene.store.are_sealed(*EPOCH, entries) == [True] * 150

    def test_a_wrong_answer_of_the_coordinator_is_its_silence(self, scene: Scene) -> None:
        async def garbage(_: bytes) -> bytes:
            return b"\x00"

        with pytest.raises(IndeterminateError) as caught:
            scene.enter(many(1), garbage)
        assert caught.value.missing == (COORDINATOR,)
        assert scene.references() == []

    def test_who_overflows_a_bucket_is_refused_and_the_others_load(self, tmp_path: Path) -> None:
        """One bucket of three places, of which the canary takes one."""
        scene = Scene(tmp_path, anonymity=ONE_BUCKET)
        scene.start()
        (entered,) = scene.enter([listing(0), listing(1, firm(0), firm(1), firm(2)), listing(2, firm(3)), listing(3)])
        assert entered == Entered(4, {1: Refusal(OVERFLOW, 2)})
        assert scene.check(firm(0), firm(1), firm(2)) == [Effect.APPLIES, Effect.NONE, Effect.NONE]


class TestPending:
    def test_what_was_entered_unsealed_counts_once_it_is_sealed(self, scene: Scene) -> None:
        progress = [it.done for it in scene.registrar.enter_unsealed(many(700))]
        assert progress == sorted(progress)
        assert progress[-1] == 700
        assert scene.federation.nodes["tax"].pending()
        assert not scene.federation.nodes["court"].pending()
        scene.seal()
        assert scene.sent == [120, 120, 120, 120, 120, 100]
        assert not scene.federation.nodes["tax"].pending()
        assert scene.check(firm(0), firm(699), firm(700)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]
        assert scene.seal() == []

    def test_until_then_there_is_no_answer_never_not_listed(self, scene: Scene) -> None:
        assert scene.check(firm(0)) == [Effect.NONE]
        list(scene.registrar.enter_unsealed(many(130)))
        with pytest.raises(IndeterminateError):
            scene.seal(failing_after(scene, 1, IndeterminateError(["court"])))
        for subject in (firm(0), firm(129), firm(999)):
            with pytest.raises(IndeterminateError) as caught:
                scene.check(subject)
            assert caught.value.missing == ("tax",)
        scene.seal()
        assert scene.check(firm(0), firm(129), firm(999)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]

    def test_a_node_that_answered_all_the_same_would_lie(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """The twin."""
        list(scene.registrar.enter_unsealed(many(1)))
        monkeypatch.setattr(scene.federation.nodes["tax"], "pending", lambda: False)
        assert scene.check(firm(0)) == [Effect.NONE]

    def test_an_unopened_epoch_answers_nothing_though_nothing_waits(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path)
        with pytest.raises(IndeterminateError) as caught:
            scene.check(firm(0))
        assert caught.value.missing == tuple(sorted(AGENCIES))
        scene.start()
        assert scene.check(firm(0)) == [Effect.NONE]

    def test_such_a_question_is_logged_and_not_charged(self, tmp_path: Path) -> None:
        """Nor is its session used up: nothing was computed."""
        scene = Scene(tmp_path)
        ledger: Any = scene.federation.nodes["tax"]._ledger
        with pytest.raises(IndeterminateError):
            scene.check(firm(0))
        assert [it.outcome for it in ledger.entries() if it.kind == "ask"] == ["IndeterminateError"]

    def test_what_finds_its_bucket_full_is_erased(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, anonymity=ONE_BUCKET)
        list(scene.registrar.enter_unsealed(many(4)))
        scene.start()
        assert scene.references() == ["D 0", "D 1"]
        assert scene.check(firm(0), firm(1), firm(2)) == [Effect.APPLIES, Effect.APPLIES, Effect.NONE]

    def test_a_listing_entered_again_while_it_waits_is_sealed_once(self, scene: Scene) -> None:
        list(scene.registrar.enter_unsealed(many(3)))
        scene.enter(many(3))
        assert scene.seal() == []
        assert scene.check(firm(2)) == [Effect.APPLIES]


class TestCanaries:
    CANARIES: Sequence[Identifier] = [canary(agency) for agency in AGENCIES]

    def test_each_counts_at_its_agency_alone_and_nobodys_nowhere(self, scene: Scene) -> None:
        expected = [Effect.APPLIES] * len(AGENCIES) + [Effect.NONE]
        assert scene.check(*self.CANARIES, canary("0"), purpose=CANARY) == expected

    @pytest.mark.parametrize(
        ("agencies", "weight", "effect"), [(1, 3, Effect.APPLIES), (1, 4, Effect.NONE), (2, 1, Effect.NONE)]
    )
    def test_counts_once_with_severity_three(self, tmp_path: Path, agencies: int, weight: int, effect: Effect) -> None:
        when = {"registers": REGISTERS, "min_agencies": agencies, "min_weight": weight}
        scene = Scene(tmp_path, rules=[{"measure": "exclude", "when": when}])
        scene.start()
        assert set(scene.check(*self.CANARIES, purpose=CANARY)) == {effect}

    def test_is_sealed_once_an_epoch(self, scene: Scene) -> None:
        assert scene.seal() == []
        assert scene.sent == []

    def test_an_agency_without_registers_has_none_and_always_answers(self, tmp_path: Path) -> None:
        document = agreement(("court", "tax"), 2, [{"measure": "exclude", "when": {"registers": ["tax-register"]}}])
        court, tax = document.agencies
        without = document.model_copy(update={"agencies": (court.model_copy(update={"registers": ()}), tax)})
        federation = LocalFederation(established(without), tmp_path, lambda: NOW, secrets.token_bytes)
        assert not federation.nodes["court"].pending()
        asyncio.run(federation.start())
        subjects = [canary("court"), canary("tax")]
        decisions = asyncio.run(federation.requesters[REQUESTER].check(subjects, CANARY, "canary"))
        assert [decision.body.measures["exclude"] for decision in decisions] == [Effect.NONE, Effect.APPLIES]

    def test_nobody_can_list_one(self) -> None:
        entry = load_catalogue()["debarment"]
        check_listing(make_listing(), entry)
        with pytest.raises(ListingError, match="canaries"):
            check_listing(make_listing(identifiers=(firm(1), canonical(CANARY_SCHEME, "tax"))), entry)
