"""What every service answers alike, whatever its routes."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from api.problems import install

SENT = "91110000KX4T9QW2M7"


@pytest.mark.parametrize("path", ["/v1/ask/", f"/v1/ask/?q={SENT}", f"/{SENT}/", f"/v1/ask?q={SENT}"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_redirection_repeats_where_a_request_went(method: str, path: str) -> None:
    app = FastAPI(openapi_url=None)
    app.add_api_route("/v1/ask", lambda: None, methods=["POST"])
    install(app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            return await client.request(method, path, headers={"host": SENT})

    response = asyncio.run(ask())
    assert not response.is_redirect
    assert SENT not in f"{response.headers} {response.text}"
