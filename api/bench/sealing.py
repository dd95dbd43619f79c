"""P4: sealing a register in process, beside the OPRF operations that it cannot do without; and by two processes."""

import asyncio
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from api.audit.grounds import Scale, firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.floor import Bare
from api.bench.ground import AGENCIES, KEYHOLDERS, MADE, REQUESTER, THRESHOLD, Ground, cpu, listing
from api.local import LocalFederation
from protocol.wire import MAX_SUBJECTS

ANONYMITY = {"population": 20_000_000, "k_min": 1000, "max_listings": 50_000}
_START_SECONDS = 120


def measure(ground: Ground) -> Measured:
    """Seal as an import does, batch by batch; the same evaluations bare; then as one process and as two at once."""
    batches = ground.pick(2, 20, 100)
    small = Ground(Scale.CI, ground.folder("sealing"), ground.progress)  # no sealing touches the modulus
    federation = small.federation(anonymity=ANONYMITY)
    try:
        costs = asyncio.run(batch_costs(federation, batches))
        bare = Bare(federation.established, REQUESTER, MAX_SUBJECTS, entries=1)
        for _ in range(batches):
            bare.pseudonyms()
    finally:
        federation.close()
    ours = Figure("sealing a listing, all parties", "ms CPU", [it / MAX_SUBJECTS for it in costs])
    floor = Figure("its OPRF operations, bare", "ms CPU", [it / MAX_SUBJECTS for it in bare.milliseconds.values])
    ground.progress("sealing in processes", 0, None)
    one, two = (Figure(f"{name}", "/s", [_together(small, many, batches)]) for name, many in _PROCESSES)
    return Measured(
        [
            ours,
            floor,
            ratio("sealing / floor", ours, floor, most=1.3),
            Figure("listings a second and core", "/s", [1000 * MAX_SUBJECTS / it for it in costs]),
            one,
            two,
            ratio("two processes / one", two, one, least=1.8),
        ],
        {"agencies": AGENCIES, "keyholders": KEYHOLDERS, "threshold": THRESHOLD, "identifiers a batch": MAX_SUBJECTS}
        | {"batches": batches, "processors": ground.cores, "database": "SQLite", "modulus bits": "no part in it"},
    )


_PROCESSES = (("listings a second, one process", 1), ("listings a second, two processes", 2))


async def batch_costs(federation: LocalFederation, batches: int) -> list[float]:
    """CPU milliseconds of each full batch that is entered into a register."""
    agency = federation.terms.agencies[0]
    entering = federation.entering(
        agency, (listing(agency, firm(2 * MADE + it)) for it in range(MAX_SUBJECTS * batches))
    )
    took: list[float] = []
    for _ in range(batches):
        with cpu(took):
            await anext(entering)
    return took


def _together(ground: Ground, processes: int, batches: int) -> float:
    """Listings a second by so many processes at once, each with a federation of its own."""
    context = get_context("spawn")
    barrier, pipes = context.Barrier(processes), []
    for _ in range(processes):
        pipe, end = context.Pipe(duplex=False)
        folder = ground.folder("process")
        context.Process(target=_seal, args=(folder, ground.primes, batches, barrier, end), daemon=True).start()
        end.close()
        pipes.append(pipe)
    # A process that fails closes its end: EOFError here.
    spans = [pipe.recv() for pipe in pipes]
    seconds: float = max(end for _, end in spans) - min(start for start, _ in spans)
    return processes * batches * MAX_SUBJECTS / seconds


def _seal(folder: Path, primes: tuple[int, int], batches: int, barrier: Any, pipe: Any) -> None:
    ground = Ground(Scale.CI, folder)
    vars(ground)["primes"] = primes  # where the cached property keeps what it found
    federation = ground.federation(anonymity=ANONYMITY)
    barrier.wait(_START_SECONDS)
    began = time.monotonic()
    asyncio.run(batch_costs(federation, batches))
    pipe.send((began, time.monotonic()))
    federation.close()
