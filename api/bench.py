"""What the cryptography costs here, as figures and ratios of one run on one machine."""

import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from phe import PaillierPublicKey

from api.demo.run import REQUESTER, demo_agreement
from api.demo.stage import PURPOSE
from api.local import LocalFederation
from api.setup import establish
from nodes.catalogue import load_catalogue
from nodes.listings import Listing
from protocol.agreement.model import Anonymity, parse
from protocol.identifiers import Identifier, canonical
from protocol.paillier import PublicKey, Randomiser

QUESTIONS = 20
ZETAS = 100
PHE_ZETAS = 10

# A 128th of the usual population and register size: each bucket is loaded as at 50,000 identifiers an agency.
ANONYMITY = Anonymity(population=156_250, k_min=1000, max_listings=390)
LISTINGS = 300


@dataclass(frozen=True)
class Figure:
    """One measured figure: its name, unit, and the runs' values."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        spread = f"{min(self.values):.2f} to {max(self.values):.2f}, {len(self.values)} runs"
        return f"{self.name}: {self.median:.2f} {self.unit} ({spread})"


async def questions(directory: Path, primes: tuple[int, int]) -> Figure:
    """CPU milliseconds of one question, all five agencies, coordinator and requester in this process."""
    today = datetime.now(UTC).date()
    agreement = parse(demo_agreement(today)).model_copy(update={"anonymity": ANONYMITY})
    now = int(time.time())
    established = establish(agreement, 1, primes, secrets.token_bytes, now)
    federation = LocalFederation(established, directory, lambda: int(time.time()), secrets.token_bytes)
    firms = [canonical("cn.reg_no", f"firm {number}") for number in range(2 * LISTINGS)]
    decided = today - timedelta(days=60)
    for agency in agreement.agencies:
        register = agency.registers[0]
        ground = load_catalogue()[register.preset].grounds[0].id
        listed = secrets.SystemRandom().sample(firms, LISTINGS)
        listings = [_listing(register.id, ground, firm, decided) for firm in listed]
        await federation.enter(agency.id, listings)
    costs = []
    for number in range(QUESTIONS):
        started = time.process_time()
        await federation.requesters[REQUESTER].check([firms[number]], PURPOSE, "bench")
        costs.append(1000 * (time.process_time() - started))
    return Figure("one question, all parties, CPU", "ms", tuple(costs))


def randomisers(modulus: int) -> tuple[Figure, Figure]:
    """CPU milliseconds of a fresh ζ by table, and of `phe`'s own obfuscator r^N mod N²."""
    key = PublicKey(modulus)
    randomiser = Randomiser.create(key, secrets.token_bytes)
    ours = _costs(ZETAS, lambda: randomiser.fresh(secrets.token_bytes))
    theirs = _costs(PHE_ZETAS, lambda: PaillierPublicKey(modulus).raw_encrypt(0))
    return Figure("fresh ζ by table, CPU", "ms", ours), Figure("fresh ζ by phe, CPU", "ms", theirs)


def _costs(runs: int, action: Callable[[], object]) -> tuple[float, ...]:
    costs = []
    for _ in range(runs):
        started = time.process_time()
        action()
        costs.append(1000 * (time.process_time() - started))
    return tuple(costs)


def _listing(register: str, ground: str, firm: Identifier, decided: date) -> Listing:
    return Listing(register, "legal", "Firm", (firm,), ground, "bench", decided, decided, 1)
