from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.agreement.layout import layout
from protocol.agreement.model import Agreement, parse
from protocol.errors import LaneError, UsageError
from protocol.lanes import (
    CHECK_BITS,
    MAX_POINTS,
    MAX_WEIGHT,
    Lane,
    LaneKind,
    LaneLayout,
    Standing,
    canary_standings,
    check,
    check_factor,
    decode,
    encode,
    split_slots,
    vector,
)

TEXT = (Path(__file__).parent / "data/procurement.yaml").read_text()
REQUESTER = "procurement-office"
EXAMPLE = layout(parse(TEXT), REQUESTER)
A, B = frozenset({"a"}), frozenset({"a", "b"})
SMALL = LaneLayout(
    (
        # Agency a brings r and s, agency b brings r.
        Lane(("r", "s"), LaneKind.COUNT, B, B),
        Lane(("r", "s"), LaneKind.DISPUTED, B, B),
        Lane(("r", "s"), LaneKind.WEIGHT, B, B),
        Lane(("s",), LaneKind.COUNT, A, frozenset()),
        Lane(("s",), LaneKind.DISPUTED, A, frozenset()),
        Lane(("s",), LaneKind.POINTS, A, frozenset()),
    ),
    agencies=3,
)
RATED = LaneLayout(
    (
        # Both bring ratings, r and s; one rule counts bad ones, one good ones.
        Lane(("r", "s"), LaneKind.COUNT, B, frozenset()),
        Lane(("r", "s"), LaneKind.DISPUTED, B, frozenset()),
        Lane(("r", "s"), LaneKind.COUNT, B, frozenset(), positive=True),
        Lane(("r", "s"), LaneKind.DISPUTED, B, frozenset(), positive=True),
        Lane(("r", "s"), LaneKind.WEIGHT, B, frozenset(), positive=True),
        Lane(("r", "s"), LaneKind.POINTS, B, frozenset(), positive=True),
    ),
    agencies=3,
)
one_vector = st.tuples(*(st.integers(0, lane.maximum) for lane in SMALL.lanes))
sums = st.tuples(*(st.integers(0, lane.maximum * 3) for lane in SMALL.lanes))


def test_rules_over_the_same_registers_share_their_lanes() -> None:
    assert [lane.name for lane in EXAMPLE.lanes] == [
        "count(tax-default, wage-arrears)",
        "disputed(tax-default, wage-arrears)",
        "count(quality, tax-default, wage-arrears)",
        "disputed(quality, tax-default, wage-arrears)",
        "weight(quality, tax-default, wage-arrears)",
    ]
    assert EXAMPLE.lanes[0].feeders == {"labour", "tax"}
    assert EXAMPLE.lanes[4].feeders == {"labour", "tax", "market"}


def test_a_measure_that_the_requester_does_not_implement_has_no_lanes() -> None:
    """An agency cannot be made to send what the bank may not use: a listing that only excludes is no entry for it."""
    lanes = layout(parse(TEXT), "bank")
    assert [lane.name for lane in lanes.lanes] == [
        f"{kind}(quality, tax-default, wage-arrears)" for kind in ("count", "disputed", "weight")
    ]
    narrow = parse(TEXT.replace("registers: [wage-arrears, tax-default, quality]", "registers: [quality]"))
    only_quality = layout(narrow, "bank")
    assert not any(vector(only_quality, "labour", [Standing("wage-arrears", 3, disputed=False)]))


def rewarding(register: str = "quality", asks: str = "") -> Agreement:
    """The example with an incentive, which the market's office does not implement, over one more register."""
    text = TEXT.replace("implements: [exclude-from-award, extra-scrutiny]", "implements: [exclude-from-award, fast]")
    measure = (
        "  - {id: fast, effect: incentive, severity: minor, max_months: 3, legal_basis: s. 58, notice: Fast.}\nrules:"
    )
    rule = f"  - {{measure: fast, when: {{registers: [{register}]{asks}}}}}\nvalidity"
    return parse(text.replace("rules:", measure).replace("validity_of", rule + "_of"))


def test_an_incentive_has_lanes_of_its_own_even_over_the_registers_of_a_restriction() -> None:
    lanes = layout(rewarding("tax-default, wage-arrears", ", min_weight: 2"), REQUESTER).lanes
    assert [lane.name for lane in lanes] == [
        f"{kind}(tax-default, wage-arrears)"
        for kind in ("count", "disputed", "positive count", "positive disputed", "positive weight")
    ]
    assert {lane.feeders for lane in lanes} == {frozenset({"labour", "tax"})}


