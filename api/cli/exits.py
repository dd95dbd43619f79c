"""Exit codes of every command (federation/docs/contract.md)."""

from typing import Final

DONE: Final = 0
UNEXPECTED: Final = 1
BAD_INPUT: Final = 2
INDETERMINATE: Final = 3
REFUSED: Final = 4
PARTLY: Final = 5
