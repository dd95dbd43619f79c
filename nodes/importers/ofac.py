"""The US Treasury's sanctions lists: `SDN.CSV` and `CONS_PRIM.CSV`, entities only.

Twelve columns without a header: number, name, type, programs, title, call sign, vessel type, tonnage, gross tonnage,
flag, owner, remarks; `-0-` is empty. The identifiers stand in the remarks, as in `Tax ID No. 7718852163 (Russia); alt.
Registration ID 1117746521452 (Russia).` An entity without one that identifies it is reported, since names are never
matched. Which scheme a number has, `nodes.importers.numbers` says.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import BinaryIO, Final

from nodes.catalogue import CatalogueEntry
from nodes.importers.numbers import SCHEMES, identified
from nodes.importers.row import Row, RowError
from nodes.listings import Listing, ListingError, check_listing
from protocol.identifiers import Identifier

COLUMNS: Final = ("number", "name", "type", "programs", *(7 * ("",)), "remarks")
EMPTY: Final = "-0-"
CUT_AT: Final = 1_000
GROUND: Final = "designated"
SEVERITY: Final = 3

# What a number is, by the words before it.
_KINDS: Final[dict[str, str]] = {
    **dict.fromkeys(("Tax ID No.", "V.A.T. Number", "US FEIN", "NIT #", "RUC #", "RIF #", "RTN", "C.I.F."), "tax"),
    **dict.fromkeys(("R.F.C.", "R.F.C. #", "RFC", "C.U.I.T."), "tax"),
    **dict.fromkeys(("Registration ID", "Registration Number", "Public Registration Number"), "register"),
    **dict.fromkeys(("Company Number", "UK Company Number", "C.R. No.", "Commercial Registry Number"), "register"),
    **dict.fromkeys(("Business Registration Number", "Business Registration Document #"), "register"),
    **dict.fromkeys(("Certificate of Incorporation Number", "Chamber of Commerce Number"), "register"),
    **dict.fromkeys(("Trade License No.", "National ID No.", "Government Gazette Number"), "register"),
    **dict.fromkeys(("Company Number IMO", "Identification Number IMO"), "company IMO"),
    "Vessel Registration Identification IMO": "company IMO",
    "Unified Social Credit Code (USCC)": "USCC",
    "Legal Entity Number": "legal entity",
    "SWIFT/BIC": "BIC",
    "BIK (RU)": "BIK",
    "D-U-N-S Number": "DUNS",
}

_COUNTRIES: Final = {
    "Argentina": "ar", "Belarus": "by", "Belgium": "be", "Canada": "ca", "China": "cn", "Colombia": "co",
    "Croatia": "hr", "Cyprus": "cy", "Dominican Republic": "do", "Ecuador": "ec", "Guatemala": "gt", "Honduras": "hn",
    "Hong Kong": "hk", "Israel": "il", "Italy": "it", "Malta": "mt", "Mexico": "mx", "Netherlands": "nl",
    "Panama": "pa", "Peru": "pe", "Russia": "ru", "Serbia": "rs", "Singapore": "sg", "Slovakia": "sk",
    "Slovenia": "si", "Spain": "es", "Switzerland": "ch", "Taiwan": "tw", "Turkey": "tr", "Ukraine": "ua",
    "United Kingdom": "gb", "United States": "us", "Venezuela": "ve", "Virgin Islands, British": "vg",
}  # fmt: skip  # one line a country would be a page
_ELSEWHERE: Final = "??"
_BY_LABEL: Final = {"US FEIN": "us", "UK Company Number": "gb", "RTN": "hn"}

# Under programmes about Russia and Ukraine, numbers without a country are Russian, if their check digits say so.
_RUSSIAN_PROGRAMS: Final = ("RUSSIA", "UKRAINE")
_RUSSIAN: Final = {"tax": ("ru.inn",), "register": ("ru.ogrn",)}

_NUMBER: Final = re.compile(
    rf"(?:alt\. )?(?P<label>{'|'.join(map(re.escape, sorted(_KINDS, key=len, reverse=True)))})\s+(?P<value>[^()]+?)"
    r"(?:\s+\((?P<country>[^()]+)\))?(?:\s+issued .*)?\.?"
)


def read_ofac(file: BinaryIO, register: str, entry: CatalogueEntry, list_name: str, as_of: date) -> Iterator[Row]:
    """Yield the rows of a list for `register`, whose catalogue entry is `entry`, as they are read.

    Publication is decision and service: both are dated `as_of`, the snapshot's date. `list_name` and the entity's
    number make the decision reference, which is the row's key.
    """
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline=""))
    while True:
        line, key = rows.line_num + 1, ""
        try:
            fields = next(rows)
            if fields and fields != ["\x1a"]:  # the Treasury ends its files the way DOS did
                key = f"{list_name} {fields[0].strip()}" if fields[0].strip() else ""
                yield Row(line, _listing(fields, line, register, entry, key, as_of), key)
        except StopIteration:
            return
        except csv.Error:
            yield Row(line, RowError(line, "number", "a field is far too long"))
        except RowError as error:
            yield Row(line, error, key)


def _listing(
    fields: Sequence[str], line: int, register: str, entry: CatalogueEntry, reference: str, as_of: date
) -> Listing:
    if len(fields) != len(COLUMNS):
        raise RowError(line, "number", f"the row has not {len(COLUMNS)} columns")
    if not all(field.isprintable() for field in fields):
        raise RowError(line, "number", "the row is not UTF-8 text")
    named = zip(COLUMNS, fields, strict=True)
    row = {column: field for column, field in named if column and field.strip() not in ("", EMPTY)}
    if "type" in row:
        raise RowError(line, "type", "not an entity")
    identifiers = tuple(dict.fromkeys(_identifiers(row.get("remarks", ""), row.get("programs", ""))))
    if not identifiers:
        raise RowError(line, "remarks", "skipped: no identifier that could be checked, and names are never matched")
    listing = Listing(
        register=register,
        subject_kind="legal",
        name=row.get("name", ""),
        identifiers=identifiers,
        ground=GROUND,
        decision_ref=reference,
        decided_on=as_of,
        served_on=as_of,
        severity=SEVERITY,
        published=True,
        raw={column: row[column] for column in ("programs", "remarks") if column in row},
    )
    try:
        check_listing(listing, entry)
    except ListingError as error:
        raise RowError(line, error.field, error.reason) from error
    return listing


def _identifiers(remarks: str, programs: str) -> Iterator[Identifier]:
    parts = remarks.split(";")
    if len(remarks) >= CUT_AT and not remarks.endswith(" "):
        parts.pop()  # cut within a word: half a number may be another's
    for part in parts:
        found = _NUMBER.fullmatch(part.strip())
        if found is None:
            continue
        kind, country = _KINDS[found["label"]], _country(found["label"], found["country"])
        schemes = SCHEMES.get((kind, country), ())
        if country is None and any(program in programs for program in _RUSSIAN_PROGRAMS):
            schemes = schemes or _RUSSIAN.get(kind, ())
        if identifier := identified(found["value"], schemes):
            yield identifier


def _country(label: str, named: str | None) -> str | None:
    """The country in brackets, or the one that the label itself names; None where neither names any."""
    return _COUNTRIES.get(named, _ELSEWHERE) if named else _BY_LABEL.get(label)
