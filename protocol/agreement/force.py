"""What decides, beside its own days, whether a version of an agreement is in force (specification §7.6).

All else that follows from an agreement and its roster stays as it is while the epoch lasts. This is what changes: an
agency withdraws; another version takes over, or comes to its end. Whoever follows the files sets it; times are those of
the question, in Unix seconds, so that all parties change at the same moment.
"""

from collections.abc import Collection
from dataclasses import dataclass

from protocol.errors import OtherVersionError, WithdrawnError

ALWAYS = range(1 << 62)


@dataclass
class Force:
    """`withdrawn` is when the version ends because one of `agencies` withdrew; None if none did.

    `elsewhere` are the times at which questions belong to another version or epoch.
    """

    withdrawn: int | None = None
    agencies: Collection[str] = ()
    elsewhere: range = range(0)

    def require_not_withdrawn(self, time: int) -> None:
        """Refuse from the day on which an agency has withdrawn.

        Raises:
            WithdrawnError: it has.
        """
        if self.withdrawn is not None and time >= self.withdrawn:
            raise WithdrawnError("an agency has withdrawn from the agreement, which answers nothing any more")

    def require_here(self, time: int) -> None:
        """Refuse a question of a time at which another version or epoch answers.

        Raises:
            OtherVersionError: it is one.
        """
        if time in self.elsewhere:
            raise OtherVersionError("another version or epoch of the agreement answers at that time")
