"""A party finds by its files which epochs there are, holds each once, and gives each message to its own."""

import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import copyfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.epochs import Epochs, epoch_of
from api.settings import Settings
from api.setup import Established
from protocol.agreement.terms import terms_to_bytes
from protocol.codec import encode
from protocol.errors import AgreementError, PeerError
from protocol.identifiers import canonical, to_bytes
from protocol.messages import Ask
from protocol.rounds import requester
from tests.parties import NOW, PURPOSE, REQUESTER, agreement, established, party


@cache
def made(epoch: int, identity: str = "procurement", version: int = 1) -> Established:
    """An epoch, endorsed by the agencies of the first."""
    first = made(1, "procurement", 1) if epoch > 1 else None
    return established(agreement(id=identity, version=version), epoch, first)


def roster(epoch: int, identity: str = "procurement", version: int = 1) -> bytes:
    of = made(epoch, identity, version)
    return terms_to_bytes(of.terms.agreement, of.roster)


class Part:
    """What a party holds of one epoch, in these tests: its number, and which time it was built."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def told(self, what: str) -> tuple[int, str]:
        return self.epoch, what

    def given(self, kind: str, message: bytes) -> tuple[int, str, bytes]:
        return self.epoch, kind, message


class Place:
    """A directory of rosters, and a party that follows it; `broken` epochs cannot be built."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broken: set[int] = set()
        self.built: list[int] = []
        self.put("agreement", roster(1))
        self.epochs = Epochs(
            self.build, Settings(party="tax", directory=directory, roster=self.path("agreement"), urls=directory)
        )

    def build(self, settings: Settings) -> Part:
        epoch = settings.terms.roster.epoch
        if epoch in self.broken:
            raise RuntimeError
        self.built.append(epoch)
        return Part(epoch)

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.roster"

    def put(self, name: str, data: bytes) -> None:
        self.path(name).write_bytes(data)

    def held(self) -> tuple[int, list[int]]:
        """The current epoch and all that are held, after a look."""
        self.epochs.refresh()
        return self.epochs.current, sorted(self.epochs.parts)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_epoch_begins_becomes_current_and_is_forgotten(place: Place) -> None:
    assert place.held() == (1, [1])
    place.put("next", roster(2))
    assert place.held() == (1, [1, 2])
    copyfile(place.path("agreement"), place.path("previous"))
    assert place.held() == (1, [1, 2])
    place.path("next").replace(place.path("agreement"))
    assert place.held() == (2, [1, 2])
    place.path("previous").unlink()
    assert place.held() == (2, [2])
    assert place.built == [1, 2], "each is built once, whatever its roster is called"


def test_who_looks_while_rosters_move_on_misses_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch between any two of the three reads."""
    for moved_before in range(4):
        place.put("agreement", roster(1))
        place.put("next", roster(2))
        place.path("previous").unlink(missing_ok=True)
        assert place.held() == (1, [1, 2])
        reads = 0
        read = Path.read_bytes

        def switching(path: Path, moved_before: int = moved_before, read: Callable[[Path], bytes] = read) -> bytes:
            nonlocal reads
            if reads == moved_before:
                copyfile(place.path("agreement"), place.path("previous"))
                place.path("next").replace(place.path("agreement"))
            reads += 1
            return read(path)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_bytes", switching)
            place.path("agreement").touch()
            place.epochs.refresh()
        assert sorted(place.epochs.parts) == [1, 2]
        assert place.held() == ((2, [1, 2]) if moved_before < reads else (1, [1, 2]))
    assert place.built == [1, 2]


def test_a_part_serves_its_own_epoch_and_what_is_not_held_goes_to_the_current_one(place: Place) -> None:
    place.put("next", roster(2))
    place.epochs.refresh()
    assert [place.epochs.at(epoch).epoch for epoch in (None, 1, 2, 3)] == [1, 1, 2, 1]
    assert [place.epochs.call(epoch, "told", "so") for epoch in (2, 9)] == [(2, "so"), (1, "so")]


def test_a_message_is_given_to_the_epoch_that_it_names_and_is_not_read_where_one_alone_is_held(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_first, to_second, to_third = (_message(epoch) for epoch in (1, 2, 3))
    place.put("next", roster(2))
    place.epochs.refresh()
    assert [place.epochs.of(it).epoch for it in (to_first, to_second, to_third, b"")] == [1, 2, 1, 1]
    assert [place.epochs.give(it, "given", "ask") for it in (to_first, to_second)] == [
        (1, "ask", to_first),
        (2, "ask", to_second),
    ]
    place.path("next").unlink()
    place.epochs.refresh()
    monkeypatch.setattr("api.epochs.epoch_of", None)
    assert [place.epochs.of(it).epoch for it in (to_first, to_second, b"")] == [1, 1, 1]


def test_another_epoch_that_cannot_be_held_does_not_disturb_and_is_tried_again(place: Place) -> None:
    place.broken = {2}
    place.put("next", roster(2))
    assert place.held() == (1, [1])
    assert not place.epochs.refresh()
    place.broken = set()
    assert place.held() == (1, [1, 2])
    assert place.epochs.refresh()


def test_a_roster_of_another_agreement_or_none_at_all_is_not_held(place: Place) -> None:
    for data in (roster(2, "another"), roster(2)[:-1], b"", roster(2).replace(b"procurement", b"procuremenT")):
        place.put("next", data)
        assert place.held() == (1, [1])


def test_without_the_current_epoch_a_party_does_not_start_but_serves_what_it_held(place: Place) -> None:
    place.path("agreement").unlink()
    with pytest.raises(AgreementError):
        place.epochs.refresh()
    assert place.epochs.at().epoch == 1
    with pytest.raises(AgreementError):
        Epochs(
            place.build,
            Settings(party="tax", directory=place.directory, roster=place.path("agreement"), urls=place.directory),
        )
    place.put("agreement", b"no roster")
    with pytest.raises(PeerError):
        place.epochs.refresh()


def test_the_epoch_of_a_message_is_read_from_its_header() -> None:
    for epoch in (1, 2, 77):
        asker = party(REQUESTER, established(agreement(), epoch))
        _, evaluate = requester.evaluate(
            asker,
            [to_bytes(canonical("cn.firm", "F1"))],
            purpose=PURPOSE,
            case="c",
            now=NOW,
            random=secrets.token_bytes,
        )
        _, ask, look = requester.ask(asker, [bytes(64)], purpose=PURPOSE, now=NOW, random=secrets.token_bytes)
        assert [epoch_of(data) for data in (evaluate, ask, encode([ask, look]))] == [epoch] * 3


@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda data: b"\x82" + data)
    | st.lists(st.binary()).map(encode)
)
def test_what_is_no_message_is_of_no_epoch(data: bytes) -> None:
    assert epoch_of(data) is None


@settings(deadline=None)  # the first example makes keys
@given(st.integers(0, Ask.LIMIT), st.binary(min_size=1, max_size=4))
def test_whatever_is_changed_in_a_message_reading_its_epoch_does_not_fail(position: int, change: bytes) -> None:
    data = _message()
    at = position % len(data)
    assert isinstance(epoch_of(data[:at] + change + data[at + len(change) :]), int | None)


@cache
def _message(epoch: int = 1) -> bytes:
    _, ask, _ = requester.ask(
        party(REQUESTER, made(epoch)), [bytes(64)], purpose=PURPOSE, now=NOW, random=secrets.token_bytes
    )
    return ask
