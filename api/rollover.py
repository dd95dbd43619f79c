"""From one epoch to the next: begin it beside the current one, switch to it, forget the one before.

Services follow the files by themselves (api/epochs.py). They move in an order in which an interruption at any point
leaves every epoch that is served whole, and the same command, run again, ends what it began:

    begin    every party's keys, then `next.roster`, which says that all of them are there
    switch   `previous.roster`, then `next.roster` becomes `agreement.roster`: for everybody in one step
    forget   seals, then keys, then `previous.roster`
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

from api import keystore
from api.agency import open_listings
from api.founding import establish_epoch
from api.home import FIRST_EPOCH, Home, keys_path, parties
from api.primes import Progress
from api.settings import Settings
from protocol.agreement.terms import Terms, terms_to_bytes
from protocol.errors import ConcordatError, IndeterminateError

GRACE_SECONDS: Final = 300
"""How long the epoch before is served after a switch: far longer than a message lives or a question takes."""


class EpochError(ConcordatError):
    """The epochs that are there do not allow this change; nothing was changed."""


class GraceError(EpochError):
    """The epoch before may still be needed."""


class Sealing(NamedTuple):
    """How far an agency's registers are sealed in an epoch: listings, and whether it may answer questions in it."""

    agency: str
    sealed: int
    waiting: int
    ready: bool


def begin(home: Home, progress: Progress) -> int:
    """Found the next epoch of the same agreement beside the current one; returns its number.

    Raises:
        EpochError: there is one already, or the one before is not forgotten.
        PeerError, UsageError: a party's keys do not open.
    """
    with _changing(home):
        terms = home.terms()
        epoch = terms.roster.epoch + 1
        if home.next_path.exists():
            raise EpochError("the next epoch has begun already")
        if home.previous_path.exists():
            raise EpochError("the epoch before is not forgotten yet")
        members = {party: _settings(home, party, terms) for party in _present(home, terms)}
        if len(members) < len(parties(terms.agreement)):
            raise EpochError("not every party's directory is here")
        node_keys = {party: settings.secrets()[1] for party, settings in members.items()}
        established = establish_epoch(terms.agreement, epoch, progress)
        new = {party: keys_path(settings.directory, epoch) for party, settings in members.items()}
        try:
            for number, (party, path) in enumerate(new.items(), start=1):
                progress("sealing keys", number, len(new))
                # What lies there is of a beginning that was interrupted: without its roster nobody has used it.
                path.unlink(missing_ok=True)
                held, passphrase = established.secrets[party], members[party].passphrase_bytes()
                keystore.save(path, held, node_keys[party], passphrase, secrets.token_bytes)
            _write(home.next_path, terms_to_bytes(terms.agreement, established.roster))
        except BaseException:
            if not home.next_path.exists():
                for path in new.values():
                    path.unlink(missing_ok=True)
            raise
    return epoch


def coming(home: Home) -> Terms | None:
    """The terms of the epoch that has begun and is not current yet."""
    return Terms.from_bytes(home.next_path.read_bytes()) if home.next_path.exists() else None


def before(home: Home) -> Terms | None:
    """The terms of the epoch before, while it is not forgotten."""
    if not home.previous_path.exists():
        return None
    terms = Terms.from_bytes(home.previous_path.read_bytes())
    # A switch that was interrupted had kept the current one, and gone no further.
    return terms if terms.roster.epoch < home.terms().roster.epoch else None


def sealings(home: Home, terms: Terms) -> list[Sealing]:
    """How far every agency's registers are sealed in this epoch, of the agencies whose directories are here."""
    found = []
    for agency in terms.agreement.agencies:
        if agency.id not in _present(home, terms):
            continue
        settings = _settings(home, agency.id, terms)
        store, epoch = open_listings(settings, settings.secrets()[1]), (terms.agreement.id, terms.roster.epoch)
        found.append(Sealing(agency.id, *store.progress(*epoch), not agency.registers or store.is_ready(*epoch)))
    return found


def switch(home: Home) -> int:
    """Make the next epoch the current one for everybody; returns its number.

    Raises:
        EpochError: none has begun.
        IndeterminateError: names the agencies whose registers are not fully sealed in it.
    """
    with _changing(home):
        terms = coming(home)
        if terms is None:
            raise EpochError("no next epoch has begun")
        if unsealed := [it.agency for it in sealings(home, terms) if not it.ready]:
            raise IndeterminateError(unsealed, "not sealed yet in the next epoch")
        _write(home.previous_path, home.roster_path.read_bytes())
        home.next_path.replace(home.roster_path)
        os.sync()
    return terms.roster.epoch


def forget(home: Home, grace: float = GRACE_SECONDS) -> int:
    """Erase keys, shares, roster and seals of the epoch before, of every party that is here; returns its number.

    Raises:
        EpochError: there is none.
        GraceError: the switch was less than `grace` seconds ago.
        TimeoutError: somebody read an agency's database all the time; what is left is erased by the next attempt.
    """
    with _changing(home):
        old, terms = before(home), home.terms()
        if old is None:
            raise EpochError("there is no epoch before the current one")
        remaining = home.previous_path.stat().st_mtime + grace - time.time()
        if grace and remaining > 0:
            raise GraceError(f"the epoch before is served for another {ceil(remaining)} s")
        present = _present(home, terms)
        for agency in present.intersection(terms.agencies):
            settings = _settings(home, agency, terms)
            epoch = terms.agreement.id, terms.roster.epoch
            open_listings(settings, settings.secrets()[1]).forget_epochs_before(*epoch)
        for party in present:
            for epoch_before in range(FIRST_EPOCH, terms.roster.epoch):
                keys_path(home.party_path(party, terms.agreement), epoch_before).unlink(missing_ok=True)
        home.previous_path.unlink()
        os.sync()
    return old.roster.epoch


def _present(home: Home, terms: Terms) -> set[str]:
    """The parties whose directories are here: on one machine all, on a host of its own one."""
    return {party for party in parties(terms.agreement) if home.party_path(party, terms.agreement).is_dir()}


def _settings(home: Home, party: str, terms: Terms) -> Settings:
    own = home.party_path(party, terms.agreement)
    settings = Settings(party=party, directory=own, roster=home.roster_path, urls=home.urls_path)
    return settings.in_epoch(terms)


def _write(path: Path, data: bytes) -> None:
    """Put a file in its place in one step, once all that was written before it is on disk."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.sync()
    new.replace(path)


@contextmanager
def _changing(home: Home) -> Iterator[None]:
    """One change at a time.

    Raises:
        EpochError: another is under way.
    """
    directory = os.open(home.directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EpochError("another command is changing epochs just now") from None
        yield
    finally:
        os.close(directory)
