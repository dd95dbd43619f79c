"""Portfolios at a gateway with real agencies behind it: what begins, ends, is disputed or lapses is told, once."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from federation.changes import timestamp
from federation.gateway import ARRAY
from federation.requester import Known
from nodes.life import Act
from nodes.storage.portfolios import Open
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY
from protocol.errors import UsageError
from protocol.messages import Ask, Evaluate
from protocol.wire import read
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, Office, send, spoil_canaries
from tests.integration.test_gateway_http import assert_problem
from tests.parties import NOW, PURPOSE, REQUESTER
from tests.watching import DAY, HOUR, PORTFOLIOS, REFERENCES, TODAY, CrashError, Watching, registration, watch

EXCLUDE = {"id": "exclude", "effect": "restriction", "disputed": False}


def test_registering_asks_at_once_and_tells_what_applies(watching: Watching) -> None:
    assert sorted(watching.told()) == [
        ("supplier one", "exclude added"),
        ("supplier three", "exclude disputed"),
        ("supplier two", "exclude added", "scrutinise added"),
    ]
    shown = watching.show()
    assert {name: shown[name] for name in ("subjects", "due", "lapsed", "outdated", "changes", "waits_for")} == {
        "subjects": 4,
        "due": 0,
        "lapsed": 0,
        "outdated": 0,
        "changes": 3,
        "waits_for": None,
    }
    held = watching.call("GET", f"/{watching.id}/subjects").json()["subjects"]
    assert [(it["reference"], it["outcome"], len(it["measures"])) for it in held] == [
        *(("supplier one", "decided", 1), ("supplier two", "decided", 2)),
        *(("supplier three", "decided", 1), ("supplier four", "decided", 0)),
    ]


def test_nothing_new_is_no_event_and_asks_without_the_first_round(watching: Watching) -> None:
    records = watching.office.federation.network.records
    before, count = watching.show()["changes"], len(records)
    watching.later()
    sent = [it for it in records[count:] if (it.sender, it.receiver) == (REQUESTER, COORDINATOR)]
    assert {read(it.data, Evaluate).header.purpose for it in sent if it.kind == Evaluate.TYPE} <= {CANARY}
    assert [it.kind for it in sent].count(Ask.TYPE) == 2  # the canaries, and the portfolio
    assert watching.show()["changes"] == before


def test_a_listing_that_enters_ends_is_disputed_or_settled_is_told_at_the_next_run(watching: Watching) -> None:
    last = watching.show()["changes"]
    watching.enter("tax", NOBODY)
    watching.act("tax", ONE, Act.REVOKE)
    watching.act("labour", DISPUTED, Act.REJECT)
    watching.office.federation.dispute("tax", BOTH)
    watching.work()
    assert watching.told(last) == []
    watching.later()
    assert watching.told(last) == [
        ("supplier one", "exclude removed"),
        ("supplier two", "scrutinise disputed"),
        ("supplier three", "exclude settled"),
        ("supplier four", "exclude added"),
    ]


def test_an_expiry_is_told_though_nobody_does_anything(watching: Watching) -> None:
    watching.enter("market", NOBODY, expires_on=TODAY)
    watching.later()
    assert watching.told(3) == [("supplier four", "exclude added")]
    watching.later(DAY - 6 * HOUR)
    assert ("supplier four", "exclude removed") in watching.told(4)


def test_an_event_is_a_decision_in_full_and_holds_no_identifier(watching: Watching) -> None:
    [event] = [it for it in watching.events() if it["data"]["reference"] == "supplier one"]
    data = event["data"]
    assert (data["purpose"], data["case"], data["before"], data["after"]) == (PURPOSE, CASE, [], [EXCLUDE])
    assert data["requires_human_review"] is False
    assert data["notice"][0]["measure"] == "exclude"
    assert data["certificate"]["signatures"][0]["keyid"] == "coordinator"
    assert not any(it.value in json.dumps(watching.events()) for it in REFERENCES.values())


def test_a_decision_that_is_not_made_anew_lapses_and_comes_back(watching: Watching) -> None:
    watching.office.federation.network.detach("tax")
    watching.later()
    assert watching.told(3) == []
    assert watching.show()["waits_for"] == "indeterminate"
    watching.later(18 * HOUR)
    assert sorted(watching.told(3)) == [(reference, "lapsed") for reference in sorted(REFERENCES)]
    lapse = watching.events(3)[0]["data"]
    assert (lapse["before"], lapse["after"], lapse["valid_until"]) == ([EXCLUDE], [], timestamp(NOW + DAY))
    assert [it["outcome"] for it in watching.call("GET", f"/{watching.id}/subjects").json()["subjects"]] == [
        "lapsed"
    ] * 4
    assert watching.told(7) == []


def test_after_a_lapse_every_decision_is_told_even_that_nothing_applies(tmp_path: Path) -> None:
    watching = Watching(tmp_path, {"a": NOBODY, "b": ONE})
    handlers = watching.office.federation.network._handlers
    tax = handlers.pop("tax")
    watching.later(DAY)
    handlers["tax"] = tax
    watching.start()
    watching.later(400)
    assert watching.told(1) == [("a", "lapsed"), ("b", "lapsed"), ("a",), ("b", "exclude added")]


def test_an_agency_that_is_away_is_never_a_removal_and_costs_no_quota(watching: Watching) -> None:
    charged = watching.office.ledger().charges()
    watching.office.federation.network.detach("tax")
    for _ in range(3):
        watching.later(HOUR * 2 + 1)
    assert watching.told(3) == []
    question = {key: used for key, used in watching.office.ledger().charges().items() if key[0] == "question"}
    assert question == {key: used for key, used in charged.items() if key[0] == "question"}


def test_canaries_that_lie_keep_everything_from_being_asked(watching: Watching) -> None:
    spoil_canaries(watching.office, ["labour"])
    asked = watching.office.asked()
    watching.start()
    watching.later()
    assert watching.told(3) == []
    assert watching.show()["waits_for"] == "indeterminate"
    assert watching.office.asked() == asked + 1  # the canaries alone


def test_what_the_quota_refuses_waits_and_goes_first_the_next_day(tmp_path: Path) -> None:
    """Seven a day: four are registered, three of them asked again; the fourth is, once the day is over."""
    watching = Watching(tmp_path, quota=7)
    for subject in REFERENCES.values():
        for agency in ("tax", "labour"):
            watching.act(agency, subject, Act.REVOKE)
    watching.later()
    assert len(watching.told(3)) == 3
    shown = watching.show()
    assert (shown["due"], shown["waits_for"]) == (1, "quota")
    tomorrow = DAY - watching.office.clock.now % DAY
    watching.later(tomorrow)
    assert watching.show()["due"] == 0
    assert (
        watching.office.ledger().charges()["question", "procurement-office", f"day {watching.office.clock.now // DAY}"]
        >= 1
    )


def test_what_finds_no_room_waits_and_is_asked_about_once_there_is(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = watching.show()["changes"]
    watching.enter("tax", NOBODY)
    with monkeypatch.context() as full:
        full.setattr("federation.gateway.ROOM", ARRAY)
        watching.start()
        watching.later()
        shown = watching.show()
        assert (shown["due"], shown["waits_for"]) == (len(REFERENCES), "busy")
        assert_problem(watching.call("POST", json=registration()), 503, "busy")
    watching.start()
    watching.work()
    assert watching.show()["due"] == 0
    assert watching.told(last) == [("supplier four", "exclude added")]


def test_a_portfolio_that_finds_no_room_is_not_read(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.gateway_app.BODIES", 0)
    watching.start()
    for method, path in (("POST", ""), ("PUT", f"/{watching.id}"), ("PATCH", f"/{watching.id}")):
        assert_problem(watching.call(method, path, content=b"not even JSON"), 503, "busy")


def test_a_registration_over_the_quota_is_refused_whole(tmp_path: Path) -> None:
    office = Office.create(tmp_path, quota=3)
    app = office.app()
    assert_problem(send(app, "POST", PORTFOLIOS, json=registration()), 429, "quota")
    assert send(app, "GET", PORTFOLIOS).json() == {"portfolios": []}


def test_without_a_decision_for_each_nothing_is_registered(tmp_path: Path) -> None:
    office = Office.create(tmp_path)
    app = office.app()
    office.federation.network.detach("tax")
    response = send(app, "POST", PORTFOLIOS, json=registration())
    assert_problem(response, 503, "indeterminate")
    assert response.json()["missing"] == ["tax"]
    assert send(app, "GET", PORTFOLIOS).json() == {"portfolios": []}


# Crashes


@pytest.mark.parametrize("point", ["opened", "write", "tell", "close"])
def test_a_crash_anywhere_in_a_run_loses_no_change_and_invents_none(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    last = watching.show()["changes"]
    watching.enter("tax", NOBODY)
    watching.act("tax", ONE, Act.REVOKE)

    def crash(*_: object) -> None:
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(Open, {"opened": "subjects"}.get(point, point), crash)
        with pytest.raises(CrashError):
            watching.later()
    watching.start()
    assert watching.told(last) == []
    watching.work()
    assert watching.told(last) == [("supplier one", "exclude removed"), ("supplier four", "exclude added")]


def test_a_change_that_is_told_after_its_state_was_committed_is_lost_in_a_crash(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: a store that commits the state by itself, and then the event."""
    last = watching.show()["changes"]
    watching.act("tax", ONE, Act.REVOKE)
    write, tell = Open.write, Open.tell

    def crash(_self: Open, *_: object) -> None:
        raise CrashError

    def apart(self: Open, subject: Any) -> None:
        write(self, subject)
        self._connection.execute(text("COMMIT"))
        self._connection.execute(text("BEGIN IMMEDIATE"))

    with monkeypatch.context() as patched:
        patched.setattr(Open, "write", apart)
        patched.setattr(Open, "tell", crash)
        with pytest.raises(CrashError):
            watching.later()
    watching.start()
    watching.work()
    assert tell is Open.tell
    assert watching.told(last) == []


