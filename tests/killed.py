"""An agency's work in a process that may be killed at any moment: `python -m tests.killed WORK`.

The process that is started keeps the keys and everything imported, and forks a child for each attempt, so that an
attempt begins at once. It is told, line by line: `start FOLDER` (or `import FOLDER`, what comes before a work), and
`kill SECONDS` or `wait`, to which it answers how the child ended.
"""

import asyncio
import math
import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event

from api.local import LocalFederation
from api.setup import Established
from nodes.catalogue import load_catalogue, own_entries
from nodes.entry import Registrar
from nodes.listings import Listing
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from protocol.codec import Random
from protocol.identifiers import canonical
from tests.parties import NOW, agreement, established, party
from tests.unit.nodes.builders import make_listing

AGENCY: Final = "tax"
DATABASE: Final = Path("agencies") / AGENCY / "listings.sqlite"
FIGURES: Final = {"population": 10**7, "k_min": 100, "max_listings": 20_000}
COUNT: Final = {"unsealed": 2_500, "sealed": 300, "pending": 300, "careless": 2_500}


def listings(work: str) -> list[Listing]:
    """What is to be entered; every third has two identifiers."""
    return [
        make_listing(
            register=f"{AGENCY}-register",
            identifiers=tuple(
                canonical("cn.reg_no", f"FIRM{100_000 * of + number:06d}") for of in range(2 if number % 3 == 0 else 1)
            ),
            decision_ref=f"D {number}",
        )
        for number in range(COUNT[work])
    ]


def random_after(keys: list[bytes]) -> Random:
    """Fresh random bytes, but for the first that are asked for: an agency keeps its key from one start to the next."""
    kept = iter(keys)
    return lambda n: next(kept, None) or secrets.token_bytes(n)


class Work:
    """What is done, and all that is at hand when it is begun."""

    def __init__(self, name: str) -> None:
        self.established: Established = established(
            agreement(("court", AGENCY), 1, keyholders=("court",), anonymity=FIGURES)
        )
        self.keys = [secrets.token_bytes(KEY_BYTES) for _ in self.established.terms.agencies]
        self.rows = listings(name)
        self.do: Callable[[Path], None] = getattr(self, name)

    @property
    def key(self) -> bytes:
        """The node's key of the agency that enters."""
        return dict(zip(self.established.terms.agencies, self.keys, strict=True))[AGENCY]

    @contextmanager
    def federation(self, folder: Path) -> Iterator[LocalFederation]:
        """All parties, on the databases in this folder."""
        random = random_after(self.keys)
        with closing(LocalFederation(self.established, folder, lambda: NOW, random)) as federation:
            yield federation

    def unsealed(self, folder: Path, spoil: Callable[[Engine], None] = lambda _: None) -> None:
        """An import without a federation."""
        (folder / DATABASE).parent.mkdir(parents=True, exist_ok=True)
        engine = open_engine(f"sqlite:///{folder / DATABASE}")
        spoil(engine)
        terms = self.established.terms
        store = ListingStore(engine, ColumnCipher(self.key, secrets.token_bytes), terms.bucket_size)
        entries = own_entries(terms.agreement, AGENCY, load_catalogue())
        registrar = Registrar(party(AGENCY, self.established), store, entries, lambda: NOW, secrets.token_bytes)
        for _ in registrar.enter_unsealed(self.rows):
            pass
        engine.dispose()

    def sealed(self, folder: Path) -> None:
        """An import with a federation that seals as it goes."""
        with self.federation(folder) as federation:
            asyncio.run(federation.enter(AGENCY, self.rows))

    def pending(self, folder: Path) -> None:
        """The sealing of all that was imported before."""
        with self.federation(folder) as federation:
            if not list(federation.listings[AGENCY].all()):
                raise AssertionError("nothing was imported before")
            asyncio.run(federation.start())

    def careless(self, folder: Path) -> None:
        """The import of somebody who commits after every statement."""
        self.unsealed(folder, commits_at_once)


def commits_at_once(engine: Engine) -> None:
    def commit(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT"):
            cursor.connection.execute("COMMIT")
            cursor.connection.execute("BEGIN IMMEDIATE")

    event.listen(engine, "after_cursor_execute", commit)


def attempt(do: Callable[[], None]) -> int:
    """Do it in a child; returns the child's process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        do()
        code = 0
    except BaseException:  # noqa: BLE001  # a child must not return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float) -> int:
    """Kill a child after so many seconds, unless it has ended by then; returns how it ended."""
    end = time.monotonic() + seconds
    found, status = os.waitpid(child, os.WNOHANG)
    while not found and time.monotonic() < end:
        time.sleep(0.002)
        found, status = os.waitpid(child, os.WNOHANG)
    if not found:
        os.kill(child, signal.SIGKILL)  # it is not waited for yet, so its number is nobody else's
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(works: Mapping[str, Callable[[Path], None]]) -> None:
    """Begin works and end them, as the lines of standard input say."""
    child = 0
    for line in sys.stdin:
        command, _, argument = line.rstrip("\n").partition(" ")
        if command in works:
            child = attempt(partial(works[command], Path(argument)))
        else:
            say(str(ended(child, float(argument) if command == "kill" else math.inf)))


def main() -> None:
    """Serve one test."""
    work = Work(sys.argv[1])
    say(work.key.hex())
    serve({"start": work.do, "import": work.unsealed})


if __name__ == "__main__":
    main()
