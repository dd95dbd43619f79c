"""The gateway: a decision over all agencies or who is missing, within its time and quota, whatever hangs or is lost."""

import asyncio
import time
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from federation.canaries import LAST_PAUSE, RIGHT_SECONDS, known_answers
from federation.canaries import NOBODY as NO_CANARY
from federation.gateway import ARRAY, Answer, Gateway
from federation.problem import BusyError, UnknownAgreementError
from federation.transport import UnreachableError
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY
from protocol.envelope import Envelope
from protocol.errors import IdentifierError, IndeterminateError, NotGrantedError, PeerError, QuotaError
from protocol.identifiers import canary, canonical
from protocol.messages import Ask, Decision, Effect, Evaluate
from protocol.wire import MAX_SUBJECTS, payload_type, read
from tests.gateways import BOTH, CASE, DISPUTED, DOOR, NOBODY, ONE, Office, firm, forever, spoil_canaries
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, federation

RESTRICTED = {"id": "exclude", "effect": "restriction", "disputed": False}
NOTED = {"id": "scrutinise", "effect": "notice", "disputed": False}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office.create(tmp_path)


def measures(answers: Sequence[Answer | PeerError]) -> list[object]:
    return [answer if isinstance(answer, PeerError) else answer["measures"] for answer in answers]


def missing(answers: Sequence[Answer | PeerError]) -> set[tuple[str, ...]]:
    return {answer.missing if isinstance(answer, IndeterminateError) else () for answer in answers}


def test_measures_are_told_in_the_agreements_order_and_disputes_as_disputes(office: Office) -> None:
    assert measures(office.ask(BOTH, ONE, DISPUTED, NOBODY)) == [
        [RESTRICTED, NOTED],
        [RESTRICTED],
        [RESTRICTED | {"disputed": True}],
        [],
    ]


def test_an_answer_carries_its_notice_its_time_and_its_proof(office: Office) -> None:
    [answer] = office.ask(BOTH)
    assert not isinstance(answer, PeerError)
    assert answer["agencies"] == {"required": 5, "answered": 5}
    notices = [{"measure": name, "text": "You are told.", "door": DOOR} for name in ("exclude", "scrutinise")]
    assert answer["notice"] == notices
    assert answer["as_of"] == datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z")
    assert answer["valid_until"] == datetime.fromtimestamp(NOW + 86_400, UTC).isoformat().replace("+00:00", "Z")
    [signature] = answer["certificate"]["signatures"]
    assert signature["keyid"] == COORDINATOR
    envelope = Envelope(
        answer["certificate"]["payloadType"],
        b64decode(answer["certificate"]["payload"]),
        b64decode(signature["sig"]),
    )
    envelope.verify(office.federation.terms.signing_key(COORDINATOR))
    assert envelope.payload_type == payload_type(Decision)
    assert read(envelope.to_bytes(), Decision).header.session.hex() == answer["session"]


def test_answers_differ_by_nothing_but_time_and_session_whoever_listed(office: Office) -> None:
    [labour], [tax] = office.ask(DISPUTED), office.ask(DISPUTED)
    assert isinstance(labour, dict)
    assert isinstance(tax, dict)
    assert {name for name in labour if labour[name] != tax[name]} == {"session", "certificate"}


@pytest.mark.parametrize(
    ("kinds", "subject", "reviewed"),
    [
        (["legal"], ONE, False),
        (["legal", "natural"], ONE, True),
        (["legal", "natural"], canonical("lei", "213800KUD8LAJWSQ9D15"), False),
        (["natural"], canonical("cn.uscc", "9111000010000106X1"), False),
    ],
)
def test_a_decision_that_may_be_about_a_natural_person_needs_a_person(
    tmp_path: Path, kinds: list[str], subject: object, reviewed: bool
) -> None:
    office = Office.create(tmp_path, subject_kinds=kinds)
    [answer] = office.ask(subject)  # type: ignore[arg-type]
    assert isinstance(answer, dict)
    assert answer["requires_human_review"] is reviewed


def test_many_subjects_are_answered_in_their_order_in_arrays(office: Office) -> None:
    subjects = [firm(1000 + number) for number in range(2 * MAX_SUBJECTS + 30)]
    subjects[7], subjects[130], subjects[251] = BOTH, ONE, DISPUTED
    assert {number: found for number, found in enumerate(measures(office.ask(*subjects))) if found} == {
        7: [RESTRICTED, NOTED],
        130: [RESTRICTED],
        251: [RESTRICTED | {"disputed": True}],
    }
    assert office.asked() == 3


def test_a_subject_in_error_stays_as_it_is_and_is_neither_asked_nor_charged(tmp_path: Path) -> None:
    office, error = Office.create(tmp_path, quota=2), IdentifierError("value: malformed")
    assert measures(office.ask(error, BOTH, error, ONE)) == [error, [RESTRICTED, NOTED], error, [RESTRICTED]]
    assert office.ask(error) == [error]