def test_an_agency_that_may_bring_both_polarities_is_no_sole_feeder_of_either() -> None:
    """What matched at it may be a good record as well as a bad one, so neither lane must be at least one."""
    alone = layout(rewarding("quality"), REQUESTER).lanes
    assert [lane.sole_feeders for lane in alone[::2]] == [{"labour", "tax"}, {"market"}]
    shared = layout(rewarding("quality, tax-default"), REQUESTER).lanes
    assert [lane.sole_feeders for lane in shared[::2]] == [{"labour"}, {"market"}]


def test_one_rule_that_asks_is_enough_for_a_weight_and_a_points_lane() -> None:
    for asks, kind in (("min_weight: 2", LaneKind.WEIGHT), ("min_points: 2", LaneKind.POINTS)):
        rule = f"  - {{measure: extra-scrutiny, when: {{registers: [tax-default, wage-arrears], {asks}}}}}\nvalidity"
        lanes = layout(parse(TEXT.replace("validity", rule)), REQUESTER).lanes
        assert [lane.kind for lane in lanes[:3]] == [LaneKind.COUNT, LaneKind.DISPUTED, kind]
        assert len(lanes) == len(EXAMPLE.lanes) + 1


def test_a_lane_holds_the_greatest_sum_and_a_bit_to_spare() -> None:
    assert EXAMPLE.widths == (4, 4, 4, 4, 12)  # 5 agencies; 5 · 255 = 1275 takes 11 bits
    assert (EXAMPLE.width, EXAMPLE.stride) == (28, 2 * 28 + CHECK_BITS)
    assert EXAMPLE.slots(3072) == 3070 // 96


def test_a_full_vector_leaves_six_slots_at_3072_bits() -> None:
    full = LaneLayout(tuple(Lane((f"r{n}",), LaneKind.WEIGHT, A, A) for n in range(21)), agencies=2)
    assert full.width == 21 * 10
    assert full.slots(3072) == 6


def test_an_undisputed_listing_hides_a_disputed_one_of_the_same_agency() -> None:
    clear, doubtful = Standing("r", 2, disputed=False), Standing("s", 3, disputed=True)
    assert vector(SMALL, "a", []) == (0, 0, 0, 0, 0, 0)
    assert vector(SMALL, "a", [clear]) == (1, 0, 2, 0, 0, 0)
    assert vector(SMALL, "a", [doubtful, doubtful]) == (0, 1, 0, 0, 1, 0)
    assert vector(SMALL, "a", [clear, doubtful]) == (1, 0, 2, 0, 1, 0)
    assert vector(SMALL, "a", [Standing("s", 3, disputed=False)] * 2) == (1, 0, 6, 1, 0, 0)


def test_good_and_bad_records_of_one_register_stand_in_lanes_of_their_own() -> None:
    bad, good = Standing("r", 3, disputed=False), Standing("r", 2, disputed=False, points=7, positive=True)
    assert vector(RATED, "a", [bad]) == (1, 0, 0, 0, 0, 0)
    assert vector(RATED, "a", [good]) == (0, 0, 1, 0, 2, 7)
    assert vector(RATED, "a", [good, good, Standing("s", 3, disputed=True)]) == (0, 1, 1, 0, 4, 14)
    assert vector(RATED, "a", [bad, Standing("s", 1, disputed=True, points=7, positive=True)]) == (1, 0, 0, 1, 0, 0)


def test_positive_records_bring_no_entry_where_only_listings_count() -> None:
    assert not any(vector(SMALL, "a", [Standing("r", 3, disputed=False, points=9, positive=True)]))


def test_a_canary_counts_as_good_and_as_bad_in_each_of_its_agencys_registers() -> None:
    assert vector(RATED, "a", canary_standings(["r"])) == (1, 0, 1, 0, 3, 0)
    assert vector(RATED, "a", canary_standings(["r", "s"])) == (1, 0, 1, 0, 6, 0)
    assert not any(vector(RATED, "a", canary_standings([])))


def test_sums_saturate_at_the_greatest_threshold() -> None:
    assert vector(SMALL, "a", [Standing("s", 3, disputed=False)] * 100) == (1, 0, MAX_WEIGHT, 1, 0, 0)
    many = [Standing("s", 3, disputed=False, points=40_000, positive=True)] * 100
    assert vector(RATED, "a", many) == (0, 0, 1, 0, MAX_WEIGHT, MAX_POINTS)


def test_registers_no_rule_reads_contribute_nothing() -> None:
    assert vector(SMALL, "c", [Standing("unread", 3, disputed=False)]) == (0, 0, 0, 0, 0, 0)


def test_an_agency_cannot_contribute_from_anothers_register() -> None:
    with pytest.raises(UsageError, match="brings no register"):
        vector(SMALL, "c", [Standing("s", 1, disputed=False)])


