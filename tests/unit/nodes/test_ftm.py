"""FollowTheMoney lines become listings of those who are listed themselves, or say why not, and never hit strangers."""

import io
import json
from datetime import date
from typing import Any

import pytest

from nodes.catalogue import load_catalogue
from nodes.importers import Row, RowError
from nodes.importers.ftm import MAX_IDENTIFIERS, MAX_LINE, MAX_TEXT, SUBJECTS, read_ftm
from nodes.listings import Listing
from protocol.identifiers import canonical
from tests.unit.nodes.builders import LEI, USCC

TODAY = date(2026, 11, 20)
INN, OGRN = "7718852163", "1117746521452"
BORN_1991, BORN_2009 = "360426199101010071", "110101200901010016"


def entity(properties: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    named = {"name": ["Acme Ltd"], "leiCode": [LEI]} if properties is None else {"name": ["Acme Ltd"], **properties}
    return {"id": "NK-1", "schema": "Company", "properties": named, "datasets": ["us_ofac_sdn"]} | members


def person(**properties: Any) -> dict[str, Any]:
    return entity({"innCode": ["500100732259"], **properties}, schema="Person")


def lines(*entities: object) -> bytes:
    return b"".join(it if isinstance(it, bytes) else json.dumps(it).encode() + b"\n" for it in entities)


def rows_of(*entities: object, preset: str = "sanctions") -> list[Row]:
    return list(read_ftm(io.BytesIO(lines(*entities)), "lists", load_catalogue()[preset], "OS", TODAY))


def listing_of(one: dict[str, Any]) -> Listing:
    (row,) = rows_of(one)
    assert isinstance(row.outcome, Listing), row.outcome
    return row.outcome


def refusal(one: object) -> str:
    (row,) = rows_of(one)
    assert isinstance(row.outcome, RowError)
    return str(row.outcome)


def numbers(properties: dict[str, Any], schema: str = "Company") -> set[tuple[str, str]]:
    (row,) = rows_of(entity(properties, schema=schema))
    return {(it.scheme, it.value) for it in row.outcome.identifiers} if isinstance(row.outcome, Listing) else set()


class TestListings:
    def test_an_entity_becomes_a_published_listing_dated_by_its_snapshot(self) -> None:
        (row,) = rows_of(
            entity({"leiCode": [LEI, LEI.lower()], "uscCode": [USCC], "topics": ["sanction"]}, target=True)
        )
        listing = row.outcome
        assert isinstance(listing, Listing)
        assert listing.identifiers == (canonical("lei", LEI), canonical("cn.uscc", USCC))
        assert (listing.register, listing.subject_kind, listing.name) == ("lists", "legal", "Acme Ltd")
        assert (listing.ground, listing.decided_on, listing.served_on) == ("designated", TODAY, TODAY)
        assert listing.published
        assert row.key == listing.decision_ref == "OS NK-1"

    @pytest.mark.parametrize(("schema", "kind"), SUBJECTS.items())
    def test_legal_entities_and_persons_are_subjects(self, schema: str, kind: str) -> None:
        assert listing_of(entity(schema=schema)).subject_kind == kind

    @pytest.mark.parametrize("schema", ["Vessel", "Address", "Sanction", "Ownership", "Family", "Security", "company"])
    def test_nothing_else_is(self, schema: str) -> None:
        assert refusal(entity(schema=schema)) == "line 1, column schema: not a legal entity or person"

    def test_of_a_person_only_name_and_numbers_are_kept(self) -> None:
        listing = listing_of(person(religion=["SECRET"], ethnicity=["SECRET"], political=["SECRET"], email=["SECRET"]))
        assert listing.raw == {"schema": "Person"}
        assert "SECRET" not in str(vars(listing))

    @pytest.mark.parametrize(
        ("members", "properties", "column"),
        [
            ({"target": False}, {}, "target"),
            ({"target": None}, {}, "target"),
            ({"target": "true"}, {}, "target"),
            ({}, {"topics": ["role.pep"]}, "topics"),
            ({}, {"topics": ["sanction.linked", "role.rca"]}, "topics"),
        ],
    )
    def test_who_is_only_linked_to_a_listed_one_is_not_listed(
        self, members: dict[str, Any], properties: dict[str, Any], column: str
    ) -> None:
        assert refusal(entity({"leiCode": [LEI], **properties}, **members)).startswith(f"line 1, column {column}: not ")

    def test_a_register_that_does_not_know_designations_refuses_them(self) -> None:
        (row,) = rows_of(entity(), preset="debarment")
        assert str(row.outcome) == "line 1, column ground: not in the register's catalogue"


class TestNumbers:
    @pytest.mark.parametrize(
        ("properties", "found"),
        [
            ({"innCode": [INN]}, ("ru.inn", INN)),
            ({"ogrnCode": [OGRN]}, ("ru.ogrn", OGRN)),
            ({"uscCode": [USCC]}, ("cn.uscc", USCC)),
            ({"leiCode": [LEI]}, ("lei", LEI)),
            ({"swiftBic": ["GAZPRUMM"]}, ("bic", "GAZPRUMM")),
            ({"bikCode": ["044525823"]}, ("ru.bik", "044525823")),
            ({"dunsCode": ["53-400-5656"]}, ("xx.duns", "534005656")),
            ({"imoNumber": ["5988369"]}, ("xx.imo_company", "5988369")),
            ({"irsCode": ["65-0389435"]}, ("us.ein", "650389435")),
            ({"taxNumber": [INN], "jurisdiction": ["ru"]}, ("ru.inn", INN)),
            ({"taxNumber": [INN], "country": ["RU"]}, ("ru.inn", INN)),
            ({"registrationNumber": [OGRN], "mainCountry": ["ru"]}, ("ru.ogrn", OGRN)),
            ({"registrationNumber": ["199306257C"], "jurisdiction": ["sg"]}, ("sg.uen", "199306257C")),
            ({"registrationNumber": ["12345678"], "jurisdiction": ["nl"]}, ("nl.kvk", "12345678")),
            ({"vatCode": ["IT00743110157"], "country": ["it"]}, ("it.iva", "00743110157")),
            ({"okpoCode": ["00032520"], "jurisdiction": ["ru"]}, ("ru.okpo", "00032520")),
            ({"okpoCode": ["32855961"], "jurisdiction": ["ua"]}, ("ua.edrpou", "32855961")),
        ],
    )
    def test_properties_and_countries_give_schemes(self, properties: dict[str, Any], found: tuple[str, str]) -> None:
        assert numbers(properties) == {found}

    @pytest.mark.parametrize(
        "properties",
        [
            {"innCode": ["7718852164"]},  # wrong check digit
            {"taxNumber": [INN]},  # of no country
            {"taxNumber": [INN], "jurisdiction": ["ru", "cy"]},  # of which?
            {"taxNumber": [INN], "jurisdiction": ["cy"], "country": ["ru"]},
            {"registrationNumber": ["12345678"], "country": ["nl"]},  # no check digit bears the country out
            {"okpoCode": ["00032520"]},  # Russian or Ukrainian
            {"registrationNumber": ["HRB 37918"], "jurisdiction": ["de"]},  # unique within a court
            {"kppCode": ["770301001"]},  # many firms'
            {"idNumber": ["4509123456"], "country": ["ru"]},  # a passport's
            {"name": [LEI]},
            {},
        ],
    )
    def test_what_identifies_nobody_for_sure_is_skipped(self, properties: dict[str, Any]) -> None:
        said = refusal(entity(properties))
        assert said.startswith("line 1, column properties: skipped: no identifier that could be checked")

    def test_persons_have_personal_numbers_of_their_country(self) -> None:
        found = numbers({"idNumber": [BORN_1991], "nationality": ["cn"], "country": ["ru", "cn"]}, "Person")
        assert found == {("cn.ric", BORN_1991)}

    def test_an_entity_has_so_many_identifiers_at_most(self) -> None:
        many = [f"{number:09}" for number in range(MAX_IDENTIFIERS + 1)]
        assert len(listing_of(entity({"dunsCode": many[1:]})).identifiers) == MAX_IDENTIFIERS
        assert refusal(entity({"dunsCode": many})).endswith(f"more than {MAX_IDENTIFIERS} identifiers")


class TestMinors:
    @pytest.mark.parametrize("born", ["2008-11-20", "2007", "2008-10", "1950-02-28T00:00:00"])
    def test_who_is_of_age_on_the_day_of_the_snapshot_may_be_listed(self, born: str) -> None:
        assert listing_of(person(birthDate=[born])).subject_kind == "natural"

    @pytest.mark.parametrize("born", [["2008-11-21"], ["2008"], ["2008-11"], ["2020-01-01"], ["1990", "2010-05-01"]])
    def test_a_minor_is_not_nor_is_who_may_be_one(self, born: list[str]) -> None:
        assert refusal(person(birthDate=born)).startswith("line 1, column birthDate: of a minor")

    def test_nor_whose_number_says_so(self) -> None:
        young = person(idNumber=[BORN_2009], nationality=["cn"])
        assert refusal(young) == "line 1, column identifier: belongs to a minor; minors are never listed"

    @pytest.mark.parametrize("born", ["SECRET", "20.11.1990", "1990-02-31", "1990-13"])
    def test_a_date_that_cannot_be_read_is_refused(self, born: str) -> None:
        assert refusal(person(birthDate=[born])).startswith("line 1, column birthDate: not a date")


class TestLines:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"{SECRET", "id: the line is not JSON"),
            (b'{"id": "SECRET", "id": "NK-1"}', "id: the line is not JSON, names a member twice"),
            (b"[" * 200_000, "id: the line is not JSON, names a member twice, or is nested too deep"),
            (b'{"id": ' + b"9" * 5000 + b"}", "id: "),
            (b'["SECRET"]', "id: the line is not a JSON object"),
            (b'{"id": "SECRET\xe9"}', "id: the line is not UTF-8"),
            (b'{"schema": "SECRET"}', "id: missing, or not text"),
            (b'{"id": 5}', "id: missing, or not text"),
            (b'{"id": "  "}', "id: missing, or not text"),
            (b'{"id": "SECRET\\ud800"}', "id: holds a control character"),
            (b'{"id": "SECRET\\u0000"}', "id: holds a control character"),
            (entity(schema=None), "schema: missing, or not text"),
            (entity(properties=None, schema="SECRET"), "schema: not a legal entity or person"),
            (entity() | {"properties": ["SECRET"]}, "properties: missing, or not a JSON object"),
            (entity({"leiCode": "SECRET"}), "leiCode: not a list of texts"),
            (entity({"leiCode": None}), "leiCode: not a list of texts"),
            (entity({"leiCode": [{"SECRET": 1}]}), "leiCode: missing, or not text"),
            (entity({"leiCode": [LEI], "name": ["SECRET" * MAX_TEXT]}), f"name: longer than {MAX_TEXT} characters"),
            (b'{"id": "SECRET' + b"x" * MAX_LINE + b'"}', f"id: the line is longer than {MAX_LINE} bytes"),
        ],
    )
    def test_a_bad_line_is_reported_without_its_values_and_the_others_load(self, line: object, said: str) -> None:
        bad = line if isinstance(line, bytes) else json.dumps(line).encode()
        first, refused, last = rows_of(entity(id="A"), bad + b"\n", entity(id="B"))
        assert isinstance(first.outcome, Listing)
        assert isinstance(last.outcome, Listing)
        assert last.line == 3
        assert isinstance(refused.outcome, RowError)
        assert str(refused.outcome).startswith(f"line 2, column {said}")
        assert "SECRET" not in str(refused.outcome)

    def test_a_line_of_the_limit_is_read_and_one_far_beyond_it_does_not_fill_memory(self) -> None:
        full = json.dumps(entity()).encode()
        assert isinstance(rows_of(full.ljust(MAX_LINE - 1) + b"\n")[0].outcome, Listing)
        rows = rows_of(b"x" * (3 * MAX_LINE + 7) + b"\n", entity())
        assert [row.line for row in rows] == [1, 2]
        assert isinstance(rows[1].outcome, Listing)

    def test_blank_lines_count_and_a_byte_order_mark_is_tolerated(self) -> None:
        rows = rows_of(b"\xef\xbb\xbf", entity(), b"\r\n \n", entity(id="B"), b"\n")
        assert [(row.line, isinstance(row.outcome, Listing)) for row in rows] == [(1, True), (4, True)]

    def test_of_two_lines_with_one_id_the_second_is_refused(self) -> None:
        rows = rows_of(entity(), entity({"leiCode": [LEI], "country": ["ru"]}), entity(id="B"))
        assert [str(row.outcome) for row in rows if isinstance(row.outcome, RowError)] == [
            "line 2, column id: twice in the file"
        ]

    def test_a_refused_row_still_says_which_entry_of_the_list_it_stands_for(self) -> None:
        rows = rows_of(entity({}), entity(id="B", schema="Vessel"), entity(id="C", target=False), b"{\n")
        assert [row.key for row in rows] == ["OS NK-1", "OS B", "OS C", ""]
        assert "NK-1" not in repr(rows[0])

    def test_a_file_has_a_limit_of_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nodes.importers.ftm.MAX_LINES", 2)
        assert len(rows_of(entity(), entity(id="B"))) == 2
        with pytest.raises(RowError, match="more than 2 lines"):
            rows_of(entity(), entity(id="B"), entity(id="C"))
