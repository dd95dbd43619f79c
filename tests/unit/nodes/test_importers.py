"""Rows load one by one; errors name line and column, never the value; no format brings what may not be listed."""

import csv
import io
from collections.abc import Iterator
from datetime import date
from itertools import count, islice
from typing import Any

import pytest

from nodes.catalogue import load_catalogue
from nodes.importers import FORMATS, Row, RowError, ofac
from nodes.importers.concordat_csv import MAX_FIELD, OPTIONAL, REQUIRED, read_csv
from nodes.importers.ofac import read_ofac
from nodes.listings import Listing
from protocol.identifiers import canonical
from tests.unit.nodes.builders import LEI, USCC
from tests.unit.nodes.test_ofac import entity

GOOD = {
    "identifier_scheme": "cn.uscc",
    "identifier": USCC,
    "other_identifiers": f"lei:{LEI};",
    "subject_kind": "legal",
    "name": "Acme Ltd",
    "ground": "debarred",
    "decision_ref": "D 17/2026",
    "decided_on": "2026-01-05",
    "served_on": "2026-01-09",
    "severity": "2",
    "expires_on": "",
}


def rows_of(data: bytes, preset: str = "debarment") -> list[Row]:
    return list(read_csv(io.BytesIO(data), "exclusions", load_catalogue()[preset]))


def table(*rows: dict[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*GOOD, *({name: None for row in rows for name in row} - GOOD.keys())])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def only_listing(data: bytes) -> Listing:
    (row,) = rows_of(data)
    assert isinstance(row.outcome, Listing)
    return row.outcome


