"""A portfolio's changes at a requester's own system: each arrives, signed, in order, whatever fails in between."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api.monitoring import Monitor
from nodes.life import Act
from nodes.storage.portfolios import Portfolios
from tests.gateways import ONE
from tests.unit.federation.test_webhooks import Receiver, receiving
from tests.watching import REFERENCES, CrashError, Watching, registration


def told(watching: Watching, receiver: Receiver, **changes: Any) -> tuple[str, str]:
    """Register another portfolio whose changes the receiver gets; returns its id and secret."""
    response = watching.call("POST", json=registration(webhook=receiver.url, **changes))
    assert response.status_code == 200, response.text
    return response.json()["id"], response.json()["secret"]


def deliver(monitor: Monitor) -> None:
    """Deliver what may be delivered now."""

    async def work() -> None:
        await monitor.deliver()
        await asyncio.gather(*monitor._delivering.values())

    asyncio.run(work())


def fresh(watching: Watching) -> Monitor:
    watching.start()  # the client of the webhooks belongs to one event loop
    return watching.monitor


def got(receiver: Receiver, secret: str = "") -> list[int]:
    """The sequence numbers that arrived, each verified."""
    events = []
    for headers, body in receiver.got:
        event = Webhook(secret).verify(body, _now(headers, secret, body)) if secret else json.loads(body)
        assert headers["webhook-id"] == event["id"]
        events.append(int(event["sequence"]))
    return events


def _now(headers: dict[str, str], secret: str, body: bytes) -> dict[str, str]:
    """The standard's library takes only what was signed within five minutes; the office's clock stands elsewhere."""
    signed = int(headers["webhook-timestamp"])
    at = datetime.fromtimestamp(signed, UTC)
    assert Webhook(secret).sign(headers["webhook-id"], at, body.decode()) == headers["webhook-signature"]
    now = datetime.now(UTC)
    signature = Webhook(secret).sign(headers["webhook-id"], now, body.decode())
    return headers | {"webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def test_every_change_arrives_once_in_order_and_signed(watching: Watching) -> None:
    with receiving() as receiver:
        portfolio, secret = told(watching, receiver)
        deliver(fresh(watching))
        assert got(receiver, secret) == [1, 2, 3]
        watching.act("tax", ONE, Act.REVOKE)
        watching.later()
        deliver(fresh(watching))
        deliver(fresh(watching))
        assert got(receiver, secret) == [1, 2, 3, 4]
        assert not any(it.value.encode() in body for it in REFERENCES.values() for _, body in receiver.got)
        shown = watching.call("GET", f"/{portfolio}").json()
        assert (shown["delivered"], shown["secret"]) == (4, None)
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_" + "A" * 44).verify(receiver.got[0][1], receiver.got[0][0])


def test_what_is_not_acknowledged_is_sent_again_as_the_same_event_later(watching: Watching) -> None:
    with receiving() as receiver:
        told(watching, receiver)
        receiver.answers = [204, 503, 503]
        deliver(fresh(watching))
        deliver(fresh(watching))  # not before its pause is over
        assert got(receiver) == [1, 2]
        watching.office.clock.now += 5
        deliver(fresh(watching))
        watching.office.clock.now += 5
        deliver(fresh(watching))
        assert got(receiver) == [1, 2, 2]
        watching.office.clock.now += 5
        deliver(fresh(watching))
        assert got(receiver) == [1, 2, 2, 2, 3]
        assert receiver.got[1][1] == receiver.got[2][1] == receiver.got[3][1]


def test_a_crash_before_the_acknowledgement_was_noted_sends_it_twice_never_not_at_all(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        told(watching, receiver)

        def crash(*_: object) -> None:
            raise CrashError

        with monkeypatch.context() as patched:
            patched.setattr(Portfolios, "delivered", crash)
            deliver(fresh(watching))
        deliver(fresh(watching))
        assert got(receiver) == [1, 1, 2, 3]


def test_a_note_before_the_acknowledgement_would_lose_a_change(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: somebody who notes a delivery before it is one."""
    with receiving() as receiver:
        told(watching, receiver)
        receiver.answers = [503]
        with monkeypatch.context() as patched:
            note = Portfolios.delivered
            patched.setattr(Portfolios, "failed", lambda self, portfolio, *_: note(self, portfolio, 1))
            deliver(fresh(watching))
        deliver(fresh(watching))
        assert len({headers["webhook-id"] for headers, _ in receiver.got[1:]}) == 2  # of three


def test_a_dead_receiver_holds_up_nobody_else(watching: Watching) -> None:
    with receiving() as gone:
        pass
    with receiving() as receiver:
        told(watching, gone)
        told(watching, receiver)
        deliver(fresh(watching))
        assert got(receiver) == [1, 2, 3]


def test_another_url_gets_another_secret_and_the_same_url_keeps_it(watching: Watching) -> None:
    with receiving() as receiver, receiving() as other:
        portfolio, secret = told(watching, receiver)
        again = watching.call("PUT", f"/{portfolio}", json=registration(webhook=receiver.url)).json()
        assert again["secret"] is None
        moved = watching.call("PUT", f"/{portfolio}", json=registration(webhook=other.url)).json()
        assert moved["secret"].startswith("whsec_")
        assert moved["secret"] != secret
        deliver(fresh(watching))
        assert (got(receiver), got(other)) == ([], [])  # what was told before is in the feed
        watching.act("tax", ONE, Act.REVOKE)
        watching.later()
        deliver(fresh(watching))
        assert (got(receiver), got(other, moved["secret"])) == ([], [4])
