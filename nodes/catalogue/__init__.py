"""The catalogue: presets of registers as data files, each with its grounds and the rules of a listing's life."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml

from nodes.catalogue.entry import ASSUMED, CatalogueEntry, Ground
from protocol.agreement.model import Agreement

__all__ = ["ASSUMED", "CatalogueEntry", "Ground", "load_catalogue", "own_entries"]


@cache
def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every preset by its id, read and validated once.

    Raises:
        pydantic.ValidationError: a data file of this package is not as required.
    """
    entries = (
        CatalogueEntry.model_validate(yaml.safe_load(file.read_text("utf-8")))
        for file in files(__name__).iterdir()
        if file.name.endswith(".yaml")
    )
    return MappingProxyType({entry.id: entry for entry in sorted(entries, key=lambda entry: entry.id)})


def own_entries(
    agreement: Agreement, agency_id: str, catalogue: Mapping[str, CatalogueEntry]
) -> Mapping[str, CatalogueEntry]:
    """The catalogue entries of the registers that an agency brings into an agreement, by register id."""
    own = next(agency for agency in agreement.agencies if agency.id == agency_id)
    return MappingProxyType({register.id: catalogue[register.preset] for register in own.registers})