# Epochs


def test_a_new_epoch_is_told_and_its_subjects_lapse_until_they_are_handed_in_again(watching: Watching) -> None:
    store = watching.monitor._store
    with store.changing(watching.id) as opened:
        for subject in opened.subjects():
            opened.write(replace(subject, epoch=0))
        opened.rewrite(replace(opened.portfolio, epoch=0))
    asked = watching.office.asked()
    watching.later()
    assert watching.told(3) == [("", "outdated")]
    assert watching.events(3)[0]["data"] == {"purpose": PURPOSE, "case": CASE, "epoch": 1, "subjects": 4}
    assert watching.show()["outdated"] == 4
    assert {it.pseudonym for it in store.subjects(watching.id, 0, 9)} == {b""}
    assert watching.office.asked() == asked
    watching.act("tax", ONE, Act.REVOKE)
    watching.call("PATCH", f"/{watching.id}", json={"add": watch({"supplier one": ONE})})
    assert watching.told(4) == [("supplier one", "exclude removed")]
    watching.later(18 * HOUR)
    assert sorted(watching.told(5)) == [(it, "lapsed") for it in ("supplier four", "supplier three", "supplier two")]


def test_a_pseudonym_of_another_epoch_is_never_asked_about(watching: Watching) -> None:
    """Nobody would list it: the answer would be a removal that never was."""
    [subject] = watching.monitor._store.subjects(watching.id, 0, 1)
    with pytest.raises(UsageError):
        asyncio.run(watching.office.gateway().ask_again([Known(2, subject.scheme, subject.pseudonym)], PURPOSE))
