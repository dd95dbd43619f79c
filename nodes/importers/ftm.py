"""FollowTheMoney JSON lines (https://followthemoney.tech), as OpenSanctions publishes them in `entities.ftm.json`.

One entity a line: `{"id": …, "schema": "Company", "properties": {"name": [text, …], "leiCode": [text, …]}, …}`. What is
not listed itself (`target` false, or topics without `sanction`: owners, relatives, office holders) is refused, since a
listing affects its own subject only. Names are never matched, and of a person nothing but name and numbers is kept.
Which scheme a number has, `nodes.importers.numbers` says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, BinaryIO, Final

from nodes.catalogue import CatalogueEntry
from nodes.dates import months_after
from nodes.importers.numbers import FREE, SCHEMES, identified
from nodes.importers.row import Row, RowError
from nodes.listings import Listing, ListingError, check_listing, is_minor
from protocol.agreement.model import SubjectKind
from protocol.identifiers import Identifier

MAX_LINE: Final = 1 << 20  # bytes
MAX_LINES: Final = 10_000_000
MAX_TEXT: Final = 2_000
MAX_IDENTIFIERS: Final = 100
GROUND: Final = "designated"
TOPIC: Final = "sanction"
SEVERITY: Final = 3

SUBJECTS: Final[Mapping[str, SubjectKind]] = {
    **dict.fromkeys(("Company", "LegalEntity", "Organization", "PublicBody"), "legal"),
    "Person": "natural",
}

# What a number is, by the property it stands in: either one scheme, or a kind whose scheme is the country's.
_NUMBERS: Final[Mapping[str, str]] = {
    "bikCode": "BIK",
    "dunsCode": "DUNS",
    "imoNumber": "company IMO",
    "leiCode": "legal entity",
    "swiftBic": "BIC",
    "uscCode": "USCC",
}
_SCHEMES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: SCHEMES[kind, None] for name, kind in _NUMBERS.items()},
    "innCode": ("ru.inn",),
    "irsCode": ("us.ein",),
    "ogrnCode": ("ru.ogrn",),
}
_NATIONAL: Final = {
    "registrationNumber": "register",
    "taxNumber": "tax",
    "vatCode": "tax",
    "idNumber": "personal",
    "okpoCode": "register",  # Ukrainian numbers go by that name too
}
# Where the country stands. Only a jurisdiction says whose register a number is of; from the others a number needs a
# check digit to bear them out.
_JURISDICTION: Final = "jurisdiction"
_COUNTRIES: Final = (_JURISDICTION, "mainCountry", "nationality", "citizenship", "country")

_DATE: Final = re.compile(r"([12][0-9]{3})(?:-([0-9]{2})(?:-([0-9]{2}))?)?(?:T.*)?")
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")


def read_ftm(file: BinaryIO, register: str, entry: CatalogueEntry, list_name: str, as_of: date) -> Iterator[Row]:
    """Yield the rows of a list for `register`, whose catalogue entry is `entry`, as they are read.

    Publication is decision and service: both are dated `as_of`, the snapshot's date. `list_name` and the entity's id
    make the decision reference, which is the row's key. Of two lines with one id the second is refused.

    Raises:
        RowError: the file as a whole cannot be used: too many lines.
    """
    seen: set[int] = set()
    for line, data in _lines(file):
        key = ""
        try:
            entity = _entity(data, line)
            key = f"{list_name} {_text(entity.get('id'), line, 'id')}"
            kind = _subject_kind(entity, line)
            _check_new(key, seen, line)
            yield Row(line, _listing(entity, line, register, entry, key, kind, as_of), key)
        except _NotListedError as error:
            yield Row(line, error, key, is_listed=False)
        except RowError as error:
            yield Row(line, error, key)


class _NotListedError(RowError):
    """The file says of an entity that it is not listed: what was listed of it has left the list."""


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; of one that is too long, only more than its limit is read."""
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number += 1
        if number > MAX_LINES:
            raise RowError(number, "id", f"more than {MAX_LINES} lines")
        if data.strip():
            yield number, data
        while len(data) > MAX_LINE and not data.endswith(b"\n"):
            data = file.readline(MAX_LINE + 1)


def _entity(data: bytes, line: int) -> Mapping[str, Any]:
    if len(data) > MAX_LINE:
        raise RowError(line, "id", f"the line is longer than {MAX_LINE} bytes")
    try:
        entity = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise RowError(line, "id", "the line is not UTF-8") from None
    except (ValueError, RecursionError):
        raise RowError(line, "id", "the line is not JSON, names a member twice, or is nested too deep") from None
    if not isinstance(entity, dict):
        raise RowError(line, "id", "the line is not a JSON object")
    return entity


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member twice")
    return found


