"""Portfolios at a gateway with real agencies behind it: what begins, ends, is disputed or lapses is told, once."""

import asyncio
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from api import portfolios
from api.audit.traces import table_rows
from api.monitoring import Monitor
from api.portfolio_forms import FEED_DAYS
from federation.audit.leakage import compare, declared, observed_answer, observed_metrics, observed_row
from federation.audit.search import Searcher, Secret
from federation.changes import timestamp
from federation.gateway import ARRAY
from federation.requester import Known
from nodes.life import Act, Author
from nodes.storage.portfolios import Open
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import CANARY
from protocol.errors import UsageError
from protocol.identifiers import Identifier
from protocol.messages import Ask, Evaluate
from protocol.wire import read
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, Office, firm, listing, spoil_canaries
from tests.integration.test_gateway_http import SECRET, assert_problem, send
from tests.parties import NOW, PURPOSE, REQUESTER

PORTFOLIOS = "/v1/portfolios"
HOUR, DAY = 3_600, 86_400
TODAY = datetime.fromtimestamp(NOW, UTC).date()
REFERENCES = {"supplier one": ONE, "supplier two": BOTH, "supplier three": DISPUTED, "supplier four": NOBODY}
EXCLUDE = {"id": "exclude", "effect": "restriction", "disputed": False}
HEAD = Author("head", "not so", "D 1")


def watch(subjects: dict[str, Identifier]) -> list[dict[str, str]]:
    return [{"scheme": it.scheme, "value": it.value, "reference": reference} for reference, it in subjects.items()]


def registration(subjects: dict[str, Identifier] = REFERENCES, **changes: Any) -> dict[str, Any]:
    return {
        "agreement": "procurement",
        "purpose": PURPOSE,
        "case": CASE,
        "every": "6h",
        "until": str(TODAY + timedelta(days=90)),
        "subjects": watch(subjects),
    } | changes


class Watching:
    """An office's service with its monitoring, whose steps a test takes, and one portfolio."""

    def __init__(self, folder: Path, subjects: dict[str, Identifier] = REFERENCES, **document: Any) -> None:
        self.office = Office.create(folder, **document)
        self.start()
        shown = self.call("POST", json=registration(subjects))
        assert shown.status_code == 200, shown.text
        self.id: str = shown.json()["id"]

    def start(self) -> None:
        """The service, as a new process would begin: all that it knows stands in its databases."""
        self.monitor: Monitor = self.office.monitor()
        self.app: FastAPI = self.office.app(monitor=self.monitor)

    def call(self, method: str, path: str = "", **request: Any) -> httpx.Response:
        return send(self.app, method, f"{PORTFOLIOS}{path}", **request)

    def show(self) -> dict[str, Any]:
        return dict(self.call("GET", f"/{self.id}").json())

    def later(self, seconds: int = 6 * HOUR) -> None:
        """So much later the background has done its work."""
        self.office.clock.now += seconds
        self.work()

    def work(self) -> None:
        async def work() -> None:
            await self.monitor.keep()
            await self.monitor.screen()

        asyncio.run(work())

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"/{self.id}/changes", params={"after": after}).json()
            assert page["complete"]
            found += page["changes"]
            if not page["changes"]:
                return found
            after = page["next"]

    def told(self, after: int = 0) -> list[tuple[str, ...]]:
        """Each change in short: the reference and what became of which measure, or that it lapsed."""
        return [
            (it["data"]["reference"], *(f"{each['measure']} {each['change']}" for each in it["data"]["changes"]))
            if it["type"].endswith("changed")
            else (it["data"].get("reference", ""), it["type"].rpartition(".")[2])
            for it in self.events(after)
        ]

    def enter(self, agency: str, subject: Identifier, **changes: Any) -> None:
        asyncio.run(self.office.federation.enter(agency, [listing(agency, subject, **changes)]))

    def act(self, agency: str, subject: Identifier, act: Act) -> None:
        register = self.office.federation.registers[agency]
        for record in register.find([subject]):
            register.act(record.reference, act, HEAD)


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return Watching(tmp_path)


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


class CrashError(RuntimeError):
    """Stands for a process that ends here."""


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


# Replacing, removing, ending, erasing


def test_a_subject_handed_in_again_is_compared_with_what_was_told(watching: Watching) -> None:
    watching.act("tax", ONE, Act.REVOKE)
    changed = watching.call("PATCH", f"/{watching.id}", json={"add": watch({"supplier one": ONE, "new": firm(9)})})
    assert (changed.status_code, changed.json()["subjects"]) == (200, 5)
    assert watching.told(3) == [("supplier one", "exclude removed")]


