"""Public accountability figures: a quarter, its cells and their place in plaintexts, and their noise (§4.14).

Every agency counts its own registers, adds discrete Laplace noise to each cell, and only then encrypts; what is opened
is the sum over all agencies. So nobody need be trusted with a count, and whoever colludes reads noisy numbers at most.
"""

import calendar
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property

from protocol import labels
from protocol.codec import digest
from protocol.errors import DecodeError, LaneError, UsageError

SENSITIVITY = 5
"""By how much, in all cells together, one listing can change an agency's counts of a quarter: one in each of
`listings …`, `disputes`, `overturned`, `late answers` and `expiries`, however often it occurs there."""

MAX_COUNT = (1 << 31) - 1
"""An agency's noisy number is cut to ±this, so that no sum can overflow its cell."""

EVERYBODY = "everybody"
"""The audience of what is published."""

_POINTS_A_DEVIATION = 64


@dataclass(frozen=True, order=True)
class Quarter:
    """A calendar quarter in UTC, such as 2026-Q3; `number` is 1 to 4."""

    year: int
    number: int

    @staticmethod
    def parse(text: str) -> "Quarter":
        """Read `2026-Q3`.

        Raises:
            DecodeError: it is no quarter in this form.
        """
        if not re.fullmatch(r"2[0-9]{3}-Q[1-4]", text, re.ASCII):
            raise DecodeError("quarter: not of the form 2026-Q3")
        return Quarter(int(text[:4]), int(text[-1]))

    def __str__(self) -> str:
        return f"{self.year}-Q{self.number}"

    @property
    def first(self) -> date:
        """Its first day."""
        return date(self.year, 3 * self.number - 2, 1)

    @property
    def begins(self) -> int:
        """When that day begins, in Unix seconds."""
        return int(datetime.combine(self.first, time(), UTC).timestamp())

    @property
    def last(self) -> date:
        """Its last day."""
        return date(self.year, 3 * self.number, calendar.monthrange(self.year, 3 * self.number)[1])


@dataclass(frozen=True)
class FiguresLayout:
    """The cells of an agreement's figures, in order, and how plaintexts below a modulus carry them.

    A cell holds an agency's number plus `MAX_COUNT`, and is wide enough for the sum over all agencies.
    """

    cells: tuple[str, ...]
    agencies: int
    modulus_bits: int

    @property
    def width(self) -> int:
        """Bits of a cell."""
        return (2 * MAX_COUNT * self.agencies).bit_length()

    @property
    def per_plaintext(self) -> int:
        """How many cells one plaintext carries."""
        return (self.modulus_bits - 2) // self.width

    @property
    def plaintexts(self) -> int:
        """How many plaintexts carry all cells."""
        return -(-len(self.cells) // self.per_plaintext)

    @cached_property
    def digest(self) -> bytes:
        """Hash (32 bytes) of the cells' names in order, by which parties see that they count the same."""
        return digest(labels.FIGURES_CELLS, *(cell.encode() for cell in self.cells))

    def encode(self, numbers: Sequence[int]) -> list[int]:
        """Encode one agency's noisy numbers, one a cell, as plaintexts; what lies beyond ±MAX_COUNT is cut."""
        if len(numbers) != len(self.cells):
            raise UsageError("not one number a cell")
        shifted = [min(max(number, -MAX_COUNT), MAX_COUNT) + MAX_COUNT for number in numbers]
        return [
            sum(value << (self.width * at) for at, value in enumerate(shifted[start : start + self.per_plaintext]))
            for start in range(0, len(shifted), self.per_plaintext)
        ]

    def decode(self, sums: Sequence[int]) -> tuple[int, ...]:
        """Decode the sum of all agencies' plaintexts to one number a cell.

        Raises:
            LaneError: a cell or plaintext holds more than all agencies can have brought.
        """
        if len(sums) != self.plaintexts:
            raise UsageError("not one sum a plaintext")
        numbers: list[int] = []
        for position, whole in enumerate(sums):
            rest = whole
            for _ in self.cells[position * self.per_plaintext : (position + 1) * self.per_plaintext]:
                value = rest & ((1 << self.width) - 1)
                if value > 2 * MAX_COUNT * self.agencies:
                    raise LaneError("a cell holds more than all agencies can have brought")
                numbers.append(value - MAX_COUNT * self.agencies)
                rest >>= self.width
            if rest:
                raise LaneError("bits above the last cell are set")
        return tuple(numbers)


def noise_scale(epsilon: int) -> float:
    """The scale b of each cell's discrete Laplace noise, P(x) ∝ exp(-|x| / b), for ε in thousandths (Δ₁ / ε)."""
    return SENSITIVITY * 1000 / epsilon


def within(scale: float, draws: int, confidence: float = 0.95) -> int:
    """The least h such that the sum of this many draws of noise lies in ±h with at least this probability.

    Computed from the characteristic function of the sum on a circle of M points, so long that what wraps around does
    not count: P(|X| ≤ h) = Σ_k φ(2πk/M)·D_h(2πk/M) / M with Dirichlet's kernel D_h.
    """
    q = math.exp(-1 / scale)
    deviation = math.sqrt(2 * q * draws) / (1 - q)
    points = 2 * math.ceil(_POINTS_A_DEVIATION / 2 * (deviation + scale + 1)) + 1
    angles = [2 * math.pi * k / points for k in range(1, points // 2 + 1)]
    values = [((1 - q) ** 2 / (1 - 2 * q * math.cos(angle) + q * q)) ** draws for angle in angles]

    def inside(h: int) -> float:
        kernel = (math.sin((h + 0.5) * angle) / math.sin(angle / 2) for angle in angles)
        return (2 * h + 1 + 2 * sum(value * it for value, it in zip(values, kernel, strict=True))) / points

    low, high = -1, points // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if inside(middle) >= confidence else (middle, high)
    return high