def _subject_kind(entity: Mapping[str, Any], line: int) -> SubjectKind:
    kind = SUBJECTS.get(_text(entity.get("schema"), line, "schema"))
    if kind is None:
        raise RowError(line, "schema", "not a legal entity or person")
    return kind


def _check_new(key: str, seen: set[int], line: int) -> None:
    """Hashes take a third of the keys' memory, and two that are equal by chance refuse a row aloud."""
    if hash(key) in seen:
        raise RowError(line, "id", "twice in the file")
    seen.add(hash(key))


def _listing(
    entity: Mapping[str, Any],
    line: int,
    register: str,
    entry: CatalogueEntry,
    reference: str,
    kind: SubjectKind,
    as_of: date,
) -> Listing:
    properties = entity.get("properties")
    if not isinstance(properties, dict):
        raise RowError(line, "properties", "missing, or not a JSON object")
    _check_listed(entity, properties, line)
    for born in _values(properties, "birthDate", line):
        if is_minor(_latest(born, line), as_of):
            raise RowError(line, "birthDate", "of a minor, or of somebody who may be one; minors are never listed")
    identifiers = tuple(dict.fromkeys(_identifiers(properties, line)))
    if not identifiers:
        raise RowError(line, "properties", "skipped: no identifier that could be checked, and names are never matched")
    if len(identifiers) > MAX_IDENTIFIERS:
        raise RowError(line, "properties", f"more than {MAX_IDENTIFIERS} identifiers")
    listing = Listing(
        register=register,
        subject_kind=kind,
        name=next(iter(_values(properties, "name", line)), ""),
        identifiers=identifiers,
        ground=GROUND,
        decision_ref=reference,
        decided_on=as_of,
        served_on=as_of,
        severity=SEVERITY,
        published=True,
        raw={"schema": entity["schema"]},
    )
    try:
        check_listing(listing, entry)
    except ListingError as error:
        raise RowError(line, error.field, error.reason) from error
    return listing


def _check_listed(entity: Mapping[str, Any], properties: Mapping[str, Any], line: int) -> None:
    """Refuse an entity that the file only mentions because of another one."""
    target = entity.get("target", True)
    if target is False:
        raise _NotListedError(line, "target", "not listed itself")
    if target is not True:
        raise RowError(line, "target", "not true or false")
    topics = _values(properties, "topics", line)
    if topics and TOPIC not in topics:
        raise _NotListedError(line, "topics", "not listed for a sanction")


def _identifiers(properties: Mapping[str, Any], line: int) -> Iterator[Identifier]:
    for name, schemes in (*_SCHEMES.items(), *_national(properties, line)):
        for value in _values(properties, name, line):
            if identifier := identified(value, schemes):
                yield identifier


def _national(properties: Mapping[str, Any], line: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The schemes of numbers that mean something in one country only; of an entity with several, none."""
    place = next((name for name in _COUNTRIES if _values(properties, name, line)), _JURISDICTION)
    countries = set(_values(properties, place, line))
    if len(countries) == 1:
        country = countries.pop().lower()
        for name, kind in _NATIONAL.items():
            schemes = SCHEMES.get((kind, country), ())
            yield name, tuple(it for it in schemes if place == _JURISDICTION or it not in FREE)


def _values(properties: Mapping[str, Any], name: str, line: int) -> list[str]:
    values = properties.get(name)
    if values is None and name not in properties:
        return []
    if not isinstance(values, list):
        raise RowError(line, name, "not a list of texts")
    return [_text(value, line, name) for value in values]


def _text(value: object, line: int, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RowError(line, column, "missing, or not text")
    if len(value) > MAX_TEXT:
        raise RowError(line, column, f"longer than {MAX_TEXT} characters")
    if _UNUSABLE.search(value):
        raise RowError(line, column, "holds a control character")
    return value.strip()


def _latest(text: str, line: int) -> date:
    """The last day that a date may mean of which only the year, or year and month, is known."""
    if found := _DATE.fullmatch(text):
        year, month, day = found.groups()
        try:
            if day:
                return date(int(year), int(month), int(day))
            return months_after(date(int(year), int(month or 12), 1), 1) - timedelta(days=1)
        except ValueError:
            pass  # 31 February
    raise RowError(line, "birthDate", "not a date of the form YYYY, YYYY-MM or YYYY-MM-DD")
