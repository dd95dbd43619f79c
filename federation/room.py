"""Room: how much is under way at once. What finds none is refused at once, before it is kept, charged or asked.

Without it whoever sends more than is done would fill the memory, and wait in a queue past the time in which questions
are decided: charged, and without a decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from federation.problem import BusyError

RETRY_SECONDS: Final = 2
"""After which who was refused may try again: a fraction of what a full room takes."""


class Room:
    """So much room, for all who ask; not to be shared by threads."""

    def __init__(self, size: int) -> None:
        self._free = size

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Take room for as long as the block lasts.

        Raises:
            BusyError: there is not so much left.
        """
        if amount > self._free:
            raise BusyError("more is under way than can be answered in time", RETRY_SECONDS)
        self._free -= amount
        try:
            yield
        finally:
            self._free += amount
