"""The lanes that an agreement's rules need for a requester (specification §5)."""

from collections.abc import Collection

from protocol.agreement.limits import condition as counted
from protocol.agreement.model import Agreement, When
from protocol.lanes import Lane, LaneKind, LaneLayout


def layout(agreement: Agreement, requester: str) -> LaneLayout:
    """Return the lanes of each distinct condition and polarity, in the order in which the rules first name them.

    Only rules for measures that the requester implements have lanes: for a measure that it may not impose, agencies
    send nothing that could be opened. The rules of incentives count positive records, all others listings, in lanes of
    their own even where they name the same registers. A condition has one count and one disputed lane of its polarity,
    a weight lane if such a rule on it has `min_weight`, and a points lane if one has `min_points`. What agencies opted
    out of is in no condition (`protocol.agreement.limits`).

    Raises:
        NotGrantedError: the agreement names no such requester.
    """
    implements = agreement.requester(requester).implements
    polarity = {measure.id: measure.positive for measure in agreement.measures if measure.id in implements}
    conditions: dict[tuple[tuple[str, ...], bool], list[When]] = {}
    named: dict[bool, set[str]] = {False: set(), True: set()}
    for rule in agreement.rules:
        if rule.measure in polarity:
            positive = polarity[rule.measure]
            condition = counted(agreement, rule)
            conditions.setdefault((condition, positive), []).append(rule.when)
            named[positive].update(condition)
    lanes: list[Lane] = []
    for (condition, positive), whens in conditions.items():
        kinds = [LaneKind.COUNT, LaneKind.DISPUTED]
        if any(when.min_weight is not None for when in whens):
            kinds.append(LaneKind.WEIGHT)
        if any(when.min_points is not None for when in whens):
            kinds.append(LaneKind.POINTS)
        fed_by = feeders(agreement, condition)
        # Any register may hold what the other polarity's rules count, as far as the agreement alone can tell.
        elsewhere = feeders(agreement, (named[positive] - set(condition)) | named[not positive])
        lanes += [Lane(condition, kind, fed_by, fed_by - elsewhere, positive) for kind in kinds]
    return LaneLayout(tuple(lanes), len(agreement.agencies))


def feeders(agreement: Agreement, condition: Collection[str]) -> frozenset[str]:
    """Return the ids of the agencies that bring a register of the condition."""
    return frozenset(
        agency.id for agency in agreement.agencies if any(register.id in condition for register in agency.registers)
    )
