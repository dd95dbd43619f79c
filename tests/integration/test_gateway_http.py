"""The gateway over HTTP: what it answers, in which order it refuses, and that nothing which was sent comes back."""

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.gateway_app import build
from api.gateway_forms import MAX_BODY, Agreements
from federation.gateway import Gateway
from federation.problem import MEDIA_TYPE, PREFIX
from tests.gateways import BOTH, CASE, DISPUTED, NOBODY, ONE, TOKEN, Office, send, spoil_canaries
from tests.parties import PURPOSE, party

SINGLE, MANY = "/v1/membership", "/v1/membership:batch"
SECRET = "9111SECRET000010"  # noqa: S105  # stands for an identifier: must never come back
SUBJECT = {"scheme": ONE.scheme, "value": ONE.value}
QUESTION = {"agreement": "procurement", "subject": SUBJECT, "purpose": PURPOSE, "case": CASE}
MALFORMED = {"scheme": "cn.uscc", "value": "9111000010000106X2"}
BATCH = {"agreement": "procurement", "purpose": PURPOSE, "case": CASE, "subjects": [SUBJECT]}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.create(tmp_path_factory.mktemp("office"), quota=5_000)


@pytest.fixture(scope="module")
def app(office: Office) -> FastAPI:
    return office.app()


def post(app: FastAPI, document: object, path: str = SINGLE, **request: Any) -> httpx.Response:
    return send(app, "POST", path, json=document, **request)


def assert_problem(response: httpx.Response, status: int, kind: str) -> None:
    problem = response.json()
    assert (response.status_code, problem["status"], problem["type"]) == (status, status, PREFIX + kind)
    assert response.headers["content-type"] == MEDIA_TYPE
    assert {"title", "detail"} <= problem.keys()


def test_a_question_is_answered_with_a_decision(app: FastAPI) -> None:
    response = post(app, QUESTION)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["measures"] == [{"id": "exclude", "effect": "restriction", "disputed": False}]


def test_the_same_question_is_asked_anew(app: FastAPI) -> None:
    assert len({post(app, QUESTION).json()["session"] for _ in range(3)}) == 3


def test_a_batch_is_answered_in_order_and_one_items_error_is_its_own(app: FastAPI) -> None:
    long, unknown = {"scheme": "cn.reg_no", "value": "1" * 500}, {"scheme": "no scheme", "value": "1"}
    people = [{"scheme": it.scheme, "value": it.value} for it in (BOTH, NOBODY, DISPUTED)]
    response = post(app, BATCH | {"subjects": [people[0], MALFORMED, people[1], long, unknown, people[2]]}, MANY)
    error = {"outcome": "error", "type": PREFIX + "malformed"}
    items = response.json()["items"]
    assert [items[1], items[3], items[4]] == [error] * 3
    assert [[it["id"] for it in items[number]["measures"]] for number in (0, 2, 5)] == [
        ["exclude", "scrutinise"],
        [],
        ["exclude"],
    ]


def test_a_thousand_subjects_are_a_batch_and_one_more_are_not(app: FastAPI) -> None:
    assert len(post(app, BATCH | {"subjects": [SUBJECT] * 1000}, MANY).json()["items"]) == 1000
    assert_problem(post(app, BATCH | {"subjects": [SUBJECT] * 1001}, MANY), 422, "malformed")


def nested(depth: int) -> str:
    return '{"agreement":' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize("path", [SINGLE, MANY])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        json.dumps(QUESTION).encode()[:-1],
        json.dumps(QUESTION).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(QUESTION).encode(),
        json.dumps(QUESTION).encode() + b"\xff",
        b'{"case": "\xed\xa0\x80"}',
        nested(200_000).encode(),
        f'{{"case": "{SECRET}", "case": "x"}}'.encode(),
        b'{"case": NaN}',
        b'{"case": ' + b"9" * 5_000 + b"}",
        b"case=tender",
        json.dumps(QUESTION).encode() + b"{}",
    ],
    ids=["empty", "cut", "utf-16", "bom", "not-utf-8", "surrogate", "deep", "twice", "nan", "huge", "form", "more"],
)
def test_a_body_that_is_not_json_is_400(app: FastAPI, path: str, body: bytes) -> None:
    response = send(app, "POST", path, content=body)
    assert_problem(response, 400, "malformed")
    assert SECRET not in response.text


