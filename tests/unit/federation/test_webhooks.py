"""Webhooks: signed as Standard Webhooks says, sent only where the operator allows, and no further."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from federation.webhooks import LOOPBACK, SECRET_BYTES, Webhooks, check_target, secret_text, sign
from protocol.errors import DecodeError

SECRET = secret_text(bytes(range(SECRET_BYTES)))
BODY = json.dumps({"id": "1", "data": {"reference": "供应商"}}, ensure_ascii=False).encode()
NOW = int(time.time())


@dataclass
class Receiver:
    """A requester's own system: what it got, and how it answers next (200 once the list is empty)."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    location: str = ""


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            if receiver.location:
                self.send_header("location", receiver.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(url: str, hosts: frozenset[str] = LOOPBACK) -> bool:
    async def once() -> bool:
        webhooks = Webhooks(hosts)
        try:
            return await webhooks.send(url, SECRET, "message-1", BODY, NOW)
        finally:
            await webhooks.close()

    return asyncio.run(once())


def test_a_receiver_verifies_it_with_the_standards_own_library() -> None:
    with receiving() as receiver:
        assert send(receiver.url)
    [(headers, body)] = receiver.got
    assert (body, headers["content-type"]) == (BODY, "application/cloudevents+json")
    assert Webhook(SECRET).verify(body, headers)["data"] == {"reference": "供应商"}
    for changed in (headers | {"webhook-id": "message-2"}, headers | {"webhook-timestamp": str(NOW + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


def test_the_signature_is_the_one_that_the_standard_publishes() -> None:
    """Standard Webhooks, "Verifying signatures": its example."""
    body = b'{"test": 2432232314}'
    signature = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 500, 503])
def test_only_2xx_is_an_acknowledgement_and_no_redirect_is_followed(status: int) -> None:
    with receiving() as receiver, receiving() as other:
        receiver.answers, receiver.location = [status], other.url
        assert not send(receiver.url)
        assert other.got == []
        assert send(receiver.url)


def test_who_does_not_listen_has_not_acknowledged() -> None:
    with receiving() as receiver:
        pass
    assert not send(receiver.url)


def test_a_host_that_was_taken_off_the_list_gets_nothing() -> None:
    with receiving() as receiver:
        assert not send(receiver.url, frozenset({"hooks.example"}))
        assert receiver.got == []


ALLOWED = LOOPBACK | {"hooks.example"}


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/a?b=c",
        "https://hooks.example:8443/",
        "http://127.0.0.1:80/x",
        "http://[::1]/",
        "http://localhost/a",
    ],
)
def test_a_host_of_the_operators_list_is_allowed(url: str) -> None:
    check_target(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "hooks.example",
            "//hooks.example/",
            "https://",
            "https:///a",
            "ftp://hooks.example/",
            "file:///etc/passwd",
        ),
        *(
            "http://hooks.example/",
            "https://hooks.example.evil/",
            "https://evil/?hooks.example",
            "https://hooks.example@evil/",
        ),
        *("https://user:word@hooks.example/", "https://hooks.example/#a", "https://hooks.example:0/", "https://[::1/"),
        *("https://hooks.example:99999/", "https://hooks.example/\n", "https://hooks.exámple/", "https://10.0.0.1/"),
        *(
            "http://169.254.169.254/latest",
            "http://127.0.0.2/",
            "http://0x7f000001/",
            "https://hooks.example/" + "a" * 2_000,
        ),
    ],
)
def test_anything_else_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DecodeError) as caught:
        check_target(url, ALLOWED)
    assert len(url) < 9 or url not in str(caught.value)
