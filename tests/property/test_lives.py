"""Random lives: whatever is done to listings, and however many days pass, they stand where a naive model says.

The model is `tests.property.lives`.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nodes.catalogue import CatalogueEntry, load_catalogue
from nodes.catalogue.entry import ASSUMED, Counted, Figure, Term
from nodes.figures import count
from nodes.life import Act, Author, TransitionError, replay
from nodes.lifecycle import Record
from nodes.listings import Listing, ListingError, UnknownListingError
from nodes.register import Register
from nodes.standing import standings
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import migrate, open_engine
from nodes.storage.listings import ListingStore, record_of_told
from protocol.figures import Quarter
from protocol.identifiers import canonical
from tests.property.lives import FROM, PRESETS, THRESHOLD, Event, Model, Modelled, working_days
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import HERE, KEY, Clock, counter, entered, open_register, seals

FIRST_DAY: Final = date(2026, 1, 5)
SUBJECTS: Final = [canonical("zz.person", name) for name in ("somebody", "another")]
GROUNDS: Final = {
    "exclusions": "debarred",
    "jaywalking": "jaywalking",
    "sanctions": "designated",
    "scheme": "enrolled",
}
CELLS: Final = (
    *(f"listings {preset} {GROUNDS[register]}" for register, preset in PRESETS.items()),
    *("listings erased since", "disputes", "overturned", "late answers", "expiries"),
)


@cache
def entries() -> dict[str, CatalogueEntry]:
    catalogue = load_catalogue()
    jaywalking = catalogue["conduct-jaywalking"]
    twelve = Term(value=12, source=ASSUMED)
    counted = Counted(threshold=Figure(value=THRESHOLD, source=ASSUMED), within=twelve)
    ground = jaywalking.grounds[0].model_copy(update={"counted": counted})
    return {
        "exclusions": catalogue["debarment"],
        "jaywalking": jaywalking.model_copy(update={"grounds": (ground,)}),
        "sanctions": catalogue["sanctions"],
        "scheme": catalogue["civic-points"],
    }


@cache
def empty_database() -> bytes:
    """The file of an empty database, made once a test process."""
    with tempfile.TemporaryDirectory(prefix="lives-") as folder:
        engine = open_engine(f"sqlite:///{folder}/empty.sqlite")
        migrate(engine, "listings")
        engine.dispose()
        return (Path(folder) / "empty.sqlite").read_bytes()


class Lives(RuleBasedStateMachine):
    """A register on a real database beside its model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lives-"))
        (self.folder / "node.sqlite").write_bytes(empty_database())
        self.engine = open_engine(f"sqlite:///{self.folder}/node.sqlite")
        self.clock = Clock(FIRST_DAY)
        self.store = ListingStore(self.engine, ColumnCipher(KEY, counter()), 99)
        self.register: Register = open_register(self.store, entries(), self.clock)
        self.model = Model()
        self.seen: dict[tuple[str, date], tuple[Record, str]] = {}
        self.made = 0

    def teardown(self) -> None:
        try:
            self.look_back()
        finally:
            self.engine.dispose()
            shutil.rmtree(self.folder)

    # What is done.

    @initialize(passed=st.integers(1, 3))
    def some_infringements(self, passed: int) -> None:
        for number in range(3):
            self.enter("jaywalking", 0, 5 * number, 0, "clerk", None)
        self.days_pass(passed * 20)

    @rule(
        register=st.sampled_from(sorted(GROUNDS)),
        subject=st.integers(0, 1),
        ago=st.integers(0, 200),
        served=st.none() | st.integers(0, 30),
        actor=st.sampled_from(["clerk", "head"]),
        term=st.none() | st.integers(1, 300),
    )
    def enter(self, register: str, subject: int, ago: int, served: int | None, actor: str, term: int | None) -> None:
        listing = self.listing(register, subject, ago, served, term)
        record = asyncio.run(self.register.enter(listing, Author(actor, "as decided"), None))
        self.entered(record, actor)

    @precondition(lambda self: self.model.erased)
    @rule(data=st.data())
    def enter_what_was_erased(self, data: st.DataObject) -> None:
        listing = data.draw(st.sampled_from(self.model.erased))
        with self.nothing_changes(), pytest.raises(ListingError, match="was erased"):
            asyncio.run(self.register.enter(listing, Author("clerk", "again"), None))

    @precondition(lambda self: self.model.all)
    @rule(
        at=st.integers(0, 30),
        act=st.sampled_from(sorted(set(FROM) - {"correct"})),
        actor=st.sampled_from(["clerk", "head", "subject"]),
        ago=st.none() | st.integers(-1, 25),
    )
    def act(self, at: int, act: str, actor: str, ago: int | None) -> None:
        it = self.model.all[at % len(self.model.all)]
        on = None if ago is None else self.clock.day - timedelta(days=ago)
        by = Author(actor, "for a reason", "D 9")
        if self.model.take(it, act, actor, self.clock.day, on):
            self.register.act(it.reference, Act(act), by, on)
        else:
            with self.nothing_changes(), pytest.raises(TransitionError):
                self.register.act(it.reference, Act(act), by, on)

    @precondition(lambda self: self.model.all)
    @rule(at=st.integers(0, 30), actor=st.sampled_from(["clerk", "head"]), served=st.none() | st.integers(0, 30))
    def correct(self, at: int, actor: str, served: int | None) -> None:
        it = self.model.all[at % len(self.model.all)]
        corrected = self.listing(it.register, SUBJECTS.index(it.listing.identifiers[0]), 3, served, None)
        by = Author(actor, "for a reason", "D 9")
        if self.model.take(it, "correct", actor, self.clock.day, None):
            record = asyncio.run(self.register.correct(it.reference, corrected, by, None))
            assert self.register.get(it.reference).life.replaced_by == record.reference
            self.entered(record, actor)
        else:
            with self.nothing_changes(), pytest.raises(TransitionError):
                asyncio.run(self.register.correct(it.reference, corrected, by, None))

    @rule(days=st.integers(1, 12) | st.integers(1, 400))
    def days_pass(self, days: int) -> None:
        for record in self.store.all():
            self.seen[record.reference, self.clock.day] = record, self.register.state(record).value
        self.clock.day += timedelta(days=days)

    # What holds, always.

    @invariant()
    def everything_stands_where_the_model_says(self) -> None:
        day = self.clock.day
        states = {record.reference: self.register.state(record).value for record in self.store.all()}
        assert states == {it.reference: it.state(day) for it in self.model.all}
        dues = {(it.record.reference, it.what, it.by) for it in self.register.due()}
        assert dues == set().union(*(it.dues(day) for it in self.model.all))
        for subject in SUBJECTS:
            found = standings(self.register.find([subject]), self.register.entries, day)
            as_tuples = [(it.register, it.severity, it.disputed, it.points, it.positive) for it in found]
            assert sorted(as_tuples, key=repr) == self.model.standings(subject, day)

    @invariant()
    def questions_find_what_stands(self) -> None:
        """By what was told of listings when they were sealed, and their lives: now, and on days to come."""
        waiting = self.store.pending(*HERE, 99)
        given = {number: seals(SUBJECTS.index(listing.identifiers[0]), "somebody") for number, listing in waiting}
        assert self.store.seal(*HERE, given, entered()) == {}
        for prefix, subject in enumerate(SUBJECTS):
            records = self.register.find([subject])
            told = [record_of_told(told) for entry in self.store.bucket(*HERE, prefix) for told in entry.told]
            assert len(told) == len(records)
            for days in (0, 1, 7, 30, 180, 400):
                day = self.clock.day + timedelta(days=days)
                found, expected = (standings(them, self.register.entries, day) for them in (told, records))
                assert sorted(found, key=repr) == sorted(expected, key=repr)

    def look_back(self) -> None:
        """The trail verifies, gives every stored life, and every past day as it was seen then."""
        self.store.verify_trail()
        for it in self.model.all:
            record = self.store.get(it.reference)
            assert replay(record.listing, record.reference, self.register.history(it.reference)) == record
            assert [(step.act.value, step.actor) for step in self.register.history(it.reference)] == [
                (event.act, event.actor) for event in it.events
            ]
        left = {it.reference for it in self.model.all}
        for (reference, day), (record, state) in self.seen.items():
            if reference in left:
                past, then = self.register.as_of(reference, day)
                assert (past, then.value) == (record, state)
        for listing in self.model.erased:
            with pytest.raises(UnknownListingError):
                self.register.get(self.store.reference(listing))

        self.count_back()

    def count_back(self) -> None:
        """The last quarters, counted for public figures."""
        today = self.clock.day
        quarter = Quarter(today.year, (today.month + 2) // 3)
        for _ in range(5):
            year, number = (quarter.year, quarter.number - 1) if quarter.number > 1 else (quarter.year - 1, 4)
            quarter = Quarter(year, number)
            counts = dict(zip(CELLS, count(self.store, entries(), quarter, CELLS), strict=True))
            expected = self.model.figures(quarter.first, quarter.last)
            assert counts == dict.fromkeys(CELLS, 0) | expected

    # Helpers.

    def listing(self, register: str, subject: int, ago: int, served: int | None, term: int | None) -> Listing:
        decided, published = self.clock.day - timedelta(days=ago), register == "sanctions"
        on = None if served is None else min(decided + timedelta(days=served), self.clock.day)
        self.made += 1
        return make_listing(
            register=register,
            subject_kind="natural",
            identifiers=(SUBJECTS[subject],),
            ground=GROUNDS[register],
            decision_ref=f"D {self.made}",
            decided_on=decided,
            served_on=decided if published else on,
            expires_on=decided + timedelta(days=term) if term and register == "exclusions" else None,
            severity=1,
            points=10 * self.made if register == "scheme" else None,
            published=published,
        )

    def entered(self, record: Record, actor: str) -> None:
        serve_by = None if record.listing.served_on else working_days(self.clock.day, 10)
        made = Modelled(record.listing, record.reference, serve_by)
        made.events.append(Event("enter", actor, self.clock.day, None))
        self.model.all.append(made)

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        before = list(self.store.all()), self.store.verify_trail()
        yield
        assert (list(self.store.all()), self.store.verify_trail()) == before


SETTINGS: Final = settings(
    deadline=None,
    max_examples=25,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

Lives.TestCase.settings = SETTINGS
TestLives = Lives.TestCase


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("apart_from_term", lambda self, day: "active"),  # noqa: ARG005  # stands in for a method
        ("is_own_work", lambda self, actor, day: False),  # noqa: ARG005  # likewise
        ("dispute", property(lambda self: None)),  # noqa: ARG005  # likewise
        ("figures", lambda self, first, last, is_erased: set()),  # noqa: ARG005  # likewise
    ],
)
def test_a_model_that_says_otherwise_would_be_seen(monkeypatch: pytest.MonkeyPatch, name: str, fault: object) -> None:
    """The twin."""
    monkeypatch.setattr(Modelled, name, fault)
    with pytest.raises(BaseException):  # noqa: B017, PT011  # whichever claim it is that fails first
        run_state_machine_as_test(
            Lives, settings=settings(SETTINGS, max_examples=100, database=None, phases=[Phase.generate])
        )