WRONG_TEXTS = ["", " ", f"{SECRET}\n", f"\x00{SECRET}", f"{SECRET}\ud800", f"{SECRET}\x7f"]
BAD_TEXTS: list[Any] = [*WRONG_TEXTS, 7, None, [SECRET], True]
WRONG: list[dict[str, Any]] = [
    *({"case": text} for text in [*BAD_TEXTS, "x" * 201]),
    *({"purpose": text} for text in BAD_TEXTS),
    *({"agreement": text} for text in BAD_TEXTS),
    *({"subject": {"scheme": ONE.scheme, "value": text}} for text in BAD_TEXTS),
    *({"subject": {"scheme": text, "value": ONE.value}} for text in BAD_TEXTS),
    {"subject": SUBJECT | {SECRET: 1}},
    {"subject": SECRET},
    {"subject": {"scheme": ONE.scheme}},
    {"subjects": [SUBJECT]},
    {SECRET: SECRET},
]


@pytest.mark.parametrize("change", WRONG, ids=repr)
def test_a_question_not_of_its_form_is_422_and_not_repeated(
    app: FastAPI, change: dict[str, Any], log: io.StringIO
) -> None:
    response = send(app, "POST", SINGLE, content=json.dumps(QUESTION | change).encode())
    assert_problem(response, 422, "malformed")
    assert '"status": 422' in log.getvalue()
    assert SECRET not in response.text + str(response.headers) + log.getvalue()


NO_SUBJECTS: list[object] = [[], None, SECRET, [SECRET], [[SUBJECT]], {}, [SUBJECT | {SECRET: ""}]]
WRONG_BATCHES: list[dict[str, Any]] = [
    *({"subjects": value} for value in NO_SUBJECTS),
    *({"subjects": [SUBJECT, SUBJECT | {"value": text}]} for text in BAD_TEXTS),
    {SECRET: ""},
    {"subject": SUBJECT},
]


@pytest.mark.parametrize("change", WRONG_BATCHES, ids=repr)
def test_a_batch_not_of_its_form_is_422_and_not_repeated(app: FastAPI, change: dict[str, Any]) -> None:
    response = send(app, "POST", MANY, content=json.dumps(BATCH | change).encode())
    assert_problem(response, 422, "malformed")
    assert SECRET not in response.text


@pytest.mark.parametrize("document", [[], "text", 7, None, [QUESTION]])
def test_json_that_is_no_object_is_422(app: FastAPI, document: object) -> None:
    assert_problem(send(app, "POST", SINGLE, content=json.dumps(document).encode()), 422, "malformed")


def test_an_identifier_that_is_malformed_is_refused_with_the_reason_only(app: FastAPI) -> None:
    response = post(app, QUESTION | {"subject": MALFORMED})
    assert_problem(response, 422, "malformed")
    assert response.json()["detail"] == "cn.uscc: wrong check digit"


def test_a_body_over_a_mebibyte_is_413_whether_it_says_its_length_or_not(app: FastAPI) -> None:
    body = json.dumps(QUESTION).encode()
    body += b" " * (MAX_BODY - len(body))
    assert send(app, "POST", SINGLE, content=body).status_code == 200

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, MAX_BODY, 1 << 16):
            yield body[start : start + (1 << 16)]
        yield b" "

    assert_problem(send(app, "POST", SINGLE, content=body + b" "), 413, "malformed")
    assert_problem(send(app, "POST", SINGLE, content=chunks()), 413, "malformed")
    assert_problem(send(app, "POST", SINGLE, content=b"", headers={"content-length": "9" * 4000}), 413, "malformed")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer another"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": f"Bearer {sha256(TOKEN.encode()).hexdigest()}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": b"Bearer \xff\xfe"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", SINGLE), ("POST", MANY), ("POST", "/v1/standing"), ("GET", "/v1/agreements")),
        *(("POST", "/v1/portfolios"), ("GET", "/v1/portfolios")),
        *((method, f"/v1/portfolios/{'0' * 32}") for method in ("GET", "PUT", "PATCH", "DELETE")),
        *(("GET", f"/v1/portfolios/{'0' * 32}/{part}") for part in ("changes", "subjects")),
    ],
)
def test_without_this_gateways_token_nothing_is_served(
    app: FastAPI, header: dict[str, Any], method: str, path: str
) -> None:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            return await client.request(method, path, headers=header, content=b"{")

    response = asyncio.run(call())
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


