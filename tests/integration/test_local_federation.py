"""A whole federation, with its databases and every message recorded: right answers, or none, and who did not answer."""

import asyncio
import base64
import random as seeded
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.demo.plain import PlainJoin
from api.local import LocalFederation
from federation.transport import Record
from nodes.catalogue import load_catalogue
from nodes.listings import Listing
from nodes.storage.seals import Seals
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.errors import (
    BucketOverflowError,
    CiphertextError,
    ConcordatError,
    DecodeError,
    ExpiredError,
    IndeterminateError,
    NotGrantedError,
    PeerError,
    QuorumError,
    QuotaError,
    ReplayedError,
    SpentError,
)
from protocol.identifiers import Identifier, canonical, to_bytes
from protocol.messages import (
    Answer,
    Ask,
    Decide,
    Decision,
    Effect,
    Evaluate,
    Evaluated,
    Look,
    Open,
    Opened,
    Prove,
    Proved,
)
from protocol.opening import combine
from protocol.rounds import requester as rounds
from protocol.wire import MAX_LIFETIME, MAX_SUBJECTS, Body, read
from tests.flow import pseudonym
from tests.parties import (
    AGENCIES,
    NOW,
    PURPOSE,
    REQUESTER,
    agreement,
    established,
    forged,
    party,
)
from tests.unit.nodes.builders import make_listing

FIGURES = {"population": 20_000, "k_min": 200, "max_listings": 100}
TODAY = datetime.fromtimestamp(NOW, UTC).date()


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now


def firm(number: int) -> Identifier:
    return canonical("cn.reg_no", f"FIRM{number:06d}")


BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY = (firm(number) for number in range(6))
SECOND = canonical("ru.inn_made", "7701-SECOND")
NAMES = ("Acme Ltd",)


def listing(agency: str, *identifiers: Identifier, **changes: Any) -> Listing:
    return make_listing(register=f"{agency}-register", identifiers=identifiers, **changes)


REGISTERS = {
    "labour": [
        listing("labour", BOTH, severity=3),
        listing("labour", DISPUTED, disputed_since=TODAY),
        listing("labour", NOTIFIED, served_on=TODAY - timedelta(days=2)),
    ],
    "tax": [listing("tax", BOTH, SECOND, severity=1), listing("tax", ONE)],
    "court": [listing("court", EXPIRED, expires_on=TODAY - timedelta(days=1))],
}


@dataclass
class Scene:
    """A local federation under one folder, its clock, and what tests do with it again and again."""

    folder: Path
    federation: LocalFederation
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def create(cls, folder: Path, registers: dict[str, list[Listing]] | None = None, **document: Any) -> "Scene":
        clock = Clock()
        of = established(agreement(**{"anonymity": FIGURES} | document))
        scene = cls(folder, LocalFederation(of, folder, clock, secrets.token_bytes), clock)
        asyncio.run(scene.federation.start())
        for agency, listings in (REGISTERS if registers is None else registers).items():
            asyncio.run(scene.federation.enter(agency, listings))
        return scene

    def reopened(self, folder: Path | None = None) -> LocalFederation:
        """The same parties after a restart, on the same databases unless another folder is given."""
        return LocalFederation(self.federation.established, folder or self.folder, self.clock, secrets.token_bytes)

    def check(self, *subjects: Identifier) -> list[dict[str, Effect]]:
        decisions = asyncio.run(self.federation.requesters[REQUESTER].check(subjects, PURPOSE, "tender 7"))
        return [{name: Effect(effect) for name, effect in it.body.measures.items()} for it in decisions]

    def missing(self, *subjects: Identifier) -> tuple[str, ...]:
        """Whom an indeterminate answer names; a decision fails the test."""
        with pytest.raises(IndeterminateError) as caught:
            self.check(*subjects or (BOTH,))
        return caught.value.missing

    def key(self, name: str) -> Any:
        return self.federation.established.secrets[name].signing_key

    def recorded(self, kind: type[Body], receiver: str) -> bytes:
        """The last request of a kind that reached a party."""
        return next(
            record.data
            for record in reversed(self.federation.network.records)
            if (record.kind, record.receiver) == (kind.TYPE, receiver) and is_of(kind, record.data)
        )

    def outcomes(self, agency: str) -> list[tuple[str, str]]:
        ledger: Any = self.federation.nodes[agency]._ledger
        return [(entry.kind, entry.outcome) for entry in ledger.entries()]

    @contextmanager
    def dishonest(self, name: str, change: Callable[[str, bytes], bytes]) -> Iterator[None]:
        """A party that changes its replies (message type, honest reply) before they leave."""
        network = self.federation.network
        honest = network._handlers[name]

        async def handle(kind: str, data: bytes) -> bytes:
            return change(kind, await honest(kind, data))

        network.attach(name, handle)
        try:
            yield
        finally:
            network.attach(name, honest)

    @contextmanager
    def down(self, *names: str) -> Iterator[None]:
        network = self.federation.network
        handlers = {name: network._handlers[name] for name in names}
        for name in names:
            network.detach(name)
        try:
            yield
        finally:
            for name, handler in handlers.items():
                network.attach(name, handler)


