"""What the requester takes from others, its pseudonyms and its decisions, and whom it names when they are wrong."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.errors import (
    DecisionError,
    DecodeError,
    ExpiredError,
    GroupElementError,
    HeaderError,
    IndeterminateError,
    PeerError,
    ProofError,
    SignatureError,
)
from protocol.group import IDENTITY, scalar_base_mult, scalar_from_int
from protocol.messages import Decide, Decision, Effect, Evaluate, Evaluated
from protocol.rounds import coordinator, requester
from protocol.wire import read
from tests.flow import oprf_share, pseudonym
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.steps import (
    DISPUTED,
    LATE,
    LISTED,
    QUORUM,
    UNLISTED,
    answers,
    blinded,
    decided,
    evaluated,
    joint,
    key,
    question,
    question_at_coordinator,
    reply,
)

# The first round.


def accept(reply: bytes, holder: str = "tax") -> Sequence[bytes]:
    return requester.accept(joint().parties[REQUESTER], blinded()[0], holder, reply, NOW)


def pseudonyms(replies: object) -> tuple[bytes, ...]:
    return requester.pseudonyms(joint().parties[REQUESTER], blinded()[0], encode(replies), NOW)


@pytest.mark.parametrize("quorum", [QUORUM, AGENCIES[2:], AGENCIES])
def test_any_quorum_gives_the_pseudonyms_of_the_whole_key(quorum: tuple[str, ...]) -> None:
    expected = tuple(pseudonym(joint().of, subject) for subject in (LISTED, UNLISTED))
    assert pseudonyms(evaluated(*quorum)) == expected


def test_every_question_is_blinded_anew() -> None:
    first, second = (read(joint().blind([LISTED])[1], Evaluate).body for _ in range(2))
    assert first.blinded != second.blinded
    assert first.case != second.case


EVALUATED: Mapping[str, tuple[Mapping[str, Any], type[PeerError]]] = {
    "another proof": ({"proof": bytes(64)}, ProofError),
    "a scalar out of range": ({"proof": b"\xff" * 64}, PeerError),
    "the identity": ({"elements": (IDENTITY, IDENTITY)}, GroupElementError),
    "no element": ({"elements": (b"\xff" * 32,) * 2}, GroupElementError),
    "one element too few": ({"elements": (scalar_base_mult(scalar_from_int(2)),)}, ProofError),
    "one element too many": ({"elements": (scalar_base_mult(scalar_from_int(2)),) * 3}, ProofError),
}


@pytest.mark.parametrize(("body", "error"), EVALUATED.values(), ids=EVALUATED.keys())
def test_a_wrong_evaluation_is_refused_and_its_keyholder_named(body: Mapping[str, Any], error: type[PeerError]) -> None:
    replies = evaluated(*QUORUM)
    accept(replies["tax"])
    wrong = forged(replies["tax"], Evaluated, key("tax"), body=body)
    with pytest.raises(error):
        accept(wrong)
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | {"tax": wrong})
    assert caught.value.missing == ("tax",)
    assert len(pseudonyms(replies | {"tax": wrong} | evaluated("market"))) == 2  # any three right ones suffice


def test_elements_exchanged_between_subjects_are_refused() -> None:
    right = read(evaluated("tax")["tax"], Evaluated)
    with pytest.raises(ProofError):
        accept(forged(right.raw, Evaluated, key("tax"), body={"elements": right.body.elements[::-1]}))


def test_a_keyholder_with_another_key_is_caught_however_it_proves() -> None:
    own, foreign = oprf_share(joint().of, "tax"), oprf_share(joint().of, "court")
    for share in (foreign, replace(own, secret=foreign.secret)):
        with pytest.raises(ProofError):
            accept(joint().evaluate("tax", blinded()[1], share))
    accept(joint().evaluate("tax", blinded()[1], own))


def test_two_liars_are_both_named() -> None:
    replies = evaluated(*AGENCIES[:4])
    wrong = {
        holder: forged(replies[holder], Evaluated, key(holder), body={"proof": bytes(64)}) for holder in QUORUM[:2]
    }
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | wrong)
    assert caught.value.missing == tuple(sorted(QUORUM[:2]))


def test_too_few_replies_name_the_coordinator() -> None:
    for holders in ((), QUORUM[:2]):
        with pytest.raises(IndeterminateError) as caught:
            pseudonyms(evaluated(*holders))
        assert caught.value.missing == (COORDINATOR,)


FRAMED: Mapping[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut short": lambda reply: reply[:-1],
    "altered": lambda reply: reply[:-1] + bytes([reply[-1] ^ 1]),
    "another keyholder's": lambda _: evaluated("court")["court"],
    "made by the coordinator": lambda reply: forged(reply, Evaluated, key(COORDINATOR)),
    "an answer to another request": lambda _: joint().evaluate("tax", joint().blind([LISTED, UNLISTED])[1]),
}


@pytest.mark.parametrize("alter", FRAMED.values(), ids=FRAMED.keys())
def test_the_coordinator_cannot_frame_a_keyholder(alter: Callable[[bytes], bytes]) -> None:
    """It verified every reply before it passed it on, so what is not the keyholder's reply is its own doing."""
    replies = evaluated(*QUORUM)
    with pytest.raises(IndeterminateError) as caught:
        pseudonyms(replies | {"tax": alter(replies["tax"])})
    assert caught.value.missing == (COORDINATOR,)


@pytest.mark.parametrize(
    "replies", [[], 1, None, "x", {"zebra": b""}, {"tax": 5}, {"tax": "x"}, {"tax": None}, {"tax": []}]
)
def test_what_is_no_map_of_replies_does_not_decode(replies: object) -> None:
    with pytest.raises(DecodeError):
        pseudonyms(replies)
    with pytest.raises(DecodeError):
        requester.pseudonyms(joint().parties[REQUESTER], blinded()[0], b"garbage", NOW)


# The decision.


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
    values = question().lanes(QUORUM, answers())[:1]
    data = coordinator.decide(joint().parties[COORDINATOR], session, values, NOW)
    assert requester.decisions(bank, state, data, NOW)[0].body.measures == {"scrutinise": Effect.APPLIES}
