"""What the system makes impossible (domain.md, the twelve): each attempt at a question, a dossier, a publication fails.

As in `test_impossibilities`, beside each the one guard is taken away, and it passes.
"""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Column, MetaData, String, Table
from typer.testing import CliRunner

from api import gateway_app
from api.cli import app
from api.gateway_forms import Question, Text
from federation import gateway
from nodes.storage import state as protocol_state
from protocol.agreement.terms import Allowance, Terms
from protocol.certificate import verify
from protocol.errors import DecisionError
from tests.agencies import Scene
from tests.gateways import CASE, TOKEN, Office, firm
from tests.integration.test_impossibilities import BOTH_KINDS, passes
from tests.parties import PURPOSE
from tests.portals import Town

QUESTION = {
    "agreement": "procurement",
    "subject": {"scheme": "cn.reg_no", "value": firm(1).value},
    "purpose": PURPOSE,
    "case": CASE,
}


def send(service: FastAPI, path: str, body: object, method: str = "POST", token: str = TOKEN) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(service)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            return await client.request(method, path, json=body)

    return asyncio.run(call())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.create(tmp_path_factory.mktemp("office"), quota=20, **BOTH_KINDS)


@pytest.mark.parametrize("absent", ["purpose", "case"])
def test_nobody_asks_without_purpose_and_case(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    question = {name: value for name, value in QUESTION.items() if name != absent}
    refused = send(office.app(), "/v1/membership", question)
    assert (refused.status_code, absent in refused.json()["detail"]) == (422, True)
    options = {"purpose": ("--case", CASE), "case": ("--purpose", PURPOSE)}[absent]
    typed = CliRunner().invoke(
        app, ["check", str(Scene(tmp_path / "federation").home.directory), "cn.reg_no:1", *options]
    )
    assert (typed.exit_code, f"--{absent}" in typed.stderr) == (2, True)

    class Careless(Question):
        purpose: Text = PURPOSE
        case: Text = CASE

    monkeypatch.setattr(gateway_app, "Question", Careless)
    assert send(office.app(), "/v1/membership", question).status_code == 200


def test_nobody_asks_for_a_purpose_that_the_agreement_does_not_grant(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    curious = QUESTION | {"purpose": "curiosity"}
    assert send(office.app(), "/v1/membership", curious).status_code == 403
    asking, own = office.gateway(), office.federation.terms.agreement.requester("procurement-office")
    granted = own.model_copy(update={"purposes": (*own.purposes, "curiosity")})
    monkeypatch.setattr(asking, "_own", granted)
    service = gateway_app.build(lambda: asking, sha256(TOKEN.encode()).hexdigest())
    assert send(service, "/v1/membership", curious).status_code != 200  # nor do the other parties answer
    monkeypatch.setattr(Terms, "require_right", passes)
    assert send(service, "/v1/membership", curious).status_code == 200


def test_nobody_asks_about_a_population_wholesale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office.create(tmp_path, quota=3)
    subjects = [{"scheme": it.scheme, "value": it.value} for it in map(firm, range(4))]
    batch = {name: value for name, value in QUESTION.items() if name != "subject"} | {"subjects": subjects}
    assert send(office.app(), "/v1/membership:batch", batch).status_code == 429
    allowance = Terms.allowance

    def generous(terms: Terms, request: Any, now: int) -> Allowance:
        granted = allowance(terms, request, now)
        return Allowance(10**6, granted.period, granted.ends)

    monkeypatch.setattr(Terms, "allowance", generous)
    assert send(office.app(), "/v1/membership:batch", batch).status_code == 200


def test_a_decision_is_no_licence_for_longer_than_it_is_valid(office: Office) -> None:
    answer = send(office.app(), "/v1/membership", QUESTION).json()
    terms, now = office.federation.terms, office.clock.now
    assert verify(terms, answer["certificate"], now)
    with pytest.raises(DecisionError, match="expired"):
        verify(terms, answer["certificate"], now + terms.decision_seconds + 60)


def test_a_decision_that_may_be_about_a_person_asks_for_one_to_review_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(office.app(), "/v1/membership", QUESTION).json()["requires_human_review"] is True
    monkeypatch.setattr(gateway, "LEGAL_ONLY", frozenset({"cn.reg_no"}))
    assert send(office.app(), "/v1/membership", QUESTION).json()["requires_human_review"] is False


# Dossiers and publication.

OPEN = {"/healthz", "/readyz", "/metrics"}
TELLS_OF_A_SUBJECT = ("identifier", "pseudonym", "prefix", "subject", "name", "listing", "ground", "register")


def dossiers(metadata: MetaData) -> set[str]:
    """Columns that could hold whom somebody asked about, or what an agency lists."""
    return {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if any(word in column.name for word in TELLS_OF_A_SUBJECT)
    }


def test_outside_an_agency_no_table_could_pair_a_subject_with_an_agency() -> None:
    assert dossiers(protocol_state.Table.metadata) == set()
    planted = MetaData()
    for table in protocol_state.Table.metadata.tables.values():
        table.to_metadata(planted)
    Table("answer", planted, Column("agency", String), Column("pseudonym", String))
    assert dossiers(planted) == {"answer.pseudonym"}


def routes(service: FastAPI) -> list[tuple[str, str]]:
    paths = service.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def open_to_anybody(service: FastAPI) -> set[str]:
    """The paths that answer without a token."""
    return {
        path
        for method, path in routes(service)
        if send(service, path.replace("{reference}", "00" * 16), {}, method, token="").status_code != 401
    }


def test_nothing_about_anybody_is_published(office: Office, town: Town) -> None:
    assert open_to_anybody(office.app()) == OPEN
    assert open_to_anybody(town.app("tax")) == {"/subject"}  # which says where the door is
    planted = office.app()
    planted.openapi_schema = None
    planted.add_api_route("/v1/search", list, methods=["GET"])
    assert open_to_anybody(planted) == {*OPEN, "/v1/search"}


def test_a_gateway_answers_about_those_it_is_given_and_lists_nobody(office: Office) -> None:
    asked = {("POST", f"/v1/{path}") for path in ("membership", "membership:batch", "standing")}
    # Portfolios are shown by their own numbers, and their subjects by the references of who handed them in.
    one = "/v1/portfolios/{portfolio}"
    kept = {("POST", "/v1/portfolios"), *((method, one) for method in ("PUT", "PATCH", "DELETE"))}
    shown = {("GET", path) for path in ("/v1/agreements", "/v1/portfolios", one, f"{one}/subjects", f"{one}/changes")}
    assert set(routes(office.app())) == asked | kept | shown | {("GET", path) for path in OPEN}
