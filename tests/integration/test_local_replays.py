"""Once is once: at each node by itself, whatever the coordinator does."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest

from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.errors import ExpiredError, QuorumError, ReplayedError, SpentError
from protocol.identifiers import to_bytes
from protocol.messages import Ask, Evaluate, Open, Opened, Prove, Proved
from protocol.opening import combine
from protocol.rounds import requester as rounds
from protocol.wire import MAX_LIFETIME, Body, read
from tests.federations import BOTH, ONE, Scene
from tests.flow import pseudonym
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, forged, party


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
    assert scene.outcomes(holder)[-1] == ("prove", "admitted")
    with pytest.raises(ReplayedError):
        prove()
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
