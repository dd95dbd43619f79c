"""The lanes that an agreement's rules need for a requester (specification §5)."""

from protocol.agreement.model import Agreement, When
from protocol.lanes import Lane, LaneKind, LaneLayout


def layout(agreement: Agreement, requester: str) -> LaneLayout:
    """Return the lanes of each distinct condition, in the order in which the rules first name it.

    Only rules for measures that the requester implements have lanes: for a measure that it may not impose, agencies
    send nothing that could be opened. A condition has one count and one disputed lane, a weight lane if a rule on it
    has `min_weight`, and a points lane if one has `min_points`.

    Raises:
        NotGrantedError: the agreement names no such requester.
    """
    implements = agreement.requester(requester).implements
    conditions: dict[tuple[str, ...], list[When]] = {}
    for rule in agreement.rules:
        if rule.measure in implements:
            conditions.setdefault(rule.when.condition, []).append(rule.when)
    named = {register for condition in conditions for register in condition}
    lanes: list[Lane] = []
    for condition, whens in conditions.items():
        kinds = [LaneKind.COUNT, LaneKind.DISPUTED]
        if any(when.min_weight is not None for when in whens):
            kinds.append(LaneKind.WEIGHT)
        if any(when.min_points is not None for when in whens):
            kinds.append(LaneKind.POINTS)
        fed_by = feeders(agreement, condition)
        elsewhere = feeders(agreement, tuple(named.difference(condition)))
        lanes += [Lane(condition, kind, fed_by, fed_by - elsewhere) for kind in kinds]
    return LaneLayout(tuple(lanes), len(agreement.agencies))


def feeders(agreement: Agreement, condition: tuple[str, ...]) -> frozenset[str]:
    """Return the ids of the agencies that bring a register of the condition."""
    return frozenset(
        agency.id for agency in agreement.agencies if any(register.id in condition for register in agency.registers)
    )
