"""Changes of epoch on disk: each is made wholly or not at all, in its order, and what was begun can be ended."""

import fcntl
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import typer
import yaml

from api import keystore, rollover, rosters
from api.agency import open_listings
from api.cli import epoch
from api.cli.exits import BAD_INPUT, INDETERMINATE, REFUSED
from api.founding import found
from api.home import Home, keys_path, parties
from api.rollover import EpochError, GraceError
from api.settings import Settings
from nodes.storage.seals import Seal
from protocol.agreement.model import parse
from protocol.agreement.terms import Terms
from protocol.agreement.violation import InvalidAgreementError
from protocol.agreement.withdrawal import verify_withdrawal
from protocol.errors import ConcordatError, IndeterminateError, SealError
from tests.parties import agreement

pytestmark = pytest.mark.usefixtures("quick_keys")

AGENCIES = ("labour", "tax")


def quiet(_step: str, _done: int, _total: int | None) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A federation of two agencies; tests work on copies."""
    home = Home(tmp_path_factory.mktemp("founded") / "federation")
    today = datetime.now(UTC).date()
    valid = {"from": str(today - timedelta(days=9)), "until": str(today + timedelta(days=300))}
    document = agreement(AGENCIES, 2, valid=valid).model_dump(mode="json", by_alias=True, exclude_none=True)
    found(home.directory, yaml.safe_dump(document), None, quiet)
    return home


@pytest.fixture
def home(founded: Home, tmp_path: Path) -> Home:
    return Home(copytree(founded.directory, tmp_path / "federation"))


@pytest.fixture(scope="module")
def overlapping(founded: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same with the second epoch begun."""
    home = Home(copytree(founded.directory, tmp_path_factory.mktemp("begun") / "federation"))
    assert rollover.begin(home, quiet) == 2
    return home


@pytest.fixture
def begun(overlapping: Home, tmp_path: Path) -> Home:
    return Home(copytree(overlapping.directory, tmp_path / "begun"))


def files(home: Home) -> dict[str, bytes]:
    """Everything under a directory but databases, which a look makes."""
    found = (path for path in home.directory.rglob("*") if path.is_file() and "sqlite" not in path.name)
    return {str(path.relative_to(home.directory)): path.read_bytes() for path in found}


def settings(home: Home, party: str) -> Settings:
    path = home.party_path(party, home.terms().agreement)
    return Settings(party=party, directory=path, roster=home.roster_path, urls=home.urls_path)


def seal(home: Home, *agencies: str) -> None:
    """Seal what there is at these agencies in the next epoch: their canaries."""
    terms = rollover.coming(home)
    assert terms is not None
    for agency in agencies:
        own = settings(home, agency).in_epoch(terms)
        store, epoch = open_listings(own, own.secrets()[1]), (terms.agreement.id, terms.roster.epoch)
        store.open_epoch(*epoch, [f"{agency}-register"], Seal(1, b"canary of " + agency.encode()))


def refused(change: Callable[[], object], home: Home, error: type[ConcordatError] = EpochError) -> None:
    """A change is refused, and nothing was changed."""
    before = files(home)
    with pytest.raises(error):
        change()
    assert files(home) == before


def test_a_new_epoch_has_new_keys_for_everybody_and_the_same_databases(begun: Home) -> None:
    current, coming = begun.terms(), rollover.coming(begun)
    assert coming is not None
    assert (current.roster.epoch, coming.roster.epoch) == (1, 2)
    assert coming.agreement == current.agreement
    assert coming.roster.modulus != current.roster.modulus
    assert coming.roster.oprf_public != current.roster.oprf_public
    for party in parties(current.agreement):
        own = settings(begun, party)
        (now, database), (later, same) = own.secrets(), own.in_epoch(coming).secrets()
        assert database == same
        assert now.signing_key.private_bytes_raw() != later.signing_key.private_bytes_raw()
        assert later.signing_key.public_key().public_bytes_raw() == coming.roster.signing[party]
        assert later.sealing_key.private_bytes_raw() != now.sealing_key.private_bytes_raw()
        assert (keys_path(own.directory, 2).stat().st_mode & 0o777) == 0o600
    assert rollover.before(begun) is None


