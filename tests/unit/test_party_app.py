"""The service of a party that speaks signed messages: what it serves, and how it counts that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from api.party_app import Role, create_party_app


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def handle(kind: str, data: bytes) -> bytes:
    return kind.encode() + data


async def ready() -> bool:
    return True


def test_each_message_has_its_handler_and_limit_and_is_counted_under_its_route() -> None:
    app = create_party_app(Role(handle, {"ask": 3, "open": 4}, ready), lifespan, "A party")

    async def asking() -> tuple[list[tuple[int, bytes]], list[int], str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://party") as client:
            served = [
                await client.post(f"/v1/{kind}", content=b"1234"[:size]) for kind, size in (("ask", 3), ("open", 4))
            ]
            refused = [
                await client.post("/v1/ask", content=b"1234"),
                await client.get("/v1/ask"),
                await client.post("/v1/ask/1", content=b"123"),
            ]
            metrics = await client.get("/metrics")
        return [(it.status_code, it.content) for it in served], [it.status_code for it in refused], metrics.text

    served, refused, metrics = asyncio.run(asking())
    assert served == [(200, b"ask123"), (200, b"open1234")]
    assert refused == [413, 405, 404]
    counted = [
        line.removeprefix("concordat_requests_total") for line in metrics.splitlines() if "requests_total{" in line
    ]
    assert sorted(counted) == [
        '{route="",status="404"} 1.0',
        '{route="/v1/ask",status="200"} 1.0',
        '{route="/v1/ask",status="405"} 1.0',
        '{route="/v1/ask",status="413"} 1.0',
        '{route="/v1/open",status="200"} 1.0',
    ]
