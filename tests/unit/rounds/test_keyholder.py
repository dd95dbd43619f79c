"""What a keyholder evaluates, opens and proves, for whom, and how a wrong opening share is found."""

import secrets
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.codec import i2osp
from protocol.errors import (
    CiphertextError,
    DecodeError,
    ExpiredError,
    GroupElementError,
    HeaderError,
    NotGrantedError,
    OpeningError,
    ProofError,
    QuorumError,
    SignatureError,
)
from protocol.group import IDENTITY
from protocol.messages import Ask, Evaluate, Open, Opened, Prove, Proved
from protocol.rounds import coordinator, keyholder
from protocol.wire import MAX_LIFETIME, read, write
from tests.flow import opening_share
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.steps import (
    LISTED,
    QUORUM,
    UNLISTED,
    N,
    P,
    Q,
    blinded,
    joint,
    key,
    open_request,
    question,
    receive_evaluate,
    receive_open,
    sums,
)

# Evaluating.


@pytest.mark.parametrize(
    ("element", "reason"), [(IDENTITY, "identity"), (b"\xff" * 32, "canonical"), (bytes(31) + b"\x80", "canonical")]
)
def test_a_keyholder_evaluates_elements_only(element: bytes, reason: str) -> None:
    right = read(blinded()[1], Evaluate).body.blinded
    for wrong in ((right[0], element), (element, right[1])):
        with pytest.raises(GroupElementError, match=reason):
            receive_evaluate(forged(blinded()[1], Evaluate, key(REQUESTER), body={"blinded": wrong}))
    with pytest.raises(GroupElementError, match="canonical"):
        receive_evaluate(
            forged(
                blinded()[1],
                Evaluate,
                key(REQUESTER),
                body={"blinded": (right[0][:31] + bytes([right[0][31] | 0x80]), right[1])},
            )
        )


@pytest.mark.parametrize("count", [1, 3])
def test_a_keyholder_evaluates_exactly_one_element_a_subject(count: int) -> None:
    """Or more could be had than is charged."""
    element = read(blinded()[1], Evaluate).body.blinded[0]
    with pytest.raises(DecodeError, match="one element a subject"):
        receive_evaluate(forged(blinded()[1], Evaluate, key(REQUESTER), body={"blinded": (element,) * count}))


# Opening.


def test_a_keyholder_opens_for_the_coordinator_under_the_requesters_signed_ask() -> None:
    opening = receive_open(open_request())
    assert (opening.chunk, opening.ask.raw, opening.ask.header.sender) == (0, question().asked, REQUESTER)
    assert opening.x == sums().chunks[0].ciphertext ** 2 % N


@pytest.mark.parametrize("sender", [REQUESTER, "bank", "court"])
def test_only_the_coordinator_has_something_opened_or_proven(sender: str) -> None:
    with pytest.raises(NotGrantedError, match="only the coordinator"):
        receive_open(open_request({"sender": sender}, signer=sender))
    with pytest.raises(NotGrantedError, match="only the coordinator"):
        receive_prove(forged(prove_request(), Prove, key(sender), {"sender": sender}))
    with pytest.raises(SignatureError):
        receive_open(open_request(signer=sender))


def test_without_the_requesters_signature_nothing_is_opened() -> None:
    message = read(question().asked, Ask)
    for signer in (COORDINATOR, "tax", "bank"):
        with pytest.raises(SignatureError):
            receive_open(open_request(body={"ask": write(message.header, message.body, key(signer))}))
    for ask in (question().looked, b"garbage", question().asked[:-1]):
        with pytest.raises(DecodeError):
            receive_open(open_request(body={"ask": ask}))


def test_an_ask_that_has_expired_opens_nothing() -> None:
    now = NOW + MAX_LIFETIME
    fresh = {"issued": now, "expires": now + MAX_LIFETIME}
    receive_open(open_request({"issued": now - 1, "expires": now + 5}), now - 1)
    with pytest.raises(ExpiredError):
        receive_open(open_request(fresh), now)


@pytest.mark.parametrize("header", [{"session": bytes(16)}, {"m": 2}, {"m": 120}])
def test_an_opening_is_for_the_session_of_its_ask(header: Mapping[str, Any]) -> None:
    with pytest.raises(HeaderError, match="another session"):
        receive_open(open_request(header))


def test_an_opening_is_for_a_chunk_that_the_question_has() -> None:
    slots = joint().terms.slots(REQUESTER)
    many = joint().ask([UNLISTED] * (slots + 1))
    data = many.open_request(many.add().chunks[0], "tax")
    for chunk, subjects in ((0, slots), (1, 1)):
        opening = receive_open(forged(data, Open, key(COORDINATOR), body={"chunk": chunk}))
        assert opening.subjects(slots) == subjects
    for chunk in (2, 3, 119):
        with pytest.raises(DecodeError, match="beyond"):
            receive_open(forged(data, Open, key(COORDINATOR), body={"chunk": chunk}))