def test_what_the_epochs_there_are_do_not_allow_is_refused_and_changes_nothing(home: Home, begun: Home) -> None:
    refused(lambda: rollover.switch(home), home)
    refused(lambda: rollover.forget(home), home)
    refused(lambda: rollover.begin(begun, quiet), begun)
    refused(lambda: rollover.forget(begun, 0), begun)


def test_a_beginning_that_fails_leaves_nothing_and_one_that_was_killed_is_begun_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, save, saved = files(home), keystore.save, list[Path]()

    def failing(path: Path, *arguments: object) -> None:
        if len(saved) == 3:
            raise InterruptedError
        saved.append(path)
        save(path, *arguments)  # type: ignore[arg-type]  # handed on as they came

    with monkeypatch.context() as patched:
        patched.setattr(keystore, "save", failing)
        with pytest.raises(InterruptedError):
            rollover.begin(home, quiet)
    assert files(home) == before

    for path in saved:
        path.write_bytes(b"half a fi")
    assert rollover.coming(home) is None
    assert rollover.begin(home, quiet) == 2
    document = home.terms().agreement
    assert files(home).keys() - before.keys() == {
        "next.roster",
        *(str(keys_path(home.party_path(it, document), 2).relative_to(home.directory)) for it in parties(document)),
    }
    assert {name: data for name, data in files(home).items() if name in before} == before


def test_a_beginning_needs_everybodys_passphrase(home: Home) -> None:
    (home.directory / "agencies/tax/passphrase").write_text("another")
    refused(lambda: rollover.begin(home, quiet), home, SealError)


