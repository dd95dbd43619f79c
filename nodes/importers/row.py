"""What an importer yields: rows, each a listing or the reason why it is none."""

from dataclasses import dataclass, field

from nodes.listings import Listing
from protocol.errors import PeerError


class RowError(PeerError):
    """A row, or a whole file, is not as required; its text is what the importing agency reads.

    `line` is the line the row starts on, the file's first being 1. The value is never repeated.
    """

    def __init__(self, line: int, column: str, reason: str) -> None:
        self.line = line
        self.column = column
        self.reason = reason
        super().__init__(f"line {line}, column {column}: {reason}")


@dataclass(frozen=True)
class Row:
    """What became of the row that starts on `line`.

    `key` is its decision reference, also where the row was refused: a snapshot still names what it stands for, unless
    it says itself that this is not listed (`is_listed`). It is empty where the row could not be read so far.
    """

    line: int
    outcome: Listing | RowError
    key: str = field(default="", repr=False)
    is_listed: bool = True
