"""A claim of the audit: a sentence, the attack that would refute it, and the leak that the same attack must find."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.audit.grounds import Grounds
from api.charts import Chart


@dataclass(frozen=True)
class Evidence:
    """What one run of an attack brought.

    `breached` is whether the attack succeeded: of a measurement, if any part of it did; of a control, only if every
    planted leak was found. `figures` are named results; `findings` say in words what was found, never a value of a
    subject.
    """

    breached: bool
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    findings: Sequence[str] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True)
class Claim:
    """One claim: it holds if `measure` finds no breach, and that means something only if `control` finds one.

    `number` is the item of the audit's list (federation/docs/privacy/audit.md), `statement` the claim in a sentence,
    `attack` what is tried, `sizing` how sample size and bound were chosen, `planted` what the control leaks.
    """

    number: int
    name: str
    statement: str
    attack: str
    sizing: str
    planted: str
    measure: Callable[[Grounds], Evidence]
    control: Callable[[Grounds], Evidence]
