"""The gateway against its own OpenAPI: whatever is sent, only what is documented comes back."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.specs.openapi import checks

from tests.gateways import TOKEN, Office, enter_canaries

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> schemathesis.schemas.BaseSchema:
    office = Office.create(tmp_path_factory.mktemp("office"), quota=10**6)
    enter_canaries(office)
    return schemathesis.openapi.from_asgi("/openapi.json", office.app())


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_only_what_is_documented_comes_back(case: Case) -> None:
    response = case.call(headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code < 500 or response.status_code == 503
    case.validate_response(response, checks=CHECKS)