def test_agreement_comes_before_purpose_and_purpose_before_quota(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)
    with pytest.raises(UnknownAgreementError):
        office.ask(ONE, ONE, agreement="another", purpose="curiosity")
    for purpose in ("curiosity", CANARY, "lend"):
        with pytest.raises(NotGrantedError):
            office.ask(ONE, ONE, purpose=purpose)
    with pytest.raises(QuotaError):
        office.ask(ONE, ONE)


def test_an_agreement_not_in_force_answers_nothing(office: Office) -> None:
    office.clock.now += 400 * 86_400
    with pytest.raises(NotGrantedError):
        office.ask(ONE)


def test_the_quota_counts_subjects_of_a_day_over_all_processes_and_refuses_a_batch_whole(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=5)
    office.ask(ONE, ONE)
    asked = office.asked()
    with pytest.raises(QuotaError) as caught:
        office.ask(*[ONE] * 4)
    assert 0 < caught.value.retry_after <= 86_400
    assert office.asked() == asked
    office.ask(*[ONE] * 3)
    with pytest.raises(QuotaError):
        office.ask(ONE)
    office.clock.now += caught.value.retry_after
    office.ask(*[ONE] * 5)


def test_what_is_asked_is_charged_before_it_is_asked(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)
    office.federation.network.detach(COORDINATOR)
    assert missing(office.ask(ONE)) == {(COORDINATOR,)}
    with pytest.raises(QuotaError):
        office.ask(ONE)


@pytest.mark.parametrize("away", [["tax"], ["tax", "labour"]])
def test_an_agency_that_is_away_is_named_and_never_an_empty_list(office: Office, away: list[str]) -> None:
    for agency in away:
        office.federation.network.detach(agency)
    assert missing(office.ask(NOBODY, ONE)) == {tuple(sorted(away))}
    assert office.asked() == 1


def test_a_party_that_is_none_is_not_passed_on_as_missing(office: Office) -> None:
    async def lie(_kind: str, _data: bytes) -> bytes:
        raise IndeterminateError(["<script>", "9111000010000106X1"])

    office.disturb(COORDINATOR, lie)
    assert missing(office.ask(ONE)) == {(COORDINATOR,)}


@pytest.mark.parametrize("kind", [Evaluate.TYPE, Ask.TYPE])
def test_a_lost_reply_means_a_new_session_which_is_answered(office: Office, kind: str) -> None:
    honest = office.handler(COORDINATOR)
    lost: list[bytes] = []

    async def lose_one(asked: str, data: bytes) -> bytes:
        reply = await honest(asked, data)
        if asked == kind and not lost:
            lost.append(reply)
            raise UnreachableError([COORDINATOR])
        return reply

    office.disturb(COORDINATOR, lose_one)
    assert measures(office.ask(ONE)) == [[RESTRICTED]]
    sessions = {
        read(record.data, Evaluate).header.session
        for record in office.federation.network.records
        if (record.sender, record.kind) == (REQUESTER, Evaluate.TYPE) and record.receiver == COORDINATOR
    }
    assert len(lost) == 1
    assert len(sessions) == 2


def test_what_failed_for_another_reason_is_not_asked_again(office: Office) -> None:
    """An integrity failure names the coordinator too; asking again would show the same prefixes once more."""
    asked: list[str] = []

    async def fail(kind: str, _data: bytes) -> bytes:
        asked.append(kind)
        raise IndeterminateError([COORDINATOR], "integrity failure at")

    office.disturb(COORDINATOR, fail)
    assert missing(office.ask(ONE)) == {(COORDINATOR,)}
    assert asked == [Evaluate.TYPE]


def test_a_reply_lost_at_the_quotas_end_is_indeterminate_not_a_quota(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)
    honest = office.handler(COORDINATOR)

    async def lose(asked: str, data: bytes) -> bytes:
        await honest(asked, data)
        raise UnreachableError([COORDINATOR])

    office.disturb(COORDINATOR, lose)
    assert missing(office.ask(ONE)) == {(COORDINATOR,)}


@pytest.mark.parametrize("party", [COORDINATOR, "customs"])
def test_whatever_hangs_there_is_an_end(office: Office, party: str) -> None:
    office.disturb(party, forever)
    started = time.monotonic()
    assert missing(office.ask(*[ONE] * 1000, gateway=office.gateway(patience=0.5))) == {(COORDINATOR,)}
    assert time.monotonic() - started < 3


def test_one_arrays_failure_leaves_the_others_unaffected(office: Office) -> None:
    honest = office.handler("tax")
    asked: list[bytes] = []

    async def fail_once(kind: str, data: bytes) -> bytes:
        if kind == Ask.TYPE:
            asked.append(data)
            if len(asked) == 2:
                raise IndeterminateError(["tax"])
        return await honest(kind, data)

    office.disturb("tax", fail_once)
    answers = office.ask(*[ONE] * 3 * MAX_SUBJECTS)
    arrays = [answers[start : start + MAX_SUBJECTS] for start in range(0, 3 * MAX_SUBJECTS, MAX_SUBJECTS)]
    outcomes = [{"missing" if isinstance(it, PeerError) else it["outcome"] for it in array} for array in arrays]
    assert sorted(outcomes, key=str) == [{"decided"}, {"decided"}, {"missing"}]


