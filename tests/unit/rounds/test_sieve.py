"""The sieve's round: what agencies mark, what C reads, and what neither can do (specification §4.13)."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from protocol.agreement.model import Agreement
from protocol.agreement.rules import MeasureOutcome
from protocol.errors import BlockError, BucketOverflowError, IndeterminateError, NotGrantedError, PeerError, SealError
from protocol.lanes import Standing
from protocol.messages import Answer, Ask, Decide, Decision, Open
from protocol.paillier import Randomiser
from protocol.rounds import agency, coordinator, keyholder, requester, sieve
from protocol.rounds.party import Party
from protocol.sealing import TAG_BYTES, marks
from protocol.wire import read, write
from tests.flow import Joint, Question
from tests.parties import AGENCIES, NOW, REQUESTER, agreement, established, randomiser

LISTED, DISPUTED, BOTH, UNLISTED = b"listed", b"disputed", b"both", b"unlisted"
SUBJECTS = [LISTED, DISPUTED, BOTH, UNLISTED]
NONE = {"exclude": 0, "scrutinise": 0}


def when(*names: str) -> dict[str, list[str]]:
    return {"registers": [f"{name}-register" for name in names]}


def of_sieve(sieved: bool = True, **changes: Any) -> Agreement:
    """Labour and tax exclude; these two, court and market bring scrutiny; customs feeds nothing."""
    rules = [
        {"measure": "exclude", "when": when("labour", "tax")},
        {"measure": "scrutinise", "when": when("labour", "tax")},
        {"measure": "scrutinise", "when": when("court", "market")},
    ]
    anonymity = {"population": 20_000, "k_min": 200, "max_listings": 60}
    return agreement(rules=rules, anonymity=anonymity, sieve=sieved, **changes)


def standing(name: str, disputed: bool = False) -> list[Standing]:
    return [Standing(f"{name}-register", 3, disputed=disputed)]


REGISTERS = {
    "labour": {LISTED: standing("labour"), DISPUTED: standing("labour", disputed=True), BOTH: standing("labour", True)},
    "tax": {BOTH: standing("tax")},
    "court": {LISTED: standing("court"), DISPUTED: standing("court", disputed=True)},
}


@cache
def joint() -> Joint:
    return Joint(established(of_sieve()), REGISTERS)


@cache
def question() -> Question:
    return joint().ask(SUBJECTS)


@cache
def answers() -> dict[str, bytes]:
    return question().answers()


def blocks(name: str) -> tuple[bytes, ...]:
    return coordinator.unseal_blocks(question().c, read(answers()[name], Answer, 1 << 26))


def answering(name: str, *changed: bytes) -> bytes:
    """An agency's answer, of other blocks."""
    own, header = joint().parties[name], read(answers()[name], Answer, 1 << 26).header
    return write(header, Answer(agency.seal_blocks(own, changed, header.answers)), own.signing_key)


def entries(block: bytes) -> list[bytes]:
    return [block[at : at + sieve.ENTRY_BYTES] for at in range(0, len(block), sieve.ENTRY_BYTES)]


def entry(name: str, subject: int, effects: int) -> bytes:
    """What an agency that seals a subject can put into its block."""
    [mark] = marks([question().state.look.body.secrets[subject]], name)
    return bytes(a ^ b for a, b in zip(mark, effects.to_bytes(sieve.ENTRY_BYTES, "big"), strict=True))


def marking(name: str, subject: int, effects: int) -> dict[str, bytes]:
    """All answers, one agency marking a subject so."""
    changed = list(blocks(name))
    wanted = entry(name, subject, effects)
    kept = [it for it in entries(changed[subject]) if it[:TAG_BYTES] != wanted[:TAG_BYTES]]
    changed[subject] = b"".join(sorted([*kept[: joint().terms.bucket_size - 1], wanted]))
    return answers() | {name: answering(name, *changed)}


def measures(reply: bytes) -> list[Mapping[str, int]]:
    decided = requester.decisions(question().r, question().state, reply, NOW)
    return [decision.body.measures for decision in decided]


def decided(answers: Mapping[str, bytes]) -> list[Mapping[str, int]]:
    return measures(question().sieve(answers))