def test_what_is_removed_is_asked_about_no_more(watching: Watching) -> None:
    assert (
        watching.call("PATCH", f"/{watching.id}", json={"remove": ["supplier one", "nobody"]}).json()["subjects"] == 3
    )
    watching.act("tax", ONE, Act.REVOKE)
    watching.later()
    assert watching.told(3) == []


def test_a_portfolio_is_replaced_with_its_feed_going_on(watching: Watching) -> None:
    other = registration({"supplier two": BOTH, "new": ONE}, every="1h", case="another case")
    shown = watching.call("PUT", f"/{watching.id}", json=other).json()
    assert (shown["subjects"], shown["every"], shown["case"]) == (2, "1h", "another case")
    assert watching.told(3) == [("new", "exclude added")]
    watching.act("tax", BOTH, Act.REVOKE)
    watching.later(HOUR)
    assert watching.told(4) == [("supplier two", "scrutinise removed")]


def test_a_portfolio_that_ends_is_asked_about_no_more_and_erases_itself(tmp_path: Path) -> None:
    watching = Watching(tmp_path, {"a": ONE})
    watching.call("PUT", f"/{watching.id}", json=registration({"a": ONE}, until=str(TODAY)))
    watching.office.clock.now = NOW - NOW % DAY + DAY - 1
    watching.work()
    asked = watching.office.asked()
    watching.later(6 * HOUR)
    assert watching.office.asked() == asked
    assert watching.told(1) == []
    watching.later(DAY)
    assert (watching.told(1), watching.show()["subjects"]) == ([("a", "lapsed")], 0)
    assert_problem(watching.call("PATCH", f"/{watching.id}", json={"remove": ["a"]}), 422, "malformed")
    watching.later((FEED_DAYS + 1) * DAY)
    assert_problem(watching.call("GET", f"/{watching.id}"), 404, "malformed")


def test_changes_are_kept_for_thirty_days_and_a_gap_is_said(watching: Watching) -> None:
    watching.act("tax", ONE, Act.REVOKE)
    watching.later()
    page = watching.call("GET", f"/{watching.id}/changes", params={"after": 1}).json()
    assert [it["sequence"] for it in page["changes"]] == ["0000000002", "0000000003", "0000000004"]
    watching.office.clock.now += FEED_DAYS * DAY - HOUR
    watching.monitor._store.forget(watching.office.clock.now - FEED_DAYS * DAY, watching.office.clock.now)
    page = watching.call("GET", f"/{watching.id}/changes", params={"after": 1}).json()
    assert [it["sequence"] for it in page["changes"]] == ["0000000004"]
    assert page["complete"] is False
    assert watching.call("GET", f"/{watching.id}/changes", params={"after": 3}).json()["complete"]


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("portfolios.sqlite*")))


def test_deletion_leaves_nothing_of_it(watching: Watching) -> None:
    """Not even the encrypted columns, in the database or its log."""
    store = watching.monitor._store
    kept = [store.get(watching.id).id.encode()]
    with store._engine.connect() as connection:
        for table in ("portfolio", "subject", "change"):
            kept += connection.execute(text(f"SELECT payload FROM {table}")).scalars()  # noqa: S608  # three names
    assert all(it in files_of(watching.office.folder) for it in kept)
    assert watching.call("DELETE", f"/{watching.id}").json() == {"outcome": "erased"}
    assert not any(it in files_of(watching.office.folder) for it in kept)
    for method in ("GET", "DELETE"):
        assert_problem(watching.call(method, f"/{watching.id}"), 404, "malformed")
    watching.later()


def test_no_identifier_case_or_reference_is_at_rest_in_any_encoding(watching: Watching) -> None:
    watching.act("tax", ONE, Act.REVOKE)
    watching.later()
    secrets = [Secret(it.value, it.scheme) for it in REFERENCES.values()] + [Secret(CASE), *map(Secret, REFERENCES)]
    searcher = Searcher(secrets, b"")
    assert searcher.search(json.dumps(registration()).encode())  # the twin
    data = files_of(watching.office.folder)
    assert list(searcher.search(data)) == []
    pseudonyms = [it.pseudonym for it in watching.monitor._store.subjects(watching.id, 0, 9)]
    assert len(set(pseudonyms)) == 4
    assert not any(it in data or it.hex().encode() in data for it in pseudonyms)


