"""From one epoch or version to the next: begin it beside the current one, switch to it, forget the one before.

Services follow the files by themselves (api/epochs.py). They move in an order in which an interruption at any point
leaves every epoch that is served whole, and the same command, run again, ends what it began:

    begin    directories of parties that join, every party's keys, `next.yaml` of a new version, then `next.roster`,
             which says that all of them are there
    switch   `previous.roster`, `agreement.yaml`, then `next.roster` becomes `agreement.roster`, for all in one step
    forget   seals, then keys, then `previous.roster`
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from math import ceil
from pathlib import Path
from shutil import rmtree
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api import keystore
from api.agency import open_database, open_listings
from api.founding import establish_epoch, read_agreement, settle
from api.home import FIRST_EPOCH, Home, keys_path, parties
from api.primes import Progress
from api.rosters import GRACE_SECONDS, obey, read_documents, withdrawal_path, withdrawal_paths
from api.settings import Settings
from api.setup import Secrets
from nodes.storage.listings import ListingStore
from nodes.storage.seals import Seal
from protocol.agreement.model import Agreement
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.succession import followed, in_force, require_changes
from protocol.agreement.terms import Terms, terms_to_bytes, utc_day
from protocol.agreement.withdrawal import withdraw as sign_withdrawal
from protocol.errors import ConcordatError, IndeterminateError
from protocol.sealing import PSEUDONYM_BYTES

_KEPT: Final = "database.key"
"""Where an agency that has left has the key of its database: its registers stay its own."""


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


def begin(home: Home, progress: Progress, text: str | None = None, passphrase: str | None = None) -> int:
    """Found the next epoch beside the current one, of the same agreement or of a new version; returns its number.

    `text` is the new version's YAML. Parties that it adds get directories, with `passphrase` or one of their own. What
    an agency that was here before has kept it finds again.

    Raises:
        EpochError: there is one already, the one before is not forgotten, or the current version cannot go on.
        InvalidAgreementError: what `text` says is not valid, or may not follow the version before.
        PeerError, UsageError: a party's keys do not open.
    """
    with _changing(home):
        current, previous = home.terms(), before(home)
        terms, epoch = followed(current, previous), current.roster.epoch + 1
        _require_that_one_may_begin(home, current)
        obey([terms], read_documents(withdrawal_paths(home.directory)))
        agreement = _next_version(terms, current, text) if text is not None else terms.agreement
        if text is None and terms.force.agencies:
            raise EpochError("an agency has withdrawn from this version; only a new one can follow it")
        staying = [party for party in parties(terms.agreement) if party not in terms.force.agencies]
        if not _present(home, terms).issuperset(staying):
            raise EpochError("not every party's directory is here")
        own = {party: _settings(home, party, terms).secrets() for party in _present(home, terms)}
        endorsers = {agency: own[agency][0].signing_key for agency in terms.agencies if agency in staying}
        established = establish_epoch(agreement, epoch, progress, endorsers=endorsers)
        settled, made = list[Path](), list[Path]()
        try:
            for number, party in enumerate(parties(agreement), start=1):
                progress("sealing keys", number, len(parties(agreement)))
                path = home.party_path(party, agreement)
                if not path.is_dir():
                    settled.append(path)
                    settle(home, party, agreement, passphrase)
                settings = Settings(party=party, directory=path, roster=home.roster_path, urls=home.urls_path)
                node_key = own[party][1] if party in own else _kept_key(settings)
                made.append(keys_path(path, epoch))
                _replace_keys(made[-1], established.secrets[party], node_key, settings)
            home.next_agreement_path.unlink(missing_ok=True)
            if text is not None:
                _write(home.next_agreement_path, text.encode())
            _write(home.next_path, terms_to_bytes(agreement, established.roster))
        except BaseException:
            if not home.next_path.exists():
                for path in made:
                    path.unlink(missing_ok=True)
                for path in settled:
                    rmtree(path, ignore_errors=True)
                    home.token_path(path.name).unlink(missing_ok=True)
            raise
    return epoch


def _require_that_one_may_begin(home: Home, current: Terms) -> None:
    if home.next_path.exists():
        raise EpochError("the next epoch has begun already")
    # The version that an emergency version follows is kept while that is the current one, and has both to be followed.
    if home.previous_path.exists() and not current.agreement.emergency:
        raise EpochError("the epoch before is not forgotten yet")


def _next_version(terms: Terms, current: Terms, text: str) -> Agreement:
    """Read a version that may follow these terms.

    Raises:
        InvalidAgreementError, EpochError: it may not.
    """
    agreement = read_agreement(text)
    require_changes(terms.agreement, agreement)
    if agreement.version <= current.agreement.version:
        raise EpochError("there is an emergency version of this number or a higher one already")
    if agreement.valid.until < utc_day(int(time.time())):
        raise EpochError("the last day of this version has passed")
    return agreement


def _kept_key(settings: Settings) -> bytes:
    """The database key that a party kept from when it took part before, or a new one."""
    keys = sorted(settings.directory.glob("keys*"), key=lambda path: int(f"0{path.suffix[1:]}"))
    for path in (settings.directory / _KEPT, *reversed(keys)):
        if path.exists():
            return keystore.load(path, settings.passphrase_bytes())[1]
    return secrets.token_bytes(keystore.NODE_KEY_BYTES)


def _replace_keys(path: Path, held: Secrets, node_key: bytes, settings: Settings) -> None:
    """Write keys that nobody has used yet; what lies there is of a beginning that was interrupted."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        keystore.save(new, held, node_key, settings.passphrase_bytes(), secrets.token_bytes)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


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


