"""Payloads: an agency encrypts what it likes, the lanes and checks refuse it."""

import secrets
from collections.abc import Callable, Mapping, Sequence

import pytest

from protocol import lanes
from protocol.errors import LaneError
from protocol.lanes import LaneKind, Standing
from protocol.messages import Effect
from protocol.rounds import agency, coordinator, requester
from tests.flow import Joint
from tests.parties import NOW, REQUESTER
from tests.unit.rounds.steps import DISPUTED, LISTED, QUORUM, N, joint, randomised, registers


def lane(condition: int, kind: LaneKind) -> int:
    """Bit at which a lane of the first or second condition begins."""
    layout = joint().terms.layout(REQUESTER)
    names = [registers("labour", "tax"), registers("court", "labour", "market", "tax")]
    wanted = next(
        index for index, it in enumerate(layout.lanes) if (list(it.condition), it.kind) == (names[condition], kind)
    )
    return sum(layout.widths[:wanted])


def adding(monkeypatch: pytest.MonkeyPatch, amount: int, name: str = "labour", subjects: Sequence[bytes] = ()) -> bytes:
    """The decisions' bytes when one agency adds `amount` to every payload it encrypts."""
    asked = joint().ask(subjects or [LISTED])
    honest = asked.answers()
    with monkeypatch.context() as patched:
        patched.setattr(agency, "encode", lambda layout, values: (lanes.encode(layout, values) + amount) % N)
        dishonest = joint().answer(name, asked.asked)
    return asked.decide(QUORUM, honest | {name: dishonest})


def test_the_payloads_that_the_dishonest_ones_are_made_from_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adding(monkeypatch, 0)


OUT_OF_BOUND: Mapping[str, Callable[[], int]] = {
    "one agency counts for two": lambda: 1 << lane(0, LaneKind.COUNT),
    "one agency counts for many": lambda: 6 << lane(0, LaneKind.COUNT),
    "disputes of three agencies": lambda: 3 << lane(1, LaneKind.DISPUTED),
    "more weight than agencies bring": lambda: 600 << lane(1, LaneKind.WEIGHT),
    "carried into the next lane": lambda: 1 << lane(1, LaneKind.WEIGHT) - 1,
    "above the lanes": lambda: 1 << joint().terms.layout(REQUESTER).width,
    "into the next slot": lambda: 1 << joint().terms.layout(REQUESTER).stride,
    "into a later slot": lambda: 1 << 2 * joint().terms.layout(REQUESTER).stride,
    "more taken away than there is": lambda: -(3 << lane(0, LaneKind.COUNT)),
    "its own count taken away": lambda: -(1 << lane(0, LaneKind.COUNT)),
    "another's count taken away too": lambda: -(2 << lane(0, LaneKind.COUNT)),
    "all weight taken away": lambda: -(5 << lane(1, LaneKind.WEIGHT)),
    "the greatest plaintext": lambda: N // 2,
}


@pytest.mark.parametrize("amount", OUT_OF_BOUND.values(), ids=OUT_OF_BOUND.keys())
def test_a_lane_out_of_bound_is_never_a_decision(amount: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaneError):
        adding(monkeypatch, amount())


def test_within_the_bounds_an_agency_can_still_make_anothers_listing_disputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the protocol, said in its threat model: labour has tax's listing count as disputed, like its own."""
    counts = sum(1 << lane(condition, LaneKind.COUNT) for condition in (0, 1))
    disputes = sum(1 << lane(condition, LaneKind.DISPUTED) for condition in (0, 1))
    amount = 2 * (disputes - counts) - (5 << lane(1, LaneKind.WEIGHT))
    asked = joint().ask([LISTED])
    honest = asked.answers()
    monkeypatch.setattr(agency, "encode", lambda layout, values: (lanes.encode(layout, values) + amount) % N)
    reply = asked.decide(QUORUM, honest | {"labour": joint().answer("labour", asked.asked)})
    assert requester.decisions(asked.r, asked.state, reply, NOW)[0].body.measures["exclude"] == Effect.DISPUTED


@pytest.mark.parametrize("slot", [1, 2])
def test_a_payload_does_not_reach_into_a_neighbours_slot(slot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even within the neighbour's bounds: DISPUTED has no count, and one would be within what labour may bring."""
    amount = 1 << slot * joint().terms.layout(REQUESTER).stride + lane(0, LaneKind.COUNT)
    with pytest.raises(LaneError):
        adding(monkeypatch, amount, subjects=[LISTED, *[DISPUTED] * 3])


def test_an_agency_brings_nothing_to_a_lane_that_it_does_not_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Market matches the subject by a listing of its own, which counts under the second condition only."""
    both = Joint(
        joint().of,
        {
            "tax": {LISTED: [Standing("tax-register", 2, disputed=True)]},
            "market": {LISTED: [Standing("market-register", 2, disputed=False)]},
        },
    )
    asked = both.ask([LISTED])
    assert both.check([LISTED], QUORUM)[0].body.measures == {"exclude": Effect.DISPUTED, "scrutinise": Effect.DISPUTED}
    monkeypatch.setattr(
        agency, "encode", lambda layout, values: lanes.encode(layout, values) + (1 << lane(0, LaneKind.COUNT))
    )
    with pytest.raises(LaneError):
        asked.decide(QUORUM, asked.answers() | {"market": both.answer("market", asked.asked)})


def test_agencies_that_match_without_feeding_a_lane_do_not_widen_it() -> None:
    """Beside tax, labour may count once more in both conditions; market, which feeds the second alone, may not."""
    taxed = Joint(joint().of, {"tax": {LISTED: [Standing("tax-register", 1, disputed=False)]}})
    asked = taxed.ask([LISTED])
    accepted = asked.accept(asked.answers())
    payload = sum(1 << lane(*it) for it in ((0, LaneKind.COUNT), (1, LaneKind.COUNT), (1, LaneKind.WEIGHT)))
    planted = joint().terms.public_key.encrypt(payload, randomised().fresh(secrets.token_bytes))

    def opened_with(name: str) -> tuple[int, ...]:
        lifted = accepted | {name: (planted,)}
        added = coordinator.add(asked.c, asked.session, lifted, randomised(), secrets.token_bytes)
        return coordinator.opened(asked.c, asked.session, added, asked.shares(added, QUORUM))[0]

    assert sum(opened_with("labour")) == 6
    with pytest.raises(LaneError):
        opened_with("market")
