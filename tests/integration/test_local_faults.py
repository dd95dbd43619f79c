"""All agencies or no answer: who is down, silent, garbled or lying is named, and nobody else."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.errors import DecodeError, IndeterminateError, NotGrantedError, PeerError, QuotaError, ReplayedError
from protocol.messages import Answer, Ask, Decide, Decision, Evaluate, Evaluated, Open, Opened, Prove
from protocol.wire import Body, read
from tests.federations import BOTH, NOBODY, NONE, Scene, is_of
from tests.parties import AGENCIES, NOW, REQUESTER, forged


@pytest.mark.parametrize("agency", AGENCIES)
def test_without_one_agency_there_is_no_decision_and_it_is_named(scene: Scene, agency: str) -> None:
    with scene.down(agency):
        for subject in (BOTH, NOBODY):
            assert scene.missing(subject) == (agency,)
    assert scene.check(NOBODY)[0] == NONE


def test_two_missing_agencies_are_both_named(scene: Scene) -> None:
    with scene.down("tax", "customs"):
        assert scene.missing() == ("customs", "tax")


def test_without_a_quorum_there_is_no_decision(scene: Scene) -> None:
    with scene.down(*AGENCIES[:3]):
        assert scene.missing() == tuple(sorted(AGENCIES[:3]))
    with scene.down(*AGENCIES[2:]):
        assert scene.missing() == tuple(sorted(AGENCIES[2:]))


def silent(*kinds: type[Body]) -> Callable[[str, bytes], bytes]:
    """A party that does not answer some kinds of messages."""

    def change(kind: str, reply: bytes) -> bytes:
        if kind in {it.TYPE for it in kinds}:
            raise IndeterminateError(["somebody else"])
        return reply

    return change


@pytest.mark.parametrize("holder", AGENCIES)
@pytest.mark.parametrize("kind", [Evaluate, Open])
def test_one_keyholder_less_is_enough_to_decide(scene: Scene, holder: str, kind: type[Body]) -> None:
    with scene.dishonest(holder, silent(kind)):
        assert scene.check(BOTH, NOBODY)[1] == NONE


def test_too_few_keyholders_that_open_are_named(scene: Scene) -> None:
    with (
        scene.dishonest("labour", silent(Open)),
        scene.dishonest("court", silent(Open)),
        scene.dishonest("customs", silent(Open)),
    ):
        assert set(scene.missing()) == {"labour", "court", "customs"}


def garbled(kind: type[Body], garbage: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda name, reply: garbage(reply) if name == kind.TYPE else reply


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "noise": lambda _: b"\xff" * 1000,
    "a number": lambda _: encode(1),
    "cut short": lambda reply: reply[:-1],
    "one bit altered": lambda reply: reply[:-1] + bytes([reply[-1] ^ 1]),
    "far too long": lambda reply: reply * 40,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_agency_that_answers_garbage_has_not_answered(scene: Scene, garbage: Callable[[bytes], bytes]) -> None:
    with scene.dishonest("court", garbled(Ask, garbage)):
        assert scene.missing(BOTH) == ("court",)
        assert scene.missing(NOBODY) == ("court",)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("kind", [Evaluate, Open])
def test_a_keyholder_that_answers_garbage_is_replaced_by_another(
    scene: Scene, kind: type[Body], garbage: Callable[[bytes], bytes]
) -> None:
    with scene.dishonest("tax", garbled(kind, garbage)):
        assert scene.check(NOBODY)[0] == NONE


@pytest.mark.parametrize("error", [QuotaError("no more", 1), NotGrantedError("no"), ReplayedError("again")])
def test_a_refusal_by_one_agency_alone_is_its_silence(scene: Scene, error: PeerError) -> None:
    """The coordinator checked right and quota itself: who refuses all the same is named, whatever it says."""

    def refuse(_: bytes) -> bytes:
        raise error

    with scene.dishonest("market", garbled(Ask, refuse)):
        assert scene.missing() == ("market",)


def test_a_bug_of_ours_is_no_partys_silence(scene: Scene) -> None:
    def crash(_: bytes) -> bytes:
        raise ZeroDivisionError

    with scene.dishonest("market", garbled(Ask, crash)), pytest.raises(ZeroDivisionError):
        scene.check(BOTH)


def test_an_old_answer_or_another_agencys_is_none(scene: Scene) -> None:
    scene.check(BOTH)
    records = scene.federation.network.records
    old = {record.sender: record.data for record in records if is_of(Answer, record.data)}
    for answer in (old["court"], old["tax"]):
        with scene.dishonest("court", garbled(Ask, lambda _, answer=answer: answer)):  # type: ignore[misc]
            assert scene.missing() == ("court",)


def altered_share(scene: Scene, holder: str, kind: type[Body] = Opened) -> Callable[[bytes], bytes]:
    body = {"share": bytes(63) + b"\x04"} if kind is Opened else {"challenge": bytes(32)}
    return lambda reply: forged(reply, kind, scene.key(holder), body=body)


@pytest.mark.parametrize("holder", AGENCIES[:3])
def test_a_keyholder_that_lies_about_its_opening_share_is_named(scene: Scene, holder: str) -> None:
    with scene.dishonest(holder, garbled(Open, altered_share(scene, holder))):
        assert scene.missing(BOTH, NOBODY) == (holder,)


def test_two_lying_keyholders_are_both_named(scene: Scene) -> None:
    with (
        scene.dishonest("labour", garbled(Open, altered_share(scene, "labour"))),
        scene.dishonest("court", garbled(Open, altered_share(scene, "court"))),
    ):
        assert scene.missing() == ("court", "labour")


def test_who_opens_rightly_but_proves_nothing_once_another_has_lied_is_named_beside_it(scene: Scene) -> None:
    with (
        scene.dishonest("labour", garbled(Open, altered_share(scene, "labour"))),
        scene.dishonest("court", silent(Prove)),
    ):
        assert scene.missing() == ("court", "labour")


def test_a_keyholder_that_lies_about_an_evaluation_is_named(scene: Scene) -> None:
    def lie(reply: bytes) -> bytes:
        elements = read(reply, Evaluated).body.elements
        return forged(reply, Evaluated, scene.key("tax"), body={"elements": elements[::-1]})

    with scene.dishonest("tax", garbled(Evaluate, lie)):
        assert scene.missing(BOTH, NOBODY) == ("tax",)


COORDINATORS: dict[str, Callable[[str, bytes], bytes]] = {
    f"{name}, {kind.TYPE}": garbled(kind, garbage) for name, garbage in GARBAGE.items() for kind in (Evaluate, Ask)
} | {
    "no replies": garbled(Evaluate, lambda _: encode({})),
    "replies that are numbers": garbled(Evaluate, lambda _: encode({"tax": 5, "labour": 5, "court": 5})),
    "replies that are text": garbled(Evaluate, lambda _: encode({"tax": "x"})),
    "strangers' replies": garbled(Evaluate, lambda _: encode({"zebra": b""})),
    "replies that are empty": garbled(Evaluate, lambda _: encode({"tax": b"", "labour": b"", "court": b""})),
}


@pytest.mark.parametrize("change", COORDINATORS.values(), ids=COORDINATORS.keys())
def test_a_coordinator_that_answers_garbage_is_named_and_nobody_else(
    scene: Scene, change: Callable[[str, bytes], bytes]
) -> None:
    with scene.dishonest(COORDINATOR, change):
        assert scene.missing() == (COORDINATOR,)


def test_a_coordinator_that_alters_a_decision_or_gives_an_old_one_is_named(scene: Scene) -> None:
    key = scene.key(COORDINATOR)
    scene.check(BOTH)
    old = next(record.data for record in reversed(scene.federation.network.records) if is_of(Decide, record.data))

    def deciding(**fields: Any) -> Callable[[bytes], bytes]:
        def change(reply: bytes) -> bytes:
            first, *rest = read(reply, Decide).body.decisions
            header, body = fields.get("header"), fields.get("body")
            decision = forged(first, Decision, fields.get("key", key), header, body)
            return forged(reply, Decide, key, body={"decisions": (decision, *rest)})

        return change

    lies = [
        lambda _: old,
        deciding(key=scene.key("tax")),
        deciding(header={"session": bytes(16)}),
        deciding(header={"expires": NOW + 10**7}),
        deciding(body={"agencies": 4}),
        deciding(body={"binding": bytes(32)}),
        deciding(body={"measures": {"exclude": 0}}),
    ]
    for lie in lies:
        with scene.dishonest(COORDINATOR, garbled(Ask, lie)):
            assert scene.missing() == (COORDINATOR,)
    with scene.dishonest(COORDINATOR, garbled(Ask, deciding())):
        assert scene.check(BOTH)


def test_a_coordinator_that_is_down_is_named(scene: Scene) -> None:
    with scene.down(COORDINATOR):
        assert scene.missing() == (COORDINATOR,)


def test_what_a_party_does_not_serve_is_refused(scene: Scene) -> None:
    for kind in ("decide", "look", "", "evaluated"):
        with pytest.raises(DecodeError):
            scene.federation.nodes["tax"].handle(kind, b"")
        with pytest.raises(DecodeError):
            asyncio.run(scene.federation.network.deliver(REQUESTER, COORDINATOR, kind, b""))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", encode(1), encode([b"", 1]), encode([b"", b"", b""]), encode([b"", b""])]
)
def test_garbage_is_refused_and_logged_whoever_sends_it(scene: Scene, data: bytes) -> None:
    for kind in ("evaluate", "ask"):
        with pytest.raises(DecodeError):
            asyncio.run(scene.federation.network.deliver("somebody", COORDINATOR, kind, data))
    for kind in ("evaluate", "ask", "open", "prove"):
        with pytest.raises(DecodeError):
            scene.federation.nodes["tax"].handle(kind, data)
        assert scene.outcomes("tax")[-1] == (kind, "DecodeError")
