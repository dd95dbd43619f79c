"""Running the audit: every claim is attacked, and beside it the same attack with a leak planted."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count

from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds
from api.logs import described
from api.primes import Progress


@dataclass(frozen=True)
class Verdict:
    """How one claim came out; `failure` says what kept it from being tried, if anything did."""

    claim: Claim
    measured: Evidence | None
    control: Evidence | None
    seconds: float
    failure: str = ""

    @property
    def holds(self) -> bool:
        """Whether the attack was tried and found nothing."""
        return self.measured is not None and not self.measured.breached

    @property
    def control_caught(self) -> bool:
        """Whether the same attack found every planted leak."""
        return self.control is not None and self.control.breached

    @property
    def passed(self) -> bool:
        """Whether both are so: the claim holds, and that means something."""
        return self.holds and self.control_caught

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.failure:
            return f"not tried: {self.failure}"
        if not self.holds:
            return "refuted"
        return "holds" if self.control_caught else "means nothing: its control was not caught"


@dataclass(frozen=True)
class Audit:
    """One audit: what was audited, where and how, and every verdict."""

    agreement: str
    suite: str
    own: bool
    scale: str
    seed: int
    began: str
    seconds: float
    verdicts: Sequence[Verdict]

    @property
    def passed(self) -> bool:
        """Whether every claim holds and every control was caught."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def machine(self) -> str:
        """What it ran on."""
        python, concordat = platform.python_version(), version("concordat-federation")
        return f"{platform.machine()}, {cpu_count()} processors, Python {python}, concordat {concordat}"


def run(grounds: Grounds, claims: Sequence[Claim], progress: Progress) -> Audit:
    """Try every claim in turn; one that cannot be tried fails, and the others are tried all the same."""
    began, started = datetime.now(UTC), time.monotonic()
    verdicts = []
    for number, claim in enumerate(claims):
        progress(f"{claim.number}. {claim.name}", number, len(claims))
        verdicts.append(_try(grounds, claim))
    terms = grounds.processes.terms
    return Audit(
        agreement=terms.agreement.id,
        suite=terms.agreement.suite,
        own=grounds.own,
        scale=grounds.scale.value,
        seed=grounds.seed,
        began=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(time.monotonic() - started, 1),
        verdicts=verdicts,
    )


def _try(grounds: Grounds, claim: Claim) -> Verdict:
    started = time.monotonic()
    measured = control = None
    failure = ""
    try:
        measured = claim.measure(grounds)
        control = claim.control(grounds)
    except Exception as error:  # noqa: BLE001  # its text may hold a subject; class and line are told
        failure = "{error} at {where}".format(**described(error))
    return Verdict(claim, measured, control, round(time.monotonic() - started, 1), failure)
