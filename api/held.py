"""What worker processes hold: an agency's nodes or the coordinator's arithmetic, one an epoch.

Apart from the services, so that a worker starts without importing what serves HTTP.
"""

import secrets
import time

from api.agency import entries, open_listings
from api.epochs import Epochs
from api.settings import Settings
from api.zetas import zetas
from federation.coordinator import Arithmetic
from nodes.service import Node, Shares
from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.figures import Contributions
from nodes.storage.state import ProtocolState


def hold_nodes(settings: Settings) -> Epochs[Node]:
    """Build what a worker process holds."""
    held = Epochs(build_node, settings)
    held.follow()
    return held


def build_node(settings: Settings) -> Node:
    """Build one epoch's part of it."""
    terms = settings.terms
    held, node_key = settings.secrets()
    shares = Shares(held.oprf_share, held.opening_share) if held.oprf_share and held.opening_share else None
    state = open_engine(settings.database("state"))
    return Node(
        held.party(settings.party, terms),
        shares,
        open_listings(settings, node_key),
        ProtocolState(state),
        Contributions(state, ColumnCipher(node_key, secrets.token_bytes)),
        entries(settings),
        zetas(terms, secrets.token_bytes),
        lambda: int(time.time()),
        secrets.token_bytes,
    )


def hold_arithmetic(settings: Settings) -> Epochs[Arithmetic]:
    """Build what a worker process holds."""
    held = Epochs(build_arithmetic, settings)
    held.follow()
    return held


def build_arithmetic(settings: Settings) -> Arithmetic:
    """Build one epoch's part of it."""
    held, _ = settings.secrets()
    terms = settings.terms
    return Arithmetic(held.party(settings.party, terms), zetas(terms, secrets.token_bytes), secrets.token_bytes)
