"""Founding a federation under one directory: keys, roster, tokens, databases; all of it, or nothing."""

import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import keystore
from api.home import FIRST_EPOCH, PRIVATE_DIRECTORY, Home, keys_path, parties, write_private
from api.primes import Find, Progress, find_primes
from api.setup import NOBODY, Established, establish
from nodes.catalogue import load_catalogue
from protocol.agreement.model import Agreement, parse
from protocol.agreement.presets import Preset
from protocol.agreement.terms import Terms, terms_to_bytes
from protocol.agreement.validator import validate
from protocol.labels import SUITE

MODULUS_BITS = 3072
TEST_MODULUS_BITS = 512


def read_agreement(text: str) -> Agreement:
    """Parse and validate an agreement against the catalogue.

    Raises:
        InvalidAgreementError: with every violation.
    """
    agreement = parse(text)
    validate(agreement, _presets())
    return agreement


def read_terms(data: bytes) -> Terms:
    """Read an epoch's terms as every party does before it serves them: no signature makes a bad agreement good.

    Raises:
        DecodeError, AgreementError, ModulusError: not canonical, does not verify, or breaks a rule of the validator.
    """
    terms = Terms.from_bytes(data)
    validate(terms.agreement, _presets())
    return terms


def found(
    directory: Path, text: str, passphrase: str | None, progress: Progress, find: Find = find_primes
) -> Agreement:
    """Make everything a federation needs under `directory`, replacing what is there in one step at the end.

    Every party gets a directory of its own. Without a passphrase each party gets one in a file only it may read. `find`
    is the search for safe primes.

    Raises:
        InvalidAgreementError: the agreement is not valid; nothing was written.
    """
    agreement = read_agreement(text)
    established = establish_epoch(agreement, FIRST_EPOCH, progress, find)
    directory.parent.mkdir(parents=True, exist_ok=True)
    new = Home(Path(mkdtemp(prefix=f".{directory.name}-", dir=directory.parent)))
    try:
        new.agreement_path.write_text(text, "utf-8")
        new.roster_path.write_bytes(terms_to_bytes(agreement, established.roster))
        for number, party in enumerate(parties(agreement), start=1):
            progress("sealing keys", number, len(parties(agreement)))
            path, own = settle(new, party, agreement, passphrase)
            node_key = secrets.token_bytes(keystore.NODE_KEY_BYTES)
            keystore.save(keys_path(path, FIRST_EPOCH), established.secrets[party], node_key, own, secrets.token_bytes)
        _replace(directory, new.directory)
    except BaseException:
        rmtree(new.directory, ignore_errors=True)
        raise
    return agreement


def establish_epoch(
    agreement: Agreement,
    epoch: int,
    progress: Progress,
    find: Find = find_primes,
    endorsers: Mapping[str, Ed25519PrivateKey] = NOBODY,
) -> Established:
    """Make the keys of every party and the signed roster of an epoch, in memory; `endorsers` as for `establish`."""
    bits = MODULUS_BITS if agreement.suite == SUITE else TEST_MODULUS_BITS
    primes = find(bits // 2, progress)
    progress("generating keys", 0, None)
    return establish(agreement, epoch, primes, secrets.token_bytes, int(time.time()), endorsers)


def _presets() -> Mapping[str, Preset]:
    return {preset: entry.facts() for preset, entry in load_catalogue().items()}


def settle(home: Home, party: str, agreement: Agreement, passphrase: str | None) -> tuple[Path, bytes]:
    """Make one party's own directory, without keys; returns it and the passphrase for them."""
    path = home.party_path(party, agreement)
    path.mkdir(PRIVATE_DIRECTORY, parents=True)
    own = passphrase
    if own is None:
        own = secrets.token_urlsafe(32)
        write_private(path / "passphrase", own.encode() + b"\n")
    if party in {requester.id for requester in agreement.requesters}:
        token = secrets.token_urlsafe(32)
        home.token_path(party).parent.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
        write_private(home.token_path(party), token.encode() + b"\n")
        write_private(path / "token.sha256", sha256(token.encode()).hexdigest().encode() + b"\n")
    return path, own.encode()


def _replace(directory: Path, new: Path) -> None:
    """Put the new directory in the old one's place."""
    old = directory.with_name(f".{directory.name}-old-{secrets.token_hex(4)}")
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    rmtree(old, ignore_errors=True)
