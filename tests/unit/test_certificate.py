"""A certificate verifies offline against its roster, and against nothing else."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.certificate import to_json, verify
from protocol.errors import DecisionError
from protocol.messages import Decision
from protocol.rounds.party import Party
from protocol.wire import Header, read, write
from tests.parties import NOW, PURPOSE, REQUESTER, federation, party

DAY = 86_400


def decision(**changed: Any) -> tuple[Header, Decision]:
    """A decision such as the coordinator signs, with some fields changed."""
    coordinator = party(COORDINATOR, federation())
    header = coordinator.header(
        audience=REQUESTER, session=bytes(16), purpose=PURPOSE, m=1, now=NOW, expires=NOW + DAY, answers=bytes(32)
    )
    body = Decision(subject=0, measures={"exclude": 2, "scrutinise": 0}, agencies=5, binding=bytes(32))
    in_header = {name: value for name, value in changed.items() if hasattr(header, name)}
    return replace(header, **in_header), replace(body, **{k: v for k, v in changed.items() if k not in in_header})


def certificate(signer: Party | None = None, **changed: Any) -> dict[str, Any]:
    signer = signer or party(COORDINATOR, federation())
    data = write(*decision(**changed), signer.signing_key)
    return to_json(read(data, Decision).envelope)


def terms() -> Terms:
    return federation().terms


def test_it_verifies_until_it_expires() -> None:
    written = json.loads(json.dumps(certificate()))
    assert verify(terms(), written, NOW).body.measures == {"exclude": 2, "scrutinise": 0}
    verify(terms(), written, NOW + DAY - 1)
    for now in (NOW - 1, NOW + DAY):
        with pytest.raises(DecisionError, match="expired"):
            verify(terms(), written, now)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"agreement": "other"}, "another agreement"),
        ({"version": 2}, "another agreement"),
        ({"epoch": 2}, "another agreement"),
        ({"sender": REQUESTER}, "another agreement"),
        ({"answers": b""}, "which question"),
        ({"answers": bytes(31)}, "which question"),
        ({"audience": "tax"}, "no requester"),
        ({"audience": "bank"}, "measures"),
        ({"measures": {"exclude": 2}}, "measures"),
        ({"agencies": 4}, "every agency"),
        ({"expires": NOW + 3 * 365 * DAY}, "as long as the agreement says"),
        ({"expires": NOW + DAY - 1}, "as long as the agreement says"),
    ],
)
def test_a_decision_of_anything_else_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecisionError, match=reason):
        verify(terms(), certificate(**changed), NOW)


def test_only_the_coordinator_signs() -> None:
    for signer in (REQUESTER, "tax"):
        with pytest.raises(DecisionError, match="signed by the coordinator"):
            verify(terms(), certificate(party(signer, federation())), NOW)


def altered_payload(it: dict[str, Any]) -> None:
    payload = bytearray(base64.b64decode(it["payload"]))
    payload[-1] ^= 1
    it["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    "alter",
    [
        altered_payload,
        lambda it: it.update(payloadType="application/json"),
        lambda it: it.update(payload="not base64!"),
        lambda it: it["signatures"].append(it["signatures"][0]),
        lambda it: it["signatures"][0].update(keyid="tax"),
        lambda it: it["signatures"][0].update(sig="AAAA"),
        lambda it: it.pop("payload"),
    ],
)
def test_an_altered_envelope_is_refused(alter: Callable[[dict[str, Any]], None]) -> None:
    it = certificate()
    alter(it)
    with pytest.raises(DecisionError, match="signed by the coordinator"):
        verify(terms(), it, NOW)


def test_what_is_no_envelope_is_refused() -> None:
    values: list[object] = [None, [], "x", {}]
    for value in values:
        with pytest.raises(DecisionError):
            verify(terms(), value, NOW)
