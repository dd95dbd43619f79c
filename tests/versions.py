"""An agreement of three agencies, and versions that may follow it: another, one of an emergency, one after that."""

from functools import cache
from typing import Any

from api.setup import Established
from protocol.agreement.model import Agreement
from tests.parties import agreement as document
from tests.parties import established

AGENCIES = ("labour", "tax", "court")
EMERGENCY: dict[str, Any] = {
    "emergency": {"follows": 1, "basis": "Epidemic Act s. 3"},
    "valid": {"from": "2026-11-20", "until": "2026-12-10"},
}


def agreement(agencies: tuple[str, ...] = AGENCIES, **changes: Any) -> Agreement:
    return document(agencies, 2, **changes)


@cache
def first() -> Established:
    return established(agreement())


@cache
def second() -> Established:
    """A new version, of which one agency is new and one is no more."""
    return established(agreement(("labour", "tax", "market"), version=2), 2, first())


@cache
def emergency() -> Established:
    return established(agreement(version=2, **EMERGENCY), 2, first())


@cache
def third() -> Established:
    """What comes after the emergency."""
    return established(agreement(version=3), 3, first())