CHALLENGES: Mapping[str, bytes] = {
    "zero": bytes(64),
    "N": i2osp(N, 64),
    "beyond N": b"\xff" * 64,
    "a factor": i2osp(P, 64),
    "a multiple of a factor": i2osp(2 * Q, 64),
    "too short": i2osp(4, 63),
    "too long": i2osp(4, 65),
    "one byte": b"\x04",
}


@pytest.mark.parametrize("x", CHALLENGES.values(), ids=CHALLENGES.keys())
def test_an_opening_challenge_is_an_element_of_the_group(x: bytes) -> None:
    with pytest.raises(CiphertextError):
        receive_open(open_request(body={"x": x}))
    with pytest.raises(CiphertextError):
        receive_prove(forged(prove_request(), Prove, key(COORDINATOR), body={"x": x}))


def opened(shares: Mapping[str, int]) -> object:
    return coordinator.opened(question().c, question().session, sums(), [shares])


@cache
def shares() -> dict[str, int]:
    return question().shares(sums(), AGENCIES)[0]


ALTERED: Mapping[str, Callable[[int], int]] = {
    "one more": lambda share: share + 1,
    "zero": lambda _: 0,
    "one": lambda _: 1,
    "squared": lambda share: share * share % N,
    "shifted by a power of x": lambda share: share * (sums().chunks[0].ciphertext ** 2) % N,
    "shifted by a chosen plaintext": lambda share: share * (1 + N) % (N * N),
    "not reduced": lambda share: share + N,
    "N": lambda _: N,
    "a factor": lambda _: P,
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED.keys())
@pytest.mark.parametrize("liar", [QUORUM[0], QUORUM[2]])
def test_an_altered_opening_share_opens_nothing_and_its_maker_is_named(alter: Callable[[int], int], liar: str) -> None:
    wrong = {holder: shares()[holder] for holder in QUORUM}
    wrong[liar] = alter(wrong[liar])
    with pytest.raises(OpeningError):
        opened(wrong)
    for holder in QUORUM:
        if holder == liar:
            with pytest.raises(ProofError):
                accept_proof(holder, wrong[holder])
        else:
            accept_proof(holder, wrong[holder])


def test_right_shares_of_any_quorum_open_to_the_same_lanes() -> None:
    assert len({opened({holder: shares()[holder] for holder in quorum}) for quorum in joint().quorums()}) == 1


def test_shares_exchanged_between_keyholders_open_nothing() -> None:
    first, second, third = (shares()[holder] for holder in QUORUM)
    with pytest.raises(OpeningError):
        opened(dict(zip(QUORUM, (second, first, third), strict=True)))


def test_a_share_of_another_chunk_opens_nothing() -> None:
    other = joint().ask([LISTED])
    foreign = other.share(other.add().chunks[0], "tax")
    with pytest.raises(OpeningError):
        opened({"labour": shares()["labour"], "tax": foreign, "court": shares()["court"]})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_the_threshold_open_nothing(count: int) -> None:
    with pytest.raises(QuorumError):
        opened({holder: shares()[holder] for holder in AGENCIES[:count]})


def test_an_opening_share_is_one_keyholders_own_reply() -> None:
    request = question().open_request(sums().chunks[0], "tax")
    reply = joint().opened("tax", request)
    with pytest.raises(HeaderError, match="another party"):
        coordinator.accept_share(question().c, read(request, Open), "court", reply, NOW)
    again = read(question().open_request(sums().chunks[0], "court"), Open)
    with pytest.raises(HeaderError, match="another message"):
        coordinator.accept_share(question().c, again, "tax", reply, NOW)
    with pytest.raises(SignatureError):
        coordinator.accept_share(question().c, read(request, Open), "tax", forged(reply, Opened, key("court")), NOW)


def prove_request(holder: str = "tax") -> bytes:
    return coordinator.prove_request(question().c, question().session, sums().chunks[0], holder, NOW)


def receive_prove(data: bytes, holder: str = "tax") -> keyholder.Proof:
    return keyholder.receive_prove(joint().parties[holder], data, NOW)


def proved(holder: str, data: bytes) -> bytes:
    proof = receive_prove(data, holder)
    return keyholder.prove(joint().parties[holder], proof, opening_share(joint().of, holder), secrets.token_bytes, NOW)


def accept_proof(holder: str, share: int, body: Mapping[str, Any] | None = None) -> None:
    request = prove_request(holder)
    reply = forged(proved(holder, request), Proved, key(holder), body=body)
    coordinator.accept_proof(question().c, read(request, Prove), holder, share, reply, NOW)


def test_a_proof_that_was_tampered_with_names_its_maker() -> None:
    accept_proof("tax", shares()["tax"])
    for body in ({"challenge": bytes(32)}, {"response": b"\x01"}, {"response": bytes(2048)}):
        with pytest.raises(ProofError):
            accept_proof("tax", shares()["tax"], body)


def test_whether_a_chunk_was_opened_is_the_nodes_to_check() -> None:
    """The round proves the share of any x: it keeps no memory, and the ledger that does is the node's."""
    x = i2osp(4, 64)
    assert receive_prove(forged(prove_request(), Prove, key(COORDINATOR), body={"x": x})).x == 4
