"""The import format (federation/docs/contract.md): CSV in UTF-8 with a header, one listing a row.

A row with an error is reported and the others load. The column names are the fields of `Listing`, except that
`identifier_scheme`, `identifier` and `other_identifiers` together make its identifiers; columns beyond these are kept
in `raw`.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import BinaryIO, Final, cast

from nodes.catalogue import CatalogueEntry
from nodes.importers.row import Row, RowError
from nodes.listings import Listing, ListingError, check_listing
from protocol.agreement.model import SubjectKind
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical, check_scheme

MAX_ROWS: Final = 1_000_000
MAX_FIELD: Final = 2_000
MAX_COLUMNS: Final = 64
MAX_IDENTIFIERS: Final = 16

REQUIRED: Final = (
    *("identifier_scheme", "identifier", "subject_kind", "name", "ground", "decision_ref"),
    *("decided_on", "served_on", "severity", "expires_on"),
)
OPTIONAL: Final = ("other_identifiers", "points")

_DATE: Final = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")


def read_csv(file: BinaryIO, register: str, entry: CatalogueEntry) -> Iterator[Row]:
    """Yield the rows of `file` for `register`, whose catalogue entry is `entry`, as they are read.

    Raises:
        RowError: the file as a whole cannot be used: no proper header, or too many rows.
    """
    # Bytes that are not UTF-8 become surrogates, so that they spoil their own field and not the rest of the file.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, strict=True)
    header = _header(rows)
    extra = [name for name in header if name not in REQUIRED + OPTIONAL]
    reference = header.index("decision_ref")
    for _ in range(MAX_ROWS):
        line, key = rows.line_num + 1, ""
        try:
            fields = next(rows)
            if fields:
                key = fields[reference].strip() if reference < len(fields) else ""
                yield Row(line, _listing(_named(header, fields, line), extra, line, register, entry), key)
        except StopIteration:
            return
        except csv.Error:
            yield Row(line, RowError(line, header[0], "malformed quoting, or a field far too long"))
        except RowError as error:
            yield Row(line, error, key)
    raise RowError(rows.line_num + 1, header[0], f"more than {MAX_ROWS} rows")


def _header(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows)]
    except (StopIteration, csv.Error):
        raise RowError(1, REQUIRED[0], "the file has no header") from None
    for name in REQUIRED:
        if name not in header:
            raise RowError(1, name, "missing from the header")
    for name in REQUIRED + OPTIONAL:
        if header.count(name) > 1:
            raise RowError(1, name, "twice in the header")
    if len(header) > MAX_COLUMNS:
        raise RowError(1, REQUIRED[0], f"more than {MAX_COLUMNS} columns")
    return header


def _named(header: list[str], fields: list[str], line: int) -> Mapping[str, str]:
    if len(fields) > len(header):
        raise RowError(line, header[-1], "followed by more fields than the header has")
    if len(fields) < len(header):
        raise RowError(line, header[len(fields)], "missing")
    whole = "".join(fields)
    if len(whole) > MAX_FIELD or _UNUSABLE.search(whole):  # seldom; only then is each field looked at
        for name, value in zip(header, fields, strict=True):
            _check_field(value, line, name)
    return {name: value.strip() for name, value in zip(header, fields, strict=True)}


def _check_field(value: str, line: int, column: str) -> None:
    if len(value) > MAX_FIELD:
        raise RowError(line, column, f"longer than {MAX_FIELD} characters")
    if _UNUSABLE.search(value):
        raise RowError(line, column, "holds a control character" if "\0" in value else "not UTF-8")


def _listing(row: Mapping[str, str], extra: Iterable[str], line: int, register: str, entry: CatalogueEntry) -> Listing:
    primary = _identifier(row["identifier_scheme"], row["identifier"], line, "identifier_scheme", "identifier")
    if row["subject_kind"] not in ("legal", "natural"):
        raise RowError(line, "subject_kind", "not legal or natural")
    if row["severity"] not in ("1", "2", "3"):
        raise RowError(line, "severity", "not 1, 2 or 3")
    listing = Listing(
        register=register,
        subject_kind=cast("SubjectKind", row["subject_kind"]),
        name=row["name"],
        identifiers=tuple(dict.fromkeys((primary, *_others(row.get("other_identifiers", ""), line)))),
        ground=row["ground"],
        decision_ref=row["decision_ref"],
        decided_on=_date(row["decided_on"], line, "decided_on"),
        served_on=_date(row["served_on"], line, "served_on"),
        severity=int(row["severity"]),
        expires_on=_date(row["expires_on"], line, "expires_on") if row["expires_on"] else None,
        points=_points(row.get("points", ""), line),
        raw={name: row[name] for name in extra},
    )
    try:
        check_listing(listing, entry)
    except ListingError as error:
        raise RowError(line, error.field, error.reason) from error
    return listing


def _others(text: str, line: int) -> Iterator[Identifier]:
    """Parse `scheme:value;scheme:value`."""
    column = "other_identifiers"
    parts = [part for part in text.split(";") if part.strip()]
    if len(parts) >= MAX_IDENTIFIERS:
        raise RowError(line, column, f"more than {MAX_IDENTIFIERS - 1} identifiers")
    for part in parts:
        scheme, colon, value = part.partition(":")
        if not colon:
            raise RowError(line, column, "not of the form scheme:value;scheme:value")
        yield _identifier(scheme.strip(), value, line, column, column)


def _identifier(scheme: str, value: str, line: int, scheme_column: str, value_column: str) -> Identifier:
    column = scheme_column
    try:
        check_scheme(scheme)
        column = value_column
        return canonical(scheme, value)
    except IdentifierError as error:
        raise RowError(line, column, str(error)) from error


def _points(text: str, line: int) -> int | None:
    if text and not _WHOLE.fullmatch(text):
        raise RowError(line, "points", "not a whole number")
    return int(text) if text else None


def _date(text: str, line: int, column: str) -> date:
    if not text:
        raise RowError(line, column, "missing")
    day = _day(text)
    if day is None:
        raise RowError(line, column, "not a date of the form YYYY-MM-DD")
    return day


@lru_cache(maxsize=4096)
def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None  # 31 February
