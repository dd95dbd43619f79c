"""Ratings, red lists and points from end to end: what is good about a subject rewards it, and no more."""

from collections.abc import Mapping
from functools import cache

import pytest

from protocol.lanes import Standing
from protocol.messages import Effect
from tests.flow import Joint
from tests.parties import AGENCIES, PURPOSE, REQUESTER, agreement, established

QUORUM = AGENCIES[:3]
RATING, POINTS, RED = "tax-register", "market-register", "court-register"


def measure(measure_id: str, effect: str) -> dict[str, object]:
    fields = {"severity": "serious", "max_months": 36, "legal_basis": "s. 57", "notice": "You are told."}
    return {"id": measure_id, "effect": effect} | fields


def listing(register: str, *, disputed: bool = False) -> Standing:
    return Standing(register, 3, disputed)


def record(register: str, points: int = 0, *, disputed: bool = False) -> Standing:
    return Standing(register, 1, disputed, points, positive=True)


SUBJECTS: Mapping[bytes, tuple[Mapping[str, Standing], Mapping[str, Effect]]] = {
    b"nobody": ({}, {}),
    b"rated D": ({"tax": listing(RATING)}, {"exclude": Effect.APPLIES}),
    b"rated A": ({"tax": record(RATING)}, {"fast": Effect.APPLIES}),
    b"rated A, disputed": ({"tax": record(RATING, disputed=True)}, {"fast": Effect.DISPUTED}),
    b"red-listed": ({"court": record(RED)}, {"fast": Effect.APPLIES}),
    b"rated D and red-listed": (
        {"tax": listing(RATING), "court": record(RED)},
        {"exclude": Effect.APPLIES, "fast": Effect.APPLIES},
    ),
    b"enough points": ({"market": record(POINTS, 600)}, {"rebate": Effect.APPLIES}),
    b"too few points": ({"market": record(POINTS, 599)}, {}),
    b"points beyond a lane": ({"market": record(POINTS, 1_000_000)}, {"rebate": Effect.APPLIES}),
    b"no points yet": ({"market": record(POINTS)}, {}),
}


@cache
def joint() -> Joint:
    names = ["exclude", "fast", "rebate"]
    of = established(
        agreement(
            measures=[measure("exclude", "restriction"), measure("fast", "incentive"), measure("rebate", "incentive")],
            requesters=[
                {"id": REQUESTER, "name": "Office", "purposes": [PURPOSE], "implements": names, "quota_per_day": 1000}
            ],
            rules=[
                {"measure": "exclude", "when": {"registers": [RATING]}},
                {"measure": "fast", "when": {"registers": [RATING, RED], "min_weight": 1}},
                {"measure": "rebate", "when": {"registers": [POINTS], "min_points": 600}},
            ],
        )
    )
    registers: dict[str, dict[bytes, list[Standing]]] = {name: {} for name in AGENCIES}
    for subject, (standings, _) in SUBJECTS.items():
        for agency, standing in standings.items():
            registers[agency][subject] = [standing]
    return Joint(of, registers)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_joint_decision_rewards_and_restricts_apart(subject: bytes) -> None:
    (decision,) = joint().check([subject], QUORUM)
    assert decision.body.measures == {
        **dict.fromkeys(("exclude", "fast", "rebate"), Effect.NONE),
        **SUBJECTS[subject][1],
    }
