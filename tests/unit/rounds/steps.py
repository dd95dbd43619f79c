"""One question that the statements about the rounds share and do not change, and its steps one by one."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from protocol.agreement.roster import COORDINATOR
from protocol.lanes import Standing
from protocol.messages import Decide, Look, Open
from protocol.rounds import agency, coordinator, keyholder, requester
from protocol.wire import MAX_LIFETIME, read
from tests.flow import Joint, Question
from tests.parties import AGENCIES, NOW, REQUESTER, agreement, established, forged, randomiser, small_primes

LISTED, DISPUTED, UNLISTED = b"listed", b"disputed", b"unlisted"
QUORUM = AGENCIES[:3]
LATE = NOW + MAX_LIFETIME
P, Q = small_primes()
N = P * Q


def registers(*names: str) -> list[str]:
    return [f"{name}-register" for name in names]


@cache
def joint() -> Joint:
    """Small buckets; customs feeds no lane, court and market feed one condition of the two."""
    of = established(
        agreement(
            rules=[
                {"measure": "exclude", "when": {"registers": registers("labour", "tax")}},
                {
                    "measure": "scrutinise",
                    "when": {
                        "registers": registers("labour", "tax", "court", "market"),
                        "min_agencies": 2,
                        "min_weight": 4,
                    },
                },
            ],
            anonymity={"population": 20_000, "k_min": 200, "max_listings": 60},
        )
    )
    listed = {LISTED: [Standing("labour-register", 3, disputed=False)]}
    return Joint(
        of,
        {
            "labour": listed | {DISPUTED: [Standing("labour-register", 3, disputed=True)]},
            "tax": {LISTED: [Standing("tax-register", 2, disputed=False)]},
        },
    )


def key(name: str) -> Any:
    return joint().of.secrets[name].signing_key


@cache
def question() -> Question:
    """One question about three subjects that tests share and do not change."""
    return joint().ask([LISTED, DISPUTED, UNLISTED])


@cache
def answers() -> dict[str, bytes]:
    return question().answers()


@cache
def sums() -> coordinator.Sums:
    return question().add(answers())


@cache
def blinded() -> tuple[requester.Blinding, bytes]:
    return joint().blind([LISTED, UNLISTED])


def evaluated(*holders: str) -> dict[str, bytes]:
    return {holder: joint().evaluate(holder, blinded()[1]) for holder in holders}


def randomised() -> Any:
    return randomiser(joint().of)


# What a party makes of a message; what the requester or the coordinator sends, altered.


def receive_evaluate(data: bytes, holder: str = "tax", now: int = NOW) -> object:
    return keyholder.receive_evaluate(joint().parties[holder], data, now)


def receive(asked: bytes, name: str = "tax") -> agency.Asked:
    return agency.receive(joint().parties[name], asked, NOW)


def question_at_coordinator(asked: bytes, looked: bytes) -> coordinator.Session:
    return coordinator.receive(joint().parties[COORDINATOR], asked, looked, NOW)


def look(
    header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None, signer: str = REQUESTER
) -> bytes:
    return forged(question().looked, Look, key(signer), header, body)


def open_request(
    header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None, signer: str = COORDINATOR
) -> bytes:
    return forged(question().open_request(sums().chunks[0], "tax"), Open, key(signer), header, body)


def receive_open(data: bytes, now: int = NOW) -> keyholder.Opening:
    return keyholder.receive_open(joint().parties["tax"], data, now)


# The decision.


@cache
def reply() -> bytes:
    return coordinator.decide(question().c, question().session, question().lanes(QUORUM, answers()), NOW)


@cache
def decided() -> tuple[bytes, ...]:
    return read(reply(), Decide).body.decisions
