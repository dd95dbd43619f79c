"""Where claims are tried: federations in this process for samples in number, one of separate processes for the rest."""

import asyncio
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, Self, TypeVar

import yaml

from api.founding import MODULUS_BITS, TEST_MODULUS_BITS, found, read_agreement
from api.home import FIRST_EPOCH, Home
from api.local import LocalFederation
from api.primes import Progress, find_primes
from api.setup import Established, establish
from api.stage import Processes
from nodes.life import Act, Transition
from nodes.listings import Listing
from protocol.identifiers import Identifier, canonical
from protocol.labels import INSECURE_TEST_SUITE, SUITE

T = TypeVar("T")

REQUESTER, PURPOSE = "procurement-office", "award-contract"
OTHER_REQUESTER, OTHER_PURPOSE = "bank", "lend"

SIEVE: Final[Mapping[str, object]] = {
    "sieve": True,
    "rules": [
        {"measure": measure, "when": {"registers": [f"{agency}-register" for agency in feeding]}}
        for measure, feeding in (
            ("exclude", ("labour", "tax", "court", "market", "customs")),
            ("scrutinise", ("labour", "tax", "court", "market")),
        )
    ],
}
"""What makes the audit's agreement one with a sieve; to the other requester, customs can mark nothing."""


class Scale(StrEnum):
    """How much is sampled: for tests in a minute or two, for ten minutes, or in full."""

    CI = "ci"
    QUICK = "quick"
    FULL = "full"


@dataclass
class Clock:
    """A clock that stands still, in Unix seconds, until somebody moves it."""

    now: int

    def __call__(self) -> int:
        """The time."""
        return self.now


class Grounds:
    """What claims run on; a context, which ends every process it started.

    `seed` decides what is drawn for a sample; keys and nonces are always fresh. `home` is the federation to audit;
    without one, one of separate processes is founded under `folder` when a claim first asks for it.
    """

    def __init__(
        self, scale: Scale, seed: int, folder: Path, progress: Progress = lambda *_: None, home: Home | None = None
    ) -> None:
        self.scale = scale
        self.seed = seed
        self._folder = folder
        self._progress = progress
        self._home = home
        self._primes: dict[int, tuple[int, int]] = {}
        self._running: Processes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._running.__exit__()

    @property
    def own(self) -> bool:
        """Whether the federation of separate processes is the audit's; nothing is entered into another's registers."""
        return self._home is None

    def pick(self, ci: T, quick: T, full: T) -> T:
        """What belongs to this scale."""
        return {Scale.CI: ci, Scale.QUICK: quick, Scale.FULL: full}[self.scale]

    def draws(self, name: str) -> random.Random:
        """Draws that are the same for the same seed; for choosing samples, never for secrets."""
        return random.Random(f"{self.seed} {name}")  # noqa: S311  # samples must come again; no secrets

    def folder(self, name: str) -> Path:
        """A new, empty folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f"{name}-", dir=self._folder))

    def established(self, **changes: object) -> Established:
        """A new epoch of the audit's agreement, with whole fields of it replaced."""
        agreement = read_agreement(agreement_text(**changes))
        return establish(
            agreement, FIRST_EPOCH, self.primes(full=agreement.suite == SUITE), secrets.token_bytes, int(time.time())
        )

    def primes(self, *, full: bool) -> tuple[int, int]:
        """Two safe primes, found once: of a modulus in full size, or of the test suite's."""
        bits = (MODULUS_BITS if full else TEST_MODULUS_BITS) // 2
        if bits not in self._primes:
            self._primes[bits] = find_primes(bits, self._progress)
        return self._primes[bits]

    def local(
        self, name: str, registers: Mapping[str, Sequence[Listing]], established: Established | None = None
    ) -> LocalFederation:
        """A federation in this process that has loaded its registers; its `network.records` hold all messages."""
        clock = Clock(int(time.time()))
        federation = LocalFederation(established or self.established(), self.folder(name), clock, secrets.token_bytes)
        asyncio.run(_load(federation, registers))
        return federation

    @cached_property
    def processes(self) -> Processes:
        """The federation of separate processes, running, behind a recorder."""
        home = self._home
        if home is None:
            home = Home(self.folder("federation") / "home")
            suite = self.pick(INSECURE_TEST_SUITE, SUITE, SUITE)
            anonymity = {"population": 20_000_000, "k_min": 1000, "max_listings": 50_000}
            found(home.directory, agreement_text(suite=suite, anonymity=anonymity), None, self._progress)
        self._progress("starting all parties", 0, None)
        self._running = Processes(home).__enter__()
        return self._running


def agreement_text(**changes: object) -> str:
    """The audit's agreement as YAML, in force around today, with whole fields of it replaced."""
    document = yaml.safe_load((files("api.audit") / "agreement.yaml").read_text("utf-8"))
    today = datetime.now(UTC).date()
    valid = {"from": today - timedelta(days=30), "until": today + timedelta(days=330)}
    document["valid"] = {name: day.isoformat() for name, day in valid.items()}
    return yaml.safe_dump(document | changes, sort_keys=False)


ENTERED: Final = Transition(Act.ENTER, "audit", 1_790_000_000)
"""The first step of listings that are put into a store past their agency's node."""


def firm(number: int) -> Identifier:
    """A made firm's identifier; the same number is the same firm."""
    return canonical("cn.reg_no", f"FIRM{number:08d}")


def listing(agency: str, *identifiers: Identifier, severity: int = 2) -> Listing:
    """A listing in force in the register of an agency of the audit's agreement."""
    today = datetime.now(UTC).date()
    return Listing(
        register=f"{agency}-register",
        subject_kind="legal",
        name=f"Firm {identifiers[0].value}",
        identifiers=identifiers,
        ground="debarred",
        decision_ref=f"D {identifiers[0].value}",
        decided_on=today - timedelta(days=60),
        served_on=today - timedelta(days=50),
        severity=severity,
    )


async def _load(federation: LocalFederation, registers: Mapping[str, Sequence[Listing]]) -> None:
    await federation.start()
    for agency, listings in registers.items():
        await federation.enter(agency, listings)
