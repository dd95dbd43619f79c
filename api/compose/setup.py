"""The service `setup` of docker-compose.yml: `python -m api.compose.setup` founds the federation onto volumes.

Here, and without a network, all volumes are mounted at once, each at the place its content has in a federation's
directory (api/home.py); the directory itself is the public volume. Beside them, `passwords/PARTY` is what a party's
PostgreSQL is told of the party's password.

The roster gets its name last. While it has not, no party was ever started, and a set-up that was interrupted begins
anew; once it has, nothing is changed.
"""

import os
import secrets
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from api.founding import found, read_agreement
from api.home import PRIVATE_DIRECTORY, Home, parties, write_private, write_urls
from api.primes import Progress
from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR
from protocol.errors import ConcordatError

DIRECTORY = Path("/federation")
PORT = 8080


class SetupError(ConcordatError):
    """The volumes are not as a set-up, whole or interrupted, leaves them."""


def mountpoints(home: Home, agreement: Agreement) -> list[Path]:
    """Where the private volumes belong: an empty one takes over owner and mode of the image's directory."""
    return [
        *(home.party_path(party, agreement) for party in parties(agreement)),
        *(_password_path(home, party).parent for party in _databases(agreement)),
        home.token_path(agreement.requesters[0].id).parent,
    ]


def settle(home: Home, text: str, progress: Progress) -> bool:
    """Found a federation onto the volumes mounted under `home`; whether it was not there yet.

    Raises:
        InvalidAgreementError: the agreement is not valid.
        SetupError: there is no roster although a set-up was once complete; nothing was changed.
    """
    if home.roster_path.exists():
        return False
    agreement = read_agreement(text)
    begun = home.roster_path.with_suffix(".new")
    private = mountpoints(home, agreement)
    # Keys without a roster are somebody's only keys, unless this set-up put them there and was interrupted.
    if not begun.exists() and any(True for path in private for _ in path.iterdir()):
        raise SetupError("keys are there, but no roster: put the public volume back, or erase all volumes")
    begun.touch()
    for path in private:
        for file in path.iterdir():
            file.unlink()
    with TemporaryDirectory() as directory:
        founded = Home(Path(directory) / "federation")
        found(founded.directory, text, None, progress)
        for party in parties(agreement):
            _copy(founded.party_path(party, agreement), home.party_path(party, agreement))
        for requester in agreement.requesters:
            write_private(home.token_path(requester.id), founded.token_path(requester.id).read_bytes())
        for party, names in _databases(agreement).items():
            _grant(home, party, home.party_path(party, agreement), names)
        home.agreement_path.write_text(text, "utf-8")
        write_urls(home.urls_path, {party: f"http://{party}:{PORT}" for party in parties(agreement)}, agreement)
        begun.write_bytes(founded.roster_path.read_bytes())
    os.sync()  # the roster says that all else is there, after a loss of power too
    begun.replace(home.roster_path)
    return True


def _databases(agreement: Agreement) -> dict[str, tuple[str, ...]]:
    """The databases of those parties that have a PostgreSQL; a gateway has a file."""
    return {agency.id: ("listings", "state") for agency in agreement.agencies} | {COORDINATOR: ("state",)}


def _grant(home: Home, party: str, own: Path, names: tuple[str, ...]) -> None:
    """Make the password that a party and its PostgreSQL share."""
    password = secrets.token_urlsafe(32)
    urls = {name: f"postgresql+psycopg://concordat:{password}@{party}-db/{name}" for name in names}
    lines = [f"CONCORDAT_{name.upper()}_URL={url}\n" for name, url in urls.items()]
    write_private(own / "settings.env", "".join(lines).encode())
    write_private(_password_path(home, party), password.encode() + b"\n")


def _password_path(home: Home, party: str) -> Path:
    return home.directory / "passwords" / party / "password"


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        write_private(target / file.name, file.read_bytes())


@cache
def _say(step: str) -> None:
    """Print each step once."""
    print(step, flush=True)


def main() -> None:
    """Found the federation; with the argument `mountpoints` only make the directories, for the image."""
    home, text = Home(DIRECTORY), (files("api.compose") / "agreement.yaml").read_text("utf-8")
    if sys.argv[1:] == ["mountpoints"]:
        for path in mountpoints(home, read_agreement(text)):
            path.mkdir(PRIVATE_DIRECTORY, parents=True)
        return
    try:
        made = settle(home, text, lambda step, *_: _say(step))
    except SetupError as error:
        sys.exit(str(error))
    print("founded" if made else "founded already; nothing was changed")


if __name__ == "__main__":
    main()