class TestConcordatCsv:
    def test_the_columns_are_those_of_the_contract(self) -> None:
        assert {*GOOD, "points"} == {*REQUIRED, *OPTIONAL}

    def test_a_row_becomes_a_listing(self) -> None:
        listing = only_listing(table(GOOD | {"case_officer": "N. N."}))
        assert listing.identifiers == (canonical("cn.uscc", USCC), canonical("lei", LEI))
        assert (listing.register, listing.name, listing.severity) == ("exclusions", "Acme Ltd", 2)
        assert (listing.decided_on, listing.served_on) == (date(2026, 1, 5), date(2026, 1, 9))
        assert listing.expires_on is None
        assert listing.raw == {"case_officer": "N. N."}

    @pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
    def test_a_byte_order_mark_is_tolerated(self, prefix: bytes) -> None:
        assert only_listing(prefix + table(GOOD)).name == "Acme Ltd"

    def test_other_identifiers_and_their_column_are_optional(self) -> None:
        assert len(only_listing(table(GOOD | {"other_identifiers": " "})).identifiers) == 1
        without = {name: value for name, value in GOOD.items() if name != "other_identifiers"}
        data = ",".join(without).encode() + b"\r\n" + ",".join(without.values()).encode()
        assert len(only_listing(data).identifiers) == 1

    def test_one_number_named_twice_is_one_identifier(self) -> None:
        assert len(only_listing(table(GOOD | {"other_identifiers": f"cn.uscc:{USCC.lower()}"})).identifiers) == 1

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("identifier_scheme", "SECRET", "scheme: neither"),
            ("identifier_scheme", "", "scheme: neither"),
            ("identifier", "91110000600037341M", "cn.uscc: wrong check digit"),
            ("identifier", "", "value: has no letter or digit"),
            ("other_identifiers", "SECRET", "not of the form"),
            ("other_identifiers", "lei:SECRET", "lei: wrong"),
            ("other_identifiers", "SECRET:1", "scheme: neither"),
            ("other_identifiers", "xx.a:1;" * 16, "more than 15"),
            ("subject_kind", "SECRET", "not legal or natural"),
            ("name", "SECRET" * 400, "longer than 2000 characters"),
            ("name", "SECRET\0", "holds a control character"),
            ("ground", "SECRET", "not in the register's catalogue"),
            ("decision_ref", "", "missing"),
            ("decided_on", "", "missing"),
            ("decided_on", "SECRET", "not a date"),
            ("decided_on", "20260105", "not a date"),
            ("decided_on", "2026-02-31", "not a date"),
            ("served_on", "", "missing"),
            ("served_on", "2026-01-04", "before the decision"),
            ("severity", "4", "not 1, 2 or 3"),
            ("severity", "", "not 1, 2 or 3"),
            ("expires_on", "2099-01-01", "beyond the ground's maximum of 60 months"),
            ("expires_on", "9999-99-99", "not a date"),
        ],
    )
    def test_a_bad_row_is_reported_and_the_others_load(self, column: str, value: str, reason: str) -> None:
        first, bad, last = rows_of(table(GOOD, GOOD | {column: value}, GOOD))
        assert isinstance(first.outcome, Listing)
        assert isinstance(last.outcome, Listing)
        assert isinstance(bad.outcome, RowError)
        assert str(bad.outcome).startswith(f"line 3, column {column}: {reason}")
        assert "SECRET" not in str(bad.outcome)
        assert "\n" not in str(bad.outcome)

    @pytest.mark.parametrize(
        ("preset", "row", "reason"),
        [
            ("tax-rating", {"ground": "grade-a", "points": "95"}, None),
            ("tax-rating", {"ground": "grade-a", "points": ""}, "points: missing"),
            ("tax-rating", {"ground": "grade-a"}, "points: missing"),
            ("tax-rating", {"ground": "grade-a", "points": "89"}, "points: not between 90 and 100, as the ground asks"),
            ("tax-rating", {"ground": "grade-a", "points": "9e1"}, "points: not a whole number"),
            ("tax-rating", {"ground": "grade-a", "points": "٩٥"}, "points: not a whole number"),
            ("tax-rating", {"ground": "grade-a", "points": "-5"}, "points: not a whole number"),
            ("tax-rating", {"ground": "grade-a", "points": "9" * 500}, "points: not a whole number"),
            ("tax-rating", {"ground": "grade-m"}, None),
            ("tax-rating", {"ground": "grade-m", "points": "95"}, "points: the ground has none"),
            ("customs", {"ground": "smuggling", "points": "0"}, "points: the ground has none"),
            ("civic-points", {"ground": "enrolled", "points": "65535"}, None),
        ],
    )
    def test_points_are_given_exactly_where_the_ground_has_them(
        self, preset: str, row: dict[str, str], reason: str | None
    ) -> None:
        (read,) = rows_of(table(GOOD | row), preset)
        if reason is None:
            assert isinstance(read.outcome, Listing)
            assert read.outcome.points == (int(row["points"]) if "points" in row else None)
            assert "points" not in read.outcome.raw
        else:
            assert str(read.outcome) == f"line 2, column {reason}"

    @pytest.mark.parametrize("served_on", ["", " ", "-", "none"])
    def test_no_draft_comes_by_file_since_nobody_would_have_been_told(self, served_on: str) -> None:
        (row,) = rows_of(table(GOOD | {"served_on": served_on}))
        assert isinstance(row.outcome, RowError)
        assert row.outcome.column == "served_on"

    def test_a_row_is_known_by_its_decision_also_where_it_is_refused(self) -> None:
        rows = rows_of(table(GOOD, GOOD | {"identifier": "1"}, GOOD | {"decision_ref": " "}) + b'"')
        assert [row.key for row in rows] == ["D 17/2026", "D 17/2026", "", ""]
        assert "D 17" not in repr(rows[0])

    def test_a_row_of_an_agencys_own_is_no_publication(self) -> None:
        assert not only_listing(table(GOOD)).published

    def test_lines_count_through_quoted_fields_and_blank_lines(self) -> None:
        bad = GOOD | {"severity": "9"}
        data = table(GOOD | {"name": "Acme\nLimited\r\nParis"}, bad) + b"\r\n" + table(bad).split(b"\r\n", 1)[1]
        assert [row.line for row in rows_of(data)] == [2, 5, 7]

    def test_bytes_that_are_not_utf8_spoil_one_row(self) -> None:
        bad, good = rows_of(table(GOOD | {"name": "Acmé"}, GOOD).replace("é".encode(), b"\xe9"))
        assert str(bad.outcome) == "line 2, column name: not UTF-8"
        assert isinstance(good.outcome, Listing)

    def test_too_few_and_too_many_fields(self) -> None:
        line = table(GOOD).rstrip()
        assert str(rows_of(line + b",x")[0].outcome).startswith("line 2, column expires_on: followed by more")
        assert str(rows_of(line.rsplit(b",", 1)[0])[0].outcome) == "line 2, column expires_on: missing"

    @pytest.mark.parametrize("field", ['"Acme" Ltd', '"' + "x" * 200_000, '"unfinished'])
    def test_malformed_quoting_is_one_bad_row(self, field: str) -> None:
        rows = rows_of(table(GOOD) + field.encode())
        assert isinstance(rows[0].outcome, Listing)
        assert str(rows[1].outcome).startswith("line 3, column identifier_scheme: malformed quoting")

    @pytest.mark.parametrize(
        "header", ["", "name,ground", ",".join([*GOOD, "name"]), ",".join([*GOOD, *map(str, range(64))])]
    )
    def test_a_file_without_a_proper_header_is_refused_whole(self, header: str) -> None:
        with pytest.raises(RowError, match=r"^line 1, column"):
            rows_of(header.encode())

    def test_a_file_has_a_limit_of_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert len(rows_of(table(GOOD, GOOD, GOOD))) == 3
        monkeypatch.setattr("nodes.importers.concordat_csv.MAX_ROWS", 2)
        with pytest.raises(RowError, match="more than 2 rows"):
            rows_of(table(GOOD, GOOD, GOOD))

    def test_a_field_of_the_limit_is_accepted(self) -> None:
        assert len(only_listing(table(GOOD | {"name": "x" * MAX_FIELD})).name) == MAX_FIELD


