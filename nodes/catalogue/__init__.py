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
    """The catalogue entries of the registers that an agency brings into an agreement, by register id.

    Whom the agreement is not about, they do not list: it would count for nothing there.
    """
    own = next(agency for agency in agreement.agencies if agency.id == agency_id)
    return MappingProxyType({register.id: _about(agreement, catalogue[register.preset]) for register in own.registers})


def _about(agreement: Agreement, entry: CatalogueEntry) -> CatalogueEntry:
    kinds = tuple(kind for kind in entry.subject_kinds if kind in agreement.subject_kinds)
    return entry if kinds == entry.subject_kinds else entry.model_copy(update={"subject_kinds": kinds})