def is_of(kind: type[Body], data: bytes) -> bool:
    try:
        read(data, kind, len(data))
    except DecodeError:
        return kind is Ask and data[:1] == b"\x82"  # the pair of ask and look at the coordinator
    return True


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One federation for tests that leave it as it was: every question is a session of its own."""
    return Scene.create(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def fresh(tmp_path: Path) -> Scene:
    return Scene.create(tmp_path / "federation")


NONE = {"exclude": Effect.NONE, "scrutinise": Effect.NONE}


# Right answers.


def test_each_subject_is_decided_by_its_listings_as_they_stand(scene: Scene) -> None:
    assert scene.check(BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY, SECOND) == [
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
        {"exclude": Effect.APPLIES, "scrutinise": Effect.NONE},
        {"exclude": Effect.DISPUTED, "scrutinise": Effect.NONE},
        NONE,
        NONE,
        NONE,
        {"exclude": Effect.APPLIES, "scrutinise": Effect.NONE},
    ]


def made_registers() -> dict[str, list[Listing]]:
    """Listings in every state, several of one subject at an agency, some with two or three identifiers."""
    numbers = seeded.Random("local federation")  # noqa: S311  # made data
    registers: dict[str, list[Listing]] = {agency: [] for agency in AGENCIES}
    for number in range(150):
        agency = numbers.choice(AGENCIES)
        identifiers = [firm(numbers.randrange(60)) for _ in range(numbers.choice((1, 1, 2, 3)))]
        registers[agency].append(
            listing(
                agency,
                *dict.fromkeys(identifiers),
                severity=numbers.randint(1, 3),
                decision_ref=f"D {number}",
                decided_on=numbers.choice((date(2026, 3, 1), date(2020, 3, 1))),
                served_on=numbers.choice((date(2026, 3, 5), TODAY - timedelta(days=3))),
                disputed_since=numbers.choice((None, None, TODAY)),
            )
        )
    return registers


def test_a_federation_answers_as_a_plain_join_of_all_registers(tmp_path: Path) -> None:
    registers = made_registers()
    scene = Scene.create(tmp_path, registers)
    join = PlainJoin(
        scene.federation.terms.agreement, load_catalogue(), [entry for many in registers.values() for entry in many]
    )
    subjects = [*join.identifiers(), *(firm(number) for number in range(1000, 1040))]
    for start in range(0, len(subjects), MAX_SUBJECTS):
        batch = subjects[start : start + MAX_SUBJECTS]
        for subject, effects in zip(batch, scene.check(*batch), strict=True):
            expected = join.outcome(subject, REQUESTER, TODAY)
            assert {name for name, effect in effects.items() if effect is Effect.APPLIES} == set(expected.measures)
            assert {name for name, effect in effects.items() if effect is Effect.DISPUTED} == set(expected.disputed)


def test_a_dispute_acts_on_the_very_next_question_and_so_does_its_end(fresh: Scene) -> None:
    store = fresh.federation.listings["tax"]
    number = next(number for number, entry in store.all() if ONE in entry.identifiers)
    assert fresh.check(ONE)[0]["exclude"] is Effect.APPLIES
    store.dispute(number, TODAY)
    assert fresh.check(ONE)[0]["exclude"] is Effect.DISPUTED
    store.dispute(number, None)
    assert fresh.check(ONE)[0]["exclude"] is Effect.APPLIES
    store.remove([number])
    assert fresh.check(ONE)[0] == NONE


def test_a_term_ends_without_anything_having_to_run(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path, {"tax": [listing("tax", ONE, expires_on=TODAY)]})
    assert scene.check(ONE)[0]["exclude"] is Effect.APPLIES
    scene.clock.now += 86_400
    assert scene.check(ONE)[0] == NONE


def test_a_listing_counts_from_the_moment_it_is_sealed(fresh: Scene) -> None:
    assert fresh.check(NOBODY)[0] == NONE
    asyncio.run(fresh.federation.enter("customs", [listing("customs", NOBODY)]))
    assert fresh.check(NOBODY)[0]["exclude"] is Effect.APPLIES


def test_a_requester_asks_for_its_own_purposes_only(scene: Scene) -> None:
    bank = scene.federation.requesters["bank"]
    assert asyncio.run(bank.check([BOTH], "lend", "loan 3"))[0].body.measures == {"scrutinise": Effect.APPLIES}
    for purpose in (PURPOSE, "curiosity", "seal"):
        with pytest.raises(NotGrantedError):
            asyncio.run(bank.check([BOTH], purpose, "loan 3"))


def test_agencies_that_are_no_keyholders_answer_and_open_nothing(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path, keyholders=AGENCIES[:3], threshold=2)
    assert scene.check(BOTH, NOBODY)[0]["exclude"] is Effect.APPLIES
    evaluate, opening = scene.recorded(Evaluate, "labour"), scene.recorded(Open, "labour")
    node = scene.federation.nodes["market"]
    for kind, data in (
        (Evaluate, evaluate),
        (Open, forged(opening, Open, scene.key(COORDINATOR), {"audience": "market"})),
    ):
        with pytest.raises(NotGrantedError, match="no keyholder"):
            node.handle(kind.TYPE, data)


# Once is once: at each node by itself, whatever the coordinator does.


def test_a_session_is_asked_once_at_each_agency(scene: Scene) -> None:
    scene.check(BOTH)
    for agency in AGENCIES:
        data = scene.recorded(Ask, agency)
        with pytest.raises(ReplayedError):
            scene.federation.nodes[agency].handle(Ask.TYPE, data)
        assert scene.outcomes(agency)[-1] == ("ask", "ReplayedError")


def test_another_question_in_the_same_session_is_refused_too(scene: Scene) -> None:
    """Two questions of one session could be subtracted."""
    scene.check(BOTH)
    session = read(scene.recorded(Ask, "tax"), Ask).header.session
    _, asked, _ = rounds.ask(
        party(REQUESTER, scene.federation.established),
        [pseudonym(scene.federation.established, to_bytes(ONE))],
        purpose=PURPOSE,
        now=NOW,
        random=lambda count: session if count == len(session) else secrets.token_bytes(count),
    )
    assert read(asked, Ask).header.session == session
    with pytest.raises(ReplayedError):
        scene.federation.nodes["tax"].handle(Ask.TYPE, asked)


def opened_by(scene: Scene) -> list[str]:
    """The keyholders that answered the last opening."""
    last = [record.receiver for record in scene.federation.network.records if is_request(record, Open)][-3:]
    assert len(last) == 3
    return last


def is_request(record: Record, kind: type[Body]) -> bool:
    return record.kind == kind.TYPE and record.receiver != COORDINATOR


def test_a_chunk_is_opened_once_at_each_keyholder_for_this_x_or_another(scene: Scene) -> None:
    scene.check(BOTH)
    for holder in opened_by(scene):
        data = scene.recorded(Open, holder)
        other = forged(data, Open, scene.key(COORDINATOR), body={"x": bytes(63) + b"\x04"})
        for again in (data, other):
            with pytest.raises(SpentError):
                scene.federation.nodes[holder].handle(Open.TYPE, again)
        assert scene.outcomes(holder)[-2:] == [("open", "SpentError")] * 2


def test_two_disjoint_quorums_cannot_both_open(scene: Scene) -> None:
    """Of five keyholders three have opened; the coordinator asks all five again, for another sum."""
    scene.check(BOTH)
    first, x = opened_by(scene), bytes(63) + b"\x04"
    data, terms = scene.recorded(Open, first[0]), scene.federation.terms
    shares = {}
    for holder in AGENCIES:
        request = forged(data, Open, scene.key(COORDINATOR), {"audience": holder}, {"x": x})
        if holder in first:
            with pytest.raises(SpentError):
                scene.federation.nodes[holder].handle(Open.TYPE, request)
        else:
            reply = read(scene.federation.nodes[holder].handle(Open.TYPE, request), Opened)
            shares[terms.keyholder_index(holder)] = int.from_bytes(reply.body.share)
    assert len(shares) == 2
    with pytest.raises(QuorumError):
        combine(terms.opening_key, 2, shares)


def test_a_share_is_proven_only_where_it_was_opened(scene: Scene) -> None:
    scene.check(BOTH)
    holder = opened_by(scene)[0]
    node, opening = scene.federation.nodes[holder], read(scene.recorded(Open, holder), Open)
    coordinator = party(COORDINATOR, scene.federation.established)

    def prove(session: bytes = opening.header.session, **changes: Any) -> bytes:
        fields: dict[str, Any] = {"requester": REQUESTER, "chunk": 0, "x": opening.body.x}
        body = Prove(**fields | changes)
        request = coordinator.send(body, audience=holder, session=session, purpose=PURPOSE, m=1, now=NOW)
        return node.handle(Prove.TYPE, request)

    assert read(prove(), Proved)
    for wrong in ({"x": bytes(63) + b"\x04"}, {"chunk": 1}, {"requester": "bank"}, {"session": bytes(16)}):
        with pytest.raises(SpentError):
            prove(**wrong)
        assert scene.outcomes(holder)[-1] == ("prove", "SpentError")


def test_elements_are_evaluated_once_at_each_keyholder_and_at_the_coordinator(scene: Scene) -> None:
    scene.check(BOTH)
    for holder in AGENCIES[:3]:
        with pytest.raises(ReplayedError):
            scene.federation.nodes[holder].handle(Evaluate.TYPE, scene.recorded(Evaluate, holder))
        assert scene.outcomes(holder)[-1] == ("evaluate", "ReplayedError")
    for kind in (Evaluate, Ask):
        data = scene.recorded(kind, COORDINATOR)
        with pytest.raises(ReplayedError):
            asyncio.run(scene.federation.network.deliver(REQUESTER, COORDINATOR, kind.TYPE, data))


def test_a_restart_forgets_nothing(fresh: Scene, tmp_path: Path) -> None:
    """The twin: on new databases the same bytes are answered, so it is the database that refuses."""
    fresh.check(BOTH)
    holder = opened_by(fresh)[0]
    replays = [(kind, fresh.recorded(kind, holder)) for kind in (Evaluate, Ask, Open)]
    again, forgetful = fresh.reopened(), fresh.reopened(tmp_path / "new")
    asyncio.run(forgetful.start())
    for kind, data in replays:
        with pytest.raises((ReplayedError, SpentError)):
            again.nodes[holder].handle(kind.TYPE, data)
        assert forgetful.nodes[holder].handle(kind.TYPE, data)
    for kind in (Evaluate, Ask):
        with pytest.raises(ReplayedError):
            asyncio.run(again.network.deliver(REQUESTER, COORDINATOR, kind.TYPE, fresh.recorded(kind, COORDINATOR)))


@pytest.mark.parametrize("later", [MAX_LIFETIME, 4_000, 86_400])
def test_a_replay_that_has_expired_is_refused_for_its_age(fresh: Scene, later: int) -> None:
    """Also after the sessions of its time were forgotten."""
    fresh.check(BOTH)
    holder = opened_by(fresh)[0]
    replays = [(kind, fresh.recorded(kind, holder)) for kind in (Evaluate, Ask, Open)]
    fresh.clock.now += later
    fresh.check(ONE)
    for kind, data in replays:
        with pytest.raises(ExpiredError):
            fresh.federation.nodes[holder].handle(kind.TYPE, data)
        assert fresh.outcomes(holder)[-1] == (kind.TYPE, "ExpiredError")


# All agencies or no answer.


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


# Limits.


def test_a_listing_whose_bucket_is_full_is_refused_and_the_others_load(tmp_path: Path) -> None:
    """One bucket of three places, one of them the canary's: five subjects, three of them refused."""
    figures = {"population": 500, "k_min": 400, "max_listings": 3}
    scene = Scene.create(tmp_path, {}, anonymity=figures)
    assert scene.federation.terms.bucket_size == 3
    entries = [listing("tax", firm(number), decision_ref=f"D {number}") for number in range(5)]

    async def enter() -> list[Any]:
        return [entered.refused async for entered in scene.federation.entering("tax", entries)]

    assert asyncio.run(enter()) == [{2: 0, 3: 0, 4: 0}]
    assert [entry for _, entry in scene.federation.listings["tax"].all()] == entries[:2]
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

    assert scene.federation.terms.slots >= 2
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


