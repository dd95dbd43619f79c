"""A stock of fresh randomisers, made while nothing else is to be done, so that answers need not wait for them."""

import threading
import weakref
from collections import deque

from protocol.codec import Random
from protocol.paillier import Randomiser

MOST = 256
_FIRST = 8


class ZetaStock:
    """Gives out each ζ once; grows with demand: whenever one is wanted and none is there, twice as many are kept."""

    def __init__(self, randomiser: Randomiser, random: Random) -> None:
        self._randomiser = randomiser
        self._random = random
        self._stock: deque[int] = deque()
        self._wanted = _FIRST
        self._taken = threading.Event()
        self._taken.set()
        weakref.finalize(self, self._taken.set)
        threading.Thread(target=_fill, args=(weakref.ref(self), self._taken), daemon=True).start()

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ, from the stock or made now."""
        try:
            zeta = self._stock.popleft()
        except IndexError:
            self._wanted = min(2 * self._wanted, MOST)
            zeta = self._randomiser.fresh(random)
        self._taken.set()
        return zeta

    def restock(self) -> None:
        """Make as many as are wanted."""
        while len(self._stock) < self._wanted:
            self._stock.append(self._randomiser.fresh(self._random))


def _fill(wanting: "weakref.ref[ZetaStock]", taken: threading.Event) -> None:
    """Restock whenever one was taken, until nobody holds the stock any more, as that of a forgotten epoch."""
    while taken.wait() and (stock := wanting()) is not None:
        taken.clear()
        stock.restock()
        del stock
