"""An agency's own stores, opened from its settings: by its node, and by whatever else acts for the agency."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.settings import Settings
from nodes.catalogue import CatalogueEntry, load_catalogue, own_entries
from nodes.catalogue.overlay import adapted, load_overlay
from nodes.entry import Registrar
from nodes.register import Register
from nodes.storage.cipher import ColumnCipher
from nodes.storage.credentials import Credentials
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from protocol.rounds.party import Party


@dataclass(frozen=True)
class Desk:
    """What an agency serves its staff and subjects from, in one epoch."""

    party: Party
    register: Register
    credentials: Credentials
    ledger: ProtocolState


def open_listings(settings: Settings, node_key: bytes) -> ListingStore:
    """Open the agency's listings under its database's key."""
    return _store(settings, *open_database(settings, node_key))


def open_database(settings: Settings, node_key: bytes) -> tuple[Any, ColumnCipher]:
    """Open the agency's listings database as it is, and what encrypts its columns."""
    return open_engine(settings.database("listings")), ColumnCipher(node_key, secrets.token_bytes)


def open_register(settings: Settings) -> Register:
    """Open the agency's registers, for its own work on them."""
    return open_desk(settings).register


def open_desk(settings: Settings) -> Desk:
    """Open what the agency serves its staff and subjects from."""
    held, node_key = settings.secrets()
    party, own, clock = held.party(settings.party, settings.terms), entries(settings), lambda: int(time.time())
    engine, cipher = open_database(settings, node_key)
    store = _store(settings, engine, cipher)
    register = Register(store, Registrar(party, store, own, clock, secrets.token_bytes), own, clock)
    ledger = ProtocolState(open_engine(settings.database("state")))
    return Desk(party, register, Credentials(engine, cipher), ledger)


def _store(settings: Settings, engine: Any, cipher: ColumnCipher) -> ListingStore:
    agencies = settings.terms.agreement.agencies
    registers = [register.id for agency in agencies if agency.id == settings.party for register in agency.registers]
    return ListingStore(engine, cipher, settings.terms.bucket_size, registers)


def entries(settings: Settings) -> Mapping[str, CatalogueEntry]:
    """The catalogue entries of the agency's registers, adapted by the file `catalogue.yaml` in its directory, if any.

    Raises:
        OverlayError: that file is not as required.
    """
    overlay = settings.directory / "catalogue.yaml"
    catalogue = load_catalogue()
    if overlay.exists():
        catalogue = adapted(catalogue, load_overlay(overlay.read_text("utf-8")))
    return own_entries(settings.terms.agreement, settings.party, catalogue)
