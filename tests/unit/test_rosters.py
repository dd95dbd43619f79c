"""What a party finds beside its roster: other versions, emergencies, withdrawals; what is forged changes nothing."""

import os
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from api.epochs import Epochs
from api.rosters import GRACE_SECONDS, withdrawal_path
from api.settings import Settings
from api.setup import Established
from protocol.agreement.terms import DAY, Terms, terms_to_bytes
from protocol.agreement.withdrawal import withdraw
from protocol.errors import AgreementError, NotGrantedError, OtherVersionError, WithdrawnError
from tests.parties import NOW, REQUESTER, established
from tests.versions import agreement, emergency, first, second, third


def at(day: str, seconds: int = 0) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY + seconds


class Place:
    """A directory of public files, a party's own, and the terms that the party holds by them."""

    def __init__(self, directory: Path, party: str = "tax") -> None:
        self.public, self.own, self.now = directory / "public", directory / party, NOW
        self.public.mkdir(exist_ok=True)
        self.own.mkdir()
        self.party = party

    def put(self, name: str, of: Established) -> None:
        (self.public / f"{name}.roster").write_bytes(terms_to_bytes(of.terms.agreement, of.roster))

    def switch(self) -> None:
        (self.public / "previous.roster").write_bytes((self.public / "agreement.roster").read_bytes())
        os.utime(self.public / "previous.roster", (NOW, NOW))
        (self.public / "next.roster").replace(self.public / "agreement.roster")

    def withdraw(self, agency: str, day: int, of: Established | None = None, key: str = "") -> Path:
        of = of or first()
        path = withdrawal_path(self.public, agency, of.terms.roster.epoch)
        path.write_bytes(withdraw(of.terms, agency, day, of.secrets[key or agency].signing_key))
        return path

    def start(self) -> Epochs[Terms]:
        settings = Settings(
            party=self.party, directory=self.own, roster=self.public / "agreement.roster", urls=self.public
        )
        return Epochs(lambda own: own.terms, settings, lambda: self.now)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.put("agreement", first())
    return place


def test_a_version_to_come_is_sealed_in_and_asked_in_only_once_it_is_current(place: Place) -> None:
    epochs = place.start()
    place.put("next", second())
    assert epochs.refresh()
    coming = epochs.at(2)
    coming.require_not_over(NOW)
    with pytest.raises(OtherVersionError):
        coming.require_in_force(NOW)
    assert (epochs.current, epochs.is_in_force(2), epochs.terms) == (1, False, first().terms)
    place.switch()
    assert epochs.refresh()
    assert epochs.at(2) is coming, "nothing is built anew"
    assert [epochs.at(epoch).is_in_force(NOW) for epoch in (1, 2)] == [True, True]
    assert (epochs.current, epochs.terms) == (2, second().terms)


def test_who_joins_or_leaves_has_a_part_in_its_own_version_and_none_when_that_is_forgotten(tmp_path: Path) -> None:
    joins, leaves = Place(tmp_path, "market"), Place(tmp_path, "court")
    joins.put("agreement", first())
    joins.put("next", second())
    joining, leaving = joins.start(), leaves.start()
    assert [(it.current, sorted(it.parts)) for it in (joining, leaving)] == [(2, [2]), (1, [1])]
    assert joining.at().roster.epoch == 2
    joins.switch()
    assert joining.refresh()
    assert leaving.refresh()
    assert [(it.current, sorted(it.parts)) for it in (joining, leaving)] == [(2, [2]), (1, [1])]
    (joins.public / "previous.roster").unlink()
    assert leaving.refresh()
    assert not leaving.parts
    for epoch in (None, 1, 2):
        with pytest.raises(NotGrantedError, match="takes no part"):
            leaving.at(epoch)


@pytest.mark.parametrize("name", ["next", "agreement"])
@pytest.mark.parametrize(
    "forged",
    [
        lambda: established(agreement(version=2), 2),
        lambda: established(agreement(), 2),
        lambda: established(agreement(), 1),
        lambda: established(agreement(id="another", version=2), 2, first()),
        lambda: established(agreement(version=3), 3, second()),
    ],
)
def test_whoever_writes_the_files_moves_nobody_to_what_the_agencies_did_not_sign(
    place: Place, forged: Callable[[], Established], name: str
) -> None:
    epochs = place.start()
    place.put(name, forged())
    if name == "agreement":
        with pytest.raises(AgreementError):
            epochs.refresh()
    else:
        assert not epochs.refresh()
    assert (epochs.current, sorted(epochs.parts), epochs.at() == first().terms) == (1, [1], True)


# Emergency versions


