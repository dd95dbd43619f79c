"""P6: a question beside the textbook way: every agency encrypts one bit, the coordinator adds and decrypts.

The textbook way hides neither the subject (agencies must be told whom to look up) nor, from the coordinator, who holds
its key, any single agency's bit.
"""

import asyncio
import secrets

from phe import PaillierPrivateKey, PaillierPublicKey

from api.audit.grounds import firm
from api.bench.figure import Figure, Measured, ratio
from api.bench.ground import AGENCIES, LISTINGS, PURPOSE, REQUESTER, Ground, cpu
from api.bench.question import parameters
from api.charts import Chart

ARRAYS = (1, 2, 4, 8, 12, 24, 48, 120)


def measure(ground: Ground) -> Measured:
    """Ask in process, all parties together, in arrays of several lengths; and add bits by `phe`."""
    runs = ground.pick(2, 20, 50)
    peer = Figure(f"textbook: {AGENCIES} bits by phe, added and opened", "ms CPU", _textbook(ground, runs))
    asked = {m: _asked(ground, m, max(2, runs // m)) for m in ground.pick(ARRAYS[:2], ARRAYS, ARRAYS)}
    one, *arrays = (
        Figure("one question" if m == 1 else f"a subject in an array of {m}", "ms CPU", [it / m for it in values])
        for m, values in asked.items()
    )
    curve = [(float(m), sorted(values)[len(values) // 2] / m) for m, values in asked.items()]
    return Measured(
        [one, peer, ratio("question / textbook", one, peer, most=1), *arrays],
        parameters(ground),
        charts=[
            Chart("Cost of a subject against the array it is asked in", "subjects", "ms CPU", {"a subject": curve})
        ],
    )


def _textbook(ground: Ground, runs: int) -> list[float]:
    public = PaillierPublicKey(ground.primes[0] * ground.primes[1])
    private = PaillierPrivateKey(public, *ground.primes)
    took: list[float] = []
    for _ in range(runs):
        bits = [secrets.randbelow(2) for _ in range(AGENCIES)]
        with cpu(took):
            encrypted = [public.encrypt(bit) for bit in bits]
            opened = private.decrypt(sum(encrypted[1:], encrypted[0]))
        assert opened == sum(bits)  # noqa: S101  # or what was measured is no sum
    return took


def _asked(ground: Ground, m: int, runs: int) -> list[float]:
    requester, took = ground.local.requesters[REQUESTER], list[float]()
    for run in range(-1, runs):
        subjects = [firm((run * m + it) % (2 * LISTINGS)) for it in range(m)]
        with cpu(took):
            asyncio.run(requester.check(subjects, PURPOSE, "bench"))
    return took[1:]
