"""A federation whose agreement has a sieve: callers notice nothing, and nobody opens anything (specification §4.13)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.certificate import verify_standing
from protocol.errors import IndeterminateError, NotGrantedError, PeerError, ReplayedError
from protocol.messages import Ask, Evaluate, Open
from protocol.wire import read
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, Office, firm, forever, spoil_canaries
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER

ANY = [
    {"measure": measure, "when": {"registers": [f"{agency}-register" for agency in AGENCIES]}}
    for measure in ("exclude", "scrutinise")
]
EXPECTED = {
    BOTH: [("exclude", False), ("scrutinise", False)],
    ONE: [("exclude", False), ("scrutinise", False)],
    DISPUTED: [("exclude", True), ("scrutinise", True)],
    NOBODY: [],
}


def office(folder: Path, *, sieve: bool = True) -> Office:
    return Office.create(folder, rules=ANY, sieve=sieve)


@pytest.fixture(scope="module")
def sieved(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return office(tmp_path_factory.mktemp("sieved"))


def said(answer: Any) -> list[tuple[str, bool]]:
    assert answer["outcome"] == "decided", answer
    return [(measure["id"], measure["disputed"]) for measure in answer["measures"]]


def test_single_questions_and_arrays_are_answered_as_without_a_sieve(sieved: Office, tmp_path: Path) -> None:
    strict = office(tmp_path, sieve=False)
    many = [*EXPECTED, *map(firm, range(100, 240))]
    answers = sieved.ask(*many)
    assert [said(answer) for answer in answers[:4]] == list(EXPECTED.values())
    assert all(said(answer) == [] for answer in answers[4:])
    for subject, expected in EXPECTED.items():
        [alone], [theirs] = sieved.ask(subject), strict.ask(subject)
        assert isinstance(alone, dict)
        assert isinstance(theirs, dict)
        assert said(alone) == said(theirs) == expected
        assert alone.keys() == theirs.keys()
        assert len(str(alone["certificate"])) == len(str(theirs["certificate"]))


def test_canaries_come_out_right_and_a_lying_agency_is_found(tmp_path: Path) -> None:
    honest, lying = office(tmp_path / "honest"), office(tmp_path / "lying")
    asyncio.run(honest.gateway().check_canaries())
    spoil_canaries(lying, ["court"])
    with pytest.raises(IndeterminateError) as caught:
        asyncio.run(lying.gateway().check_canaries())
    assert caught.value.missing == ("court",)


def test_a_standing_names_its_subject_and_verifies_offline(sieved: Office) -> None:
    for subject, expected in ((BOTH, 2), (NOBODY, 0)):
        answer: Any = asyncio.run(sieved.gateway().standing("procurement", subject, PURPOSE, CASE))
        decision, named = verify_standing(sieved.federation.terms, answer["standing"], NOW)
        assert (named, decision.body.measures["exclude"]) == (subject, expected)


def test_nothing_is_opened_and_keyholders_count_no_openings(tmp_path: Path) -> None:
    sieved, strict = office(tmp_path / "sieved"), office(tmp_path / "strict", sieve=False)
    for it, opens in ((sieved, False), (strict, True)):
        it.ask(BOTH, NOBODY)
        kinds = {record.kind for record in it.federation.network.records}
        assert {Evaluate.TYPE, Ask.TYPE} <= kinds
        assert (Open.TYPE in kinds) == opens
        ledger = it.federation._ledger("agencies/labour")
        charged = {kind for kind, sender, _ in ledger.charges() if sender == REQUESTER}
        assert charged == {Evaluate.TYPE, Ask.TYPE} | ({Open.TYPE} if opens else set())
        assert bool(ledger.openings()) == opens


def test_an_ask_is_answered_once(sieved: Office) -> None:
    sieved.ask(BOTH)
    records = sieved.federation.network.records
    [ask] = [it.data for it in records if it.kind == Ask.TYPE and it.receiver == "tax" and it.sender == COORDINATOR][
        -1:
    ]
    with pytest.raises(ReplayedError):
        sieved.federation.nodes["tax"].handle(Ask.TYPE, ask)


def test_a_keyholder_opens_nothing(sieved: Office) -> None:
    sieved.ask(BOTH)
    ask = next(it.data for it in sieved.federation.network.records if it.kind == Ask.TYPE and it.receiver == "tax")
    c = sieved.federation.established.secrets[COORDINATOR].party(COORDINATOR, sieved.federation.terms)
    header = read(ask, Ask).header
    body = Open(ask, 0, (4).to_bytes(sieved.federation.terms.public_key.modulus_bytes, "big"))
    request = c.send(body, audience="tax", session=header.session, purpose=header.purpose, m=header.m, now=NOW)
    with pytest.raises(NotGrantedError):
        sieved.federation.nodes["tax"].handle(Open.TYPE, request)


def test_an_agency_that_is_silent_or_answers_garbage_is_named(tmp_path: Path) -> None:
    disturbed = office(tmp_path)

    async def garbage(kind: str, data: bytes) -> bytes:
        return b"\0" * 40 if kind == Ask.TYPE else await honest(kind, data)

    async def silent(kind: str, data: bytes) -> bytes:
        return await (forever if kind == Ask.TYPE else honest)(kind, data)

    honest = disturbed.handler("market")
    for handler, named in ((garbage, ("market",)), (silent, (COORDINATOR,))):
        disturbed.disturb("market", handler)
        [answer] = disturbed.ask(NOBODY, gateway=disturbed.gateway(patience=1.0))
        assert isinstance(answer, IndeterminateError)
        assert answer.missing == named
    disturbed.disturb("market", honest)
    [answer] = disturbed.ask(NOBODY)
    assert not isinstance(answer, PeerError)


def test_what_travels_is_thirty_two_bytes_an_entry_whatever_is_asked(sieved: Office) -> None:
    sieved.federation.network.records.clear()
    for subject in EXPECTED:
        sieved.ask(subject)
    terms = sieved.federation.terms
    answers = [it for it in sieved.federation.network.records if it.sender in AGENCIES and it.kind == Ask.TYPE]
    assert len(answers) == len(EXPECTED) * len(AGENCIES)
    for agency in AGENCIES:
        [size] = {len(it.data) for it in answers if it.sender == agency}
        assert 32 * terms.bucket_size < size < 32 * terms.bucket_size + 640
