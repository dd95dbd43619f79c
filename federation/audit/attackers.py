"""Three attackers that learn from labelled sessions to tell two worlds apart, judged on sessions kept from them.

*Shape* looks at nothing but how many values each field has and how long they are. *Timing* looks at how long steps
took. *Learned* looks at all but times: sizes, bytes at fixed places of each field, its density of set bits, and whether
values came back that it had seen before, and in which world.

The samples are split in order: of the first it remembers values, on the next it learns, on the last it is judged; so
nothing of a held-out sample is ever in what it remembers or learned from. All parameters are fixed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.tree import DecisionTreeClassifier

from federation.audit.observations import View
from federation.audit.statistics import Score, effect_size

Array = NDArray[np.float32]


class Attacker(StrEnum):
    """The attackers of a hiding game."""

    SHAPE = "shape"
    TIMING = "timing"
    LEARNED = "learned"


GATED: Final = (Attacker.SHAPE, Attacker.LEARNED)
"""Whose success refutes a claim. Times on a shared machine are reported and prove nothing either way."""


@dataclass(frozen=True)
class Split:
    """How many samples are remembered, learned from, and held out, in this order."""

    memory: int
    training: int
    held_out: int

    @property
    def total(self) -> int:
        """All samples."""
        return self.memory + self.training + self.held_out


@dataclass(frozen=True)
class Result:
    """What came out for one view: each attacker's score, and the greatest effect size that any time has."""

    scores: Mapping[Attacker, Score]
    timing_effect: float

    def __add__(self, other: "Result") -> "Result":
        """Results over more samples: scores add up; of effect sizes, in samples of their own, the greatest stands."""
        scores = {attacker: score + other.scores[attacker] for attacker, score in self.scores.items()}
        return Result(scores, max(self.timing_effect, other.timing_effect))


class Memory:
    """What an attacker keeps of its first sessions, and how it sees any other in the light of these.

    Fields that were the same in all sessions remembered count for one number: how many of them are different now.
    """

    def __init__(self, views: Sequence[View], worlds: Sequence[bool]) -> None:
        seen: dict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        for view, world in zip(views, worlds, strict=True):
            for value in {value for values in view.fields.values() for value in values}:
                seen[value][world] += 1
        # A value that was seen once is one that does not come back, or too seldom to matter.
        self._weights = {
            value: float(np.log((one + 0.5) / (zero + 0.5))) for value, (zero, one) in seen.items() if zero + one > 1
        }
        contents = Counter((name, values) for view in views for name, values in view.fields.items())
        self._constant = {name: values for (name, values), count in contents.items() if count == len(views)}
        self._varying = sorted({name for name, _ in contents} - self._constant.keys())
        self._timed = sorted({name for view in views for name in view.seconds})

    def shape(self, view: View) -> Array:
        """For each field that varies its number of values and of bytes, and how many fields were never seen."""
        sizes = [(len(values), sum(map(len, values))) for values in map(self._of(view), self._varying)]
        unknown = view.fields.keys() - self._constant.keys() - set(self._varying)
        return np.array([len(unknown), *(number for pair in sizes for number in pair)], np.float32)

    def content(self, view: View) -> Array:
        """For each field that varies what is remembered of its values, its density, and its first and last bytes."""
        changed = sum(view.fields.get(name) != values for name, values in self._constant.items())
        everything = [value for values in view.fields.values() for value in values]
        numbers: list[float] = [changed, len(everything) - len(set(everything))]
        for values in map(self._of(view), self._varying):
            numbers += self._numbers(values)
        return np.array(numbers, np.float32)

    def times(self, view: View) -> Array:
        """Each step's time in milliseconds."""
        return np.array([view.seconds.get(name, 0.0) * 1000 for name in self._timed], np.float32)

    def _of(self, view: View) -> Any:
        return lambda name: view.fields.get(name, ())

    def _numbers(self, values: Sequence[bytes]) -> Iterator[float]:
        first, last, joined = next(iter(values), b""), values[-1] if values else b"", b"".join(values)
        yield sum(self._weights.get(value, 0.0) for value in values)
        yield int.from_bytes(joined).bit_count() / (8 * len(joined)) if joined else -1
        yield first[0] if first else -1
        yield first[1] if len(first) > 1 else -1
        yield last[-1] if last else -1


class Samples:
    """Samples of one view as they come: the first are remembered, of the others only numbers are kept."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._first: list[View] = []
        self._worlds: list[bool] = []
        self._memory: Memory | None = None
        self._rows: dict[Attacker, list[Array]] = {attacker: [] for attacker in Attacker}

    def add(self, view: View, world: bool) -> None:
        """Take one more sample and which world it is of."""
        self._worlds.append(world)
        if self._memory is None:
            self._first.append(view)
            if len(self._first) == self._split.memory:
                self._memory = Memory(self._first, self._worlds)
            return
        shape = self._memory.shape(view)
        self._rows[Attacker.SHAPE].append(shape)
        self._rows[Attacker.TIMING].append(self._memory.times(view))
        self._rows[Attacker.LEARNED].append(np.concatenate([shape, self._memory.content(view)]))

    def attack(self) -> Result:
        """Train every attacker and judge it on what was held out."""
        labels = np.array(self._worlds[self._split.memory : self._split.total])
        scores = {
            attacker: self._judge(attacker, np.stack(rows)[: len(labels)], labels)
            for attacker, rows in self._rows.items()
        }
        times = np.stack(self._rows[Attacker.TIMING])[: len(labels)]
        effects = [effect_size(column[labels], column[~labels]) for column in times.T]
        return Result(scores, max(map(abs, effects), default=0.0))

    def _judge(self, attacker: Attacker, rows: Array, labels: NDArray[np.bool_]) -> Score:
        training = self._split.training
        model = _model(attacker).fit(rows[:training], labels[:training])
        guesses = model.predict(rows[training:])
        return Score(int((guesses == labels[training:]).sum()), len(guesses))


def _model(attacker: Attacker) -> Any:
    if attacker is Attacker.LEARNED:
        return GradientBoostingClassifier(
            n_estimators=25, max_depth=4, min_samples_leaf=20, learning_rate=0.2, random_state=0
        )
    return DecisionTreeClassifier(max_depth=4, min_samples_leaf=10, random_state=0)
