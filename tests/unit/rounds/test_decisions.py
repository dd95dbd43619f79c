"""What the requester takes as the decisions about its question, and what it learns from them."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.errors import DecisionError, ExpiredError, HeaderError, SignatureError
from protocol.messages import Decide, Decision, Effect
from protocol.rounds import coordinator, requester
from tests.flow import pseudonym
from tests.parties import NOW, REQUESTER, forged
from tests.unit.rounds.steps import (
    DISPUTED,
    LATE,
    LISTED,
    QUORUM,
    UNLISTED,
    decided,
    joint,
    key,
    question,
    question_at_coordinator,
    reply,
)


def decisions(data: bytes, now: int = NOW) -> Sequence[Any]:
    return requester.decisions(question().r, question().state, data, now)


def deciding(*changed: bytes) -> Sequence[Any]:
    return decisions(forged(reply(), Decide, key(COORDINATOR), body={"decisions": changed}))


def decision(header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None) -> bytes:
    return forged(decided()[0], Decision, key(COORDINATOR), header, body)


def test_each_subject_gets_its_own_decision() -> None:
    effects = [decision.body.measures for decision in decisions(reply())]
    assert effects == [
        {"exclude": Effect.APPLIES, "scrutinise": Effect.APPLIES},
        {"exclude": Effect.DISPUTED, "scrutinise": Effect.NONE},
        {"exclude": Effect.NONE, "scrutinise": Effect.NONE},
    ]
    first = decisions(reply())[0]
    assert first.header.expires - first.header.issued == joint().terms.decision_seconds
    assert first.body.having(Effect.APPLIES) == ("exclude", "scrutinise")


DECISIONS: Mapping[str, Callable[[], bytes]] = {
    "altered": lambda: decided()[0][:-1] + bytes([decided()[0][-1] ^ 1]),
    "no decision": lambda: b"\x00",
    "another message": lambda: question().asked[: Decision.LIMIT],
    "signed by an agency": lambda: forged(decided()[0], Decision, key("tax")),
    "signed by the requester": lambda: forged(decided()[0], Decision, key(REQUESTER)),
    "sent by an agency": lambda: forged(decided()[0], Decision, key("tax"), {"sender": "tax"}),
    "another agreement": lambda: decision({"agreement": "other"}),
    "another version": lambda: decision({"version": 2}),
    "another epoch": lambda: decision({"epoch": 2}),
    "another session": lambda: decision({"session": bytes(16)}),
    "another requester": lambda: decision({"audience": "bank"}),
    "another purpose": lambda: decision({"purpose": "lend"}),
    "another number of subjects": lambda: decision({"m": 1}),
    "an answer of its own": lambda: decision({"answers": bytes(32)}),
    "issued before the question": lambda: decision({"issued": NOW - 60, "expires": NOW - 60 + 86_400}),
    "issued in the future": lambda: decision({"issued": NOW + 60, "expires": NOW + 60 + 86_400}),
    "valid for longer": lambda: decision({"expires": NOW + 86_401}),
    "valid for less": lambda: decision({"expires": NOW + 1}),
    "another subject's": lambda: decided()[1],
    "another subject's number": lambda: decision(body={"subject": 1}),
    "another binding": lambda: decision(body={"binding": bytes(32)}),
    "an agency missing": lambda: decision(body={"agencies": 4}),
    "an agency too many": lambda: decision(body={"agencies": 6}),
    "a measure missing": lambda: decision(body={"measures": {"exclude": 0}}),
    "a measure too many": lambda: decision(body={"measures": {"exclude": 0, "scrutinise": 0, "more": 0}}),
    "another measure": lambda: decision(body={"measures": {"exclude": 0, "more": 0}}),
}


@pytest.mark.parametrize("wrong", DECISIONS.values(), ids=DECISIONS.keys())
def test_a_decision_that_does_not_fit_its_question_is_none(wrong: Callable[[], bytes]) -> None:
    with pytest.raises(DecisionError):
        deciding(wrong(), *decided()[1:])
    assert decision() == decided()[0]
    assert len(deciding(*decided())) == 3


def test_there_is_one_decision_a_subject_in_order() -> None:
    first, second, third = decided()
    for wrong in ((first, second), (first, second, third, third), (second, first, third), (first, first, third)):
        with pytest.raises(DecisionError):
            deciding(*wrong)


def test_decisions_come_from_the_coordinator_for_this_question() -> None:
    with pytest.raises(SignatureError):
        decisions(forged(reply(), Decide, key("tax")))
    with pytest.raises(HeaderError, match="another party"):
        decisions(forged(reply(), Decide, key("tax"), {"sender": "tax"}))
    with pytest.raises(HeaderError, match="another message"):
        decisions(forged(reply(), Decide, key(COORDINATOR), {"answers": question().state.ask.hash}))
    with pytest.raises(HeaderError, match="another message"):
        decisions(joint().ask([LISTED, DISPUTED, UNLISTED]).decide(QUORUM))
    with pytest.raises(ExpiredError):
        decisions(reply(), LATE)


def test_a_requester_learns_only_the_measures_it_implements() -> None:
    bank = joint().parties["bank"]
    known = [pseudonym(joint().of, LISTED)]
    state, asked, looked = requester.ask(bank, known, purpose="lend", now=NOW, random=secrets.token_bytes)
    session = question_at_coordinator(asked, looked)
    two_of_weight_five = [(2, 0, 5)]  # its lanes: count, disputed and weight of the one condition
    data = coordinator.decide(joint().parties[COORDINATOR], session, two_of_weight_five, NOW)
    assert requester.decisions(bank, state, data, NOW)[0].body.measures == {"scrutinise": Effect.APPLIES}
