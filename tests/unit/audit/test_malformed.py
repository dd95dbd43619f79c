"""Malformed requests: each has a marker of its own, and none is right."""

import random
import secrets

import pytest

from api.gateway_forms import Batch, Question, read
from federation.audit.malformed import Form, elsewhere, messages, questions
from protocol.errors import IdentifierError, PeerError
from protocol.identifiers import canonical
from protocol.rounds import keyholder, requester
from tests.parties import NOW, PURPOSE, REQUESTER, federation, party


def draws() -> random.Random:
    return random.Random(7)  # noqa: S311  # no secrets


@pytest.mark.parametrize("path", ["/v1/membership", "/v1/membership:batch"])
def test_no_question_is_right(path: str) -> None:
    attempts = list(questions(Form(path, "procurement", PURPOSE), 120, draws()))
    assert len({attempt.marker for attempt in attempts}) == 120
    for attempt in attempts:
        try:
            asked: Question | Batch
            asked = read(Batch, attempt.content) if path.endswith("batch") else read(Question, attempt.content)
        except PeerError:
            continue
        if (asked.agreement, asked.purpose) != ("procurement", PURPOSE):
            continue
        subjects = asked.subjects if isinstance(asked, Batch) else [asked.subject]
        with pytest.raises(IdentifierError):
            [canonical(subject.scheme, subject.value) for subject in subjects]


def test_no_message_is_accepted() -> None:
    own, holder = party(REQUESTER, federation()), party(federation().terms.keyholders[0], federation())
    _, real = requester.evaluate(own, [b"x"], purpose=PURPOSE, case="1", now=NOW, random=secrets.token_bytes)
    keyholder.receive_evaluate(holder, real, NOW)
    for attempt in messages("/v1/evaluate", real, own, NOW, 100, draws()):
        assert attempt.marker.encode() in attempt.content
        with pytest.raises(PeerError):
            keyholder.receive_evaluate(holder, attempt.content, NOW)


def test_markers_stand_in_every_part_of_a_request() -> None:
    attempts = list(elsewhere(200, draws()))
    places = {
        place for it in attempts for place in ("path", "method", "headers") if it.marker in str(getattr(it, place))
    }
    assert places == {"path", "method", "headers"}
    assert not any(it.marker in repr(it) for it in attempts)