FIRST = {
    "csv": (table(GOOD).partition(b"\n")[0] + b"\n", table(GOOD).partition(b"\n")[2], "debarment"),
    "ofac": (b"", b'17,"Acme",' + b"-0- ," * 9 + b'"SWIFT/BIC GAZPRUMM"\r\n', "sanctions"),
    "ftm": (b"", b'{"id": "Q-%d", "schema": "Company", "properties": {"leiCode": ["%s"]}}\n', "sanctions"),
}


class Endless(io.RawIOBase):
    """A file whose rows never end: whoever reads it whole never returns."""

    def __init__(self, first: bytes, rows: Iterator[bytes]) -> None:
        self._rest, self._rows = first, rows

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._rows)
        size = min(len(buffer), len(data))
        buffer[:size], self._rest = data[:size], data[size:]
        return size


class TestFormats:
    def test_every_format_is_tested_here(self) -> None:
        assert FORMATS.keys() == FIRST.keys()
        assert [name for name, it in FORMATS.items() if it.is_snapshot] == ["ofac", "ftm"]

    @pytest.mark.parametrize("name", FORMATS)
    def test_rows_are_read_one_by_one(self, name: str) -> None:
        header, row, preset = FIRST[name]
        rows = (row % (number, LEI.encode()) if name == "ftm" else row for number in count())
        file = io.BufferedReader(Endless(header, rows))
        read = FORMATS[name].read(file, "r", load_catalogue()[preset], "L", date(2026, 11, 20))
        assert all(isinstance(it.outcome, Listing) for it in islice(read, 100))

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_full_bucket_is_reported_in_a_column_of_the_format(self, name: str) -> None:
        known = {"csv": {*REQUIRED, *OPTIONAL}, "ofac": set(ofac.COLUMNS), "ftm": {"properties"}}[name]
        assert {FORMATS[name].first, FORMATS[name].others} <= known


BORN_2009 = "110101200901010016"
PERSON = GOOD | {"subject_kind": "natural", "identifier_scheme": "cn.ric", "other_identifiers": ""}


class TestWhatNoFileCanBring:
    """A minor, a listing without decision, without service or past its ground's maximum: in whatever format."""

    @pytest.mark.parametrize(
        ("row", "refused"),
        [
            (PERSON | {"identifier": BORN_2009}, "identifier: belongs to a minor; minors are never listed"),
            (PERSON | {"identifier_scheme": "cn.uscc", "other_identifiers": f"cn.ric:{BORN_2009}"}, "minor"),
            (GOOD | {"decision_ref": ""}, "decision_ref: missing"),
            (GOOD | {"served_on": ""}, "served_on: missing"),
            (GOOD | {"served_on": "2026-01-04"}, "served_on: before the decision"),
            (GOOD | {"expires_on": "2031-01-06"}, "expires_on: beyond the ground's maximum of 60 months"),
            (GOOD | {"ground": "religion"}, "ground: not in the register's catalogue"),
            (GOOD | {"subject_kind": "family"}, "subject_kind: not legal or natural"),
        ],
    )
    def test_csv(self, row: dict[str, str], refused: str) -> None:
        (read,) = rows_of(table(row))
        assert refused in str(read.outcome).replace("line 2, column ", "")
        assert isinstance(read.outcome, RowError)

    def test_ofac(self) -> None:
        """Its rows are decided and served by publication and have the ground's term; what is left can be missing."""
        assert str(entity("SWIFT/BIC GAZPRUMM", kind="individual").outcome) == "line 1, column type: not an entity"
        data = b'-0- ,"Acme",' + b"-0- ," * 9 + b"SWIFT/BIC GAZPRUMM"
        entry = load_catalogue()["sanctions"]
        (row,) = read_ofac(io.BytesIO(data.replace(b"-0- ,", b" ,", 1)), "lists", entry, "OFAC", date(2026, 1, 1))
        assert str(row.outcome) == "line 1, column decision_ref: missing"
