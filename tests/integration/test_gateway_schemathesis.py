"""The gateway against its own OpenAPI: whatever is sent, only what is documented comes back."""

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

from tests.gateways import TOKEN, Office
from tests.parties import PURPOSE

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
OPERATIONS = [
    ("/v1/membership", "POST"),
    ("/v1/membership:batch", "POST"),
    ("/v1/standing", "POST"),
    ("/v1/portfolios", "POST"),
    ("/v1/portfolios", "GET"),
    ("/v1/agreements", "GET"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
]
SENT = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    office = Office.create(tmp_path_factory.mktemp("office"), quota=10**6)
    return office.app()


def send_all(app: FastAPI, path: str, method: str, mode: GenerationMode) -> set[int]:
    """Send an operation what its schema allows, or what it forbids; returns the statuses that bodies came to."""
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]
    statuses: set[int] = set()

    @SENT
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body |= {"agreement": "procurement", "purpose": PURPOSE}
        response = case.call(headers={"authorization": f"Bearer {TOKEN}"})
        body = case.meta.components.get(ParameterLocation.BODY)
        if body is None or body.mode is mode:  # else it is another part, such as a header, that is forbidden
            statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    send()
    return statuses


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_only_what_is_documented_comes_back_to_what_is_allowed(app: FastAPI, path: str, method: str) -> None:
    assert send_all(app, path, method, GenerationMode.POSITIVE) <= {200, 422}


@pytest.mark.parametrize(("path", "method"), OPERATIONS[:4])
def test_only_refusals_come_back_to_what_is_forbidden(app: FastAPI, path: str, method: str) -> None:
    assert 422 in (statuses := send_all(app, path, method, GenerationMode.NEGATIVE))
    assert statuses <= {400, 413, 422}


def test_a_status_that_is_not_documented_would_be_seen(app: FastAPI) -> None:
    """The twin: the document forgets a status."""
    responses = app.openapi()["paths"]["/v1/membership"]["post"]["responses"]
    forgotten = responses.pop("422")
    try:
        with pytest.raises(FailureGroup):
            send_all(app, "/v1/membership", "POST", GenerationMode.NEGATIVE)
    finally:
        responses["422"] = forgotten
