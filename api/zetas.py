"""A stock of fresh randomisers, made while nothing else is to be done, so that answers need not wait for them."""

import threading
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
        threading.Thread(target=self._fill, daemon=True).start()

    def fresh(self, random: Random) -> int:
        """Return a fresh ζ, from the stock or made now."""
        try:
            zeta = self._stock.popleft()
        except IndexError:
            self._wanted = min(2 * self._wanted, MOST)
            zeta = self._randomiser.fresh(random)
        self._taken.set()
        return zeta

    def _fill(self) -> None:
        while True:
            self._taken.wait()
            self._taken.clear()
            while len(self._stock) < self._wanted:
                self._stock.append(self._randomiser.fresh(self._random))
