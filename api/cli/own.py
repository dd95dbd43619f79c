"""What the commands of an agency share: they act as it, with its keys and on its database, beside its running node."""

import getpass
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

import httpx
import typer

from api import rollover
from api.agency import entries, open_listings, open_register
from api.cli.exits import BAD_INPUT, INDETERMINATE, REFUSED, UNEXPECTED
from api.cli.terminal import stop
from api.home import Home
from api.settings import Settings
from federation.transport import HttpTransport
from nodes.catalogue import CatalogueEntry
from nodes.catalogue.overlay import OverlayError
from nodes.entry import Send
from nodes.life import TransitionError
from nodes.listings import ListingError, UnknownListingError
from nodes.register import Register
from nodes.storage.listings import ListingStore
from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import Terms
from protocol.errors import (
    AgreementError,
    BucketOverflowError,
    ConcordatError,
    IdentifierError,
    IndeterminateError,
    PeerError,
    SealError,
)
from protocol.identifiers import Identifier, canonical
from protocol.messages import Evaluate

T = TypeVar("T")

_ALIVE_SECONDS: Final = 2.0
_SEALING_SECONDS: Final = 30.0
_WRONG_INPUT: Final = (ListingError, TransitionError, UnknownListingError, BucketOverflowError)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The federation's directory.")]
Agency = Annotated[str, typer.Option(help="The agency's id.")]
RegisterId = Annotated[str, typer.Option("--register", help="The register's id.")]
SomeRegister = Annotated[str | None, typer.Option("--register", help="Only this register.")]
Subject = Annotated[str, typer.Argument(metavar="SCHEME:VALUE", help="One of the subject's identifiers.")]
Reference = Annotated[
    str, typer.Argument(metavar="REFERENCE", help="The listing's reference, or the first eight digits of it or more.")
]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does it; by default who runs the command.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
Document = Annotated[str, typer.Option(metavar="TEXT", help="By which document.")]
AsOf = Annotated[str | None, typer.Option(metavar="DATE", help="As it stood at the end of this day, UTC.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def own_settings(directory: Path, agency: str, register: str | None = None) -> Settings:
    """The settings of an agency whose directory lies in a federation's.

    They are of the epoch in force; or where only another version has the agency, or this register of it, of that one's.
    """
    epochs = _epochs(directory)
    own = [terms for terms in epochs if agency in terms.agencies]
    if not own:
        stop(BAD_INPUT, "--agency: not an agency of this agreement", f"There are {', '.join(epochs[0].agencies)}.")
    having = [terms for terms in own if (agency, register) in _registers(terms.agreement)]
    return _in_epoch(directory, agency, [*having, *own][0])


def party_settings(directory: Path, party: str) -> Settings:
    """The settings of a party whose directory lies in a federation's, in the epoch in force."""
    return _in_epoch(directory, party, _epochs(directory)[0])


def _in_epoch(directory: Path, party: str, terms: Terms) -> Settings:
    home = Home(directory)
    own = home.party_path(party, terms.agreement)
    peers = own / "peers.json"
    # While parties run here, one finds the others as its service does; on hosts of their own there is one file.
    urls = peers if home.urls_path.exists() and peers.exists() else home.urls_path
    return Settings(party=party, directory=own, roster=home.roster_path, urls=urls).in_epoch(terms)


def _epochs(directory: Path) -> list[Terms]:
    """The terms of every epoch that is there, the one in force first."""
    home = Home(directory)
    try:
        others = rollover.coming(home), home.terms(), rollover.before(home)
        return [rollover.answering(home), *(terms for terms in others if terms is not None)]
    except OSError:
        stop(BAD_INPUT, "DIR: no federation's directory", "Make one with `concordat init`.")
    except PeerError as error:
        stop(BAD_INPUT, f"DIR: {error}")


def _registers(agreement: Agreement) -> set[tuple[str, str]]:
    return {(agency.id, register.id) for agency in agreement.agencies for register in agency.registers}


def own_register(directory: Path, agency: str) -> Register:
    """An agency's registers, opened for its own work."""
    settings = own_settings(directory, agency)
    return opened(lambda: open_register(settings))


def own_listings(settings: Settings) -> ListingStore:
    """An agency's listings, where no more than what is stored is needed."""
    return opened(lambda: open_listings(settings, settings.secrets()[1]))


def own_entries(settings: Settings, register: str | None = None) -> Mapping[str, CatalogueEntry]:
    """The catalogue entries in force for the agency's registers by their ids, or for the one that is named."""
    own = opened(lambda: entries(settings))
    if register is None:
        return own
    if register not in own:
        advice = f"It has {', '.join(own)}." if own else "It has none."
        stop(BAD_INPUT, "--register: not a register of this agency", advice)
    return {register: own[register]}


def opened(opening: Callable[[], T]) -> T:
    """Open something of an agency's own by its keys."""
    try:
        return opening()
    except OverlayError as error:
        stop(BAD_INPUT, f"the agency's catalogue.yaml: {error}")
    except AgreementError as error:
        stop(BAD_INPUT, f"the agreement or its roster does not hold: {error}")
    except (OSError, ConcordatError) as error:
        reason = "not there" if isinstance(error, OSError) else str(error)
        stop(BAD_INPUT, f"the agency's keys do not open: {reason}")


def today() -> date:
    """The day, UTC."""
    return datetime.now(UTC).date()


def day(text: str | None, option: str, *, to_come: bool = False) -> date | None:
    """The day that an option names, if it is given; one that is to come only where that is allowed."""
    if text is None:
        return None
    try:
        named = date.fromisoformat(text)
    except ValueError:
        stop(BAD_INPUT, f"{option}: not a date of the form YYYY-MM-DD")
    if named > today() and not to_come:
        stop(BAD_INPUT, f"{option}: a day to come")
    return named


def subject_of(text: str, name: str = "SCHEME:VALUE") -> Identifier:
    """The identifier that an argument or option gives; it is never repeated."""
    scheme, colon, value = text.partition(":")
    if not colon:
        stop(BAD_INPUT, f"{name}: a colon between scheme and value is missing")
    try:
        return canonical(scheme, value)
    except IdentifierError as error:
        stop(BAD_INPUT, f"{name}: {error}")


def whoever(by: str | None) -> str:
    """Who is named, or else who runs the command."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


@asynccontextmanager
async def sending(settings: Settings) -> AsyncIterator[Send | None]:
    """The way to the coordinator, by which listings are sealed; None while it does not answer."""
    if not is_alive(settings, COORDINATOR):
        yield None
        return
    transport = HttpTransport(settings.parties, _SEALING_SECONDS)
    try:
        yield lambda message: transport.send(COORDINATOR, Evaluate.TYPE, message)
    finally:
        await transport.close()


def is_alive(settings: Settings, party: str) -> bool:
    """Whether a party answers."""
    url = settings.parties().get(party)
    try:
        return url is not None and httpx.get(f"{url}/healthz", timeout=_ALIVE_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def explained(kept: str = "Nothing was changed.") -> Iterator[None]:
    """End with the exit code and reason of what is refused; `kept` says what became of the work so far."""
    try:
        yield
    except _WRONG_INPUT as error:
        stop(BAD_INPUT, str(error), kept)
    except SealError as error:
        stop(UNEXPECTED, str(error), kept)
    except TimeoutError as error:
        stop(UNEXPECTED, str(error), "The next erasure empties the log.")
    except IndeterminateError as error:
        stop(INDETERMINATE, str(error), f"{kept} Run the same command again.")
    except PeerError as error:
        stop(REFUSED, str(error), f"{kept} Whoever runs the federation can say why it refuses.")
