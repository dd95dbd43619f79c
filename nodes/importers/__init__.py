"""Importers: files from outside become rows, each a listing or the reason why it is none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import BinaryIO, Final

from nodes.catalogue import CatalogueEntry
from nodes.importers.concordat_csv import read_csv
from nodes.importers.ftm import read_ftm
from nodes.importers.ofac import read_ofac
from nodes.importers.row import Row, RowError

__all__ = ["FORMATS", "Format", "Row", "RowError"]


@dataclass(frozen=True)
class Format:
    """A file's format.

    `read` takes the file, the register and its catalogue entry, and of a snapshot also the list's name and day; it
    yields rows as they are read and raises RowError where the file as a whole cannot be used. `is_snapshot`: the file
    is an official publication whose rows bring no dates. `first` and `others` are the columns in which a row has its
    first and its other identifiers.
    """

    read: Callable[[BinaryIO, str, CatalogueEntry, str, date], Iterator[Row]]
    is_snapshot: bool
    first: str
    others: str


def _read_csv(file: BinaryIO, register: str, entry: CatalogueEntry, _list_name: str, _as_of: date) -> Iterator[Row]:
    return read_csv(file, register, entry)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "csv": Format(_read_csv, is_snapshot=False, first="identifier", others="other_identifiers"),
        "ofac": Format(read_ofac, is_snapshot=True, first="remarks", others="remarks"),
        "ftm": Format(read_ftm, is_snapshot=True, first="properties", others="properties"),
    }
)
