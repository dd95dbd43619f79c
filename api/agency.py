"""An agency's own stores, opened from its settings: by its node, and by whatever else acts for the agency."""

import secrets
import time

from api.settings import Settings
from nodes.entry import Registrar
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore


def open_listings(settings: Settings, node_key: bytes) -> ListingStore:
    """Open the agency's listings under its database's key."""
    cipher = ColumnCipher(node_key, secrets.token_bytes)
    return ListingStore(open_engine(settings.database("listings")), cipher, settings.terms.bucket_size)


def open_registrar(settings: Settings) -> Registrar:
    """Open what enters listings for the agency."""
    held, node_key = settings.secrets()
    party = held.party(settings.party, settings.terms)
    return Registrar(party, open_listings(settings, node_key), lambda: int(time.time()), secrets.token_bytes)
