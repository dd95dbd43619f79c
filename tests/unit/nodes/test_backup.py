"""A backup brings back everything, into either kind of database, or nothing at all."""

import secrets
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from nodes.catalogue import load_catalogue
from nodes.life import Act, Author, Transition, apply
from nodes.lifecycle import record_of
from nodes.storage.backup import BackupError, backup, restore
from nodes.storage.cipher import KEY_BYTES, ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.identifiers import canonical
from tests.parties import NOW
from tests.unit.nodes.builders import make_listing

HERE = ("procurement", 1)
CLERK = Author("clerk", "as decided", "letter 7")
ENTERED = CLERK.step(Act.ENTER, NOW)
RESTORED = Transition(Act.RESTORE, "operator", NOW, "disk lost")
KEY = secrets.token_bytes(KEY_BYTES)
CIPHER = ColumnCipher(KEY, secrets.token_bytes)


def opened(engine: Engine) -> ListingStore:
    return ListingStore(engine, CIPHER, 10)


@pytest.fixture
def store(engine: Engine) -> ListingStore:
    """Two listings, one disputed and sealed, the other waiting."""
    made = opened(engine)
    one, other = make_listing(), make_listing(decision_ref="D 2", identifiers=(canonical("zz.free", "2"),))
    made.open_epoch(*HERE, ["exclusions"], Seal(3, b"canary"))
    made.add_sealed(*HERE, [(one, [Seal(7, b"pseudonym")])], ENTERED)
    made.add_pending(*HERE, [other], ENTERED)
    step = CLERK.step(Act.OBJECT, NOW)
    made.take([made.reference(one)], lambda record: apply(record, step, load_catalogue()["debarment"]))
    return made


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Engine]:
    """An empty database elsewhere."""
    engine = open_engine(f"sqlite:///{tmp_path}/elsewhere.sqlite")
    yield engine
    engine.dispose()


def saved(engine: Engine, path: Path) -> Path:
    backup(engine, CIPHER, path, secrets.token_bytes(16))
    return path


def test_everything_comes_back(store: ListingStore, engine: Engine, other: Engine, tmp_path: Path) -> None:
    head = backup(engine, CIPHER, tmp_path / "saved", secrets.token_bytes(16))
    assert restore(other, CIPHER, tmp_path / "saved", RESTORED) == head == store.verify_trail()
    again = opened(other)
    assert list(again.all()) == list(store.all())
    assert again.due() == store.due()
    assert [again.steps(record.reference) for record in again.all()] == [
        store.steps(record.reference) for record in store.all()
    ]
    assert again.bucket(*HERE, 7) == store.bucket(*HERE, 7)
    assert again.bucket(*HERE, 3) == store.bucket(*HERE, 3)
    assert again.pending(*HERE, 9) == store.pending(*HERE, 9)
    assert again.trail()[-1].step == RESTORED
    assert again.verify_trail(head).number == head.number + 1


def test_a_restored_database_goes_on(store: ListingStore, engine: Engine, tmp_path: Path) -> None:
    path = saved(engine, tmp_path / "saved")
    restore(engine, CIPHER, path, RESTORED, replace=True)
    new = make_listing(decision_ref="D 3", identifiers=(canonical("zz.free", "3"),))
    assert max(store.add_pending(*HERE, [new], ENTERED)) > len(list(store.all())) - 1
    assert store.find([canonical("zz.free", "3")]) == [
        record_of(new, store.reference(new)),
    ]


def test_what_came_after_the_backup_is_seen_to_be_gone(store: ListingStore, engine: Engine, tmp_path: Path) -> None:
    path = saved(engine, tmp_path / "saved")
    store.add_pending(*HERE, [make_listing(decision_ref="D 3")], ENTERED)
    store.add_pending(*HERE, [make_listing(decision_ref="D 4")], ENTERED)
    kept = store.verify_trail()
    restore(engine, CIPHER, path, RESTORED, replace=True)
    with pytest.raises(Exception, match="before the one that was kept"):
        store.verify_trail(kept)


def test_a_database_that_is_not_empty_is_not_touched(store: ListingStore, engine: Engine, tmp_path: Path) -> None:
    path = saved(engine, tmp_path / "saved")
    before = list(store.all())
    with pytest.raises(BackupError, match="not empty"):
        restore(engine, CIPHER, path, RESTORED)
    assert list(store.all()) == before


def test_a_file_that_is_there_is_not_overwritten(store: ListingStore, engine: Engine, tmp_path: Path) -> None:
    del store
    path = saved(engine, tmp_path / "saved")
    with pytest.raises(FileExistsError):
        saved(engine, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in tmp_path.iterdir() if it.name.startswith("saved")) == ["saved"]


def test_what_stands_in_a_backup_is_encrypted(store: ListingStore, engine: Engine, tmp_path: Path) -> None:
    data = saved(engine, tmp_path / "saved").read_bytes()
    for record in store.all():
        for secret in (record.listing.name, record.listing.decision_ref, record.reference, "exclusions"):
            assert secret.encode() not in data


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[: len(data) // 2],
        lambda _data: b"",
        lambda data: flip(data, 0),
        lambda data: flip(data, 25),  # the file's own id
        lambda data: flip(data, 39),  # whether it is the last chunk
        partial(flip, at=-20),
        lambda data: data[:40],
    ],
)
def test_a_damaged_backup_puts_nothing_back(
    damage: object, store: ListingStore, engine: Engine, other: Engine, tmp_path: Path
) -> None:
    del store
    assert callable(damage)
    path = saved(engine, tmp_path / "saved")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BackupError):
        restore(other, CIPHER, path, RESTORED)
    assert list(opened(other).all()) == []


def test_another_nodes_backup_is_refused(store: ListingStore, engine: Engine, other: Engine, tmp_path: Path) -> None:
    del store
    path = saved(engine, tmp_path / "saved")
    stranger = ColumnCipher(secrets.token_bytes(KEY_BYTES), secrets.token_bytes)
    with pytest.raises(BackupError, match="of this node"):
        restore(other, stranger, path, RESTORED)


def test_many_chunks(other: Engine, engine: Engine, tmp_path: Path) -> None:
    store = opened(engine)
    noise = [{"note": secrets.token_hex(900)} for _ in range(700)]
    listings = [make_listing(decision_ref=f"D {at}", raw=raw) for at, raw in enumerate(noise)]
    store.add_pending(*HERE, listings, ENTERED)
    path = saved(engine, tmp_path / "saved")
    assert path.stat().st_size > 1 << 20
    restore(other, CIPHER, path, RESTORED)
    assert list(opened(other).all()) == list(store.all())


def test_a_day_of_expiry_and_a_life_keep_their_types(
    store: ListingStore, engine: Engine, other: Engine, tmp_path: Path
) -> None:
    restore(other, CIPHER, saved(engine, tmp_path / "saved"), RESTORED)
    (disputed,) = opened(other).due()
    assert isinstance(disputed.life.due, date)
    assert [disputed] == store.due()
