"""Lanes: what one Paillier plaintext carries (specification §5).

Each agency puts the listings of one subject into a vector of small numbers, one a lane; the vectors are added under
encryption; the coordinator reads the sums. Which lanes there are follows from the agreement:
`protocol.agreement.layout`. Listings and positive records have lanes of their own: what is good about a subject never
weighs against it, nor the reverse.

One opening carries several vectors, each in a slot of its own. The coordinator multiplies each sum S, under encryption,
by 1 + ρ·2^width with a fresh secret ρ of 40 bits, so that the slot holds S and, above it, ρ·S. An agency whose payload
reaches into other slots, even within their lanes' bounds, would have to know their ρ: it is caught but for 2^-40.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from protocol.errors import LaneError, UsageError

CHECK_BITS = 40
MAX_WIDTH = 215

# One agency's sums saturate here. Nothing is lost: no rule asks for more than one saturated agency already brings.
MAX_WEIGHT = 255
MAX_POINTS = 65_535

CANARY_SEVERITY = 3


class LaneKind(StrEnum):
    """What a lane counts, of listings or of positive records; what is disputed counts in the disputed lane only."""

    COUNT = "count"  # agencies with an undisputed listing
    DISPUTED = "disputed"  # agencies with disputed listings and no undisputed one
    WEIGHT = "weight"  # severities of undisputed listings
    POINTS = "points"  # points of undisputed listings


_MAXIMUM = {LaneKind.COUNT: 1, LaneKind.DISPUTED: 1, LaneKind.WEIGHT: MAX_WEIGHT, LaneKind.POINTS: MAX_POINTS}


@dataclass(frozen=True)
class Lane:
    """One sum over the agencies: `condition` are sorted register ids, `feeders` the agencies that bring one of them.

    `sole_feeders` are those feeders that bring nothing else that a rule counts: neither a register beyond the
    condition nor one that a rule of the other polarity names. What matched at them belongs to this condition.
    A `positive` lane sums positive records, any other listings.
    """

    condition: tuple[str, ...]
    kind: LaneKind
    feeders: frozenset[str]
    sole_feeders: frozenset[str]
    positive: bool = False

    @property
    def name(self) -> str:
        """The lane's name for people, such as `count(tax-default, wage-arrears)` or `positive count(tax-rating)`."""
        return f"{'positive ' if self.positive else ''}{self.kind}({', '.join(self.condition)})"

    @property
    def maximum(self) -> int:
        """The most one agency can contribute."""
        return _MAXIMUM[self.kind]


