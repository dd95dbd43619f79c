"""How the service `setup` founds a federation onto volumes, and that docker-compose.yml gives each service its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.compose import setup
from api.compose.setup import SetupError, mountpoints, settle
from api.founding import read_agreement
from api.home import Home, parties, read_urls, write_private
from api.settings import Settings
from tests.compose.scan import company, promised_company
from tests.parties import small_primes

ROOT = Path(__file__).parents[2]
REAL = (ROOT / "api/compose/agreement.yaml").read_text()
TEXT = REAL.replace("suite: concordat-v1", "suite: concordat-v1-insecure-test").replace(
    "{population: 20000000, k_min: 1000, max_listings: 50000}", "{population: 20000, k_min: 1000, max_listings: 500}"
)
AGREEMENT = read_agreement(TEXT)
AGENCIES = [agency.id for agency in AGREEMENT.agencies]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A federation's directory with empty volumes."""
    monkeypatch.setattr("api.founding.find_primes", lambda _bits, _progress: small_primes())
    monkeypatch.setattr("api.keystore._MEMORY_KIB", 64)  # a strong passphrase's cost is not what is tested here
    home = Home(tmp_path / "federation")
    for path in mountpoints(home, AGREEMENT):
        path.mkdir(0o700, parents=True)
    return home


def found(home: Home) -> bool:
    return settle(home, TEXT, lambda *_: None)


def content(home: Home) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.directory.rglob("*") if path.is_file()}


def settings(home: Home, party: str) -> Settings:
    own = home.party_path(party, AGREEMENT)
    return Settings(party=party, directory=own, roster=home.roster_path, urls=home.urls_path)


def assert_whole(home: Home) -> None:
    """Every party's keys open with its own passphrase and are those of the roster."""
    for party in parties(AGREEMENT):
        mine = settings(home, party)
        held, _ = mine.secrets()
        held.party(party, mine.terms)


def test_every_party_finds_its_keys_its_databases_and_the_others(home: Home) -> None:
    assert found(home)
    assert_whole(home)
    for party in (*AGENCIES, "coordinator"):
        password = (home.directory / "passwords" / party / "password").read_text().strip()
        assert len(password) >= 43
        url = settings(home, party).database("state")
        assert url == f"postgresql+psycopg://concordat:{password}@{party}-db/state"
    assert settings(home, "tax").database("listings").endswith("@tax-db/listings")
    assert settings(home, "procurement-office").database("state").startswith("sqlite:")
    assert read_urls(home.urls_path) == {party: f"http://{party}:8080" for party in parties(AGREEMENT)}
    assert home.agreement_path.read_text() == TEXT


def test_what_is_private_is_readable_for_its_owner_alone_and_no_secret_is_there_twice(home: Home) -> None:
    found(home)
    private = [path for directory in mountpoints(home, AGREEMENT) for path in directory.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert set(content(home)) - set(private) == {home.agreement_path, home.roster_path, home.urls_path}
    secrets = [path.read_bytes() for path in private if path.name in {"passphrase", "password", "procurement-office"}]
    assert len(secrets) == len(set(secrets)) == len(parties(AGREEMENT)) + len(AGENCIES) + 2


def test_a_second_time_nothing_is_changed(home: Home) -> None:
    found(home)
    before = content(home)
    assert not found(home)
    assert content(home) == before


@pytest.mark.parametrize("moment", [0, 9, 27])
def test_an_interrupted_set_up_begins_anew(home: Home, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    left = iter(range(moment))

    def interrupted(path: Path, data: bytes) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_private(path, data)

    with monkeypatch.context() as patch:
        patch.setattr("api.compose.setup.write_private", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found(home)
    assert not home.roster_path.exists()
    before = content(home)
    assert found(home)
    assert_whole(home)
    after = content(home)
    assert not [path for path in before if after.get(path) == before[path] and before[path]]


def test_keys_that_a_roster_is_missing_for_are_never_replaced(home: Home) -> None:
    found(home)
    home.roster_path.unlink()
    before = content(home)
    with pytest.raises(SetupError, match="no roster"):
        found(home)
    assert content(home) == before


# docker-compose.yml, as it stands

COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """{path: volume} of a service."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[service]["volumes"]}


def wrong_mounts(of: Callable[[str], Mapping[str, str]]) -> list[str]:
    """Services that have another volume than theirs, or theirs at another place."""
    expected = {
        "setup": {str(path) for path in mountpoints(Home(setup.DIRECTORY), AGREEMENT)} | {str(setup.DIRECTORY)},
        "gateway": {"/federation", "/federation/gateways/procurement-office"},
        "coordinator": {"/federation", "/federation/coordinator"},
        **{agency: {"/federation", f"/federation/agencies/{agency}"} for agency in AGENCIES},
    }
    wrong = [service for service, paths in expected.items() if set(of(service)) != paths]
    for service in expected:
        wrong += [service for path, volume in of(service).items() if of("setup").get(path) != volume]
    for party in ("coordinator", *AGENCIES):
        if of(f"{party}-db")["/run/secrets"] != of("setup").get(f"/federation/passwords/{party}"):
            wrong.append(f"{party}-db")
    data = [of(f"{party}-db")["/var/lib/postgresql/data"] for party in ("coordinator", *AGENCIES)]
    return wrong + ["data"] * (len(set(data)) != len(data))


def test_every_service_mounts_what_setup_makes_for_it_and_nothing_else() -> None:
    assert wrong_mounts(mounts) == []
    assert len(set(mounts("setup").values())) == len(mounts("setup"))
    assert wrong_mounts(lambda it: mounts("court" if it == "tax" else it)) == ["tax"]
    swapped = {"/federation": "public", "/federation/agencies/tax": "court"}
    assert wrong_mounts(lambda it: swapped if it == "tax" else mounts(it)) == ["tax"]
    assert wrong_mounts(lambda it: mounts("court-db" if it == "tax-db" else it)) == ["tax-db", "data"]


def test_the_file_lets_everybody_meet_whom_they_must_and_no_other() -> None:
    members = {name: set(service["networks"]) for name, service in SERVICES.items() if name != "setup"}
    assert company(members) == promised_company(AGENCIES)
    assert company({**members, "tax": members["tax"] | {"gateway"}}) != promised_company(AGENCIES)
    assert [name for name, it in COMPOSE["networks"].items() if not it.get("internal")] == ["published"]
    assert [name for name, networks in members.items() if "published" in networks] == ["gateway"]


def test_the_agreement_of_the_containers_breaks_no_rule() -> None:
    assert {agency.id for agency in read_agreement(REAL).agencies} == set(AGENCIES)
