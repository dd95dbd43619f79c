"""A node's portal over HTTP: who may do what, in which order it refuses, and that nothing which was sent comes back."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.audit.traces import table_rows
from api.node_clerk import SUBJECT_DAYS
from api.node_forms import MAX_BODY
from federation.audit.leakage import compare, declared, observed_row
from federation.problem import MEDIA_TYPE, PREFIX
from nodes.roles import Role
from protocol.identifiers import canonical
from protocol.rounds.access import MAX_CONTENT
from tests.portals import DAY, ENTRY, FIRM, NAME, NOBODY, OTHER_NAME, POINTS, STRANGER, TODAY, Town
from tests.unit.test_docs import CONTRACT, rows, section

SECRET = "9111SECRET000010"  # noqa: S105  # stands for an identifier: must never come back
WHY = {"reason": "It was another firm.", "document": "letter of 18 November"}
OWN = {
    ("GET", "/subject/listings"),
    ("GET", "/subject/file"),
    ("POST", "/subject/door"),
    ("POST", "/subject/listings/{}/objection"),
    ("POST", "/subject/listings/{}/correction"),
    ("POST", "/subject/listings/{}/repair"),
    ("POST", "/subject/listings/{}/leaving"),
}
ROLES: dict[tuple[str, str], set[Role]] = {
    ("GET", "/clerk/due"): {Role.CLERK, Role.REVIEWER},
    ("POST", "/clerk/find"): {Role.CLERK, Role.REVIEWER},
    ("POST", "/clerk/listings"): {Role.CLERK},
    ("GET", "/clerk/listings/{}"): {Role.CLERK, Role.REVIEWER, Role.AUDITOR},
    ("GET", "/clerk/trail"): {Role.REVIEWER, Role.AUDITOR},
    ("POST", "/clerk/subjects"): {Role.CLERK},
    ("POST", "/clerk/listings/{}/correct"): {Role.REVIEWER},
    **{
        ("POST", f"/clerk/listings/{{}}/{act}"): {Role.CLERK}
        for act in ("serve", "object", "request-correction", "request-repair")
    },
    ("POST", "/clerk/listings/{}/suspend"): {Role.CLERK, Role.REVIEWER},
    **{
        ("POST", f"/clerk/listings/{{}}/{act}"): {Role.REVIEWER}
        for act in ("reject", "revoke", "repair", "refuse-repair", "resume", "erase")
    },
    **{route: {Role.SUBJECT} for route in OWN},
}


def assert_problem(response: httpx.Response, status: int, kind: str = "malformed", **members: str) -> None:
    problem = response.json()
    assert (response.status_code, problem["status"], problem["type"]) == (status, status, PREFIX + kind)
    assert response.headers["content-type"] == MEDIA_TYPE
    assert {"title", "detail"} <= problem.keys()
    assert members == {name: problem.get(name) for name in members}
    assert SECRET not in f"{response.headers} {response.text}"


def entered(town: Town, token: str, **changes: Any) -> dict[str, Any]:
    response = town.post("tax", "/clerk/listings", token, ENTRY | changes)
    assert response.status_code == 200, response.text
    return dict(response.json())


# Who may


@pytest.mark.parametrize(("method", "path"), sorted(ROLES))
def test_every_route_has_its_roles_and_refuses_the_others_before_it_reads(
    town: Town, tokens: dict[Role, str], method: str, path: str
) -> None:
    where = path.format("0" * 32)
    for role, token in tokens.items():
        response = town.send("tax", method, where, token, content=b"" if method == "POST" else None)
        if role in ROLES[method, path]:
            assert response.status_code in {200, 400, 404, 422}
        else:
            assert_problem(response, 403, "not-granted")
    for wrong in ("", SECRET):
        response = town.send("tax", method, where, wrong)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


def test_there_are_no_other_routes_and_an_agencys_token_is_no_others(town: Town, tokens: dict[Role, str]) -> None:
    paths = town.app("tax").openapi()["paths"]
    served = {
        (method.upper(), path.replace("{reference}", "{}")) for path, methods in paths.items() for method in methods
    }
    assert served == ROLES.keys() | {("GET", "/subject")}
    for act in ("enter", "renew", "leave", "access", "refuse"):
        assert_problem(town.post("tax", f"/clerk/listings/{'0' * 32}/{act}", tokens[Role.REVIEWER], WHY), 404)
    assert_problem(town.get("labour", "/clerk/due", tokens[Role.CLERK]), 401, "unauthenticated")


def test_a_token_that_expired_or_was_revoked_is_refused(town: Town) -> None:
    token = town.token("tax", Role.SUBJECT, FIRM, name="gone", days=0)
    assert_problem(town.get("tax", "/subject/listings", token), 401, "unauthenticated")
    token = town.token("tax", Role.CLERK, name="dismissed")
    assert town.get("tax", "/clerk/due", token).status_code == 200
    town.desk("tax").credentials.revoke("dismissed")
    assert_problem(town.get("tax", "/clerk/due", token), 401, "unauthenticated")


# A subject


def test_whoever_comes_is_told_what_this_is(town: Town) -> None:
    response = town.send("tax", "GET", "/subject")
    assert [agency["id"] for agency in response.json()["agencies"]] == list(town.federation.terms.agencies)
    page = town.send("tax", "GET", "/subject", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "Joint effect on public procurement" in page.text


def test_a_subject_sees_its_own_listings_with_reasons_term_and_clock(town: Town, tokens: dict[Role, str]) -> None:
    response = town.get("tax", "/subject/listings", tokens[Role.SUBJECT])
    [listing] = response.json()["listings"]
    assert listing["subject"]["name"] == NAME
    assert listing["ground"]["text"] == "Excluded from public contracts by decision."
    assert listing["term"] == {"from": "2026-01-05", "last_day": "2029-01-05"}
    assert listing["repair"]["earliest"] == "2027-01-05"
    assert OTHER_NAME not in response.text
    assert response.headers["cache-control"] == "no-store"


def test_the_file_is_a_download_and_says_who_asked_for_it(town: Town, tokens: dict[Role, str]) -> None:
    response = town.get("tax", "/subject/file", tokens[Role.SUBJECT])
    assert response.headers["content-disposition"] == 'attachment; filename="subject-file.json"'
    [listing] = response.json()["listings"]
    assert listing["asked_for"][-1]["through"] == "tax"
    assert [measure["measure"] for measure in listing["seen_by"]] == ["exclude", "scrutinise"]
    assert listing["history"][0]["act"] == "enter"


def test_another_subjects_listing_is_as_none(town: Town, tokens: dict[Role, str]) -> None:
    theirs, none = town.reference("tax", STRANGER), "0" * 32
    for way in ("objection", "correction", "repair", "leaving"):
        answers = [
            town.post("tax", f"/subject/listings/{reference}/{way}", tokens[Role.SUBJECT], {"reason": "why"})
            for reference in (theirs, none, SECRET)
        ]
        for response in answers:
            assert_problem(response, 404)
        assert len({response.text for response in answers}) == 1
    assert town.federation.registers["tax"].get(theirs).life.dispute is None


def test_an_objection_has_its_deadline_and_its_written_outcome_stands_in_the_file(town: Town) -> None:
    clerk, reviewer = town.token("tax", Role.CLERK, name="cleo"), town.token("tax", Role.REVIEWER, name="rhea")
    reference = entered(town, clerk, identifier="OBJECTS-1")["reference"]
    subject = town.token("tax", Role.SUBJECT, canonical("cn.reg_no", "OBJECTS-1"), name="subject-1")
    filed = town.post("tax", f"/subject/listings/{reference}/objection", subject, WHY).json()
    assert filed["state"] == "disputed"
    assert filed["dispute"] == {"asked": "object", "since": TODAY.isoformat(), "due": "2026-11-27"}
    assert_problem(
        town.post("tax", f"/subject/listings/{reference}/correction", subject, WHY),
        409,
        act="request-correction",
        reason="an objection or request for correction is open already",
    )
    due = {it["reference"]: it for it in town.get("tax", "/clerk/due", clerk).json()["due"]}
    assert (due[reference]["what"], due[reference]["by"]) == ("answer: object", "2026-11-27")

    path, outcome = f"/clerk/listings/{reference}/reject", {"reason": "It was you.", "document": "O 1/2026"}
    assert_problem(town.post("tax", path, reviewer, {"reason": "It was you."}), 409, reason="document is missing")
    assert town.post("tax", path, reviewer, outcome).json()["state"] == "active"
    [listing] = town.get("tax", "/subject/file", subject).json()["listings"]
    assert [step["act"] for step in listing["history"]] == ["enter", "object", "reject"]
    last = listing["history"][-1]
    assert (last["actor"], last["reason"], last["document"]) == ("rhea", "It was you.", "O 1/2026")


def test_a_subject_leaves_a_scheme_it_opted_into_and_nothing_else(town: Town, tokens: dict[Role, str]) -> None:
    published = f"/subject/listings/{town.reference('tax', FIRM)}/leaving"
    assert_problem(town.post("tax", published, tokens[Role.SUBJECT], {"reason": "no more"}), 409, act="leave")
    member = town.token("market", Role.SUBJECT, FIRM)
    path = f"/subject/listings/{town.reference('market', FIRM)}/leaving"
    assert town.post("market", path, member, {"reason": "no more"}).json()["state"] == "erased"
    assert town.get("market", "/subject/listings", member).json() == {"listings": []}
    assert not town.federation.registers["market"].find([FIRM])


# Staff


def test_what_a_clerk_enters_waits_for_service_and_then_for_objections(town: Town, tokens: dict[Role, str]) -> None:
    clerk = tokens[Role.CLERK]
    draft = entered(town, clerk, identifier="DRAFT-1", served_on=None, decided_on=TODAY.isoformat())
    assert (draft["state"], draft["subject"]["name"]) == ("draft", NAME)
    due = {it["reference"]: it["what"] for it in town.get("tax", "/clerk/due", clerk).json()["due"]}
    assert due[draft["reference"]] == "serve the notice"
    path, service = f"/clerk/listings/{draft['reference']}/serve", {"document": "receipt 7"}
    assert_problem(
        town.post("tax", path, clerk, service), 409, act="serve", reason="on is missing, or before the decision"
    )
    served = town.post("tax", path, clerk, service | {"on": TODAY.isoformat()}).json()
    assert (served["state"], served["objection_window_ends"]) == ("notified", "2026-12-02")


def test_who_entered_a_listing_does_not_decide_about_it(town: Town) -> None:
    clerk, reviewer = town.token("tax", Role.CLERK, name="both"), town.token("tax", Role.REVIEWER, name="both")
    reference = entered(town, clerk, identifier="FOUR-EYES-1")["reference"]
    path = f"/clerk/listings/{reference}/revoke"
    assert_problem(town.post("tax", path, reviewer, WHY), 409, act="revoke")
    other = town.token("tax", Role.REVIEWER, name="other")
    assert town.post("tax", path, other, WHY).json()["state"] == "revoked"
    erased = town.post("tax", f"/clerk/listings/{reference}/erase", other, {"reason": "retention is over"})
    assert erased.json() == {"reference": reference, "state": "erased"}
    assert_problem(town.get("tax", f"/clerk/listings/{reference}", other), 404)


def test_a_listing_is_corrected_by_another_in_one_step(town: Town, tokens: dict[Role, str]) -> None:
    old = entered(town, tokens[Role.CLERK], identifier="WRONG-1")["reference"]
    path, reviewer = f"/clerk/listings/{old}/correct", town.token("tax", Role.REVIEWER, name="corrector")
    right = ENTRY | {"identifier": "WRONG-1", "name": "Right Quarry Ltd"}
    assert_problem(town.post("tax", path, reviewer, WHY | {"listing": right | {"severity": 4}}), 422, field="severity")
    assert_problem(
        town.post("tax", path, reviewer, WHY | {"listing": right | {"register": POINTS}}), 422, field="register"
    )
    corrected = town.post("tax", path, reviewer, WHY | {"listing": right}).json()
    assert corrected["subject"]["name"] == "Right Quarry Ltd"
    former = town.get("tax", f"/clerk/listings/{old}", reviewer).json()
    assert (former["state"], former["replaced_by"]) == ("corrected", corrected["reference"])


def test_a_subject_is_found_and_gets_a_token_that_is_nowhere_at_rest(town: Town, tokens: dict[Role, str]) -> None:
    firm = {"scheme": FIRM.scheme, "value": f" {FIRM.value.lower()} "}
    found = town.post("tax", "/clerk/find", tokens[Role.CLERK], firm).json()["listings"]
    assert [it["reference"] for it in found] == [town.reference("tax", FIRM)]
    nobody = {"scheme": NOBODY.scheme, "value": NOBODY.value}
    assert town.post("tax", "/clerk/find", tokens[Role.CLERK], nobody).json() == {"listings": []}
    issued = town.post("tax", "/clerk/subjects", tokens[Role.CLERK], {"identifiers": [firm, nobody]}).json()
    assert issued["expires"] == "2026-12-18T11:06:40Z"
    assert len(town.get("tax", "/subject/listings", issued["token"]).json()["listings"]) == 1
    assert issued["name"] in [it.name for it in town.desk("tax").credentials.all()]
    for file in town.office.folder.rglob("*.sqlite*"):
        assert issued["token"].encode() not in file.read_bytes()


def test_an_auditor_sees_past_states_and_the_trail_but_not_whom_a_listing_is_about(
    town: Town, tokens: dict[Role, str]
) -> None:
    auditor, clerk = tokens[Role.AUDITOR], tokens[Role.CLERK]
    reference = entered(town, clerk, identifier="AUDITED-1")["reference"]
    path = f"/clerk/listings/{reference}"
    assert_problem(town.get("tax", path, auditor), 422)
    town.clock.now += 2 * DAY
    try:
        assert town.post("tax", f"{path}/suspend", clerk, WHY).json()["state"] == "suspended"
        past = town.get("tax", f"{path}?as_of={TODAY}", auditor)
        now = town.get("tax", path, clerk).json()
        assert_problem(town.get("tax", f"{path}?as_of=2027-01-01", auditor), 422)
        assert_problem(town.get("tax", f"{path}?as_of=2025-01-01", auditor), 404)
    finally:
        town.clock.now -= 2 * DAY
    assert (past.json()["state"], [step["act"] for step in past.json()["history"]]) == ("active", ["enter"])
    assert (now["state"], now["subject"]["name"]) == ("suspended", NAME)
    assert NAME not in past.text
    first = town.get("tax", "/clerk/trail", auditor).json()["entries"]
    after = town.get("tax", f"/clerk/trail?after={first[-2]['number']}", auditor).json()["entries"]
    assert after == first[-1:]
    assert (after[0]["reference"], after[0]["act"]) == (reference, "suspend")
    for query in ("after=-1", "after=x", "after=1&after=2", f"before={SECRET}"):
        assert_problem(town.get("tax", f"/clerk/trail?{query}", auditor), 422)


# Documents


def documented(contract: str) -> dict[tuple[str, str], set[str]]:
    """The contract's routes, each with who may."""
    found = {}
    for route, who, _ in rows(section(contract, "Node HTTP"), "route", "who", "what"):
        method, _, path = re.sub(r"\[.*\]", "", route.strip("`")).partition(" ")
        path = path.replace("REFERENCE", "{}")
        several = re.fullmatch(r"(.*)/\{([a-z|-]+)\}", path)
        paths = [f"{several[1]}/{way}" for way in several[2].split("|")] if several else [path]
        found.update({(method, it): set(re.findall("clerk|reviewer|auditor|subject|anybody", who)) for it in paths})
    return found


