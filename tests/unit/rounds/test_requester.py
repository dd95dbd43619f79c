"""How the requester takes its pseudonyms from keyholders' evaluations, and whom it names when they are wrong."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.errors import DecodeError, GroupElementError, IndeterminateError, PeerError, ProofError
from protocol.group import IDENTITY, scalar_base_mult, scalar_from_int
from protocol.messages import Evaluate, Evaluated
from protocol.rounds import requester
from protocol.wire import read
from tests.flow import oprf_share, pseudonym
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.steps import LISTED, QUORUM, UNLISTED, blinded, evaluated, joint, key


def accept(reply: bytes, holder: str = "tax") -> Evaluated:
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