# Who asked about whom is nowhere.


def encodings(text: str) -> list[bytes]:
    raw = text.encode()
    variants = [raw, raw.lower(), raw[::-1], raw.hex().encode(), text.encode("utf-16-le")]
    return [*variants, base64.b64encode(raw).rstrip(b"=")[:-1], *(" ".join(text).encode(),)]


CANARIES = [form for text in (*(item.value for item in (BOTH, DISPUTED, SECOND)), *NAMES) for form in encodings(text)]


def sightings(scene: Scene) -> list[str]:
    """Where an identifier or name stands: recorded messages, and every file of every party."""
    places = [(f"{it.sender} to {it.receiver}: {it.kind}", it.data) for it in scene.federation.network.records]
    places += [
        (str(path.relative_to(scene.folder)), path.read_bytes()) for path in scene.folder.rglob("*") if path.is_file()
    ]
    return [place for place, data in places if any(canary in data for canary in CANARIES)]


def test_no_identifier_or_name_is_in_any_message_or_file(fresh: Scene) -> None:
    fresh.check(BOTH, DISPUTED, SECOND, NOBODY)
    with fresh.down("tax"):
        fresh.missing(SECOND)
    assert len([path for path in fresh.folder.rglob("*.sqlite*") if path.is_file()]) >= 11
    assert sightings(fresh) == []