def test_refusals_come_in_order_form_agreement_purpose_quota(tmp_path: Path) -> None:
    app = Office.create(tmp_path, quota=1).app()
    wrong = QUESTION | {"agreement": "another", "purpose": "curiosity", "subject": MALFORMED}
    assert_problem(post(app, wrong), 422, "malformed")
    wrong["subject"] = SUBJECT
    assert_problem(post(app, wrong), 404, "unknown-agreement")
    wrong["agreement"] = "procurement"
    assert_problem(post(app, wrong), 403, "not-granted")
    assert_problem(post(app, BATCH | {"subjects": [SUBJECT] * 2}, MANY), 429, "quota")
    assert post(app, QUESTION).status_code == 200
    response = post(app, QUESTION)
    assert_problem(response, 429, "quota")
    assert 0 < int(response.headers["retry-after"]) <= 86_400


def test_a_missing_agency_is_a_503_that_names_it(tmp_path: Path) -> None:
    office = Office.create(tmp_path)
    app = office.app()
    for agency in ("tax", "customs"):
        office.federation.network.detach(agency)
    response = post(app, QUESTION)
    assert_problem(response, 503, "indeterminate")
    assert (response.json()["outcome"], response.json()["missing"]) == ("indeterminate", ["customs", "tax"])
    items = post(app, BATCH | {"subjects": [SUBJECT, MALFORMED]}, MANY).json()["items"]
    assert items[0] == {"outcome": "indeterminate", "missing": ["customs", "tax"]}
    assert items[1]["outcome"] == "error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{SECRET}", 404),
        ("GET", f"/v1/membership/{SECRET}", 404),
        ("GET", SINGLE, 405),
        ("DELETE", MANY, 405),
        (SECRET, SINGLE, 405),
        ("POST", "/healthz", 405),
    ],
)
def test_what_is_not_served_is_a_problem_too(
    app: FastAPI, method: str, path: str, status: int, log: io.StringIO
) -> None:
    response = send(app, method, path)
    assert_problem(response, status, "malformed")
    assert SECRET not in response.text + log.getvalue()
    assert (status == 405) == ("allow" in response.headers)


def test_agreements_say_what_may_be_asked(app: FastAPI) -> None:
    [told] = send(app, "GET", "/v1/agreements").json()["agreements"]
    assert (told["id"], told["version"], told["purposes"]) == ("procurement", 1, [PURPOSE])
    assert told["valid"] == {"from": "2026-11-01", "until": "2027-10-31"}
    assert [measure["id"] for measure in told["measures"]] == ["exclude", "scrutinise"]


def test_agreements_say_what_takes_away_from_the_requesters_measures_and_from_no_others(tmp_path: Path) -> None:
    office = Office.create(
        tmp_path,
        version=2,
        opt_outs=[{"agency": "tax", "measure": "exclude"}, {"agency": "court", "measure": "scrutinise"}],
        moratoria=[
            {"registers": ["tax-register"], "subject_kinds": ["legal"], "until": "2026-12-01", "legal_basis": "s. 1"},
            {"measures": ["exclude"], "until": "2026-11-20", "legal_basis": "s. 2"},
            {"measures": ["exclude", "scrutinise"], "until": "2026-11-30", "legal_basis": "s. 3"},
        ],
        emergency={"follows": 1, "basis": "s. 4"},
        valid={"from": "2026-11-01", "until": "2026-12-31"},
    )
    bank = Gateway(
        party("bank", office.federation.established),
        office.federation.network.transport("bank"),
        office.ledger(),
        lambda: "",
        office.clock,
        secrets.token_bytes,
    )
    [told] = bank.agreements()
    assert told["opt_outs"] == [{"agency": "court", "measure": "scrutinise"}]
    assert told["moratoria"] == [
        {"registers": ["tax-register"], "subject_kinds": ["legal"], "until": "2026-12-01", "legal_basis": "s. 1"},
        {"measures": ["scrutinise"], "until": "2026-11-30", "legal_basis": "s. 3"},
    ]
    assert told["emergency"] == {"follows": 1, "basis": "s. 4"}
    [mine] = send(office.app(), "GET", "/v1/agreements").json()["agreements"]
    assert [len(mine[name]) for name in ("opt_outs", "moratoria")] == [2, 3]
    Agreements.model_validate_json(json.dumps({"agreements": [told]}))
    Agreements.model_validate_json(json.dumps({"agreements": [mine]}))