@dataclass(frozen=True)
class LaneLayout:
    """The lanes of an agreement of `agencies` agencies; lane 0 stands in the lowest bits. All sizes are in bits."""

    lanes: tuple[Lane, ...]
    agencies: int

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Width of each lane: the greatest sum there can be, and one bit to spare."""
        return tuple((lane.maximum * self.agencies).bit_length() + 1 for lane in self.lanes)

    @cached_property
    def width(self) -> int:
        """Width of the whole vector; a valid agreement keeps it to `MAX_WIDTH`."""
        return sum(self.widths)

    @property
    def stride(self) -> int:
        """Width of a slot: the vector S and its check ρ·S."""
        return 2 * self.width + CHECK_BITS

    def slots(self, modulus_bits: int) -> int:
        """Return how many slots one opening under a modulus of this size carries."""
        return (modulus_bits - 2) // self.stride


@dataclass(frozen=True)
class Standing:
    """One listing of the subject, or one `positive` record, in effect at an agency.

    Severity is 1 to 3; points are not negative, and a positive record's only: they restrict nobody.
    """

    register: str
    severity: int
    disputed: bool
    points: int = 0
    positive: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.severity <= 3 or self.points < 0:
            raise UsageError("a standing's severity is 1 to 3 and its points are not negative")
        if self.points and not self.positive:
            raise UsageError("only a positive record has points")


def canary_standings(registers: Iterable[str]) -> list[Standing]:
    """What an agency's canary (§3.4) stands for: in each of its registers one listing and one positive record.

    Both undisputed, of severity 3, without points.
    """
    return [
        Standing(register, CANARY_SEVERITY, disputed=False, positive=positive)
        for register in registers
        for positive in (False, True)
    ]


def vector(layout: LaneLayout, agency: str, standings: Iterable[Standing]) -> tuple[int, ...]:
    """Return what an agency contributes to each lane for one subject; all zero means the subject has no entry there.

    Raises:
        UsageError: a standing is in a register that another agency brings.
    """
    standings = tuple(standings)
    return tuple(_contribution(lane, agency, standings) for lane in layout.lanes)


def _contribution(lane: Lane, agency: str, standings: tuple[Standing, ...]) -> int:
    within = [it for it in standings if it.register in lane.condition and it.positive is lane.positive]
    if within and agency not in lane.feeders:
        raise UsageError(f"{agency} brings no register of the lane {lane.name}")
    undisputed = [standing for standing in within if not standing.disputed]
    totals = {
        LaneKind.COUNT: len(undisputed),
        # Not beside an undisputed listing: so count + disputed is a number of distinct agencies.
        LaneKind.DISPUTED: 0 if undisputed else len(within),
        LaneKind.WEIGHT: sum(standing.severity for standing in undisputed),
        LaneKind.POINTS: sum(standing.points for standing in undisputed),
    }
    return min(totals[lane.kind], lane.maximum)


def encode(layout: LaneLayout, values: Iterable[int]) -> int:
    """Encode one agency's vector as an integer below 2^width.

    Raises:
        UsageError: a value is beyond what one agency can contribute to its lane.
    """
    integer = shift = 0
    for lane, width, value in zip(layout.lanes, layout.widths, values, strict=True):
        if not 0 <= value <= lane.maximum:
            raise UsageError(f"out of bound for one agency in lane {lane.name}")
        integer |= value << shift
        shift += width
    return integer


def decode(layout: LaneLayout, integer: int) -> tuple[int, ...]:
    """Decode a sum of vectors, as `split_slots` returns it, to one value a lane.

    Raises:
        LaneError: it is wider than the vector.
    """
    if not 0 <= integer < 1 << layout.width:
        raise LaneError("a slot is wider than its lanes")
    values = []
    for width in layout.widths:
        values.append(integer & ((1 << width) - 1))
        integer >>= width
    return tuple(values)


def check(layout: LaneLayout, values: Sequence[int], matched: Collection[str]) -> None:
    """Verify one subject's sums against what the agencies that matched can have contributed.

    1. Each lane is at most what the matched agencies that feed it can contribute.
    2. Of each condition and polarity, count + disputed is at most the number of matched agencies that feed it, and at
       least that of those which feed nothing else: these matched, so they did contribute. No payload can erase
       another's.
    3. A weight is from 1 to 255 for each agency counted.

    Raises:
        LaneError: an integrity failure, never a decision.
    """
    sums: dict[tuple[tuple[str, ...], bool], dict[LaneKind, int]] = {}
    for lane, value in zip(layout.lanes, values, strict=True):
        if not 0 <= value <= lane.maximum * len(lane.feeders.intersection(matched)):
            raise LaneError(f"out of bound: lane {lane.name}")
        sums.setdefault((lane.condition, lane.positive), {})[lane.kind] = value
    for lane in layout.lanes:
        found = sums[lane.condition, lane.positive]
        if lane.kind is LaneKind.COUNT:
            agencies = found[LaneKind.COUNT] + found[LaneKind.DISPUTED]
            if not len(lane.sole_feeders.intersection(matched)) <= agencies <= len(lane.feeders.intersection(matched)):
                raise LaneError(f"not as many agencies as matched: lane {lane.name}")
        if lane.kind is LaneKind.WEIGHT:
            counted = found[LaneKind.COUNT]
            if not counted <= found[LaneKind.WEIGHT] <= MAX_WEIGHT * counted:
                raise LaneError(f"not the weight of as many listings as counted: lane {lane.name}")


def check_factor(layout: LaneLayout, rho: int) -> int:
    """Return 1 + ρ·2^width, by which a subject's sum is multiplied; 0 <= ρ < 2^40, fresh and secret until opened."""
    return 1 + (rho << layout.width)


def split_slots(layout: LaneLayout, opened: int, rhos: Sequence[int]) -> list[int]:
    """Cut an opened plaintext into the sums of its slots, the lowest first; `rhos` are the slots' ρ in this order.

    Raises:
        LaneError: a slot is not S and ρ·S, or something stands above the last slot.
    """
    if opened >> (layout.stride * len(rhos)):
        raise LaneError("bits above the last slot are set")
    sums = []
    for number, rho in enumerate(rhos):
        slot = (opened >> (layout.stride * number)) & ((1 << layout.stride) - 1)
        sums.append(slot & ((1 << layout.width) - 1))
        if slot != sums[-1] * check_factor(layout, rho):
            raise LaneError("a slot does not fit its check")
    return sums
