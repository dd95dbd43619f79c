"""Rows load one by one, errors name line and column and never the value, and the official lists give what they hold."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

import api
from nodes.catalogue import load_catalogue
from nodes.importers import FORMATS, Row, RowError, ofac
from nodes.importers.concordat_csv import MAX_FIELD, OPTIONAL, REQUIRED, read_csv
from nodes.importers.numbers import FREE, SCHEMES
from nodes.importers.ofac import read_ofac
from nodes.listings import Listing
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical, check_scheme
from tests.unit.nodes.builders import LEI, USCC

DATA = Path(api.__path__[0]) / "demo" / "data"
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


@cache
def official(name: str) -> tuple[Row, ...]:
    with (DATA / f"ofac_{name}_entities.csv").open("rb") as file:
        return tuple(read_ofac(file, "lists", load_catalogue()["sanctions"], "OFAC", date(2026, 11, 20)))


def entity(remarks: str, programs: str = "IRAN", kind: str = "-0- ") -> Row:
    text = io.StringIO()
    csv.writer(text).writerow([17, "Acme", kind, programs, *["-0- "] * 7, remarks])
    data = io.BytesIO(text.getvalue().encode())
    (row,) = read_ofac(data, "lists", load_catalogue()["sanctions"], "OFAC", date(2026, 11, 20))
    return row


def numbers(remarks: str, programs: str = "IRAN") -> set[tuple[str, str]]:
    outcome = entity(remarks, programs).outcome
    return {(it.scheme, it.value) for it in outcome.identifiers} if isinstance(outcome, Listing) else set()


class TestOfficialLists:
    @pytest.mark.parametrize(("name", "rows", "listed"), [("sdn", 2994, 1098), ("consolidated", 363, 327)])
    def test_rows_give_listings_or_say_why_not(self, name: str, rows: int, listed: int) -> None:
        outcomes = [row.outcome for row in official(name)]
        assert len(outcomes) == rows
        assert sum(isinstance(outcome, Listing) for outcome in outcomes) == listed
        assert {outcome.column for outcome in outcomes if isinstance(outcome, RowError)} == {"remarks"}

    def test_all_codes_and_leis_of_the_consolidated_list_are_found(self) -> None:
        outcomes = [row.outcome for row in official("consolidated")]
        schemes = Counter(
            it.scheme for outcome in outcomes if isinstance(outcome, Listing) for it in outcome.identifiers
        )
        assert (schemes["cn.uscc"], schemes["lei"]) == (58, 14)

    def test_two_subjects_are_found_on_both_lists(self) -> None:
        """One list names their country and the other does not, so they meet by programme and check digit."""
        found = [
            {it for row in official(name) if isinstance(row.outcome, Listing) for it in row.outcome.identifiers}
            for name in ("sdn", "consolidated")
        ]
        assert found[0] & found[1] == {
            canonical("ru.ogrn", "1117746521452"),
            canonical("ru.inn", "7718852163"),
            canonical("ru.ogrn", "1067746244026"),
            canonical("ru.inn", "7705713236"),
        }

    def test_every_identifier_is_canonical(self) -> None:
        for row in official("sdn"):
            for it in row.outcome.identifiers if isinstance(row.outcome, Listing) else ():
                assert canonical(it.scheme, it.value) == it


class TestRemarks:
    @pytest.mark.parametrize(
        ("remark", "found"),
        [
            ("Tax ID No. 7718852163 (Russia).", ("ru.inn", "7718852163")),
            ("alt. Registration ID 1117746521452 (Russia)", ("ru.ogrn", "1117746521452")),
            ("Government Gazette Number 00032520 (Russia)", ("ru.okpo", "00032520")),
            ("Unified Social Credit Code (USCC) 91110000710934369E (China).", ("cn.uscc", "91110000710934369E")),
            ("Legal Entity Number 253400V1H6ART1UQ0N98", ("lei", "253400V1H6ART1UQ0N98")),
            ("Legal Entity Number 856458879 (Netherlands)", ("nl.rsin", "856458879")),
            ("NIT # 800061571-7 (Colombia).", ("co.nit", "8000615717")),
            ("R.F.C. CLU140217RX4 (Mexico)", ("mx.rfc", "CLU140217RX4")),
            ("RIF # J-31403007-8 (Venezuela).", ("ve.rif", "J314030078")),
            ("Company Number IMO 5988369.", ("xx.imo_company", "5988369")),
            ("D-U-N-S Number 53-400-5656", ("xx.duns", "534005656")),
            ("SWIFT/BIC GAZPRUMM", ("bic", "GAZPRUMM")),
            ("US FEIN 65-0389435", ("us.ein", "650389435")),
            ("Registration ID 199306257C (Singapore) issued 23 Sep 1993", ("sg.uen", "199306257C")),
        ],
    )
    def test_labels_and_countries_give_schemes(self, remark: str, found: tuple[str, str]) -> None:
        assert numbers(f"a.k.a. 'ACME'; {remark}") == {found}

    @pytest.mark.parametrize(
        "remark",
        [
            "Tax ID No. 7718852164 (Russia).",  # wrong check digit
            "NIT # Provisional (Colombia).",
            "R.F.C. # IPR-931014 (Mexico).",  # without the last three characters, several firms'
            "Registration ID HRB 37918 (Germany)",  # unique within a court
            "Folio Mercantil No. 46092-1 (Mexico).",
            "US FEIN CH-217-0-431-423-3 (United States)",
            "Linked To: REGISTRATION ID 1117746521452 (Russia).",
            "-0- ",
            "",
        ],
    )
    def test_what_identifies_nobody_for_sure_is_skipped(self, remark: str) -> None:
        outcome = entity(remark).outcome
        assert isinstance(outcome, RowError)
        assert outcome.column == "remarks"

    def test_a_number_without_a_country_needs_a_russian_programme_and_its_check_digit(self) -> None:
        assert numbers("Tax ID No. 7718852163.", "UKRAINE-EO13662") == {("ru.inn", "7718852163")}
        assert numbers("Registration ID 1117746521452", "RUSSIA-EO14024") == {("ru.ogrn", "1117746521452")}
        assert not numbers("Tax ID No. 7718852163.", "IRAN")
        assert not numbers("Tax ID No. 7718852164.", "UKRAINE-EO13662")

    def test_a_number_that_may_be_cut_is_dropped(self) -> None:
        tail = "SWIFT/BIC GAZPRUMM; Legal Entity Number 253400V1H6ART1UQ0N98; D-U-N-S Number 534005656"
        assert len(numbers(tail.rjust(999))) == 3
        assert {scheme for scheme, _ in numbers(tail.rjust(1000))} == {"bic", "lei"}
        assert len(numbers(f"{tail} ".rjust(1000))) == 3  # the space shows that the number had ended

    def test_every_free_scheme_has_a_form(self) -> None:
        for schemes in [*SCHEMES.values(), *ofac._RUSSIAN.values()]:
            for scheme in schemes:
                try:
                    is_free = canonical(scheme, "A1") == Identifier(scheme, "A1")
                except IdentifierError:
                    is_free = False
                assert is_free == (scheme in FREE)

    def test_every_scheme_that_is_tried_exists(self) -> None:
        for schemes in SCHEMES.values():
            for scheme in schemes:
                check_scheme(scheme)

    def test_a_row_is_published_and_known_by_list_and_number(self) -> None:
        row, refused = entity("SWIFT/BIC GAZPRUMM"), entity("")
        assert isinstance(row.outcome, Listing)
        assert row.outcome.published
        assert row.key == row.outcome.decision_ref == refused.key == "OFAC 17"

    def test_only_entities_in_the_treasurys_columns_are_imported(self) -> None:
        assert str(entity("SWIFT/BIC GAZPRUMM", kind="individual").outcome) == "line 1, column type: not an entity"
        entry = load_catalogue()["sanctions"]
        lines = b'1,"Acme"\r\n\x1a\r\n\r\n1,"Acm\xe9"' + b",-0- " * 10 + b"\r\n" + b'"' + b"x" * 200_000
        reasons = [str(row.outcome) for row in read_ofac(io.BytesIO(lines), "lists", entry, "OFAC", date(2026, 1, 1))]
        assert reasons == [
            "line 1, column number: the row has not 12 columns",
            "line 4, column number: the row is not UTF-8 text",
            "line 5, column number: a field is far too long",
        ]

    def test_a_register_that_does_not_know_designations_refuses_them(self) -> None:
        data = io.BytesIO(b'1,"Acme",' + b"-0- ," * 9 + b"SWIFT/BIC GAZPRUMM")
        (row,) = read_ofac(data, "exclusions", load_catalogue()["debarment"], "OFAC", date(2026, 1, 1))
        assert str(row.outcome) == "line 1, column ground: not in the register's catalogue"


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
