"""Rules: from a subject's lanes to the measures that apply (specification §5).

The rules of an incentive count positive records, those of a restriction or notice listings; what follows says
"listings" for either.

A rule **fires** if undisputed listings alone suffice: count >= min_agencies, and weight >= min_weight and
points >= min_points where it asks for them. A measure applies if any of its rules fires.

A measure is **disputed** if none of its rules fires, but one would if disputed listings counted: at least one agency
has disputed listings only, and count + disputed >= min_agencies. Weight and points of disputed listings do not travel,
so for this flag, and never for an effect, `min_weight` and `min_points` are taken as fulfilled. The flag therefore says
"a dispute is open that may matter", not "would apply".

A measure under a moratorium neither applies nor is disputed until the day after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from protocol.agreement.limits import condition, measure_is_suspended
from protocol.agreement.model import Agreement, When
from protocol.lanes import LaneKind, LaneLayout


@dataclass(frozen=True)
class MeasureOutcome:
    """A measure of the decision: it applies, or (disputed) might if a dispute ends against the subject."""

    measure: str
    disputed: bool


def outcome(
    agreement: Agreement, layout: LaneLayout, values: Sequence[int], requester: str, day: date
) -> tuple[MeasureOutcome, ...]:
    """Return the measures for one subject that this requester implements, in the agreement's order.

    `layout` has the requester's lanes; `values` are the sums over all agencies, one a lane, checked against their
    bounds (`protocol.lanes.check`); `day` is the UTC day of the question, by which moratoria end for everybody alike.

    Raises:
        NotGrantedError: the agreement names no such requester.
    """
    sums: dict[tuple[tuple[str, ...], bool], dict[LaneKind, int]] = {}
    for lane, value in zip(layout.lanes, values, strict=True):
        sums.setdefault((lane.condition, lane.positive), {})[lane.kind] = value
    implements = agreement.requester(requester).implements
    outcomes = []
    for measure in agreement.measures:
        if measure.id not in implements or measure_is_suspended(agreement, measure.id, day):
            continue
        rules = [
            (rule.when, sums[condition(agreement, rule), measure.positive])
            for rule in agreement.rules
            if rule.measure == measure.id
        ]
        if any(_fires(when, of) for when, of in rules):
            outcomes.append(MeasureOutcome(measure.id, disputed=False))
        elif any(_is_disputed(when, of) for when, of in rules):
            outcomes.append(MeasureOutcome(measure.id, disputed=True))
    return tuple(outcomes)


_Sums = Mapping[LaneKind, int]
"""Those of one rule's lanes."""


def _fires(when: When, sums: _Sums) -> bool:
    return (
        sums[LaneKind.COUNT] >= when.min_agencies
        and (when.min_weight is None or sums[LaneKind.WEIGHT] >= when.min_weight)
        and (when.min_points is None or sums[LaneKind.POINTS] >= when.min_points)
    )


def _is_disputed(when: When, sums: _Sums) -> bool:
    return sums[LaneKind.DISPUTED] >= 1 and sums[LaneKind.COUNT] + sums[LaneKind.DISPUTED] >= when.min_agencies