def test_an_emergency_version_takes_over_on_its_first_day_and_falls_back_after_its_last_by_itself(place: Place) -> None:
    epochs = place.start()
    place.put("next", emergency())
    epochs.refresh()
    place.switch()
    assert epochs.refresh()
    before, during = epochs.at(1), epochs.at(2)
    for time, current in (
        (NOW, 1),
        (at("2026-11-19", DAY - 1), 1),
        (at("2026-11-20"), 2),
        (at("2026-12-10", DAY - 1), 2),
        (at("2026-12-11"), 1),
        (at("2027-10-31"), 1),
    ):
        place.now = time
        assert (epochs.current, epochs.terms.roster.epoch) == (current, current)
        assert [it.is_in_force(time) for it in (before, during)] == [current == 1, current == 2], time
        assert before is epochs.at(1)
    place.now = at("2027-11-01")
    assert not before.is_in_force(place.now)
    assert epochs.terms is before, "nothing is answered once both have ended"


def test_in_the_middle_of_its_days_the_version_before_has_its_grace_time(place: Place) -> None:
    place.now = at("2026-11-25", 5000)
    epochs = place.start()
    place.put("next", emergency())
    epochs.refresh()
    place.switch()
    os.utime(place.public / "previous.roster", (place.now, place.now))
    epochs.refresh()
    before = epochs.at(1)
    assert epochs.current == 2
    assert before.is_in_force(place.now + GRACE_SECONDS - 1)
    with pytest.raises(OtherVersionError):
        before.require_in_force(place.now + GRACE_SECONDS)
    assert not before.is_over(place.now + GRACE_SECONDS), "it is sealed in all the same"


def test_after_an_emergency_comes_what_follows_the_version_that_it_followed(place: Place) -> None:
    place.put("next", emergency())
    place.switch()
    epochs = place.start()
    place.put("next", third())
    assert epochs.refresh()
    assert sorted(epochs.parts) == [1, 2, 3]
    (place.public / "next.roster").replace(place.public / "agreement.roster")
    assert epochs.refresh()
    assert (epochs.current, sorted(epochs.parts)) == (3, [1, 3])
    assert epochs.at(1).is_in_force(at("2026-11-25")), "what is under way is served"


# Withdrawals


def test_a_withdrawal_is_obeyed_from_its_day_on_in_every_epoch_of_the_version_and_in_no_other(place: Place) -> None:
    epochs = place.start()
    place.put("next", second())
    place.put("previous", first())
    epochs.refresh()
    place.withdraw("court", NOW // DAY + 1)
    assert epochs.refresh()
    midnight = (NOW // DAY + 1) * DAY
    assert epochs.at(1).is_in_force(midnight - 1)
    with pytest.raises(WithdrawnError):
        epochs.at(1).require_in_force(midnight)
    place.now = midnight
    assert epochs.is_over(1)
    place.switch()
    assert epochs.refresh()
    assert epochs.at(2).is_in_force(midnight)
    place.withdraw("labour", NOW // DAY, second())
    assert epochs.refresh()
    assert not epochs.at(2).is_in_force(NOW)
    assert epochs.at(1).is_in_force(NOW)


def test_nobody_takes_a_withdrawal_back_by_removing_its_file(place: Place) -> None:
    epochs = place.start()
    path = place.withdraw("court", NOW // DAY)
    epochs.refresh()
    path.unlink()
    assert epochs.refresh()
    for terms in (epochs.at(), place.start().at()):
        with pytest.raises(WithdrawnError):
            terms.require_in_force(NOW)


@pytest.mark.parametrize("fault", ["another key", "a byte", "another version", "another epoch", "too long", "empty"])
def test_a_withdrawal_that_does_not_verify_is_logged_and_changes_nothing(
    place: Place, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs = place.start()
    if fault == "another key":
        path = place.withdraw("court", NOW // DAY, key="tax")
    else:
        path = place.withdraw("labour", NOW // DAY, second() if fault == "another version" else None)
        data = path.read_bytes()
        if fault == "a byte":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        if fault == "another epoch":
            path.write_bytes(withdraw(other().terms, "labour", NOW // DAY, other().secrets["labour"].signing_key))
        if fault in {"too long", "empty"}:
            path.write_bytes(data * 9 if fault == "too long" else b"")
    assert epochs.refresh(), "it is no reason to look again and again"
    assert "Error" in capsys.readouterr().out
    assert epochs.at().is_in_force(NOW)
    assert not list(place.own.iterdir())


@cache
def other() -> Established:
    return established(agreement(), 2, first())


def test_the_requester_that_a_version_names_is_all_that_the_gateway_is(tmp_path: Path) -> None:
    gateway = Place(tmp_path, REQUESTER)
    gateway.put("agreement", first())
    assert gateway.start().at() == first().terms
