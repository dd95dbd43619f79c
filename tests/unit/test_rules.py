"""Rules over lanes decide what a plain evaluation over all raw listings decides.

`plain` is written from the agreement's words alone and sees every listing of every agency; `by_lanes` sees sums only.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.agreement.layout import layout
from protocol.agreement.model import (
    Agency,
    Agreement,
    Effect,
    Measure,
    Moratorium,
    OptOut,
    Register,
    Requester,
    Rule,
    When,
    parse,
)
from protocol.agreement.rules import MeasureOutcome, outcome
from protocol.errors import LaneError, NotGrantedError
from protocol.lanes import LaneLayout, Standing, check, decode, encode, vector

EXAMPLE = parse((Path(__file__).parent / "data/procurement.yaml").read_text())
DAY = date(2026, 11, 18)
Standings = dict[str, list[Standing]]
Vector = Callable[[LaneLayout, str, Iterable[Standing]], tuple[int, ...]]

OWNER = {"r0": "a0", "r1": "a0", "r2": "a1", "r3": "a1", "r4": "a2", "r5": "a3"}
AGENCIES = tuple(
    Agency(id=agency, name="A", registers=tuple(Register(id=r, preset="p") for r, o in OWNER.items() if o == agency))
    for agency in ("a0", "a1", "a2", "a3", "a4")
)
EFFECTS: dict[str, Effect] = {"m0": "notice", "m1": "incentive", "m2": "incentive"}
MEASURES = tuple(
    Measure(id=name, effect=effect, severity="minor", max_months=1, legal_basis="s", notice="n")
    for name, effect in EFFECTS.items()
)
REQUESTERS = tuple(
    Requester(id=name, name="R", purposes=("p",), implements=implements, quota_per_day=1)
    for name, implements in (("all", ("m2", "m0", "m1")), ("some", ("m1",)))
)

thresholds = st.builds(
    When,
    registers=st.sampled_from([("r0", "r2"), ("r2", "r0")])  # one condition, so that rules often share lanes
    | st.lists(st.sampled_from(sorted(OWNER)), min_size=1, max_size=4, unique=True).map(tuple),
    min_agencies=st.integers(1, 3),
    min_weight=st.none() | st.integers(1, 12) | st.integers(250, 255),
    min_points=st.none() | st.integers(1, 300) | st.integers(65_000, 65_535),
)
measure_ids = st.sampled_from(sorted(EFFECTS))
opt_out = st.builds(OptOut, agency=st.sampled_from(["a0", "a1", "a2"]), measure=measure_ids)
moratorium = st.builds(
    Moratorium,
    measures=st.tuples(measure_ids),
    until=st.sampled_from([DAY - timedelta(days=1), DAY]),
    legal_basis=st.just("s. 9"),
)
agreements = st.builds(
    lambda rules, opt_outs, moratoria: EXAMPLE.model_copy(
        update={
            "agencies": AGENCIES,
            "measures": MEASURES,
            "requesters": REQUESTERS,
            "rules": tuple(rules),
            "opt_outs": tuple(opt_outs) or None,
            "moratoria": tuple(moratoria) or None,
        }
    ),
    st.lists(st.builds(Rule, measure=measure_ids, when=thresholds), max_size=4),
    st.lists(opt_out, max_size=3),
    st.lists(moratorium, max_size=1),
)
registers = st.sampled_from(sorted(OWNER))
listing = st.builds(Standing, registers, st.integers(1, 3), st.booleans())
record = st.builds(
    Standing, registers, st.integers(1, 3), st.booleans(), st.integers(0, 200) | st.just(66_000), st.just(True)
)
one_standing = listing | record
standings = st.lists(st.tuples(one_standing, st.sampled_from([1, 1, 100])), max_size=8).map(
    lambda drawn: {
        agency.id: [
            standing for standing, times in drawn for _ in range(times) if OWNER[standing.register] == agency.id
        ]
        for agency in AGENCIES
    }
)


def by_lanes(agreement: Agreement, listed: Standings, requester: str, of: Vector = vector) -> list[tuple[str, bool]]:
    lanes = layout(agreement, requester)
    vectors = {agency: of(lanes, agency, standings) for agency, standings in listed.items()}
    values = decode(lanes, sum(encode(lanes, values) for values in vectors.values()))
    check(lanes, values, [agency for agency, values in vectors.items() if any(values)])
    return [(item.measure, item.disputed) for item in outcome(agreement, lanes, values, requester, DAY)]


def plain(agreement: Agreement, listed: Standings, requester: str) -> list[tuple[str, bool]]:
    implemented = {item.id: item.implements for item in agreement.requesters}[requester]
    opted_out = {(it.agency, it.measure) for it in agreement.opt_outs or ()}
    decided = []
    for measure in agreement.measures:
        if any(it.measures and measure.id in it.measures and it.until >= DAY for it in agreement.moratoria or ()):
            continue
        applies = flagged = False
        for rule in agreement.rules:
            if rule.measure != measure.id or measure.id not in implemented:
                continue
            found = [
                (agency, s)
                for agency, own in listed.items()
                for s in own
                if s.register in rule.when.registers and s.positive == (measure.effect == "incentive")
                if (agency, measure.id) not in opted_out
            ]
            sure = {agency for agency, s in found if not s.disputed}
            doubtful = {agency for agency, s in found} - sure
            weight = sum(s.severity for _, s in found if not s.disputed)
            points = sum(s.points for _, s in found if not s.disputed)
            applies |= (
                len(sure) >= rule.when.min_agencies
                and weight >= (rule.when.min_weight or 0)
                and points >= (rule.when.min_points or 0)
            )
            flagged |= bool(doubtful) and len(sure | doubtful) >= rule.when.min_agencies
        if applies or flagged:
            decided.append((measure.id, not applies))
    return decided


@settings(max_examples=300, deadline=None)
@given(agreements, standings, st.sampled_from(["all", "some"]))
def test_lanes_decide_what_the_raw_listings_decide(agreement: Agreement, listed: Standings, requester: str) -> None:
    assert by_lanes(agreement, listed, requester) == plain(agreement, listed, requester)


def with_rule(**when: object) -> Agreement:
    rule = Rule(measure="m1", when=When.model_validate(when))
    update = {"agencies": AGENCIES, "measures": MEASURES, "requesters": REQUESTERS, "rules": (rule,)}
    return EXAMPLE.model_copy(update=update)


def good(register: str, severity: int, *, disputed: bool = False, points: int = 0) -> Standing:
    """A positive record, as m1, an incentive, counts."""
    return Standing(register, severity, disputed, points, positive=True)


def forgets_disputes(lanes: LaneLayout, agency: str, standings: Iterable[Standing]) -> tuple[int, ...]:
    return vector(lanes, agency, [replace(standing, disputed=False) for standing in standings])


def counts_once(lanes: LaneLayout, agency: str, standings: Iterable[Standing]) -> tuple[int, ...]:
    return vector(lanes, agency, list(standings)[:1])


def takes_good_for_bad(lanes: LaneLayout, agency: str, standings: Iterable[Standing]) -> tuple[int, ...]:
    return vector(
        lanes, agency, [replace(standing, points=0, positive=not standing.positive) for standing in standings]
    )


def shifts_lanes(lanes: LaneLayout, agency: str, standings: Iterable[Standing]) -> tuple[int, ...]:
    values = vector(lanes, agency, standings)
    return (values[1], values[0], *values[2:])


def test_an_opt_out_takes_an_agency_out_of_one_measure_and_no_other() -> None:
    agreement = with_rule(registers=("r0", "r2")).model_copy(
        update={
            "rules": tuple(Rule(measure=name, when=When(registers=("r0", "r2"))) for name in ("m1", "m2")),
            "opt_outs": (OptOut(agency="a0", measure="m1"),),
        }
    )
    assert by_lanes(agreement, {"a0": [good("r0", 1)]}, "all") == [("m2", False)]
    assert by_lanes(agreement, {"a1": [good("r2", 1)]}, "all") == [("m1", False), ("m2", False)]


def test_an_agency_that_opted_out_of_all_that_a_requester_implements_has_no_part_in_any_of_its_lanes() -> None:
    """So C would learn by nothing that it lists the subject: its vector is zero, and it has no entry."""
    agreement = with_rule(registers=("r0", "r2")).model_copy(update={"opt_outs": (OptOut(agency="a0", measure="m1"),)})
    lanes = layout(agreement, "some")
    assert all(lane.feeders == {"a1"} for lane in lanes.lanes)
    assert not any(vector(lanes, "a0", [good("r0", 3), good("r1", 3)]))


@pytest.mark.parametrize(("days", "decided"), [(-1, [("m1", False)]), (0, []), (1, [])])
def test_a_moratorium_holds_through_its_last_day(days: int, decided: list[tuple[str, bool]]) -> None:
    suspended = Moratorium(measures=("m1",), until=DAY + timedelta(days=days), legal_basis="s. 9")
    agreement = with_rule(registers=("r0",)).model_copy(update={"moratoria": (suspended,)})
    assert by_lanes(agreement, {"a0": [good("r0", 1)]}, "all") == decided
    assert by_lanes(agreement, {"a0": [good("r0", 1, disputed=True)]}, "all") == [(it, True) for it, _ in decided]


@settings(max_examples=100, deadline=None)
@given(agreements, standings)
def test_opt_outs_and_moratoria_only_ever_take_away(agreement: Agreement, listed: Standings) -> None:
    without = agreement.model_copy(update={"opt_outs": None, "moratoria": None})
    applies = {name for name, disputed in by_lanes(agreement, listed, "all") if not disputed}
    assert applies <= {name for name, disputed in by_lanes(without, listed, "all") if not disputed}


@pytest.mark.parametrize("faulty", [forgets_disputes, counts_once, takes_good_for_bad])
def test_a_fault_in_the_vectors_is_seen_by_the_plain_evaluation(faulty: Vector) -> None:
    agreement = with_rule(registers=("r0", "r2"), min_agencies=1, min_weight=4)
    sure, doubtful = good("r0", 2), good("r2", 3, disputed=True)
    cases: list[Standings] = [{"a0": [sure, sure], "a1": []}, {"a0": [], "a1": [doubtful, doubtful]}]
    for listed in cases:
        assert by_lanes(agreement, listed, "all") == plain(agreement, listed, "all")
    assert any(by_lanes(agreement, listed, "all", faulty) != plain(agreement, listed, "all") for listed in cases)


def test_swapped_lanes_do_not_even_pass_the_check() -> None:
    agreement = with_rule(registers=("r0", "r2"), min_agencies=1, min_weight=4)
    with pytest.raises(LaneError):
        by_lanes(agreement, {"a0": [good("r0", 2)]}, "all", shifts_lanes)


def test_a_rating_rewards_and_restricts_by_rules_over_the_same_register() -> None:
    agreement = with_rule(registers=("r0",)).model_copy(
        update={"rules": tuple(Rule(measure=name, when=When(registers=("r0",))) for name in ("m0", "m1"))}
    )
    for listed, decided in (
        ([Standing("r0", 3, disputed=False)], [("m0", False)]),
        ([good("r0", 1)], [("m1", False)]),
        ([good("r0", 1, disputed=True)], [("m1", True)]),
        ([Standing("r0", 3, disputed=True), good("r0", 1)], [("m0", True), ("m1", False)]),
    ):
        assert by_lanes(agreement, {"a0": listed}, "all") == decided == plain(agreement, {"a0": listed}, "all")


def test_a_disputed_listing_flags_and_never_restricts() -> None:
    lanes = layout(EXAMPLE, "procurement-office")
    disputed = vector(lanes, "labour", [Standing("wage-arrears", 3, disputed=True)])
    decided = outcome(EXAMPLE, lanes, disputed, "procurement-office", DAY)
    assert decided == (MeasureOutcome("exclude-from-award", disputed=True),)
    clear = vector(lanes, "tax", [Standing("tax-default", 1, disputed=False)])
    both = tuple(map(sum, zip(disputed, clear, strict=True)))
    assert outcome(EXAMPLE, lanes, both, "procurement-office", DAY) == (
        MeasureOutcome("exclude-from-award", disputed=False),
        MeasureOutcome("extra-scrutiny", disputed=True),
    )


def test_a_threshold_is_met_exactly_at_its_figure() -> None:
    listed: Standings = {"a0": [good("r0", 2, points=7)], "a1": [good("r2", 3)]}
    met = {"min_agencies": 2, "min_weight": 5, "min_points": 7}
    for missed in ({}, {"min_agencies": 3}, {"min_weight": 6}, {"min_points": 8}):
        agreement = with_rule(registers=("r0", "r2", "r4"), **(met | missed))
        assert by_lanes(agreement, listed, "all") == ([] if missed else [("m1", False)])


def test_a_requester_sees_only_the_measures_it_implements() -> None:
    for requester, implements in (("bank", 1), ("procurement-office", 2)):
        lanes = layout(EXAMPLE, requester)
        everything = tuple(lane.maximum * len(lane.feeders) for lane in lanes.lanes)
        assert len(outcome(EXAMPLE, lanes, everything, requester, DAY)) == implements
    with pytest.raises(NotGrantedError):
        layout(EXAMPLE, "court")


def test_nothing_listed_means_no_measure() -> None:
    lanes = layout(EXAMPLE, "procurement-office")
    assert outcome(EXAMPLE, lanes, (0,) * len(lanes.lanes), "procurement-office", DAY) == ()
