"""A process that spends an agency's budget until it is killed: `python -m tests.spending FOLDER SEED COUNT`.

Every contribution that it was given it writes down, a line each, as one that left the agency: `QUARTER:NUMBERS`.
"""

import os
import random
import sys
import threading
from pathlib import Path
from secrets import randbelow, token_bytes

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.figures import Asked, Contributions, Price
from protocol.errors import QuotaError
from protocol.figures import Quarter
from protocol.wire import Header

KEY = bytes(range(32))
YEARS = range(2026, 2029)
PRICE = Price("tax", 900, 2000)  # two quarters a year, and no third
NOW = 1_800_000_000
HEADER = Header("procurement", 1, 1, "coordinator", "agencies", bytes(16), "figures", 0, NOW, NOW + 60, b"")
THREADS = 4


def quarters() -> list[Quarter]:
    return [Quarter(year, number) for year in YEARS for number in range(1, 5)]


def spend(contributions: Contributions, quarter: Quarter, agreement: str, say: int) -> None:
    asked = Asked(agreement, quarter, b"c" * 32, 1, 1)

    def draw() -> list[int]:
        return [randbelow(1 << 31)]

    try:
        message = contributions.contribute(
            asked, PRICE, draw, lambda numbers: f"{agreement} {quarter}:{numbers[0]}\n".encode(), HEADER, NOW
        )
    except QuotaError:
        message = f"{agreement} {quarter}:refused\n".encode()
    os.write(say, message)  # one write of one line: whole, or not there


def main() -> None:
    folder, seed, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    contributions = Contributions(open_engine(f"sqlite:///{folder}/state.sqlite"), ColumnCipher(KEY, token_bytes))
    say = os.open(folder / "left", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    draws = random.Random(seed)  # noqa: S311  # any order will do
    work = [(draws.choice(quarters()), draws.choice(["procurement", "lending"])) for _ in range(count)]

    def run(at: int) -> None:
        for quarter, agreement in work[at::THREADS]:
            spend(contributions, quarter, agreement, say)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
