"""P1: one question over HTTP, all parties as processes, beside the floor of its cryptography."""

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.floor import Bare, bare
from api.bench.ground import KEYHOLDERS, LISTINGS, PURPOSE, REQUESTER, Ground, wall
from api.charts import Chart


def measure(ground: Ground) -> Measured:
    """Ask one question after another, and compute as many bare."""
    stage, runs = ground.processes, ground.pick(2, 40, 200)
    warming, took = max(1, runs // 4), list[float]()
    with stage.client(REQUESTER) as client:
        for number in range(-warming, runs):
            asked = {
                "agreement": stage.terms.agreement.id,
                "purpose": PURPOSE,
                "case": "bench",
                "subject": {"scheme": firm(0).scheme, "value": firm(number % (2 * LISTINGS)).value},
            }
            with wall(took):
                client.post("/v1/membership", json=asked).raise_for_status()
    question = bare_question(ground, 1, runs)
    floor = question.floor(ground.cores)
    asked_ = Figure("one question over HTTP, p50", "ms", took[warming:])
    steps = [(f"{step.name} ({parties} ×)", parties * step.median) for step, parties in question.steps()]
    return Measured(
        [asked_, floor, ratio("question / floor", asked_, floor, most=1.5)],
        parameters(ground) | {"questions before the first that counts": warming},
        charts=[Chart("CPU of a question's bare cryptography", "step", "ms", {"all parties": steps}, bars=True)],
    )


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
