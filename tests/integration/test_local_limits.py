"""A whole federation keeps its limits, at each party by itself, and every request is logged."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest

from api.local import LocalFederation
from nodes.entry import OVERFLOW
from nodes.reading import Refusal
from nodes.storage.seals import Seals
from protocol.agreement.roster import COORDINATOR
from protocol.errors import (
    BucketOverflowError,
    CiphertextError,
    NotGrantedError,
    PeerError,
    QuotaError,
    ReplayedError,
    SpentError,
)
from protocol.identifiers import to_bytes
from protocol.messages import Ask, Effect, Evaluate, Open
from protocol.rounds import requester as rounds
from protocol.wire import Body, read
from tests.federations import BOTH, EXPIRED, NOBODY, ONE, Scene, firm, listing
from tests.flow import pseudonym
from tests.parties import NOW, PURPOSE, REQUESTER, forged, party


def test_a_listing_whose_bucket_is_full_is_refused_and_the_others_load(tmp_path: Path) -> None:
    """One bucket of three places, one of them the canary's: five subjects, three of them refused."""
    figures = {"population": 500, "k_min": 400, "max_listings": 3}
    scene = Scene.create(tmp_path, {}, anonymity=figures)
    assert scene.federation.terms.bucket_size == 3
    entries = [listing("tax", firm(number), decision_ref=f"D {number}") for number in range(5)]

    async def enter() -> list[Any]:
        return [entered.refused async for entered in scene.federation.entering("tax", entries)]

    assert asyncio.run(enter()) == [dict.fromkeys((2, 3, 4), Refusal(OVERFLOW, 0))]
    assert [record.listing for record in scene.federation.listings["tax"].all()] == entries[:2]
    applies = [effects["exclude"] for effects in scene.check(*(firm(number) for number in range(5)))]
    assert applies == [Effect.APPLIES] * 2 + [Effect.NONE] * 3


def test_a_node_that_finds_an_overfull_bucket_answers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene.create(tmp_path, {}, anonymity={"population": 500, "k_min": 400, "max_listings": 3})
    monkeypatch.setattr(Seals, "overflows", lambda *_: {})
    asyncio.run(scene.federation.enter("tax", [listing("tax", firm(number)) for number in range(4)]))
    assert scene.missing() == ("tax",)
    assert scene.outcomes("tax")[-1] == ("ask", BucketOverflowError.__name__)


def test_the_quota_is_kept_by_the_coordinator(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path, quota=3)
    assert scene.check(BOTH, NOBODY)
    for subjects in ((BOTH, ONE), (BOTH, ONE, NOBODY, EXPIRED)):
        with pytest.raises(QuotaError) as caught:
            scene.check(*subjects)
        assert 0 < caught.value.retry_after <= 86_400
    assert scene.check(BOTH)
    with pytest.raises(QuotaError):
        scene.check(BOTH)
    scene.clock.now += 86_400
    assert scene.check(BOTH, NOBODY, ONE)


def test_going_round_the_coordinator_each_node_keeps_the_quota_by_itself(tmp_path: Path) -> None:
    """Also after a restart, and each for evaluations, questions and openings."""
    scene = Scene.create(tmp_path, quota=3)
    own, of = party(REQUESTER, scene.federation.established), scene.federation.established
    coordinator = party(COORDINATOR, of)

    def requests(count: int) -> dict[type[Body], bytes]:
        subjects = [to_bytes(BOTH)] * count
        _, evaluate = rounds.evaluate(own, subjects, purpose=PURPOSE, case="c", now=NOW, random=secrets.token_bytes)
        known = [pseudonym(of, subject) for subject in subjects]
        _, asked, _ = rounds.ask(own, known, purpose=PURPOSE, now=NOW, random=secrets.token_bytes)
        opening = coordinator.send(
            Open(asked, 0, bytes(63) + b"\x04"),
            audience="tax",
            session=read(asked, Ask).header.session,
            purpose=PURPOSE,
            m=count,
            now=NOW,
        )
        return {Evaluate: evaluate, Ask: asked, Open: opening}

    def handle(federation: LocalFederation, kind: type[Body], data: bytes) -> bytes:
        return federation.nodes["tax"].handle(kind.TYPE, data)

    assert scene.federation.terms.slots(REQUESTER) >= 2
    for kind, data in requests(2).items():
        assert handle(scene.federation, kind, data)
    for federation in (scene.federation, scene.reopened()):
        for kind, data in requests(2).items():
            with pytest.raises(QuotaError):
                handle(federation, kind, data)
            assert scene.outcomes("tax")[-1] == (kind.TYPE, "QuotaError")
    for kind, data in requests(1).items():
        assert handle(scene.federation, kind, data)
    for kind, data in requests(1).items():
        with pytest.raises(QuotaError):
            handle(scene.federation, kind, data)


def test_an_agencys_sealing_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """Or it could test guesses about anybody; what was sealed stays."""
    scene = Scene.create(tmp_path, {}, anonymity={"population": 500, "k_min": 400, "max_listings": 2})
    entries = [listing("tax", firm(number), decision_ref=f"D {number}") for number in range(50)]
    with pytest.raises(QuotaError):
        asyncio.run(scene.federation.enter("tax", entries))


def test_every_request_is_logged_served_or_refused_and_never_about_whom(fresh: Scene) -> None:
    fresh.check(BOTH, NOBODY)
    ledger: Any = fresh.federation.nodes["labour"]._ledger
    served = {(entry.kind, entry.sender, entry.purpose, entry.m) for entry in ledger.entries()}
    assert {("evaluate", REQUESTER, PURPOSE, 2), ("ask", REQUESTER, PURPOSE, 2)} <= served
    asked = fresh.recorded(Ask, "labour")
    refused: dict[type[PeerError], tuple[type[Body], bytes]] = {
        SpentError: (Open, fresh.recorded(Open, "labour")),
        ReplayedError: (Ask, asked),
        NotGrantedError: (Ask, forged(asked, Ask, fresh.key("bank"), {"sender": "bank"})),
        CiphertextError: (
            Open,
            forged(fresh.recorded(Open, "labour"), Open, fresh.key(COORDINATOR), body={"x": b"\x04"}),
        ),
    }
    for error, (kind, data) in refused.items():
        with pytest.raises(error):
            fresh.federation.nodes["labour"].handle(kind.TYPE, data)
        assert fresh.outcomes("labour")[-1] == (kind.TYPE, error.__name__)