def test_all_that_is_kept_and_answered_stands_in_the_leakage_table(watching: Watching) -> None:
    watching.act("tax", ONE, Act.REVOKE)
    watching.later()
    terms = watching.office.federation.terms
    seen = [
        observation
        for table, row in table_rows(watching.office.folder / "portfolios.sqlite")
        for observation in observed_row(REQUESTER, f"portfolios.{table}", row, terms)
    ]
    for path in ("", "/subjects", "/changes"):
        answer = watching.call("GET", f"/{watching.id}{path}")
        route = f"portfolios/{{portfolio}}{path}" if path else "portfolios"
        seen += [it for it in observed_answer(route, b"", answer.content) if not it.field.startswith("header")]
    for line in send(watching.app, "GET", "/metrics").text.splitlines():
        seen += observed_metrics(REQUESTER, line, terms)
    wrong, _ = compare(declared(), seen, terms)
    assert wrong == set()
    assert len({it.field for it in seen}) > 50


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


# What is refused

BAD = [
    ({"every": "22h"}, "every: longer than seven eighths of a decision's validity"),
    ({"every": "0h"}, "every: is not of the documented type"),
    ({"until": "2026-11-31"}, "until: is not a date of the form YYYY-MM-DD"),
    ({"until": str(TODAY - timedelta(days=1))}, "until: past, over 366 days ahead, or after the agreement's last day"),
    ({"until": "2027-11-01"}, "until: past, over 366 days ahead, or after the agreement's last day"),
    ({"webhook": "http://example.org/hook"}, "webhook: needs https; http is for the gateway's own machine"),
    ({"webhook": "https://example.org/hook"}, "webhook: the gateway's operator does not allow this host"),
    ({"subjects": []}, "subjects: is empty"),
    ({"subjects": watch({"a": ONE}) * 2}, "subjects[1].reference: is there twice"),
    ({"subjects": watch({f"no. {ONE.value.lower()}": ONE})}, "subjects[0].reference: holds the identifier"),
    ({"subjects": [{"scheme": "cn.uscc", "value": "9111000010000106X2", "reference": "a"}]},
     "subjects[0]: cn.uscc: wrong check digit"),
    ({"subjects": [{"scheme": "cn.reg_no", "value": SECRET}]}, "subjects[0].reference: is missing"),
    ({"id": SECRET}, "body: has a field that is not known"),
]  # fmt: skip


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.create(tmp_path_factory.mktemp("office"))


@pytest.mark.parametrize(("change", "detail"), BAD, ids=lambda it: str(it)[:40])
def test_what_is_not_of_its_form_is_refused_by_its_field(office: Office, change: dict[str, Any], detail: str) -> None:
    response = send(office.app(), "POST", PORTFOLIOS, json=registration() | change)
    assert_problem(response, 422, "malformed")
    assert response.json()["detail"] == detail
    assert SECRET not in response.text


def test_refusals_come_in_order(office: Office) -> None:
    app = office.app()
    assert_problem(
        send(app, "POST", PORTFOLIOS, json=registration(agreement="another", purpose="x")), 404, "unknown-agreement"
    )
    assert_problem(send(app, "POST", PORTFOLIOS, json=registration(purpose="curiosity")), 403, "not-granted")
    assert_problem(send(app, "GET", PORTFOLIOS, headers={"authorization": "Bearer x"}), 401, "unauthenticated")
    assert_problem(send(app, "GET", f"{PORTFOLIOS}/{'0' * 32}"), 404, "malformed")
    assert_problem(send(app, "GET", f"{PORTFOLIOS}/{SECRET}"), 422, "malformed")


def test_a_portfolio_is_bounded(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolios, "MAX_WATCHED", 4)
    response = watching.call("PATCH", f"/{watching.id}", json={"add": watch({"one more": firm(9)})})
    assert response.json()["detail"] == "add: a portfolio has at most 4 subjects"
    there = {"add": watch({"one more": firm(9)}), "remove": ["supplier one"]}
    assert watching.call("PATCH", f"/{watching.id}", json=there).status_code == 200
    monkeypatch.setattr(portfolios, "MAX_PORTFOLIOS", 1)
    assert (
        watching.call("POST", json=registration()).json()["detail"]
        == "subjects: there are as many portfolios as there may be"
    )


def test_logs_and_metrics_know_no_portfolio_reference_or_subject(watching: Watching, log: io.StringIO) -> None:
    watching.later()
    watching.show()
    watching.events()
    written = log.getvalue()
    metrics = send(watching.app, "GET", "/metrics").text
    assert 'concordat_monitored_total{outcome="decided"} 4.0' in metrics
    assert '"route": "/v1/portfolios/{portfolio}/changes"' in written
    for told in (written, metrics):
        assert not any(it in told for it in (watching.id, CASE, "supplier", ONE.value))
