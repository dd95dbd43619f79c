"""Where the benchmark measures: federations in this process, of files, and of separate processes, on one modulus."""

import asyncio
import csv
import io
import os
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self, TypeVar

import psutil
import yaml

from api.audit.grounds import ENTERED, Scale, firm
from api.founding import MODULUS_BITS, TEST_MODULUS_BITS, found, read_agreement
from api.home import FIRST_EPOCH, Home
from api.local import LocalFederation
from api.primes import Progress, find_primes
from api.settings import Settings
from api.setup import Established, establish
from api.stage import Processes
from nodes.importers import concordat_csv
from nodes.listings import Listing
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.agreement.terms import Terms
from protocol.identifiers import Identifier
from protocol.labels import INSECURE_TEST_SUITE, SUITE
from protocol.sealing import PSEUDONYM_BYTES, bucket

T = TypeVar("T")

REQUESTER, PURPOSE = "procurement-office", "award-contract"
MEASURES = {"exclude": "restriction", "scrutinise": "notice"}
AGENCIES, KEYHOLDERS, THRESHOLD = 5, 5, 3
K_MIN = 1000
# A 128th of the usual population and register size: each bucket is loaded as at 50,000 identifiers an agency.
ANONYMITY = {"population": 156_250, "k_min": K_MIN, "max_listings": 390}
LISTINGS = 300
QUOTA = 100_000_000
MADE = 10_000_000
"""The numbers of firms in made registers begin here; nobody asks about them."""
_BATCH = 2000


