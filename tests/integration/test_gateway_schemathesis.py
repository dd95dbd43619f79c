"""The gateway against its own OpenAPI: whatever is sent, only what is documented comes back."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from tests.gateways import TOKEN, Office, enter_canaries

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
OPERATIONS = [
    ("/v1/membership", "POST"),
    ("/v1/membership:batch", "POST"),
    ("/v1/agreements", "GET"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
]
SENT = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    office = Office.create(tmp_path_factory.mktemp("office"), quota=10**6)
    enter_canaries(office)
    return office.app()


def send_all(app: FastAPI, path: str, method: str, mode: GenerationMode, seen: Callable[[Any], None]) -> None:
    """Send an operation what its schema allows, or what it forbids, and check every response."""
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]

    @SENT
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(headers={"authorization": f"Bearer {TOKEN}"})
        seen(response)
        assert response.status_code < 500 or response.status_code == 503
        case.validate_response(response, checks=CHECKS)

    send()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_only_what_is_documented_comes_back_to_what_is_allowed(app: FastAPI, path: str, method: str) -> None:
    send_all(app, path, method, GenerationMode.POSITIVE, lambda _: None)


@pytest.mark.parametrize(("path", "method"), OPERATIONS[:2])
def test_only_refusals_come_back_to_what_is_forbidden(app: FastAPI, path: str, method: str) -> None:
    statuses: set[int] = set()
    send_all(app, path, method, GenerationMode.NEGATIVE, lambda response: statuses.add(response.status_code))
    assert 422 in statuses
    assert statuses <= {400, 413, 422}


def test_a_status_that_is_not_documented_would_be_seen(app: FastAPI) -> None:
    """The twin: the document forgets a status."""
    document = app.openapi()
    forgotten = document["paths"]["/v1/membership"]["post"]["responses"].pop("422")
    try:
        with pytest.raises(FailureGroup):
            send_all(app, "/v1/membership", "POST", GenerationMode.NEGATIVE, lambda _: None)
    finally:
        document["paths"]["/v1/membership"]["post"]["responses"]["422"] = forgotten
