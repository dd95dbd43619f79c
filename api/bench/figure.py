"""What is measured: figures of many runs, some with a target, and what belongs to each measurement."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.charts import Chart

RATIO = "×"
"""The unit of a figure that is one figure in terms of another."""


@dataclass(frozen=True)
class Figure:
    """A measured quantity: its unit, the values of its runs, and the most or least that its median should be."""

    name: str
    unit: str
    values: Sequence[float]
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest value."""
        return max(self.values)

    @property
    def target(self) -> str:
        """What is to be reached, in words; nothing where nothing is."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return f"≥ {self.least:g}" if self.least is not None else ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None where there is none."""
        if self.most is not None:
            return self.median <= self.most
        return self.median >= self.least if self.least is not None else None


def ratio(name: str, figure: Figure, against: Figure, most: float | None = None, least: float | None = None) -> Figure:
    """One figure's median in terms of another's, of the same run."""
    return Figure(name, RATIO, (figure.median / against.median,), most, least)


def share(name: str, part: Figure, whole: Figure, least: float | None = None) -> Figure:
    """One figure's median as a part of another's, in per cent."""
    return Figure(name, "%", (100 * part.median / whole.median,), least=least)


@dataclass(frozen=True)
class Measured:
    """What a measurement brought: figures, with which parameters, and what was not measured."""

    figures: Sequence[Figure]
    parameters: Mapping[str, int | float | str]
    undone: Sequence[str] = ()
    charts: Sequence[Chart] = ()
