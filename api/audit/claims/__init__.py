"""Every module here is one claim, as its `CLAIM`."""

from importlib import import_module
from pkgutil import iter_modules

from api.audit.claim import Claim


def all_claims() -> list[Claim]:
    """Every claim, in the order of the audit's list."""
    found: list[Claim] = [import_module(f"{__name__}.{module.name}").CLAIM for module in iter_modules(__path__)]
    return sorted(found, key=lambda claim: (claim.number, claim.name))