def test_state_is_told_without_a_token(tmp_path: Path) -> None:
    office = Office.create(tmp_path)
    app = office.app()
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert send(app, "GET", path, headers={"authorization": ""}).status_code == 200, path


def test_a_gateway_is_not_ready_while_an_agency_is_away_or_lies(tmp_path: Path) -> None:
    office = Office.create(tmp_path)
    spoil_canaries(office, ["labour"])
    response = send(office.app(), "GET", "/readyz")
    assert_problem(response, 503, "indeterminate")
    assert response.json()["missing"] == ["labour"]
    office.federation.network.detach("tax")
    assert send(office.app(), "GET", "/readyz").json()["missing"] == ["tax"]


def test_metrics_and_log_count_requests_and_know_no_subject_and_no_case(office: Office, log: io.StringIO) -> None:
    app = office.app()
    post(app, QUESTION)
    post(app, BATCH, MANY, params={"subject": ONE.value})
    metrics = send(app, "GET", "/metrics").text
    assert 'concordat_subjects_total{outcome="decided"} 2.0' in metrics
    assert f'concordat_requests_total{{route="{SINGLE}",status="200"}} 1.0' in metrics
    written = log.getvalue()
    events = [json.loads(line) for line in written.splitlines()]
    assert [(it["event"], it["route"], it["status"]) for it in events] == [
        ("request", SINGLE, 200),
        ("request", MANY, 200),
    ]
    assert len({it["request"] for it in events}) == 2
    for told in (metrics, written):
        assert not any(text in told for text in (ONE.value, CASE, TOKEN, "exclude"))


def test_a_bug_shows_nothing_of_what_was_asked(office: Office, log: io.StringIO) -> None:
    gateway = office.gateway()

    async def broken(*_: object) -> None:
        raise RuntimeError(SECRET)

    gateway.ask = broken  # type: ignore[assignment, method-assign]
    response = post(build(lambda: gateway, sha256(TOKEN.encode()).hexdigest()), QUESTION)
    assert_problem(response, 500, "unexpected")
    assert "RuntimeError" in log.getvalue()
    assert SECRET not in response.text + log.getvalue()


def test_a_request_id_is_the_gateways_own(app: FastAPI) -> None:
    ids = {post(app, QUESTION, headers={"x-request-id": SECRET}).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert SECRET not in ids


def test_a_body_that_finds_no_room_is_not_read_and_may_come_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway_app.BODIES", MAX_BODY - 1)
    app, read = office.app(), list[bytes]()

    async def chunks() -> AsyncIterator[bytes]:  # which says nothing of its length
        read.append(json.dumps(QUESTION).encode())
        yield read[0]

    response = send(app, "POST", SINGLE, content=chunks())
    assert_problem(response, 503, "busy")
    assert response.headers["retry-after"] == str(response.json()["retry_after"])
    assert "outcome" not in response.json()
    assert post(app, QUESTION).status_code == 200
    assert post(app, QUESTION).status_code == 200  # what was answered left its room to others


@pytest.mark.parametrize("path", [SINGLE, MANY])
def test_a_full_gateway_says_when_to_come_again(office: Office, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("federation.gateway.ROOM", 0)
    charged = office.ledger().charges()
    response = post(office.app(), QUESTION if path == SINGLE else BATCH | {"subjects": [SUBJECT]}, path)
    assert_problem(response, 503, "busy")
    assert response.headers["retry-after"] == "2"
    assert office.ledger().charges() == charged
