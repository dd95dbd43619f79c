"""Webhooks: signed events to a requester's own systems (Standard Webhooks 1.0.0, symmetric signatures).

Headers `webhook-id`, `webhook-timestamp`, `webhook-signature`: `v1,` and base64 of HMAC-SHA-256 of id.timestamp.body.
Redirects are not followed, proxies of the environment not used, and nothing of an answer is read but its status.
"""

import asyncio
import base64
import hmac
import ssl
from collections.abc import Collection
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from federation.changes import MEDIA_TYPE
from protocol.errors import DecodeError

SECONDS: Final = 15.0
"""For one attempt, connecting included."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # what every secret begins with
SECRET_BYTES: Final = 32
MAX_URL: Final = 2_000
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def secret_text(secret: bytes) -> str:
    """A secret as its receiver keeps it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def sign(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """The signature of one message at one time (Unix seconds)."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    mac = hmac.digest(key, b".".join((message.encode(), str(timestamp).encode(), body)), "sha256")
    return f"v1,{base64.b64encode(mac).decode()}"


def check_target(url: str, hosts: Collection[str]) -> None:
    """Refuse a URL that events must not be sent to: `hosts` are those that the operator allows.

    Raises:
        DecodeError: says why, and not which it is.
    """
    parts = _split(url)
    host = (parts.hostname if parts else None) or ""
    if not parts or not host or parts.username is not None or parts.fragment or not url.isascii() or len(url) > MAX_URL:
        raise DecodeError("webhook: not a URL of the form https://HOST[:PORT]/PATH")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise DecodeError("webhook: needs https; http is for the gateway's own machine")
    if host not in hosts:
        raise DecodeError("webhook: the gateway's operator does not allow this host")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 and all(32 < ord(character) != 127 for character in url) else None
    except ValueError:
        return None


class Webhooks:
    """Sends events to the hosts that the operator allows; whoever does not answer holds up nobody else."""

    def __init__(self, hosts: Collection[str]) -> None:
        self.hosts = frozenset(hosts)
        self._client = httpx.AsyncClient(
            timeout=SECONDS,
            follow_redirects=False,  # or a target could have events sent elsewhere
            trust_env=False,
            verify=ssl.create_default_context(),
        )

    async def send(self, url: str, secret: str, message: str, body: bytes, now: int) -> bool:
        """Send one event; returns whether it was acknowledged (2xx)."""
        try:
            check_target(url, self.hosts)  # the operator may have taken a host off the list since it was registered
        except DecodeError:
            return False
        headers = {
            "content-type": MEDIA_TYPE,
            "webhook-id": message,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(secret, message, now, body),
        }
        try:
            async with asyncio.timeout(SECONDS), self._client.stream("POST", url, content=body, headers=headers) as it:
                return it.is_success
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return False

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
