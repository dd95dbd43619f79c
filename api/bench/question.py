"""P1: one question over HTTP, all parties as processes, beside the floor of its cryptography.

What lies between the two is measured as well: the CPU that is no cryptography, and commits to disk that the question
waits for.
"""

import time

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.floor import Bare, bare
from api.bench.ground import KEYHOLDERS, LISTINGS, PURPOSE, REQUESTER, Ground, cpu_seconds, wall
from api.charts import Chart
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState

COMMITS = 6
"""Of a question, one after the other: gateway; C and keyholders; C and agencies; keyholders."""


def measure(ground: Ground) -> Measured:
    """Ask one question after another, and compute as many bare."""
    stage, runs = ground.processes, ground.pick(2, 40, 200)
    warming, took, spent = max(1, runs // 4), list[float](), 0.0
    pids = list(stage.launcher.running().values())
    with stage.client(REQUESTER) as client:
        for number in range(-warming, runs):
            if number == 0:
                spent = cpu_seconds(pids)
            asked = {
                "agreement": stage.terms.agreement.id,
                "purpose": PURPOSE,
                "case": "bench",
                "subject": {"scheme": firm(0).scheme, "value": firm(number % (2 * LISTINGS)).value},
            }
            with wall(took):
                client.post("/v1/membership", json=asked).raise_for_status()
    whole = Figure("its CPU, all parties", "ms CPU", [1000 * (cpu_seconds(pids) - spent) / runs])
    question = bare_question(ground, 1, runs)
    floor = question.floor(ground.cores)
    asked_ = Figure("one question over HTTP, p50", "ms", took[warming:])
    steps = [(f"{step.name} ({parties} ×)", parties * step.median) for step, parties in question.steps()]
    return Measured(
        [
            asked_,
            floor,
            ratio("question / floor", asked_, floor, most=1.5),
            whole,
            question.milliseconds,
            Figure(f"a commit to disk, of {COMMITS} in a row", "ms", _commits(ground, runs)),
        ],
        parameters(ground) | {"questions before the first that counts": warming},
        charts=[Chart("CPU of a question's bare cryptography", "step", "ms", {"all parties": steps}, bars=True)],
    )


def _commits(ground: Ground, runs: int) -> list[float]:
    """How long a request takes to be noted in a party's ledger, by nobody else."""
    engine, took = open_engine(f"sqlite:///{ground.folder('commits')}/state.sqlite"), list[float]()
    ledger = ProtocolState(engine)
    for _ in range(runs):
        with wall(took):
            ledger.refuse("bench", None, "none", int(time.time()))
    engine.dispose()
    return took


def bare_question(ground: Ground, m: int, runs: int) -> Bare:
    """A question of the federation of processes, computed bare: the same agreement, modulus and load of buckets."""
    established = ground.local.established
    return bare(established, REQUESTER, m, mean_entries(ground), runs)


def mean_entries(ground: Ground) -> int:
    """How many listings a bucket holds in the mean, and at least the one that is asked about."""
    return max(1, round(LISTINGS / (1 << ground.local.terms.bucket_bits)))


def parameters(ground: Ground) -> dict[str, int | float | str]:
    """What P1 and its like are measured with."""
    terms = ground.local.terms
    return {
        "agencies": len(terms.agencies),
        "keyholders": KEYHOLDERS,
        "threshold": terms.threshold,
        "modulus bits": terms.public_key.bits,
        "β": terms.bucket_bits,
        "B": terms.bucket_size,
        "listings an agency": LISTINGS,
        "listings a bucket": mean_entries(ground),
        "subjects an opening": terms.slots(REQUESTER),
        "processors": ground.cores,
    }
