"""After an erasure none of what was erased stands in the database, its log, or a new backup: plain or encrypted."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest

from nodes.catalogue import load_catalogue
from nodes.life import Act, Author
from nodes.listings import Listing
from nodes.storage import listings as storage
from nodes.storage.backup import backup, restore
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.trail import Trail
from protocol.identifiers import Identifier, canonical
from tests.unit.nodes.builders import make_listing
from tests.unit.nodes.stores import KEY, Clock, add_sealed, counter, noon, of_listing, open_register, seals

ENTRIES = {"exclusions": load_catalogue()["debarment"], "scheme": load_catalogue()["civic-points"]}
GROUNDS = {"exclusions": "debarred", "scheme": "enrolled"}
DAY = date(2026, 3, 2)
SUBJECT = Author("subject", "OBJECTION-55d0", "PROOF-0b1e")
HEAD = Author("head", "REASON-7f3a", "DOCUMENT-91cc")
LAST = Author("head", "its time is over", "D 12")
SECRETS = (
    *("PERSONE7A2", "NAME-40ff", "DECISION-c3d8", "NOTE-2e6b"),
    *("OBJECTION-55d0", "PROOF-0b1e", "REASON-7f3a", "DOCUMENT-91cc"),
)


def listing(register: str, number: int, **changes: str) -> Listing:
    texts = {"name": f"N {number}", "decision_ref": f"D {number}", "note": f"note {number}"} | changes
    return make_listing(
        register=register,
        subject_kind="natural",
        name=texts["name"],
        identifiers=(canonical("zz.person", changes.get("identifier", f"P{number}")),),
        ground=GROUNDS[register],
        decision_ref=texts["decision_ref"],
        points=7 if register == "scheme" else None,
        raw={"note": texts["note"]},
    )


def to_erase(register: str) -> Listing:
    given = {"identifier": SECRETS[0], "name": SECRETS[1], "decision_ref": SECRETS[2], "note": SECRETS[3]}
    return listing(register, 0, **given)


class Office:
    """An agency's register with many listings, all that happened to one of them, and a look at its files."""

    def __init__(self, folder: Path, register: str) -> None:
        self.folder, self.name = folder, register
        self.cipher = ColumnCipher(KEY, counter())
        self.engine = open_engine(f"sqlite:///{folder}/node.sqlite")
        self.store = ListingStore(self.engine, self.cipher, 10_000)
        self.register = open_register(self.store, ENTRIES, Clock(DAY))
        many = [listing(register, number) for number in range(1, 300)]
        for some in (many[:150], [to_erase(register)], many[150:]):
            add_sealed(self.store, [(each, seals(7, str(each.identifiers[0].value))) for each in some])
        self.reference = self.store.reference(to_erase(register))
        self.register.act(self.reference, Act.OBJECT, SUBJECT)
        self.register.act(self.reference, Act.REJECT, HEAD)
        self.traces = of_listing(self.engine, self.reference)

    def erase(self) -> None:
        self.register.act(self.reference, Act.REVOKE, HEAD)
        self.traces = of_listing(self.engine, self.reference)
        self.register.act(self.reference, Act.ERASE, LAST)

    def leave(self) -> None:
        self.register.act(self.reference, Act.LEAVE, LAST)

    def residue(self) -> set[str]:
        """Where anything of what was erased still stands."""
        files = {file.suffix: file.read_bytes() for file in self.folder.glob("node.sqlite*")}
        assert files.keys() == {".sqlite", ".sqlite-wal", ".sqlite-shm"}
        places = files | {"legible": legible(self.store)} | self.backed_up()
        wanted = [*self.traces, *(secret.encode() for secret in SECRETS)]
        return {place for place, data in places.items() if any(each in data for each in wanted)}

    def backed_up(self) -> dict[str, bytes]:
        """A new backup, and all that whoever has the key can put back from it."""
        path = self.folder / f"{secrets.token_hex(4)}.backup"
        backup(self.engine, self.cipher, path, secrets.token_bytes(16))
        with closing(sqlite(self.folder / "restored" / path.name)) as other:
            restored = Author("head", "restored").step(Act.RESTORE, noon(DAY))
            restore(other.engine, self.cipher, path, restored)
            again = ListingStore(other.engine, self.cipher, 10_000)
            rows = b"".join(file.read_bytes() for file in other.path.parent.glob(f"{path.name}*"))
            return {"backup": path.read_bytes(), "backup restored": rows, "backup legible": legible(again)}


class sqlite:  # noqa: N801  # opens like a function
    """A database in a file of its own."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path = path
        self.engine = open_engine(f"sqlite:///{path}")

    def close(self) -> None:
        self.engine.dispose()


def legible(store: ListingStore) -> bytes:
    """All that whoever has the key can read: every listing and every step."""
    steps, after = [], 0
    while some := store.trail(after):
        steps += some
        after = some[-1].number
    return repr([*(asdict(record.listing) for record in store.all()), *steps]).encode()


@pytest.fixture(params=["exclusions", "scheme"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, request.param)
    yield made
    made.engine.dispose()


def erased(office: Office) -> None:
    (office.erase if office.name == "exclusions" else office.leave)()


def test_before_it_is_erased_it_is_seen_everywhere(office: Office) -> None:
    """The twin of all that follows: what is looked for would be found."""
    assert office.residue() >= {".sqlite-wal", "legible", "backup restored", "backup legible"}
    assert [secret for secret in SECRETS if secret.encode() not in legible(office.store)] == []


def test_afterwards_nothing_of_it_is_left_anywhere(office: Office) -> None:
    erased(office)
    assert office.residue() == set()
    assert office.store.find([Identifier("zz.person", SECRETS[0])]) == []
    assert office.store.count(office.name) == 299
    office.store.verify_trail()


@pytest.mark.parametrize(
    ("place", "name", "found"),
    [
        (storage, "forget_erased", {".sqlite-wal"}),
        (Trail, "forget", {".sqlite", "legible", "backup restored", "backup legible"}),
    ],
)
def test_an_erasure_that_forgets_a_step_is_found(
    office: Office, monkeypatch: pytest.MonkeyPatch, place: object, name: str, found: set[str]
) -> None:
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731  # stands in for what is forgotten
    monkeypatch.setattr(place, name, nothing)
    erased(office)
    assert office.residue() >= found
