"""A modulus that is not a product of two safe primes of the right size is refused by every receiver."""

import random
from collections import Counter
from collections.abc import Callable, Iterator

import gmpy2

from api.audit.claim import Claim, Evidence
from api.audit.grounds import Grounds
from protocol.errors import ModulusError
from protocol.labels import INSECURE_TEST_SUITE
from protocol.modulus import MIN_BITS, check_modulus

EACH = 20
BITS = MIN_BITS[INSECURE_TEST_SUITE]


def _bad(draws: random.Random) -> dict[str, Callable[[], int]]:
    """Each kind of bad modulus, and how to make one."""

    def prime(bits: int, residue: int = 11) -> int:
        while True:
            candidate = (draws.getrandbits(bits) | 3 << (bits - 2)) // 12 * 12 + residue
            if candidate.bit_length() == bits and gmpy2.is_prime(candidate):
                return candidate

    def with_small_factor() -> int:
        small = int(gmpy2.next_prime(draws.randrange(5, 1 << 15)))
        while True:
            n = small * prime(BITS - small.bit_length() + draws.randrange(2))
            if n.bit_length() == BITS:
                return n

    return {
        "small factor": with_small_factor,
        "prime": lambda: prime(BITS, 1),
        "even": lambda: prime(BITS) - 1,
        "square": lambda: prime(BITS // 2) ** 2,
        "wrong size": lambda: prime(BITS // 2 - 8) * prime(BITS // 2 - 8),
    }


def _accepted(grounds: Grounds, check: Callable[[int, str], None]) -> Iterator[tuple[str, bool]]:
    for kind, make in _bad(grounds.draws("bad moduli")).items():
        for _ in range(EACH):
            try:
                check(make(), INSECURE_TEST_SUITE)
            except ModulusError:
                yield kind, False
            else:
                yield kind, True


def _evidence(tried: Iterator[tuple[str, bool]], *, every: bool) -> Evidence:
    results = list(tried)
    accepted = Counter(kind for kind, taken in results if taken)
    found = [f"accepted: {count} of {EACH} moduli: {kind}" for kind, count in accepted.items()]
    breached = len(accepted) == len({kind for kind, _ in results}) if every else bool(accepted)
    return Evidence(breached, {"tried": len(results), "accepted": accepted.total()}, found)


def _measure(grounds: Grounds) -> Evidence:
    return _evidence(_accepted(grounds, check_modulus), every=False)


def _control(grounds: Grounds) -> Evidence:
    """A receiver that looks at nothing but the sign."""

    def careless(n: int, _suite: str) -> None:
        if n <= 0:
            raise ModulusError("not positive")

    return _evidence(_accepted(grounds, careless), every=True)


CLAIM = Claim(
    number=15,
    name="bad-moduli",
    statement="No party accepts a modulus that is even, prime, a square, of the wrong size or with a small factor.",
    attack=f"{EACH} moduli of each kind at {BITS} bits are given to the check that every receiver makes.",
    sizing="The check is deterministic and the same at every size: twenty of a kind show that none depends on luck.",
    planted="A receiver that only looks whether the modulus is positive.",
    measure=_measure,
    control=_control,
)
