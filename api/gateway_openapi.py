"""How the gateway's routes describe themselves: bodies are read by hand, so FastAPI knows of none of their forms."""

from typing import Any, Final

from api.gateway_forms import Problem
from federation.problem import MEDIA_TYPE

PROBLEMS: Final = {
    400: "The body is not UTF-8 JSON",
    401: "No token, or not this gateway's",
    403: "The agreement does not grant this purpose",
    404: "No such agreement here, or no such portfolio",
    413: "The body is longer than 1 MiB",
    422: "The request is not of its form, or its identifier is malformed",
    429: "The day's quota does not cover the request",
    503: "No decision: an agency, a quorum or the coordinator is missing; or too much is under way",
}


def body(form: type) -> dict[str, Any]:
    """A route's `openapi_extra`: the form of its body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _reference(form)}}}}


def responses(found: type | None, *problems: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: the form of its answer, and the statuses of its problems."""
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": _reference(Problem)}}}
        for status in problems
    }
    if found is not None:
        described[200] = {"description": "Answered", "content": {"application/json": {"schema": _reference(found)}}}
    return described


def _reference(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
