"""What travels: sizes, and who sees what."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from protocol import labels
from protocol.codec import i2osp
from protocol.hpke import unseal
from protocol.messages import Ask, Decision
from protocol.rounds import agency, coordinator
from protocol.sealing import mask, tag
from protocol.wire import read
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.steps import (
    DISPUTED,
    LISTED,
    QUORUM,
    UNLISTED,
    answers,
    blinded,
    decided,
    evaluated,
    joint,
    key,
    look,
    question,
    receive,
    sums,
)


def sizes(subject: bytes) -> dict[str, int]:
    """Lengths of all messages of one question, from the first to the last."""
    state, evaluate = joint().blind([subject])
    asked = joint().ask([subject])
    links = {"evaluate": evaluate, "ask": asked.asked, "look": asked.looked}
    links |= {f"evaluated {holder}": joint().evaluate(holder, evaluate) for holder in QUORUM}
    assert len(state.inputs) == 1
    answers = asked.answers()
    links |= {f"answer {name}": answer for name, answer in answers.items()}
    added = asked.add(answers)
    for chunk in added.chunks:
        for holder in QUORUM:
            links[f"open {chunk.number} {holder}"] = asked.open_request(chunk, holder)
            links[f"opened {chunk.number} {holder}"] = joint().opened(holder, asked.open_request(chunk, holder))
    opened = coordinator.opened(asked.c, asked.session, added, asked.shares(added, QUORUM))
    links["decide"] = coordinator.decide(asked.c, asked.session, opened, NOW)
    return {link: len(data) for link, data in links.items()}


def test_every_message_is_as_long_for_a_match_as_for_none() -> None:
    assert sizes(LISTED) == sizes(UNLISTED) == sizes(DISPUTED)
    assert len(sizes(LISTED)) == 18


def leaky_block(entries: Mapping[bytes, bytes], *_: object) -> bytes:
    return b"".join(position + entries[position] for position in sorted(entries)) or b"\x00"


def leaky_decision(**fields: Any) -> Decision:
    applying = {measure: effect for measure, effect in fields["measures"].items() if effect}
    return Decision(**fields | {"measures": applying or {"none": 0}})


@pytest.mark.parametrize(
    ("place", "name", "leak"), [(agency, "build_block", leaky_block), (coordinator, "Decision", leaky_decision)]
)
def test_a_leak_by_size_would_be_seen(place: object, name: str, leak: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, name, leak)
    if place is agency:
        monkeypatch.setattr(coordinator, "read_block", lambda *_: {bytes(16): bytes(128)})
    assert sizes(LISTED) != sizes(UNLISTED)


def found(needles: Mapping[str, bytes], haystack: Sequence[bytes]) -> set[str]:
    return {name for name, needle in needles.items() if any(needle in data for data in haystack)}


def derived_from_secrets() -> dict[str, bytes]:
    """What follows from t or T for the listed subject, each under its name."""
    body = question().state.look.body
    derived = {"t": question().known[0], "T": body.secrets[0], "sigma": body.sigmas[0]}
    for name in AGENCIES:
        derived[f"tag {name}"] = tag(body.secrets[0], name)
        derived[f"mask {name}"] = mask(body.secrets[0], name, bytes(32))
    derived["binding"] = read(decided()[0], Decision).body.binding
    return derived


def seen_by(name: str, ask: bytes) -> list[bytes]:
    own = joint().parties[name]
    message = read(ask, Ask)
    plain = unseal(message.body.sealed[name], own.sealing_key, labels.SEALED_ASK, name.encode(), message.header.session)
    return [ask, plain]


def test_nothing_derived_from_a_subjects_secret_goes_to_an_agency() -> None:
    for name in AGENCIES:
        assert found(derived_from_secrets(), seen_by(name, question().asked)) == set()


def test_a_planted_secret_would_be_found_at_an_agency() -> None:
    planted = forged(question().asked, Ask, key(REQUESTER), body={"commitment": question().state.look.body.secrets[0]})
    assert found(derived_from_secrets(), seen_by("tax", planted)) == {"T"}


def hidden_from_coordinator() -> dict[str, bytes]:
    state = question().state
    needles = {f"prefix {number}": i2osp(prefix, 8) for number, prefix in enumerate(state.prefixes)}
    return needles | {"nonce": state.nonce} | {f"t {number}": t for number, t in enumerate(question().known)}


def test_no_prefix_and_no_nonce_is_in_anything_the_coordinator_receives() -> None:
    received = [question().asked, question().looked, *answers().values(), *evaluated(*QUORUM).values()]
    received += [joint().opened(holder, question().open_request(sums().chunks[0], holder)) for holder in QUORUM]
    assert found(hidden_from_coordinator(), received) == set()


@pytest.mark.parametrize("leak", ["nonce", "prefix 0", "t 1"])
def test_a_planted_prefix_or_nonce_would_be_found_at_the_coordinator(leak: str) -> None:
    planted = (hidden_from_coordinator()[leak] + bytes(32))[:32], *question().state.look.body.sigmas[1:]
    needles = {name: needle[:32] for name, needle in hidden_from_coordinator().items()}
    assert leak in found(needles, [look(body={"sigmas": planted})])


def test_states_and_messages_show_no_secret() -> None:
    shown = repr((question().state, blinded()[0], question().session, sums(), receive(question().asked)))
    for needle in (question().state.nonce, LISTED, *question().known, question().asked):
        assert repr(needle)[2:-1] not in shown