def test_one_command_changes_epochs_at_a_time(begun: Home) -> None:
    directory = os.open(begun.directory, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    for change in (
        lambda: rollover.begin(begun, quiet),
        lambda: rollover.switch(begun),
        lambda: rollover.forget(begun),
    ):
        refused(change, begun)
    os.close(directory)
    seal(begun, *AGENCIES)
    assert rollover.switch(begun) == 2


def test_a_switch_waits_for_every_agency_and_names_those_that_are_not_sealed(begun: Home) -> None:
    def missing() -> tuple[str, ...]:
        before = files(begun)
        with pytest.raises(IndeterminateError) as caught:
            rollover.switch(begun)
        assert files(begun) == before
        return caught.value.missing

    assert missing() == ("labour", "tax")
    seal(begun, "tax")
    assert missing() == ("labour",)
    seal(begun, "labour")
    next_roster, roster = begun.next_path.read_bytes(), begun.roster_path.read_bytes()
    assert rollover.switch(begun) == 2
    assert (begun.roster_path.read_bytes(), begun.previous_path.read_bytes()) == (next_roster, roster)
    assert not begun.next_path.exists()
    refused(lambda: rollover.begin(begun, quiet), begun)


def test_a_switch_that_was_interrupted_has_not_happened_and_is_made_by_the_next(begun: Home) -> None:
    seal(begun, *AGENCIES)
    begun.previous_path.write_bytes(begun.roster_path.read_bytes())
    assert rollover.before(begun) is None
    refused(lambda: rollover.forget(begun, 0), begun)
    assert rollover.switch(begun) == 2
    before = rollover.before(begun)
    assert before is not None
    assert before.roster.epoch == 1


@pytest.fixture
def switched(begun: Home) -> Home:
    seal(begun, *AGENCIES)
    rollover.switch(begun)
    return begun


def test_the_old_epoch_is_kept_for_a_grace_time(switched: Home) -> None:
    refused(lambda: rollover.forget(switched), switched, GraceError)
    earlier = time.time() - rosters.GRACE_SECONDS + 20
    os.utime(switched.previous_path, (earlier, earlier))
    refused(lambda: rollover.forget(switched), switched, GraceError)
    os.utime(switched.previous_path, (earlier - 20, earlier - 20))
    assert rollover.forget(switched) == 1


def test_what_is_forgotten_leaves_no_key_and_no_roster_and_another_epoch_may_begin(switched: Home) -> None:
    assert rollover.forget(switched, 0) == 1
    left = files(switched)
    assert not [name for name in left if name.endswith(("/keys", "previous.roster", "next.roster"))]
    assert rollover.before(switched) is None
    for party in parties(switched.terms().agreement):
        settings(switched, party).secrets()
    assert rollover.begin(switched, quiet) == 3
    coming = rollover.coming(switched)
    assert coming is not None
    assert [it.ready for it in rollover.sealings(switched, coming)] == [False, False]
    assert [it.ready for it in rollover.sealings(switched, switched.terms())] == [True, True]


@pytest.mark.parametrize("step", ["seals", "some keys", "all keys"])
def test_a_forgetting_that_was_interrupted_is_ended_by_the_next(
    switched: Home, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, left = Path.unlink, {"seals": 0, "some keys": 2, "all keys": len(parties(switched.terms().agreement))}[step]

    def failing(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InterruptedError
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing)
        with pytest.raises(InterruptedError):
            rollover.forget(switched, 0)
    assert switched.previous_path.exists()
    assert rollover.forget(switched, 0) == 1
    assert not [name for name in files(switched) if name.endswith(("/keys", "previous.roster"))]


def test_a_host_of_its_own_looks_after_the_parties_that_are_there(begun: Home) -> None:
    rmtree(begun.directory / "agencies/tax")
    rmtree(begun.directory / "coordinator")
    seal(begun, "labour")
    assert rollover.switch(begun) == 2
    assert rollover.forget(begun, 0) == 1
    assert not [name for name in files(begun) if name.endswith(("/keys", "previous.roster"))]
    refused(lambda: rollover.begin(begun, quiet), begun)


def text(home: Home, **changes: object) -> str:
    """The YAML of a second version."""
    document = home.terms().agreement.model_dump(mode="json", by_alias=True, exclude_none=True)
    return str(yaml.safe_dump(document | {"version": 2} | changes))


def joined(home: Home, *agencies: str) -> str:
    """A second version of these agencies, with one requester gone and one new."""
    plain = agreement(agencies, 2).model_dump(mode="json", by_alias=True, exclude_none=True)
    plain["requesters"][1]["id"] = "library"
    kept = ("agencies", "requesters", "keyholders", "rules")
    return text(home, **{field: plain[field] for field in kept})


def test_a_version_that_is_not_valid_or_may_not_follow_is_refused_and_changes_nothing(home: Home) -> None:
    long = {"from": "2026-01-01", "until": "2029-01-01"}
    over = {"from": "2020-01-01", "until": "2020-05-01"}
    for changes in ({"version": 1}, {"id": "another"}, {"valid": long}, {"emergency": {"follows": 1, "basis": "b"}}):
        refused(lambda changes=changes: rollover.begin(home, quiet, text(home, **changes)), home, InvalidAgreementError)  # type: ignore[misc]
    refused(lambda: rollover.begin(home, quiet, text(home, valid=over)), home)
    refused(lambda: rollover.begin(home, quiet, "concordat: 1"), home, InvalidAgreementError)


def test_who_joins_is_settled_and_who_leaves_keeps_its_register_and_may_come_back(home: Home) -> None:
    registers = settings(home, "tax").secrets()[1]
    assert rollover.begin(home, quiet, joined(home, "labour", "market")) == 2
    coming = rollover.coming(home)
    assert coming is not None
    assert {*coming.endorsements} == {"labour", "tax"}
    market = Settings(
        party="market", directory=home.directory / "agencies/market", roster=home.roster_path, urls=home.urls_path
    )
    market.in_own_epoch().secrets()
    assert home.token_path("library").exists()
    assert not (home.directory / "agencies/tax/keys.2").exists()
    seal(home, "labour")
    open_listings(market.in_epoch(coming), market.in_epoch(coming).secrets()[1]).open_epoch(
        "procurement", 2, ["market-register"], Seal(1, b"canary of market")
    )
    assert rollover.switch(home) == 2
    assert (home.terms().agreement.version, parse(home.agreement_path.read_text()).version) == (2, 2)
    assert not home.next_agreement_path.exists()
    assert rollover.forget(home, 0) == 1
    assert sorted(path.name for path in (home.directory / "agencies/tax").glob("*key*")) == ["database.key"]
    assert not list((home.directory / "gateways/bank").glob("keys*"))

    plain = yaml.safe_load(joined(home, "labour", "market", "tax"))
    assert rollover.begin(home, quiet, yaml.safe_dump(plain | {"version": 3})) == 3
    again = rollover.coming(home)
    assert again is not None
    tax = Settings(
        party="tax", directory=home.directory / "agencies/tax", roster=home.roster_path, urls=home.urls_path
    ).in_epoch(again)
    assert tax.secrets()[1] == registers


def test_a_beginning_of_a_version_that_fails_leaves_nobody_behind(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(home)

    def failing(*_arguments: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(rollover, "_write", failing)
    with pytest.raises(InterruptedError):
        rollover.begin(home, quiet, joined(home, "labour", "market"))
    assert files(home) == before


def test_a_version_whose_first_day_is_to_come_is_not_switched_to(home: Home) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    valid = {"from": str(tomorrow), "until": str(tomorrow + timedelta(days=30))}
    rollover.begin(home, quiet, text(home, valid=valid))
    seal(home, *AGENCIES)
    refused(lambda: rollover.switch(home), home)


def test_an_emergency_version_is_kept_beside_what_it_follows_until_the_next_one(home: Home) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    valid, later = {"from": str(tomorrow), "until": str(tomorrow + timedelta(days=89))}, text(home, version=3)
    rollover.begin(home, quiet, text(home, valid=valid, emergency={"follows": 1, "basis": "Act s. 3"}))
    seal(home, *AGENCIES)
    assert rollover.switch(home) == 2
    assert rollover.answering(home).roster.epoch == 1
    refused(lambda: rollover.forget(home, 0), home)
    refused(lambda: rollover.begin(home, quiet, later.replace("version: 3", "version: 2")), home)
    assert rollover.begin(home, quiet, later) == 3
    seal(home, *AGENCIES)
    assert rollover.switch(home) == 3
    assert Terms.from_bytes(home.previous_path.read_bytes()).roster.epoch == 1
    assert rollover.answering(home).agreement.version == 3
    assert rollover.forget(home, 0) == 1
    assert not [name for name in files(home) if name.endswith(("/keys", "/keys.2", "previous.roster"))]


def test_who_has_withdrawn_stops_every_epoch_of_the_version_but_no_new_version(home: Home, begun: Home) -> None:
    today = datetime.now(UTC).date()
    for agency, day in (("zebra", today), ("tax", today - timedelta(days=1))):
        refused(lambda agency=agency, day=day: rollover.withdraw(home, agency, day), home)  # type: ignore[misc]
    [path] = rollover.withdraw(home, "tax", today)
    assert path.name == "tax.1.withdrawal"
    assert verify_withdrawal(home.terms(), path.read_bytes()).time <= time.time()
    refused(lambda: rollover.withdraw(home, "tax", today), home)
    refused(lambda: rollover.begin(home, quiet), home)
    rmtree(home.directory / "agencies/tax")
    assert rollover.begin(home, quiet, joined(home, "labour", "market")) == 2
    coming = rollover.coming(home)
    assert coming is not None
    assert [*coming.endorsements] == ["labour"]

    seal(begun, *AGENCIES)
    rollover.withdraw(begun, "tax", today)
    refused(lambda: rollover.switch(begun), begun)


def exit_code(command: Callable[[], None]) -> int:
    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code


def test_commands_end_with_the_codes_of_the_contract(
    begun: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: epoch.status(tmp_path / "nowhere")) == BAD_INPUT
    assert exit_code(lambda: epoch.forget(begun.directory)) == BAD_INPUT
    seal(begun, "tax")
    assert exit_code(lambda: epoch.switch(begun.directory)) == INDETERMINATE
    assert "labour" in capsys.readouterr().err
    seal(begun, "labour")
    epoch.switch(begun.directory)
    assert exit_code(lambda: epoch.switch(begun.directory)) == BAD_INPUT
    assert exit_code(lambda: epoch.forget(begun.directory)) == REFUSED
    epoch.status(begun.directory)
    said = capsys.readouterr().out
    assert "epoch 1: before, still served" in said
    assert "epoch 2: current" in said
    epoch.forget(begun.directory, now=True)
    assert "epoch 1 is forgotten" in capsys.readouterr().out