class Ground:
    """What measurements run on; a context, which ends every process it started.

    `scale` is `ci` in tests (on small keys: no figure means anything), `quick` or `full`.
    """

    def __init__(self, scale: Scale, folder: Path, progress: Progress = lambda *_: None) -> None:
        self.scale = scale
        self._folder = folder
        self.progress = progress
        self.registers: dict[int, Home] = {}
        self._running: Processes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._running.launcher.stop()
        if "local" in vars(self):
            self.local.close()

    def pick(self, ci: T, quick: T, full: T) -> T:
        """What belongs to this scale."""
        return {Scale.CI: ci, Scale.QUICK: quick, Scale.FULL: full}[self.scale]

    def folder(self, name: str) -> Path:
        """A new, empty folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f"{name}-", dir=self._folder))

    @property
    def cores(self) -> int:
        """How many processors this process may use."""
        return len(os.sched_getaffinity(0))

    @property
    def modulus_bits(self) -> int:
        """|N|."""
        return self.pick(TEST_MODULUS_BITS, MODULUS_BITS, MODULUS_BITS)

    @cached_property
    def primes(self) -> tuple[int, int]:
        """Two safe primes, found once for every federation of this run."""
        return find_primes(self.modulus_bits // 2, self.progress)

    def text(self, agencies: int = AGENCIES, **changes: object) -> str:
        """An agreement of so many agencies in force today, as YAML, with whole fields of it replaced."""
        return yaml.safe_dump(document(agencies, self.pick(INSECURE_TEST_SUITE, SUITE, SUITE)) | changes)

    def established(self, agencies: int = AGENCIES, **changes: object) -> Established:
        """A new epoch of such an agreement."""
        agreement = read_agreement(self.text(agencies, **changes))
        return establish(agreement, FIRST_EPOCH, self.primes, secrets.token_bytes, int(time.time()))

    def federation(self, agencies: int = AGENCIES, **changes: object) -> LocalFederation:
        """A federation in this process, its canaries sealed and its registers empty."""
        federation = LocalFederation(
            self.established(agencies, **changes), self.folder("local"), lambda: int(time.time()), secrets.token_bytes
        )
        asyncio.run(federation.start())
        return federation

    @cached_property
    def local(self) -> LocalFederation:
        """Five agencies in this process, with registers."""
        federation = self.federation(anonymity=ANONYMITY)
        for agency in federation.terms.agencies:
            fill(federation.listings[agency], federation.terms, agency, LISTINGS)
        return federation

    def home(self, agencies: int, **changes: object) -> Home:
        """A federation of files, founded and not started."""
        home = Home(self.folder("federation") / "home")
        found(home.directory, self.text(agencies, **changes), None, self.progress, lambda *_: self.primes)
        return home

    @cached_property
    def processes(self) -> Processes:
        """Five agencies, the coordinator and a gateway as separate processes, with registers, running."""
        self._running = stage = Processes(self.home(AGENCIES, anonymity=ANONYMITY))
        self.progress("starting all parties", 0, None)
        stage.launcher.await_ready(stage.launcher.start())
        for number, agency in enumerate(stage.terms.agencies):
            self.progress("loading registers", number, AGENCIES)
            drawn = secrets.SystemRandom().sample(range(2 * LISTINGS), LISTINGS)
            listed = (listing(agency, firm(number)) for number in drawn)
            stage.load(agency, register_of(agency), as_csv(listed), done=(0, 5))
        return stage


def document(agencies: int, suite: str) -> dict[str, Any]:
    """An agreement of agencies with one register each, of which two listings exclude and any is looked at."""
    today = datetime.now(UTC).date()
    ids = agency_ids(agencies)
    keyholders = ids[:KEYHOLDERS]
    registers = [register_of(agency) for agency in ids]
    return {
        "concordat": 1,
        "id": "procurement",
        "version": 1,
        "title": "Joint effect on public procurement",
        "legal_basis": {"reference": "Procurement Act s. 57", "rank": "law"},
        "territory": "national",
        "valid": {"from": str(today - timedelta(days=30)), "until": str(today + timedelta(days=330))},
        "subject_kinds": ["legal"],
        "anonymity": ANONYMITY,
        "keyholders": {"agencies": keyholders, "threshold": min(THRESHOLD, len(keyholders) // 2 + 1)},
        "suite": suite,
        "agencies": [
            {"id": it, "name": it, "registers": [{"id": register_of(it), "preset": "debarment"}]} for it in ids
        ],
        "requesters": [
            {
                "id": REQUESTER,
                "name": "Procurement Office",
                "purposes": [PURPOSE],
                "implements": list(MEASURES),
                "quota_per_day": QUOTA,
            }
        ],
        "measures": [
            {
                "id": measure,
                "effect": effect,
                "severity": "serious",
                "max_months": 36,
                "legal_basis": "Procurement Act s. 57",
                "notice": "You are told. You may object at any agency of the agreement; a person decides.",
            }
            for measure, effect in MEASURES.items()
        ],
        "rules": [
            {"measure": "exclude", "when": {"registers": registers, "min_agencies": 2, "min_weight": 4}},
            {"measure": "scrutinise", "when": {"registers": [*registers]}},
        ],
        "validity_of_decision": "24h",
    }


def agency_ids(agencies: int) -> list[str]:
    """The ids of so many agencies."""
    return [f"agency-{number}" for number in range(1, agencies + 1)]


def register_of(agency: str) -> str:
    """The one register of an agency."""
    return f"{agency}-register"


def listing(agency: str, subject: Identifier) -> Listing:
    """A made listing in force."""
    today = datetime.now(UTC).date()
    decided = today - timedelta(days=60)
    served = today - timedelta(days=50)
    return Listing(register_of(agency), "legal", "Firm", (subject,), "debarred", subject.value, decided, served, 2)


def as_csv(listings: Iterable[Listing]) -> bytes:
    """Listings as a file to import."""
    text = io.StringIO()
    rows = csv.DictWriter(text, concordat_csv.REQUIRED, restval="")
    rows.writeheader()
    for it in listings:
        (subject,) = it.identifiers
        of_subject = {"identifier_scheme": subject.scheme, "identifier": subject.value}
        plain = ("subject_kind", "name", "ground", "decision_ref", "decided_on", "served_on", "severity")
        rows.writerow(of_subject | {name: getattr(it, name) for name in plain})
    return text.getvalue().encode()


def fill(store: ListingStore, terms: Terms, agency: str, count: int, progress: Progress = lambda *_: None) -> None:
    """Store made listings under drawn pseudonyms, as if keyholders had sealed them; what overflows a bucket is refused.

    A pseudonym is 64 bytes that look random to the node, which does the same with these as with any other.
    """
    epoch = terms.agreement.id, terms.roster.epoch
    for start in range(0, count, _BATCH):
        progress(f"{count:,} listings", start, count)
        some = range(start, min(start + _BATCH, count))
        drawn = [secrets.token_bytes(PSEUDONYM_BYTES) for _ in some]
        seals = [[Seal(bucket(pseudonym, terms.bucket_bits), pseudonym)] for pseudonym in drawn]
        listings = [listing(agency, firm(MADE + number)) for number in some]
        store.add_sealed(*epoch, list(zip(listings, seals, strict=True)), ENTERED)


def settings_of(home: Home, party: str) -> Settings:
    """A party's settings, as its process has them."""
    path = home.party_path(party, home.terms().agreement)
    return Settings(party=party, directory=path, roster=home.roster_path, urls=home.urls_path)


def family(pid: int) -> Sequence[psutil.Process]:
    """A process and all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pids: Collection[int]) -> float:
    """CPU of processes and all that they started, so far."""
    times = [process.cpu_times() for pid in pids for process in family(pid)]
    return float(sum(it.user + it.system for it in times))


def resident_megabytes(pids: Collection[int]) -> float:
    """Memory of processes and all that they started; what they share counts for each."""
    return float(sum(process.memory_info().rss for pid in pids for process in family(pid)) / 1e6)


@contextmanager
def cpu(into: list[float]) -> Iterator[None]:
    """Note the CPU milliseconds of this process that something takes."""
    started = time.process_time()
    yield
    into.append(1000 * (time.process_time() - started))


@contextmanager
def wall(into: list[float]) -> Iterator[None]:
    """Note the milliseconds that something takes."""
    started = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - started))


@contextmanager
def thread_cpu(into: list[float]) -> Iterator[None]:
    """Note the CPU milliseconds of this thread that something takes."""
    started = time.thread_time()
    yield
    into.append(1000 * (time.thread_time() - started))
