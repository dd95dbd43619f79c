"""How a listing is stored: what was decided as one JSON text, apart from the dispute, which may change."""

import json
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from nodes.listings import Listing
from protocol.identifiers import Identifier


def encode(listing: Listing) -> bytes:
    """Encode all but the dispute; equal listings give equal bytes."""
    fields = asdict(replace(listing, disputed_since=None))
    return json.dumps(fields, default=date.isoformat, sort_keys=True).encode()


def decode(payload: bytes, disputed_since: date | None) -> Listing:
    """Decode what `encode` made."""
    fields: dict[str, Any] = json.loads(payload)
    for name in ("decided_on", "served_on", "expires_on"):
        fields[name] = fields[name] and date.fromisoformat(fields[name])
    fields["identifiers"] = tuple(Identifier(**identifier) for identifier in fields["identifiers"])
    return Listing(**fields | {"disputed_since": disputed_since})
