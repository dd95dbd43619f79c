"""Who is served, and for which purposes: every party looks at that by itself."""

from collections.abc import Mapping

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import SEAL
from protocol.errors import NotGrantedError
from protocol.messages import Ask, Evaluate, Look
from protocol.wire import read
from tests.parties import NOW, PURPOSE, REQUESTER, forged
from tests.unit.rounds.steps import (
    blinded,
    key,
    open_request,
    question,
    question_at_coordinator,
    receive,
    receive_evaluate,
    receive_open,
)

RIGHTS: Mapping[str, tuple[str, str]] = {
    "another requester's purpose": ("bank", PURPOSE),
    "no purpose of the agreement": (REQUESTER, "curiosity"),
    "a requester that seals": (REQUESTER, SEAL),
    "an agency that asks": ("tax", PURPOSE),
    "an agency for another purpose": ("tax", "dkg"),
    "the coordinator": (COORDINATOR, PURPOSE),
    "the coordinator seals": (COORDINATOR, SEAL),
}


@pytest.mark.parametrize(("sender", "purpose"), RIGHTS.values(), ids=RIGHTS.keys())
def test_without_a_right_nothing_is_evaluated(sender: str, purpose: str) -> None:
    header = {"sender": sender, "purpose": purpose}
    with pytest.raises(NotGrantedError):
        receive_evaluate(forged(blinded()[1], Evaluate, key(sender), header))


def test_requesters_for_their_purposes_and_agencies_that_seal_are_served() -> None:
    for sender, purpose in ((REQUESTER, PURPOSE), ("bank", "lend"), ("market", SEAL)):
        assert receive_evaluate(
            forged(blinded()[1], Evaluate, key(sender), {"sender": sender, "purpose": purpose}), "tax"
        )


def test_nobody_is_served_once_the_agreement_has_ended() -> None:
    later = NOW + 400 * 86_400
    for sender, purpose in ((REQUESTER, PURPOSE), ("market", SEAL)):
        header = {"sender": sender, "purpose": purpose, "issued": later, "expires": later + 60}
        with pytest.raises(NotGrantedError, match="not in force"):
            receive_evaluate(forged(blinded()[1], Evaluate, key(sender), header), now=later)


@pytest.mark.parametrize(("sender", "purpose"), RIGHTS.values(), ids=RIGHTS.keys())
def test_without_a_right_no_question_is_answered_or_opened(sender: str, purpose: str) -> None:
    header = {"sender": sender, "purpose": purpose}
    asked = forged(question().asked, Ask, key(sender), header)
    with pytest.raises(NotGrantedError):
        receive(asked)
    look = {"ask": read(asked, Ask).hash}
    with pytest.raises(NotGrantedError):
        question_at_coordinator(asked, forged(question().looked, Look, key(sender), header, look))
    with pytest.raises(NotGrantedError):
        receive_open(open_request(body={"ask": asked}))
