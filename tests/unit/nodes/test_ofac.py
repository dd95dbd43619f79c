"""The Treasury's official lists give the listings that they hold, or say of every row why not."""

import csv
import io
from collections import Counter
from datetime import date
from functools import cache
from pathlib import Path

import pytest

import api
from nodes.catalogue import load_catalogue
from nodes.importers import Row, RowError, ofac
from nodes.importers.numbers import FREE, SCHEMES
from nodes.importers.ofac import read_ofac
from nodes.listings import Listing
from protocol.errors import IdentifierError
from protocol.identifiers import Identifier, canonical, check_scheme

DATA = Path(api.__path__[0]) / "demo" / "data"


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