def answering(home: Home) -> Terms:
    """The terms that are in force now: the current epoch's, unless that is an emergency version's, out of its days."""
    return in_force(home.terms(), before(home), int(time.time()))


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
        EpochError: none has begun, its first day is still to come, or the current version was withdrawn from.
        IndeterminateError: names the agencies whose registers are not fully sealed in it.
    """
    with _changing(home):
        terms, current, previous = coming(home), home.terms(), before(home)
        if terms is None:
            raise EpochError("no next epoch has begun")
        first = terms.agreement.valid.from_
        if first > utc_day(int(time.time())) and not terms.agreement.emergency:
            raise EpochError(f"the version's first day is {first}: until then nothing would be answered")
        earlier = followed(current, previous)
        obey([earlier], read_documents(withdrawal_paths(home.directory)))
        if earlier.force.agencies and terms.agreement == earlier.agreement:
            raise EpochError("an agency has withdrawn from this version; only a new one can follow it")
        if unsealed := [it.agency for it in sealings(home, terms) if not it.ready]:
            raise IndeterminateError(unsealed, "not sealed yet in the next epoch")
        if earlier is current:
            _write(home.previous_path, home.roster_path.read_bytes())
        else:  # of an emergency version nothing is kept: what follows, follows the version that it followed
            os.utime(home.previous_path)
        if home.next_agreement_path.exists():
            home.next_agreement_path.replace(home.agreement_path)
        home.next_path.replace(home.roster_path)
        os.sync()
    return terms.roster.epoch


def forget(home: Home, grace: float = GRACE_SECONDS) -> int:
    """Erase keys, shares, roster and seals of the epoch before, of every party that is here; returns its number.

    An agency that has left keeps its registers and the key that they are encrypted under; what else it had is erased.

    Raises:
        EpochError: there is none, or an emergency version follows it, which falls back to it.
        GraceError: the switch was less than `grace` seconds ago.
        TimeoutError: somebody read an agency's database all the time; what is left is erased by the next attempt.
    """
    with _changing(home):
        old, terms = before(home), home.terms()
        if old is None:
            raise EpochError("there is no epoch before the current one")
        if terms.agreement.emergency:
            raise EpochError("the current version is an emergency version, which falls back to the one before")
        remaining = home.previous_path.stat().st_mtime + grace - time.time()
        if grace and remaining > 0:
            raise GraceError(f"the epoch before is served for another {ceil(remaining)} s")
        verified, _ = obey([terms, old], read_documents(withdrawal_paths(home.directory)))
        if any((it.agreement, it.epoch) == (terms.roster.agreement, old.roster.epoch) for it in verified.values()):
            raise EpochError("a withdrawal from this version is under a key of the epoch before")
        for path in (
            home.directory / COORDINATOR,
            *home.directory.glob("agencies/*"),
            *home.directory.glob("gateways/*"),
        ):
            if path.is_dir():
                _forget_earlier(home, path, terms)
        _unlink_withdrawals(home.directory, terms)
        home.previous_path.unlink()
        os.sync()
    return old.roster.epoch


def _forget_earlier(home: Home, path: Path, terms: Terms) -> None:
    """Erase what a party has of the epochs before this one; of who has left, all but registers and their key."""
    party, kept = path.name, path / _KEPT
    stays = party in parties(terms.agreement) and path == home.party_path(party, terms.agreement)
    settings = Settings(party=party, directory=path, roster=home.roster_path, urls=home.urls_path).in_epoch(terms)
    earlier = [keys_path(path, epoch) for epoch in range(FIRST_EPOCH, terms.roster.epoch)]
    if path.parent.name == "agencies" and any(it.exists() for it in earlier):
        store = ListingStore(*open_database(settings, _kept_key(settings)), terms.bucket_size)
        if not stays:
            # Of an epoch before one that is open nothing is sealed any more, whatever its node is still about to do.
            nothing = Seal(0, secrets.token_bytes(PSEUDONYM_BYTES))
            store.open_epoch(terms.agreement.id, terms.roster.epoch, (), nothing)
        store.forget_epochs_before(terms.agreement.id, terms.roster.epoch)
        if not stays:
            nobody = Secrets(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())
            _replace_keys(kept, nobody, _kept_key(settings), settings)
    if stays:
        kept.unlink(missing_ok=True)
    for file in earlier:
        file.unlink(missing_ok=True)
    _unlink_withdrawals(path, terms)


def _unlink_withdrawals(directory: Path, terms: Terms) -> None:
    """Remove those under keys of earlier epochs: what they ended is forgotten."""
    for epoch in range(FIRST_EPOCH, terms.roster.epoch):
        for path in directory.glob(withdrawal_path(Path(), "*", epoch).name):
            path.unlink()


def withdraw(home: Home, agency: str, day: date) -> list[Path]:
    """Withdraw an agency from the agreement from a day on; returns the files, which every party has to see.

    Where the current version is an emergency version, it withdraws from the one that it follows, too.

    Raises:
        EpochError: it is no agency of the agreement here, has withdrawn already, or the day has passed.
        PeerError, UsageError: its keys do not open.
    """
    with _changing(home):
        current = home.terms()
        versions = {it.roster.epoch: it for it in (current, followed(current, before(home))) if agency in it.agencies}
        if not versions or not home.party_path(agency, current.agreement).is_dir():
            raise EpochError("no agency of this agreement whose directory is here")
        if day < utc_day(int(time.time())):
            raise EpochError("what was answered on a day that has passed cannot be taken back")
        paths = {epoch: withdrawal_path(home.directory, agency, epoch) for epoch in versions}
        if any(path.exists() for path in paths.values()):
            raise EpochError("the agency has withdrawn already")
        for epoch, terms in versions.items():
            key = _settings(home, agency, terms).secrets()[0].signing_key
            _write(paths[epoch], sign_withdrawal(terms, agency, (day - date(1970, 1, 1)).days, key))
        return list(paths.values())


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