def test_any_agency_that_lists_suffices_and_what_is_disputed_everywhere_is_flagged() -> None:
    assert decided(answers()) == [
        {"exclude": 2, "scrutinise": 2},
        {"exclude": 1, "scrutinise": 1},
        {"exclude": 2, "scrutinise": 2},
        NONE,
    ]


def test_a_decision_is_the_strict_modes() -> None:
    """One by one and in one array, and as long: nothing shows by which of the two it came about."""
    strict = Joint(established(of_sieve(sieved=False)), REGISTERS).ask(SUBJECTS)
    theirs = requester.decisions(strict.r, strict.state, strict.decide(AGENCIES[:3]), NOW)
    assert [decision.body.measures for decision in theirs] == decided(answers())
    own = read(question().sieve(answers()), Decide)
    assert [len(it) for it in own.body.decisions] == [len(decision.raw) for decision in theirs]
    for subject, expected in zip(SUBJECTS, decided(answers()), strict=True):
        alone = joint().ask([subject])
        [decision] = requester.decisions(alone.r, alone.state, alone.sieve(alone.answers()), NOW)
        assert decision.body.measures == expected


def test_every_message_is_as_long_for_a_match_as_for_none() -> None:
    def sizes(subject: bytes) -> list[int]:
        asked = joint().ask([subject])
        answered = asked.answers()
        return [len(it) for it in (asked.asked, asked.looked, *answered.values(), asked.sieve(answered))]

    assert sizes(LISTED) == sizes(DISPUTED) == sizes(UNLISTED)


def test_a_block_has_one_size_whatever_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    size = joint().terms.bucket_size * sieve.ENTRY_BYTES
    assert {len(block) for name in AGENCIES for block in blocks(name)} == {size} == {joint().terms.block_bytes}
    monkeypatch.setattr(sieve, "build_block", lambda entries, *_: b"".join(sorted(entries)) or b"\0")
    asked = joint().ask([LISTED, *(b"unlisted %d" % number for number in range(8))])  # not all by chance in its bucket
    answer = read(asked.answers()["labour"], Answer, 1 << 26)
    assert len({len(block) for block in coordinator.unseal_blocks(asked.c, answer)}) > 1


def test_an_entry_stands_wherever_its_mark_falls() -> None:
    places = set()
    for _ in range(200):
        own = secrets.token_bytes(sieve.ENTRY_BYTES)
        places.add(entries(sieve.build_block([own], 4, secrets.token_bytes)).index(own))
    assert places == {0, 1, 2, 3}


def test_who_knows_no_secret_sees_no_effect_and_no_subject_twice() -> None:
    """Not even with the entry that every agency's block is known to hold: of one mark nothing follows for another."""
    again = joint().ask(SUBJECTS)
    theirs = coordinator.unseal_blocks(again.c, read(again.answers()["labour"], Answer, 1 << 26))
    assert not {it[:TAG_BYTES] for block in theirs for it in entries(block)} & {
        it[:TAG_BYTES] for block in blocks("labour") for it in entries(block)
    }
    for subject, secret in enumerate(question().state.look.body.secrets[:3]):
        tags = {name: next(iter(marks([secret], name)))[:TAG_BYTES] for name in AGENCIES}
        assert len(set(tags.values())) == len(AGENCIES)
        assert not any(tags["labour"] in blocks(name)[subject] for name in AGENCIES if name != "labour")
        assert tags["labour"] in blocks("labour")[subject]


@pytest.mark.parametrize("name", AGENCIES)
def test_an_agency_marks_its_own_measures_only(name: str) -> None:
    """Whatever bits it sets, also those of no measure: what its registers do not feed counts for nothing."""
    expected = {"labour": {"exclude": 2, "scrutinise": 2}, "court": {"exclude": 0, "scrutinise": 2}}
    expected |= {"tax": expected["labour"], "market": expected["court"], "customs": NONE}
    assert decided(marking(name, 3, (1 << 128) - 1))[3] == expected[name]
    assert decided(marking(name, 3, (1 << 64) - 1))[3] == {it: min(1, value) for it, value in expected[name].items()}