@pytest.mark.parametrize(("severity", "points"), [(0, 0), (4, 0), (1, -1)])
def test_a_standing_has_a_severity_and_no_negative_points(severity: int, points: int) -> None:
    with pytest.raises(UsageError):
        Standing("r", severity, disputed=False, points=points, positive=True)


def test_a_listing_has_no_points() -> None:
    """So no score can come to weigh against anybody, whatever a node computes."""
    with pytest.raises(UsageError, match="only a positive record"):
        Standing("r", 1, disputed=False, points=1)


@given(st.lists(one_vector, max_size=3))
def test_adding_encodings_adds_lanes(vectors: list[tuple[int, ...]]) -> None:
    added = sum(encode(SMALL, values) for values in vectors)
    assert decode(SMALL, added) == tuple(sum(lane) for lane in zip((0,) * 6, *vectors, strict=True))


def test_more_agencies_than_the_layout_knows_would_run_into_the_next_lane() -> None:
    full = encode(SMALL, [lane.maximum for lane in SMALL.lanes])
    added = decode(SMALL, 8 * full % (1 << SMALL.width))
    assert added != tuple(8 * lane.maximum for lane in SMALL.lanes)


@given(one_vector, st.integers(0, 4), st.sampled_from(["below", "above"]))
def test_a_vector_beyond_one_agencys_bound_is_not_encoded(values: tuple[int, ...], lane: int, side: str) -> None:
    out = -1 if side == "below" else SMALL.lanes[lane].maximum + 1
    with pytest.raises(UsageError):
        encode(SMALL, (*values[:lane], out, *values[lane + 1 :]))


def test_a_sum_wider_than_its_lanes_is_refused() -> None:
    for integer in (-1, 1 << SMALL.width):
        with pytest.raises(LaneError):
            decode(SMALL, integer)


standings_of = {
    "a": st.lists(st.builds(Standing, st.sampled_from("rs"), st.integers(1, 3), st.booleans())),
    "b": st.lists(st.builds(Standing, st.just("r"), st.integers(1, 3), st.booleans())),
}


def add(*vectors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*vectors, strict=True)))


def matching(listed: dict[str, list[Standing]], lanes: LaneLayout = SMALL) -> tuple[tuple[int, ...], list[str]]:
    """The sum of the agencies' vectors, and the agencies that have an entry."""
    vectors = {agency: vector(lanes, agency, standings) for agency, standings in listed.items()}
    return add((0,) * len(lanes.lanes), *vectors.values()), [agency for agency, it in vectors.items() if any(it)]


@given(st.fixed_dictionaries(standings_of))
def test_what_agencies_send_passes_the_check(listed: dict[str, list[Standing]]) -> None:
    values, matched = matching(listed)
    check(SMALL, values, matched)


records = st.lists(
    st.builds(Standing, st.sampled_from("rs"), st.integers(1, 3), st.booleans(), st.integers(0, 70_000), st.just(True))
)
rated = st.fixed_dictionaries({"a": st.tuples(standings_of["a"], records), "b": st.tuples(standings_of["b"], records)})

Rated = dict[str, tuple[list[Standing], list[Standing]]]


@given(rated)
def test_neither_polarity_moves_a_lane_of_the_other(listed: Rated) -> None:
    for agency, (bad, good) in listed.items():
        both, bad_alone, good_alone = (vector(RATED, agency, it) for it in (bad + good, bad, good))
        assert both == bad_alone[:2] + good_alone[2:]
        assert not any(bad_alone[2:] + good_alone[:2])


@given(rated)
def test_ratings_of_both_polarities_pass_the_check(listed: Rated) -> None:
    check(RATED, *matching({agency: bad + good for agency, (bad, good) in listed.items()}, RATED))


def test_a_layout_that_took_an_agency_of_both_polarities_for_a_sole_feeder_would_refuse_it() -> None:
    """The twin: were a the sole feeder of the listings' lanes, its good record alone would be an integrity failure."""
    wrong = LaneLayout((replace(RATED.lanes[0], sole_feeders=A), *RATED.lanes[1:]), agencies=3)
    values, matched = matching({"a": [Standing("r", 1, disputed=False, positive=True)]}, RATED)
    check(RATED, values, matched)
    with pytest.raises(LaneError, match="as many agencies as matched"):
        check(wrong, values, matched)


def test_the_weight_of_good_records_fits_their_own_count() -> None:
    check(RATED, (1, 0, 1, 0, 2, 0), ["a"])
    with pytest.raises(LaneError, match="positive weight"):
        check(RATED, (1, 0, 0, 0, 2, 0), ["a"])
    with pytest.raises(LaneError, match="positive count"):
        check(RATED, (1, 0, 1, 1, 2, 0), ["a"])