def test_time_is_counted_from_the_last_decision(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long batch in which everybody answers is not cut; the twin: where nobody does, it is."""
    monkeypatch.setattr("federation.gateway.MAX_SUBJECTS", 3)
    monkeypatch.setattr("federation.gateway.ARRAYS_AT_ONCE", 1)
    honest = office.handler(COORDINATOR)

    async def slow(kind: str, data: bytes) -> bytes:
        await asyncio.sleep(0.15)
        return await honest(kind, data)

    office.disturb(COORDINATOR, slow)
    started, patience = time.monotonic(), 2.0
    assert all(isinstance(it, dict) for it in office.ask(*[NOBODY] * 24, gateway=office.gateway(patience)))
    assert time.monotonic() - started > patience
    assert missing(office.ask(*[NOBODY] * 24, gateway=office.gateway(patience=0.2))) == {(COORDINATOR,)}


def test_what_finds_no_room_is_refused_at_once_and_not_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office.create(tmp_path, quota=10)
    monkeypatch.setattr("federation.gateway.ROOM", 2 * (1 + ARRAY))
    gateway, honest, free = office.gateway(), office.handler(COORDINATOR), asyncio.Event()

    async def slow(kind: str, data: bytes) -> bytes:
        await free.wait()
        return await honest(kind, data)

    office.disturb(COORDINATOR, slow)

    async def asking() -> None:
        under_way = [asyncio.create_task(gateway.ask("procurement", [ONE], PURPOSE, CASE)) for _ in range(2)]
        await asyncio.sleep(0)
        for refused in (gateway.ask("procurement", [ONE], PURPOSE, CASE), gateway.standing("x", ONE, PURPOSE, CASE)):
            with pytest.raises(BusyError) as busy:
                await refused
            assert busy.value.retry_after > 0
        free.set()
        for task in under_way:
            assert measures(await task) == [[RESTRICTED]]
        assert measures(await gateway.ask("procurement", [ONE] * 8, PURPOSE, CASE)) == [[RESTRICTED]] * 8

    asyncio.run(asking())
    assert sum(office.ledger().charges().values()) == 10


def test_a_canarys_answer_follows_from_the_rules() -> None:
    known = {name: effects for name, _, effects in known_answers(federation().terms, REQUESTER, date(2026, 11, 18))}
    assert known == {
        **{agency: {"exclude": Effect.APPLIES, "scrutinise": Effect.NONE} for agency in AGENCIES},
        COORDINATOR: {"exclude": Effect.NONE, "scrutinise": Effect.NONE},
    }
    assert len({canary(name) for name in (*AGENCIES, NO_CANARY)}) == federation().terms.canaries


def check(gateway: Gateway) -> tuple[str, ...]:
    """Who is said to be at fault."""
    try:
        asyncio.run(gateway.check_canaries())
    except IndeterminateError as error:
        return error.missing
    return ()


def test_canaries_answered_right_are_asked_again_after_ten_minutes(office: Office) -> None:
    gateway = office.gateway()
    assert check(gateway) == check(gateway) == ()
    assert office.asked() == 1
    office.clock.now += RIGHT_SECONDS
    assert check(gateway) == ()
    assert office.asked() == 2


def test_canaries_cost_nothing_of_the_quota(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=1)
    assert check(office.gateway()) == ()
    assert measures(office.ask(ONE)) == [[RESTRICTED]]


def test_agencies_that_answer_their_canary_wrongly_are_named(office: Office) -> None:
    spoil_canaries(office, ["court", "market"])
    assert check(office.gateway()) == ("court", "market")


def test_who_is_away_is_named_and_canaries_are_asked_seldom_until_it_is_back(office: Office) -> None:
    gateway, honest = office.gateway(), office.handler("court")
    office.federation.network.detach("court")
    for _ in range(3600):
        assert check(gateway) == ("court",)
        office.clock.now += 1
    assert 9 <= office.asked() <= 9 + 3600 / LAST_PAUSE
    office.disturb("court", honest)
    asyncio.run(gateway.ask("procurement", [ONE], PURPOSE, "a question that is decided"))
    assert check(gateway) == ()


def test_a_question_without_decision_puts_the_canaries_in_doubt(office: Office) -> None:
    gateway = office.gateway()
    assert check(gateway) == ()
    office.federation.network.detach("court")
    office.ask(ONE, gateway=gateway)
    assert check(gateway) == ("court",)


def test_a_coordinator_that_is_away_costs_no_canaries(office: Office) -> None:
    gateway, honest = office.gateway(), office.handler(COORDINATOR)
    office.federation.network.detach(COORDINATOR)
    asked = len(office.federation.network.records)
    assert [check(gateway) for _ in range(50)] == [(COORDINATOR,)] * 50
    assert len(office.federation.network.records) == asked
    office.disturb(COORDINATOR, honest)
    assert check(gateway) == ()


def test_canaries_that_hang_are_an_end_too(office: Office) -> None:
    office.disturb("tax", forever)
    assert check(office.gateway(patience=0.3)) == (COORDINATOR,)
