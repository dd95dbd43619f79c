"""A stock of fresh randomisers, made while nothing else is to be done, so that answers need not wait for them.

Made beside an answer they would take its time: one interpreter runs one thread, and an opening follows on its question.
"""

import os
import threading
import weakref
from collections import deque
from functools import cached_property

from protocol.agreement.terms import Terms
from protocol.codec import Random
from protocol.paillier import PublicKey, Randomiser, Zetas

MOST = 256
QUIET_SECONDS = 0.25
"""How long none was taken before more are made; while a question is under way, its opening follows sooner."""
_FIRST = 8


class ZetaStock:
    """Gives out each ζ once; grows with demand: whenever one is wanted and none is there, twice as many are kept.

    A process that was forked off has the same stock in its memory, so it begins with none.
    """

    def __init__(self, randomiser: Randomiser, random: Random) -> None:
        self._randomiser = randomiser
        self._random = random
        self._stock: deque[int] = deque()
        self._process = os.getpid()
        self._wanted = _FIRST
        self._taken = threading.Event()
        self._taken.set()
        weakref.finalize(self, self._taken.set)
        threading.Thread(target=_fill, args=(weakref.ref(self), self._taken), daemon=True).start()

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ, from the stock or made now."""
        if os.getpid() != self._process:
            self._stock.clear()
            self._process = os.getpid()
        try:
            zeta = self._stock.popleft()
        except IndexError:
            self._wanted = min(2 * self._wanted, MOST)
            zeta = self._randomiser.fresh(random)
        self._taken.set()
        return zeta

    def restock(self) -> None:
        """Make as many as are wanted, until one is taken."""
        while len(self._stock) < self._wanted and not self._taken.is_set():
            self._stock.append(self._randomiser.fresh(self._random))


class ZetasWhenWanted:
    """Makes its table (about 45 MB at 3072 bits) when a ζ is first wanted, each ζ then: for who seldom wants one."""

    def __init__(self, public_key: PublicKey, random: Random) -> None:
        self._public_key = public_key
        self._random = random

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ."""
        return self._randomiser.fresh(random)

    @cached_property
    def _randomiser(self) -> Randomiser:
        return Randomiser.create(self._public_key, self._random)


def zetas(terms: Terms, random: Random) -> Zetas:
    """A stock, for questions; under a sieve none of those takes a ζ, but an agency's public figures, once a quarter."""
    if terms.agreement.sieve:
        return ZetasWhenWanted(terms.public_key, random)
    return ZetaStock(Randomiser.create(terms.public_key, random), random)


def _fill(wanting: "weakref.ref[ZetaStock]", taken: threading.Event) -> None:
    """Restock once none was taken for a while, until nobody holds the stock any more, as that of a forgotten epoch."""
    while taken.wait():
        taken.clear()
        if taken.wait(QUIET_SECONDS):
            continue
        if (stock := wanting()) is None:
            return
        stock.restock()
        del stock
