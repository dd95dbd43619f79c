"""The US Treasury's sanctions lists: `SDN.CSV` and `CONS_PRIM.CSV`, entities only.

Twelve columns without a header: number, name, type, programs, title, call sign, vessel type, tonnage, gross tonnage,
flag, owner, remarks; `-0-` is empty. The identifiers stand in the remarks, as in `Tax ID No. 7718852163 (Russia); alt.
Registration ID 1117746521452 (Russia).` An entity without one that identifies it is reported, since names are never
matched.

The tables below say which scheme a number has. A number whose check digit is wrong under every scheme of its label and
country is dropped, and so is one that is unique only within a place the remark does not name (a court, an emirate, a
US state, a Mexican or Colombian trade register, an Iranian registry): it would hit strangers. Free schemes under `xx`,
which ISO 3166 leaves to its users, belong to no country: `xx.duns`, and `xx.imo_company`, since companies' IMO numbers
do not follow the rule of ships'.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import BinaryIO, Final

from nodes.catalogue import CatalogueEntry
from nodes.importers import Row, RowError
from nodes.listings import Listing, ListingError, check_listing
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical

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

# The schemes to try, in order, by kind and by the country in brackets; the first whose rule the number satisfies.
_SCHEMES: Final[dict[tuple[str, str | None], tuple[str, ...]]] = {
    ("BIC", None): ("bic",),
    ("BIK", None): ("ru.bik",),
    ("DUNS", None): ("xx.duns",),
    ("USCC", None): ("cn.uscc",),
    ("USCC", "China"): ("cn.uscc",),
    ("company IMO", None): ("xx.imo_company",),
    ("legal entity", None): ("lei",),
    ("legal entity", "Netherlands"): ("lei", "nl.rsin"),
    ("legal entity", "Russia"): ("lei",),
    ("tax", "Argentina"): ("ar.cuit",),
    ("tax", "Belarus"): ("by.unp",),
    ("tax", "Canada"): ("ca.bn",),
    ("tax", "Colombia"): ("co.nit",),
    ("tax", "Croatia"): ("hr.oib",),
    ("tax", "Cyprus"): ("cy.vat",),
    ("tax", "Dominican Republic"): ("do.rnc",),
    ("tax", "Ecuador"): ("ec.ruc",),
    ("tax", "Guatemala"): ("gt.nit",),
    ("tax", "Honduras"): ("hn.rtn",),
    ("tax", "Italy"): ("it.iva",),
    ("tax", "Malta"): ("mt.vat",),
    ("tax", "Mexico"): ("mx.rfc",),
    ("tax", "Netherlands"): ("nl.btw",),
    ("tax", "Panama"): ("pa.ruc",),
    ("tax", "Peru"): ("pe.ruc",),
    ("tax", "Russia"): ("ru.inn",),
    ("tax", "Serbia"): ("rs.pib",),
    ("tax", "Slovakia"): ("sk.dph",),
    ("tax", "Slovenia"): ("si.ddv",),
    ("tax", "Spain"): ("es.cif",),
    ("tax", "Switzerland"): ("ch.uid",),
    ("tax", "Turkey"): ("tr.vkn",),
    ("tax", "United States"): ("us.ein",),
    ("tax", "Venezuela"): ("ve.rif",),
    ("register", "Belgium"): ("be.vat",),
    ("register", "Cyprus"): ("cy.company",),
    ("register", "Guatemala"): ("gt.company",),
    ("register", "Hong Kong"): ("hk.company",),
    ("register", "Israel"): ("il.hp",),
    ("register", "Malta"): ("mt.company",),
    ("register", "Netherlands"): ("nl.kvk",),
    ("register", "Russia"): ("ru.ogrn", "ru.inn", "ru.okpo"),
    ("register", "Serbia"): ("rs.maticni",),
    ("register", "Singapore"): ("sg.uen",),
    ("register", "Slovenia"): ("si.maticna",),
    ("register", "Switzerland"): ("ch.uid", "ch.register"),
    ("register", "Taiwan"): ("tw.ubn",),
    ("register", "Ukraine"): ("ua.edrpou",),
    ("register", "United Kingdom"): ("gb.company",),
    ("register", "Virgin Islands, British"): ("vg.company",),
}

# Under programmes about Russia and Ukraine, numbers without a country are Russian, if their check digits say so.
_RUSSIAN_PROGRAMS: Final = ("RUSSIA", "UKRAINE")
_RUSSIAN: Final = {"tax": ("ru.inn",), "register": ("ru.ogrn",)}

# The form of the numbers that no python-stdnum module checks.
_FREE: Final = {
    "ch.register": r"CH\d{11}",
    "cy.company": r"(HE|C)\d+",
    "gb.company": r"[A-Z]{0,2}\d{6,8}",
    "gt.company": r"\d{4,}",
    "hk.company": r"\d{5,8}",
    "hn.rtn": r"\d{14}",
    "mt.company": r"C\d+",
    "nl.kvk": r"\d{8}",
    "nl.rsin": r"\d{9}",
    "pa.ruc": r"\d{6,}(DV\d+)?",
    "rs.maticni": r"\d{8}",
    "ru.bik": r"\d{9}",
    "ru.okpo": r"\d{8}",
    "vg.company": r"\d{5,}",
    "xx.duns": r"\d{9}",
    "xx.imo_company": r"\d{7}",
}

_NUMBER: Final = re.compile(
    rf"(?:alt\. )?(?P<label>{'|'.join(map(re.escape, sorted(_KINDS, key=len, reverse=True)))})\s+(?P<value>[^()]+?)"
    r"(?:\s+\((?P<country>[^()]+)\))?(?:\s+issued .*)?\.?"
)


def read_ofac(file: BinaryIO, register: str, entry: CatalogueEntry, list_name: str, as_of: date) -> Iterator[Row]:
    """Yield the rows of a list for `register`, whose catalogue entry is `entry`, as they are read.

    Publication is decision and service: both are dated `as_of`, the snapshot's date. `list_name` and the entity's
    number make the decision reference.
    """
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline=""))
    while True:
        line = rows.line_num + 1
        try:
            fields = next(rows)
            if fields and fields != ["\x1a"]:  # the Treasury ends its files the way DOS did
                yield Row(line, _listing(fields, line, register, entry, list_name, as_of))
        except StopIteration:
            return
        except csv.Error:
            yield Row(line, RowError(line, "number", "a field is far too long"))
        except RowError as error:
            yield Row(line, error)


def _listing(
    fields: Sequence[str], line: int, register: str, entry: CatalogueEntry, list_name: str, as_of: date
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
        decision_ref=f"{list_name} {row.get('number', '')}",
        decided_on=as_of,
        served_on=as_of,
        severity=SEVERITY,
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
        schemes = _SCHEMES.get((kind, country), ())
        if country is None and any(program in programs for program in _RUSSIAN_PROGRAMS):
            schemes = schemes or _RUSSIAN.get(kind, ())
        identifier = next(filter(None, (_identifier(scheme, found["value"]) for scheme in schemes)), None)
        if identifier is not None:
            yield identifier


def _country(label: str, named: str | None) -> str | None:
    """The country in brackets, or the one that the label itself names."""
    return named or {"US FEIN": "United States", "UK Company Number": "United Kingdom", "RTN": "Honduras"}.get(label)


def _identifier(scheme: str, value: str) -> Identifier | None:
    try:
        identifier = canonical(scheme, value)
    except IdentifierError:
        return None
    form = _FREE.get(scheme)
    return identifier if form is None or re.fullmatch(form, identifier.value) else None
