"""`kill -9` at any moment, a hundred times: nothing is half-loaded, work goes on, and all comes out as if undisturbed.

A child process does the work on a real database; the parent kills it at a random moment, looks at what is stored, and
starts it again until all is done.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from sqlalchemy import Connection, Engine, func, select

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine, version
from nodes.storage.listings import ListingStore
from nodes.storage.tables import EVENT, IDENTIFIER, LISTING, PENDING, SEAL
from nodes.storage.trail import Head
from tests.killed import DATABASE, listings
from tests.unit.nodes.stores import counter

ROOT: Final = Path(__file__).parents[2]
EPOCH: Final = ("procurement", 1)
KILLED, DONE = -9, 0


@dataclass
class Attempts:
    """A process that does a work as often as it is told to, and the key of the agency that it works for."""

    process: subprocess.Popen[str]
    work: str
    key: bytes
    longest: float = 0.5  # seconds that the last attempt took that was not killed

    def tell(self, command: str, argument: object = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command} {argument}\n")
        self.process.stdin.flush()

    def ended(self, how: str) -> int:
        """How the attempt ended that is waited for, or killed."""
        assert self.process.stdout is not None
        self.tell(how)
        return int(self.process.stdout.readline())

    def prepare(self, folder: Path) -> None:
        folder.mkdir()
        if self.work == "pending":
            self.tell("import", folder)
            assert self.ended("wait") == DONE

    def look(self, folder: Path) -> "Look | None":
        """What is stored; None while there is no database yet."""
        if not (folder / DATABASE).exists():
            return None
        engine = open_engine(f"sqlite:///{folder / DATABASE}")
        try:
            if version(engine, "listings") is None:
                return None
            return Look.at(engine, ListingStore(engine, ColumnCipher(self.key, counter()), 99))
        finally:
            engine.dispose()


@contextmanager
def attempts(work: str) -> Iterator[Attempts]:
    command = [sys.executable, "-m", "tests.killed", work]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:  # noqa: S603
        assert process.stdout is not None
        yield Attempts(process, work, bytes.fromhex(process.stdout.readline()))


@dataclass(frozen=True)
class Look:
    """What is stored at one moment."""

    references: tuple[str, ...]
    head: Head
    seals: int
    pending: int

    @classmethod
    def at(cls, engine: Engine, store: ListingStore) -> "Look":
        """Look, and see that nothing is there by half."""
        head = store.verify_trail()
        with engine.connect() as connection:
            check_whole(connection)
            seals, pending = (
                connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (SEAL, PENDING)
            )
        records = list(store.all())
        for record in records[::97]:
            assert record in store.find(record.listing.identifiers)
        return cls(tuple(record.listing.decision_ref for record in records), head, seals, pending)


def check_whole(connection: Connection) -> None:
    """Every listing has its first step, the digests of all its identifiers, and all its seals or a place to wait."""

    def counted(statement: str) -> dict[int, int]:
        return dict(connection.exec_driver_sql(statement).all())

    wanted = dict(connection.execute(select(LISTING.c.number, LISTING.c.identifiers)).all())
    digests = counted(f"SELECT listing, count(*) FROM {IDENTIFIER} GROUP BY listing")  # noqa: S608  # our own tables
    seals = counted(f"SELECT listing, count(*) FROM {SEAL} GROUP BY listing")  # noqa: S608
    waiting = counted(f"SELECT listing, count(*) FROM {PENDING} GROUP BY listing")  # noqa: S608
    assert digests == wanted
    assert not seals.keys() & waiting.keys()
    assert seals | {number: wanted[number] for number in waiting} == wanted
    assert set(waiting.values()) <= {1}
    entered = select(EVENT.c.content).where(EVENT.c.act == "enter").order_by(EVENT.c.number)
    stored = select(LISTING.c.content).order_by(LISTING.c.number)
    assert connection.execute(entered).scalars().all() == connection.execute(stored).scalars().all()


def disturbed(
    running: Attempts, folder: Path, kills: int, seen: Callable[[Look | None], None] = lambda _: None
) -> Iterator[Look]:
    """Kill so many times in all, each time at some moment; yields what each work that was done has stored."""
    moments = random.Random(f"kill -9: {running.work}")  # noqa: S311  # any moments will do
    folder.mkdir(exist_ok=True)
    for number in count():
        here = folder / str(number)
        running.prepare(here)
        end: int | None = None
        look: Look | None = None
        while end != DONE:
            before, started = look, time.monotonic()
            running.tell("start", here)
            end = running.ended(f"kill {moments.uniform(0, running.longest)}" if kills else "wait")
            ended = time.monotonic()
            assert end in {KILLED, DONE}
            kills -= end == KILLED
            look = running.look(here)
            seen(look)
            if end == DONE:
                running.longest = max(ended - started, running.longest / 2)
            elif look == before:
                running.longest *= 1.1  # the machine may have become slower
        assert look is not None
        yield look
        if not kills:
            return


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: to be killed loses nothing that was written, unlike a loss of power."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of its own is made there
    with TemporaryDirectory(prefix="kills-", dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


@pytest.mark.full
@pytest.mark.parametrize(("work", "kills"), [("unsealed", 40), ("sealed", 30), ("pending", 30)])
def test_killed_work_comes_out_as_undisturbed(folder: Path, work: str, kills: int) -> None:
    rows = [listing.decision_ref for listing in listings(work)]
    found: list[Look] = []

    def seen(look: Look | None) -> None:
        if look is not None:
            assert list(look.references) == rows[: len(look.references)]
            found.append(look)

    with attempts(work) as running:
        (undisturbed,) = disturbed(running, folder / "undisturbed", 0)
        for look in disturbed(running, folder / "disturbed", kills, seen):
            assert look == undisturbed
    assert list(undisturbed.references) == rows
    progress = {(len(look.references), look.seals) for look in found}
    assert len(progress) >= 3  # it was killed in the middle, not only before and after


def test_what_is_loaded_by_half_would_be_seen(folder: Path) -> None:
    """The twin: an import that commits after every statement."""
    with attempts("careless") as running, pytest.raises(AssertionError, match="assert"):
        for _ in disturbed(running, folder, 60):
            pass