@given(st.fixed_dictionaries(standings_of), sums)
def test_each_lane_is_bounded_by_the_agencies_that_matched_and_feed_it(
    listed: dict[str, list[Standing]], more: tuple[int, ...]
) -> None:
    values, matched = matching(listed)
    limits = [lane.maximum * len(lane.feeders.intersection(matched)) for lane in SMALL.lanes]
    if any(value > limit for value, limit in zip(add(values, more), limits, strict=True)):
        with pytest.raises(LaneError):
            check(SMALL, add(values, more), matched)


def test_a_payload_cannot_erase_anothers_listing() -> None:
    """Agency a sends N minus b's vector instead of its own: the sum is zero, though both matched."""
    honest = add(vector(SMALL, "b", [Standing("r", 2, False)]), vector(SMALL, "a", [Standing("r", 1, False)]))
    check(SMALL, honest, ["a", "b"])
    for erased in ((0,) * 6, (1, 0, 1, 0, 0, 0), (0, 1, 0, 0, 0, 0)):
        with pytest.raises(LaneError, match="as many agencies as matched"):
            check(SMALL, erased, ["a", "b"])


def test_a_payload_cannot_take_more_weight_than_a_listing_has() -> None:
    check(SMALL, (2, 0, 2, 0, 0, 0), ["a", "b"])
    for weight in (0, 1):
        with pytest.raises(LaneError, match="weight"):
            check(SMALL, (2, 0, weight, 0, 0, 0), ["a", "b"])
    with pytest.raises(LaneError, match="weight"):
        check(SMALL, (1, 1, MAX_WEIGHT + 1, 0, 0, 0), ["a", "b"])


def test_an_agency_that_feeds_other_conditions_too_may_contribute_nothing_to_one() -> None:
    values, matched = matching({"a": [Standing("r", 1, False)], "b": []})
    assert values[3:] == (0, 0, 0)
    check(SMALL, values, matched)


def test_the_check_names_the_lane() -> None:
    with pytest.raises(LaneError, match=r"points\(s\)"):
        check(SMALL, (0, 0, 0, 0, 0, 1), ["b"])


rho_values = st.integers(0, (1 << CHECK_BITS) - 1)
slots = st.lists(st.tuples(st.integers(0, (1 << SMALL.width) - 1), rho_values), min_size=1, max_size=12)

Slots = list[tuple[int, int]]


def packed(filled: Slots) -> int:
    """What C opens: each sum under its check, side by side."""
    return sum(integer * check_factor(SMALL, rho) << (SMALL.stride * k) for k, (integer, rho) in enumerate(filled))


def split(filled: Slots, opened: int) -> list[int]:
    return split_slots(SMALL, opened, [rho for _, rho in filled])


@given(slots)
def test_slots_come_back_in_order(filled: Slots) -> None:
    assert split(filled, packed(filled)) == [integer for integer, _ in filled]


@given(slots, st.data())
def test_any_bit_of_a_check_set_otherwise_is_an_integrity_error(filled: Slots, data: st.DataObject) -> None:
    slot = data.draw(st.integers(0, len(filled) - 1))
    bit = data.draw(st.integers(SMALL.width, SMALL.stride - 1))
    with pytest.raises(LaneError, match="check"):
        split(filled, packed(filled) ^ 1 << (SMALL.stride * slot + bit))


@given(slots.filter(lambda filled: len(filled) > 1), st.integers(1, 3), rho_values)
def test_a_payload_that_reaches_into_another_slot_is_an_integrity_error(filled: Slots, more: int, guess: int) -> None:
    """An agency that matched the first subject adds to the second one's lowest lane, well within its bound.

    C multiplies what it adds by the first slot's check; nobody but C knows the second's.
    """
    (_, rho), (second, other) = filled[:2]
    shift = more << SMALL.stride
    opened = packed(filled) + shift * check_factor(SMALL, rho)
    if rho == other or (second & 15) + more > 15:
        return
    with pytest.raises(LaneError):
        split(filled, opened)
    if guess != other:
        with pytest.raises(LaneError):
            split(filled, packed(filled) + shift * check_factor(SMALL, guess))


def test_with_zero_guard_bits_alone_it_would_pass() -> None:
    """The twin: the same shift where every ρ is 0, that is, where a slot has nothing but zeros above its sum."""
    filled = [(1, 0), (1, 0)]
    assert split(filled, packed(filled) + (2 << SMALL.stride)) == [1, 3]


@given(slots, st.integers(0, 100))
def test_a_bit_above_the_last_slot_is_an_integrity_error(filled: Slots, bit: int) -> None:
    with pytest.raises(LaneError, match="above"):
        split(filled, packed(filled) | 1 << (SMALL.stride * len(filled) + bit))
