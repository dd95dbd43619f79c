"""What an office may register and change, and what is refused; what ends erases itself, and at rest nothing is read."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api import portfolios
from api.audit.traces import table_rows
from api.portfolio_forms import FEED_DAYS
from federation.audit.leakage import compare, declared, observed_answer, observed_metrics, observed_row
from federation.audit.search import Searcher, Secret
from nodes.life import Act
from nodes.storage.portfolio_rows import CHANGE, PORTFOLIO, SUBJECT
from tests.gateways import BOTH, CASE, ONE, Office, firm, send
from tests.integration.test_gateway_http import SECRET, assert_problem
from tests.parties import NOW, REQUESTER
from tests.watching import DAY, HOUR, PORTFOLIOS, REFERENCES, TODAY, Watching, registration, watch

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
        for table in (PORTFOLIO, SUBJECT, CHANGE):
            kept += connection.execute(select(table.c.payload)).scalars()
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