def test_a_bound_that_is_not_kept_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "own_effects", lambda *_: dict.fromkeys(AGENCIES, (1 << 128) - 1))
    assert decided(marking("customs", 3, (1 << 128) - 1))[3] == {"exclude": 2, "scrutinise": 2}


@pytest.mark.parametrize("effects", [0, 1, 1 << 64, 1 << 127, 3 << 63, (1 << 128) - 1])
def test_no_effects_make_a_session_fail(effects: int) -> None:
    """So an agency cannot learn from a session that fails whether a subject of its own was meant."""
    assert len(decided(marking("labour", 0, effects))) == len(SUBJECTS)


def test_what_applies_at_one_agency_is_not_disputed_because_of_another() -> None:
    both = of_sieve()
    applies, disputed = (sieve.encode(both, [MeasureOutcome("exclude", it)]) for it in (False, True))
    assert sieve.decode(both, applies | disputed) == [MeasureOutcome("exclude", disputed=False)]
    assert sieve.decode(both, disputed) == [MeasureOutcome("exclude", disputed=True)]
    assert sieve.decode(both, 0) == []


@pytest.mark.parametrize(("until", "excludes"), [("2026-11-17", 2), ("2026-11-18", 0), ("2026-11-19", 0)])
def test_a_suspended_measure_is_neither_marked_nor_believed(until: str, excludes: int) -> None:
    moratoria = [{"measures": ["exclude"], "until": until, "legal_basis": "s. 9"}]
    suspended = Joint(established(of_sieve(moratoria=moratoria)), REGISTERS).ask([LISTED])
    [labour, *_] = found = {
        name: sieve.accept(suspended.c, suspended.session, name, answer, NOW)
        for name, answer in suspended.answers().items()
    }
    exclude = sieve.encode(of_sieve(), [MeasureOutcome("exclude", disputed=False)])
    assert bool(found[labour][0] & exclude) == bool(excludes)
    reply = sieve.decide(suspended.c, suspended.session, found | {labour: (exclude,)}, NOW)
    [decision] = requester.decisions(suspended.r, suspended.state, reply, NOW)
    assert decision.body.measures == {"exclude": excludes, "scrutinise": 2}


def test_what_agencies_opted_out_of_is_not_theirs_to_mark() -> None:
    opted_out = of_sieve(opt_outs=[{"agency": "tax", "measure": "exclude"}])
    own = sieve.own_effects(opted_out, REQUESTER, read(question().asked, Ask).header.day)
    assert own["tax"] == own["market"] == own["court"]
    assert own["labour"] != own["tax"]
    assert own["customs"] == 0


def test_a_requester_gets_no_effects_of_measures_that_it_does_not_implement() -> None:
    day = read(question().asked, Ask).header.day
    assert (
        sieve.own_effects(of_sieve(), "bank", day)["labour"] == sieve.own_effects(of_sieve(), REQUESTER, day)["court"]
    )


Change = Callable[[list[bytes]], Sequence[bytes]]
BLOCKS: Mapping[str, Change] = {
    "descending": lambda them: them[::-1],
    "two changed over": lambda them: [them[1], them[0], *them[2:]],
    "short of an entry": lambda them: them[1:],
    "short of a byte": lambda them: [*them[:-1], them[-1][:-1]],
    "an entry too many": lambda them: [*them, b"\xff" * len(them[0])],
    "a byte too many": lambda them: [*them, b"\x00"],
    "one entry twice": lambda them: [them[0], *them[:-1]],
    "one tag twice": lambda them: [them[0], them[0][:TAG_BYTES] + them[1][TAG_BYTES:], *them[2:]],
    "a single byte": lambda _: [b"\x00"],
}


