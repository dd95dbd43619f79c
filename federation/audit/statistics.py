"""How an attacker's score is judged: exact binomial tests, and sample sizes that follow from what must be told apart.

A game draws a fair coin for every sample, and an attacker who saw nothing guesses it right half the time, whatever it
does; so its number of right guesses on samples it was not trained on is exactly binomial. Its *advantage* is
2·accuracy − 1. All tests are one-sided, since an attacker that is right less often than chance is no attacker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import beta, binom

FALSE_ALARM: Final = 1e-3
"""The probability that any statistical decision of the whole suite raises an alarm over an honest system, at most."""

DECISIONS: Final = 38
"""How many statistical decisions the suite makes, over all claims' `DECISIONS`."""

ALPHA: Final = FALSE_ALARM / DECISIONS
"""What Bonferroni's correction leaves for one decision."""

POWER: Final = 0.99
"""The probability with which each planted leak is found, at least."""

CONFIDENCE: Final = 0.95
"""Of the upper bounds that are reported, one-sided."""


@dataclass(frozen=True)
class Score:
    """How many of the samples that it was not trained on an attacker guessed right."""

    correct: int
    tried: int

    def __add__(self, other: "Score") -> "Score":
        return Score(self.correct + other.correct, self.tried + other.tried)

    @property
    def accuracy(self) -> float:
        """The fraction guessed right."""
        return self.correct / self.tried

    @property
    def advantage(self) -> float:
        """2·accuracy − 1: 0 for who guesses, 1 for who knows."""
        return 2 * self.accuracy - 1

    @property
    def p(self) -> float:
        """The probability of guessing as many right, or more, without knowing anything."""
        return float(binom.sf(self.correct - 1, self.tried, 0.5))

    @property
    def upper_bound(self) -> float:
        """Clopper and Pearson's upper confidence bound of the advantage (1934), at `CONFIDENCE`."""
        if self.correct == self.tried:
            return 1.0
        return 2 * float(beta.ppf(CONFIDENCE, self.correct + 1, self.tried - self.correct)) - 1

    @property
    def found(self) -> bool:
        """Whether this cannot be chance, at `ALPHA`."""
        return self.p <= ALPHA


def power(tried: int, advantage: float) -> float:
    """The probability that an attacker of this advantage is found in so many samples."""
    # The least number of right guesses that is found: sf(k - 1) <= α.
    needed = int(binom.isf(ALPHA, tried, 0.5)) + 1
    return float(binom.sf(needed - 1, tried, (1 + advantage) / 2))


def sample_size(advantage: float) -> int:
    """The least number of samples from which on an attacker of this advantage is found with probability `POWER`.

    The exact power is not monotonous in the number of samples: from this number on, it never falls below again.
    """
    # The normal approximation is above the answer by its factor of two; from there down to the last that fails.
    tried = math.ceil(2 * (7 / advantage) ** 2)
    while power(tried, advantage) >= POWER:
        tried -= 1
    return tried + 1


def detectable(tried: int) -> float:
    """The least advantage that is found in so many samples with probability `POWER`, to three digits; at most 1."""
    low, high = 0.0, 1.0
    while high - low > 0.0005:
        middle = (low + high) / 2
        low, high = (low, middle) if power(tried, middle) >= POWER else (middle, high)
    return round(high, 3)


def effect_size(first: Sequence[float], second: Sequence[float]) -> float:
    """Cohen's d of two samples: the difference of their means in pooled standard deviations; 0 if nothing varies."""
    one, two = np.asarray(first), np.asarray(second)
    freedom = len(one) + len(two) - 2
    pooled = (one.var(ddof=1) * (len(one) - 1) + two.var(ddof=1) * (len(two) - 1)) / freedom
    return float((one.mean() - two.mean()) / math.sqrt(pooled)) if pooled > 0 else 0.0
