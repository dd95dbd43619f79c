"""What a node's portal refuses of what is sent to it: by its field, by its form, by its length, and never repeated."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.node_forms import MAX_BODY
from nodes.roles import Role
from protocol.identifiers import canonical
from tests.integration.test_node_http import ROLES, SECRET, WHY, assert_problem
from tests.portals import ENTRY, STRANGER, Town

MINOR = {"identifier_scheme": "cn.ric", "identifier": "110101201501011233", "subject_kind": "natural"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"register": SECRET}, "register"),
        ({"identifier": SECRET, "identifier_scheme": "cn.uscc"}, "identifier"),
        ({"identifier_scheme": SECRET}, "identifier"),
        ({"other_identifiers": f"lei:{SECRET}"}, "other_identifiers"),
        ({"other_identifiers": SECRET}, "other_identifiers"),
        ({"other_identifiers": ";".join(["cn.reg_no:1"] * 16)}, "other_identifiers"),
        (MINOR, "identifier"),
        ({"ground": SECRET}, "ground"),
        ({"decision_ref": ""}, "decision_ref"),
        ({"served_on": "2026-02-01"}, "served_on"),
        ({"served_on": "2026-12-01"}, "served_on"),
        ({"severity": 4}, "severity"),
        ({"expires_on": "2026-02-01"}, "expires_on"),
        ({"expires_on": "2036-02-02"}, "expires_on"),
        ({"points": 5}, "points"),
    ],
)
def test_what_a_register_does_not_allow_is_refused_by_its_field(
    town: Town, tokens: dict[Role, str], changes: dict[str, Any], field: str
) -> None:
    before = len(town.federation.registers["tax"].trail())
    response = town.post("tax", "/clerk/listings", tokens[Role.CLERK], ENTRY | changes)
    assert_problem(response, 422, field=field)
    assert response.json()["detail"].startswith(f"{field}: ")
    assert len(town.federation.registers["tax"].trail()) == before


def test_a_minor_is_refused_as_a_minor(town: Town, tokens: dict[Role, str]) -> None:
    response = town.post("tax", "/clerk/listings", tokens[Role.CLERK], ENTRY | MINOR)
    assert_problem(response, 422, field="identifier", reason="belongs to a minor; minors are never listed")


LISTING, FIND, SUBJECTS, DOOR = "/clerk/listings", "/clerk/find", "/clerk/subjects", "/subject/door"
A_SUBJECT = {"scheme": "cn.reg_no", "value": "1"}


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        (LISTING, {name: value for name, value in ENTRY.items() if name != "ground"}, "ground: is missing"),
        (LISTING, ENTRY | {SECRET: 1}, "body: has a field that is not known"),
        (LISTING, ENTRY | {"decided_on": SECRET}, "decided_on: is not a date of the form YYYY-MM-DD"),
        (LISTING, ENTRY | {"decided_on": "2026-02-31"}, "decided_on: is not a date of the form YYYY-MM-DD"),
        (LISTING, ENTRY | {"severity": SECRET}, "severity: is not of the documented type"),
        (LISTING, ENTRY | {"name": f"{SECRET}\0"}, "name: is empty, or holds a control character"),
        (LISTING, ENTRY | {"name": SECRET * 200}, "name: is too long"),
        (LISTING, [SECRET], "body: is not of the documented type"),
        (FIND, {"scheme": "cn.uscc", "value": SECRET}, "value: cn.uscc: wrong length"),
        (SUBJECTS, {"identifiers": []}, "identifiers: is empty"),
        (SUBJECTS, {"identifiers": [A_SUBJECT] * 17}, "identifiers: has too many items"),
        (SUBJECTS, {"identifiers": [{"scheme": "lei", "value": SECRET}]}, "identifiers: lei: wrong length"),
        (DOOR, {"key": SECRET}, "key: is not an X25519 public key in base64"),
        (DOOR, {"key": "A" * 43 + "="}, "key: is not an X25519 public key in base64"),  # of low order
        ("/subject/listings/00/objection", {"reason": ""}, "reason: is empty, or holds a control character"),
        ("/subject/listings/00/objection", {"reason": SECRET * 200}, "reason: is too long"),
    ],
)
def test_what_is_not_of_its_form_is_refused_by_its_field(
    town: Town, tokens: dict[Role, str], path: str, body: object, detail: str
) -> None:
    token = tokens[Role.SUBJECT if path.startswith("/subject") else Role.CLERK]
    response = town.post("tax", path, token, body)
    assert_problem(response, 422)
    assert response.json()["detail"] == detail


@pytest.mark.parametrize(("path", "role"), [(LISTING, Role.CLERK), (FIND, Role.CLERK), (DOOR, Role.SUBJECT)])
def test_a_body_that_cannot_be_read_is_400_and_one_that_is_too_long_413(
    town: Town, tokens: dict[Role, str], path: str, role: Role
) -> None:
    for body in (b"", b"{", b'{"a": 1, "a": 1}', SECRET.encode("utf-16")):
        assert_problem(town.send("tax", "POST", path, tokens[role], content=body), 400)
    assert_problem(town.send("tax", "POST", path, tokens[role], content=b" " * (MAX_BODY + 1)), 413)


def test_what_cannot_be_sealed_is_not_stored(town: Town, tokens: dict[Role, str]) -> None:
    network = town.federation.network
    honest = network._handlers["coordinator"]
    network.detach("coordinator")
    try:
        response = town.post("tax", "/clerk/listings", tokens[Role.CLERK], ENTRY | {"identifier": "UNSEALED-1"})
        door = town.door("tax", tokens[Role.SUBJECT])[1]
    finally:
        network.attach("coordinator", honest)
    for refused in (response, door):
        assert_problem(refused, 503, "indeterminate")
        assert refused.json()["missing"] == ["coordinator"]
    assert not town.federation.registers["tax"].find([canonical("cn.reg_no", "UNSEALED-1")])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["2026-02-02", "cn.uscc", "lei"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ENTRY, "on", "reason"]), inner),
    max_leaves=6,
)
names = [*ENTRY, "reason", "document", "on", "listing", "scheme", "value", "identifiers", "key", "points"]
DOCUMENTED = {200, 404, 409, 422}


@pytest.mark.parametrize("path", sorted(path for method, path in ROLES if method == "POST"))
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_sent_only_what_is_documented_comes_back(
    town: Town, tokens: dict[Role, str], path: str, data: st.DataObject
) -> None:
    some = ENTRY | WHY | A_SUBJECT | {"listing": ENTRY, "identifiers": [A_SUBJECT]}
    body = {name: some.get(name, SECRET) for name in data.draw(st.sets(st.sampled_from(names)))}
    body |= data.draw(st.dictionaries(st.sampled_from(names), values, max_size=3))
    [role, *_] = ROLES["POST", path]
    response = town.send(
        "tax", "POST", path.format(town.reference("tax", STRANGER)), tokens[role], content=json.dumps(body)
    )
    assert response.status_code in DOCUMENTED
    if response.status_code != 200:
        assert_problem(response, response.status_code)