@pytest.mark.parametrize("change", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize("subject", [0, 3])
def test_a_block_is_exactly_its_entries_in_order(
    change: Callable[[list[bytes]], Sequence[bytes]], subject: int
) -> None:
    changed = list(blocks("labour"))
    changed[subject] = b"".join(change(entries(changed[subject])))
    with pytest.raises(BlockError):
        decided(answers() | {"labour": answering("labour", *changed)})
    decided(answers() | {"labour": answering("labour", *blocks("labour"))})


def test_an_answer_has_one_block_a_subject() -> None:
    for changed in (blocks("labour")[:3], (*blocks("labour"), blocks("labour")[0])):
        with pytest.raises(PeerError):
            decided(answers() | {"labour": answering("labour", *changed)})


def test_an_overfull_bucket_is_not_answered() -> None:
    own, size = joint().parties["tax"], joint().terms.bucket_size
    asked = agency.receive(own, question().asked, NOW)
    silent = (0,) * len(joint().terms.layout(REQUESTER).lanes)

    def answer(number: int) -> bytes:
        bucket = [(secrets.token_bytes(32), silent) for _ in range(number)]
        return sieve.answer(own, asked, dict.fromkeys(asked.prefixes, bucket), secrets.token_bytes, NOW)

    assert answer(size)
    with pytest.raises(BucketOverflowError):
        answer(size + 1)


def test_one_missing_answer_is_no_answer() -> None:
    for missing in (["court"], ["court", "customs"], list(AGENCIES)):
        with pytest.raises(IndeterminateError) as caught:
            question().sieve({name: answer for name, answer in answers().items() if name not in missing})
        assert caught.value.missing == tuple(sorted(missing))


def otherwise(name: str) -> Party:
    """A party with the same keys and the same agreement, but for its sieve."""
    own = joint().parties[name]
    return replace(own, terms=replace(own.terms, agreement=of_sieve(sieved=False)))


def test_answers_of_the_two_modes_are_not_taken_for_each_other() -> None:
    asked = agency.receive(joint().parties["labour"], question().asked, NOW)
    buckets = {prefix: joint().buckets["labour"].get(prefix, []) for prefix in asked.prefixes}
    strictly = agency.answer(otherwise("labour"), asked, buckets, randomiser(joint().of), secrets.token_bytes, NOW)
    strict_c = otherwise("coordinator")
    assert any(coordinator.accept(strict_c, question().session, "labour", strictly, NOW))
    with pytest.raises(PeerError):
        sieve.accept(question().c, question().session, "labour", strictly, NOW)
    assert any(sieve.accept(question().c, question().session, "labour", answers()["labour"], NOW))
    with pytest.raises(PeerError):
        coordinator.accept(strict_c, question().session, "labour", answers()["labour"], NOW)


def test_a_box_of_one_mode_does_not_open_in_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its label alone keeps them apart: same keys, agency and `ask`."""
    sealed = read(answers()["labour"], Answer, 1 << 26)
    monkeypatch.setattr("protocol.labels.SEALED_SIEVE", b"concordat-v1 sealed answer")
    with pytest.raises(SealError):
        coordinator.unseal_blocks(question().c, sealed)


def test_nothing_is_opened_under_an_agreement_with_a_sieve() -> None:
    strict = Joint(established(of_sieve(sieved=False)), REGISTERS)
    for of, refused in ((strict, False), (joint(), True)):
        asked = of.ask([LISTED])
        x = Open(asked.asked, 0, (4).to_bytes(of.terms.public_key.modulus_bytes, "big"))
        header = asked.state.ask.header
        request = asked.c.send(x, audience="tax", session=header.session, purpose=header.purpose, m=header.m, now=NOW)
        if refused:
            with pytest.raises(NotGrantedError, match="nothing is encrypted"):
                keyholder.receive_open(of.parties["tax"], request, NOW)
        else:
            assert keyholder.receive_open(of.parties["tax"], request, NOW).x == 4


def test_agencies_encrypt_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise AssertionError("a ζ was wanted")

    monkeypatch.setattr(Randomiser, "fresh", refuse)
    assert decided(question().answers()) == decided(answers())
    with pytest.raises(AssertionError):
        randomiser(joint().of).fresh(secrets.token_bytes)


def test_a_certificate_says_nothing_of_the_sieve() -> None:
    [first, *_] = read(question().sieve(answers()), Decide).body.decisions
    body = read(first, Decision).body
    assert (body.agencies, set(body.measures)) == (len(AGENCIES), {"exclude", "scrutinise"})