def test_a_planted_identifier_would_be_found(fresh: Scene) -> None:
    for number, canary in enumerate(encodings(BOTH.value)):
        fresh.federation.network.records.append(Record(REQUESTER, "tax", f"planted {number}", b"x" + canary + b"y"))
    ledger: Any = fresh.federation.nodes["tax"]._ledger
    ledger.refuse("ask", None, f"no listing of {NAMES[0]}", NOW)
    found = sightings(fresh)
    assert len([place for place in found if "planted" in place]) == len(encodings(BOTH.value))
    assert any(place.startswith("agencies/tax/state") for place in found)


def test_no_error_repeats_what_was_asked(scene: Scene) -> None:
    errors: list[ConcordatError] = []
    for attempt in (
        lambda: scene.check(BOTH, *[NOBODY] * MAX_SUBJECTS),
        lambda: asyncio.run(scene.federation.requesters["bank"].check([BOTH], PURPOSE, BOTH.value)),
    ):
        with pytest.raises(ConcordatError) as caught:
            attempt()
        errors.append(caught.value)
    with scene.down("tax"), pytest.raises(IndeterminateError) as down:
        scene.check(BOTH)
    for error in (*errors, down.value):
        assert not any(canary in str(error).encode() for canary in CANARIES)


def lengths(scene: Scene, subject: Identifier) -> Sequence[tuple[str, str, str, int]]:
    start = len(scene.federation.network.records)
    scene.check(subject)
    return sorted((it.sender, it.receiver, it.kind, len(it.data)) for it in scene.federation.network.records[start:])


def test_an_observer_of_every_link_sees_the_same_sizes_whoever_is_asked_about(scene: Scene) -> None:
    views = [lengths(scene, subject) for subject in (BOTH, ONE, DISPUTED, EXPIRED, NOTIFIED, NOBODY)]
    assert all(view == views[0] for view in views)
    assert len(views[0]) == 2 * (2 + 3 + 5 + 3)


def test_a_look_reaches_the_coordinator_alone(scene: Scene) -> None:
    scene.check(BOTH)
    pairs = [it for it in scene.federation.network.records if it.kind == Ask.TYPE and it.sender == REQUESTER]
    assert {record.receiver for record in pairs} == {COORDINATOR}
    look = b"concordat.v1." + Look.TYPE.encode()
    assert {it.receiver for it in scene.federation.network.records if look in it.data} == {COORDINATOR}
