import random
from collections.abc import Callable

import pytest

from federation.audit.attackers import GATED, Attacker, Result, Samples, Split
from federation.audit.observations import (
    Suspect,
    Transcript,
    View,
    compare,
    coordinator_view,
    nodes_view,
    observer_view,
    requester_view,
)
from federation.transport import Record
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode, i2osp
from protocol.lanes import Standing
from protocol.messages import Ask
from tests.flow import Joint, Question, pseudonym
from tests.parties import REQUESTER, federation

SPLIT = Split(60, 200, 300)
Fields = dict[str, tuple[bytes, ...]]


def played(leak: Callable[[Fields, dict[str, float], bool], None]) -> Result:
    """A game over sessions of random values, into which `leak` puts what tells the worlds apart."""
    draws, samples = random.Random(1), Samples(SPLIT)  # noqa: S311  # no secrets
    for _ in range(SPLIT.total):
        world = draws.random() < 0.5
        fields: Fields = {"name": (b"same",), "a": (draws.randbytes(32),), "b": tuple(map(draws.randbytes, [16] * 5))}
        seconds = {"step": draws.random()}
        leak(fields, seconds, world)
        samples.add(View(fields, seconds), world)
    return samples.attack()


def found(result: Result) -> set[Attacker]:
    return {attacker for attacker, score in result.scores.items() if score.found}


def test_nothing_is_found_where_there_is_nothing() -> None:
    result = played(lambda *_: None)
    assert not found(result)
    assert all(score.tried == SPLIT.held_out for score in result.scores.values())


def test_a_size_is_found_by_its_shape() -> None:
    def longer(fields: Fields, _seconds: dict[str, float], world: bool) -> None:
        fields["a"] = (fields["a"][0] + bytes(world),)

    assert set(GATED) <= found(played(longer))


def test_one_value_more_is_found_by_its_shape() -> None:
    def more(fields: Fields, _seconds: dict[str, float], world: bool) -> None:
        fields["b"] = fields["b"][: 4 + world]

    assert set(GATED) <= found(played(more))


def test_a_value_that_comes_back_is_found_wherever_it_stands() -> None:
    def again(fields: Fields, _seconds: dict[str, float], world: bool) -> None:
        fields["b"] = tuple(sorted([*fields["b"][1:], b"x" * 15 + bytes([world])]))

    result = played(again)
    assert found(result) == {Attacker.LEARNED}


def test_a_field_that_is_not_constant_after_all_is_found() -> None:
    def otherwise(fields: Fields, _seconds: dict[str, float], world: bool) -> None:
        fields["name"] = (b"same" if world else b"rest",)

    assert Attacker.LEARNED in found(played(otherwise))


def test_a_time_is_found_and_proves_nothing() -> None:
    def slower(_fields: Fields, seconds: dict[str, float], world: bool) -> None:
        seconds["step"] += world

    result = played(slower)
    assert found(result) == {Attacker.TIMING}
    assert Attacker.TIMING not in GATED
    assert result.timing_effect > 2


def test_what_is_only_in_held_out_sessions_is_not_remembered() -> None:
    """The twin of a value that comes back: were samples remembered that are judged, this would be found."""
    numbers = iter(range(SPLIT.total))

    def late(fields: Fields, _seconds: dict[str, float], world: bool) -> None:
        if next(numbers) >= SPLIT.memory + SPLIT.training:
            fields["b"] = tuple(sorted([*fields["b"][1:], b"x" * 15 + bytes([world])]))

    assert not found(played(late))


def test_two_sessions_are_compared_field_by_field() -> None:
    one = View({"a": (b"\x01\x02",), "b": (b"x", b"y")}, {"step": 1.0})
    two = View({"a": (b"\x01\x03",), "b": (b"y", b"zz")}, {"step": 3.0})
    compared = compare(one, two)
    assert compared.fields["b equal"] == (b"y",)
    assert compared.fields["a equal"] == ()
    assert compared.fields["a xor"] == (b"\x00\x01",)
    assert compared.fields["b size"] == (i2osp(1, 8),)
    assert compared.seconds == {"step": 2.0}


SUBJECT, OTHER = b"subject", b"other"


@pytest.fixture(scope="module")
def joint() -> Joint:
    return Joint(federation(), {"tax": {SUBJECT: [Standing("tax-register", 2, disputed=False)]}})


@pytest.fixture(scope="module")
def transcript(joint: Joint) -> Transcript:
    question = Question(joint, [pseudonym(joint.of, SUBJECT)])
    records = [Record(REQUESTER, COORDINATOR, Ask.TYPE, encode([question.asked, question.looked]))]
    for agency, answer in question.answers().items():
        records += [
            Record(COORDINATOR, agency, Ask.TYPE, question.asked),
            Record(agency, COORDINATOR, Ask.TYPE, answer),
        ]
    return Transcript(tuple(records), {"tax ask": 0.1, "court ask": 0.1, "coordinator add": 0.2}, {"lanes": (b"1",)})


def suspects(joint: Joint) -> list[Suspect]:
    return [Suspect(subject, pseudonym(joint.of, subject)) for subject in (SUBJECT, OTHER)]


def test_an_agency_sees_its_own_messages_and_what_was_sealed_for_it(joint: Joint, transcript: Transcript) -> None:
    view = nodes_view([joint.parties["tax"]], transcript, suspects(joint), joint.parties[COORDINATOR])
    nonce, prefix = view.fields["opened at tax"]
    assert (len(nonce), len(prefix)) == (32, 8)
    assert "tags of tax" in view.fields
    assert not any("court" in name or "look" in name for name in view.fields if ": sealed" not in name)
    assert set(view.seconds) == {"tax ask"}


def test_an_agency_recognises_what_it_can_expect_of_a_subject(joint: Joint, transcript: Transcript) -> None:
    """Its own tag of the subject that it lists, and none of the other."""
    view = nodes_view([joint.parties["tax"]], transcript, suspects(joint), joint.parties[COORDINATOR])
    assert [view.fields[f"guess {number}"] for number in range(2)] == [(i2osp(1, 2),), (i2osp(0, 2),)]


def test_the_coordinator_sees_who_matched_and_what_it_kept(joint: Joint, transcript: Transcript) -> None:
    view = coordinator_view(joint.parties[COORDINATOR], transcript, [])
    assert [name for name in view.fields if name.startswith("matched")] == ["matched at tax"]
    assert view.fields["lanes"] == (b"1",)
    assert len(view.fields["tags of tax"]) == joint.terms.bucket_size


def test_the_requester_sees_what_it_sent(joint: Joint, transcript: Transcript) -> None:
    view = requester_view(joint.parties[REQUESTER], transcript, [])
    assert f"look of {REQUESTER}: secrets" in view.fields
    assert not any(name.startswith("answer") for name in view.fields)


def test_an_observer_sees_sizes_alone(transcript: Transcript) -> None:
    view = observer_view(transcript)
    assert len(view.fields) == len(transcript.records)
    assert not any(any(value) for values in view.fields.values() for value in values)
