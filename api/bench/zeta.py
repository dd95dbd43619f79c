"""P3: a fresh randomiser by table, beside `phe`'s own obfuscation."""

import secrets

from phe import PaillierPublicKey

from api.bench.figure import Figure, Measured, ratio
from api.bench.ground import Ground, cpu
from protocol.paillier import PublicKey, Randomiser


def measure(ground: Ground) -> Measured:
    """Make ζ's by table, and by `phe` as it makes them: r^N mod N² for a random r."""
    key, runs = PublicKey(ground.primes[0] * ground.primes[1]), ground.pick(3, 100, 500)
    made: list[float] = []
    with cpu(made):
        randomiser = Randomiser.create(key, secrets.token_bytes)
    ours: list[float] = []
    theirs: list[float] = []
    peer = PaillierPublicKey(key.n)
    for run in range(runs):
        with cpu(ours):
            randomiser.fresh(secrets.token_bytes)
        if run % 5 == 0:
            with cpu(theirs):
                peer.raw_encrypt(0)
    fresh, obfuscation = Figure("fresh ζ by table", "ms CPU", ours), Figure("phe's obfuscation", "ms CPU", theirs)
    return Measured(
        [
            fresh,
            obfuscation,
            ratio("phe / table", obfuscation, fresh, least=12),
            Figure("making the table, once", "ms CPU", made),
        ],
        {"modulus bits": key.bits},
    )