def test_the_contract_has_every_route_with_its_roles() -> None:
    built = {route: {str(role) for role in roles} for route, roles in ROLES.items()}
    assert documented(CONTRACT) == built | {("GET", "/subject"): {"anybody"}}
    assert documented(CONTRACT.replace("|refuse-repair", "")) != documented(CONTRACT)
    text = " ".join(section(CONTRACT, "Node HTTP").split())
    assert f"over {MAX_BODY >> 10} KiB" in text
    assert f"longer than {MAX_CONTENT:,} bytes" in text
    assert f"{SUBJECT_DAYS} days" in text


def test_what_lies_in_an_agencys_databases_is_declared(town: Town, tokens: dict[Role, str]) -> None:
    town.get("tax", "/subject/file", tokens[Role.SUBJECT])
    town.door("tax", tokens[Role.SUBJECT])
    entered(town, tokens[Role.CLERK], identifier="DECLARED-1", served_on=None)
    rows_of = [
        (path.parent.name, f"{path.stem}.{table}", row)
        for path in (town.office.folder / "agencies").rglob("*.sqlite")
        for table, row in table_rows(path)
    ]
    seen = [it for place in rows_of for it in observed_row(*place, town.federation.terms)]
    assert {it.field for it in seen} > {
        "listings.credential.identifiers",
        "listings.event.actor",
        "listings.listing.life",
        "state.charge.sender",
    }
    assert compare(declared(), seen, town.federation.terms)[0] == set()


def test_the_databases_hold_no_name_or_identifier_in_clear(town: Town, tokens: dict[Role, str], tmp_path: Path) -> None:
    town.post("tax", "/clerk/subjects", tokens[Role.CLERK], {"identifiers": [{"scheme": "cn.reg_no", "value": SECRET}]})
    (tmp_path / "twin.sqlite").write_bytes(NAME.encode())
    held = [file.read_bytes() for file in town.office.folder.rglob("*.sqlite*")]
    for needle in (NAME, FIRM.value, SECRET, WHY["reason"]):
        assert not any(needle.encode() in data for data in held)
    assert NAME.encode() in (tmp_path / "twin.sqlite").read_bytes()
