"""Every preset is complete, every figure says where it comes from, and what must be impossible is."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.catalogue import ASSUMED, CatalogueEntry, load_catalogue
from nodes.listings import ListingError, check_listing
from protocol.identifiers import canonical
from tests.unit.nodes.builders import make_listing

PRESETS = {
    *("judgment-defaulters", "wage-arrears", "illegal-fundraising", "vehicle-overloading", "food-drug-safety"),
    *("environment", "customs", "debarment", "sanctions"),
}


def entry_with(**changes: Any) -> dict[str, Any]:
    return load_catalogue()["debarment"].model_dump(mode="json") | changes


class TestPresets:
    def test_the_catalogue_holds_them(self) -> None:
        assert set(load_catalogue()) == PRESETS
        assert load_catalogue() is load_catalogue()

    @pytest.mark.parametrize("preset", ["debarment", "sanctions"])
    def test_debarment_and_sanctions_suit_any_agency_and_agreement(self, preset: str) -> None:
        facts = load_catalogue()[preset].facts()
        assert (facts.kind, facts.severity, facts.competent, facts.rank) == (
            "listing",
            "serious",
            "any",
            "local-regulation",
        )
        assert "legal" in facts.subject_kinds
        assert facts.effects == {"restriction", "notice"}

    def test_judgment_defaulters_have_six_grounds_and_two_to_five_years(self) -> None:
        entry = load_catalogue()["judgment-defaulters"]
        assert len(entry.grounds) == 6
        assert {(ground.default_months.value, ground.max_months.value) for ground in entry.grounds} == {(24, 60)}

    def test_published_lists_count_as_service(self) -> None:
        for preset, entry in load_catalogue().items():
            window = entry.notice.window
            assert (window is None) if preset == "sanctions" else (window is not None and window.value == 10)

    @pytest.mark.parametrize(
        "change",
        [
            {"grounds": []},
            {"subject_kinds": []},
            {"competent": []},
            {"competent": "all"},
            {"calendar": "Atlantis"},
            {"unknown": 1},
            {"grounds": entry_with()["grounds"] * 2},
            {"grounds": [entry_with()["grounds"][0] | {"max_months": {"value": 60, "source": ASSUMED}}]},
            {"grounds": [entry_with()["grounds"][0] | {"default_months": {"value": 61, "source": ASSUMED}}]},
            {"grounds": [entry_with()["grounds"][0] | {"default_months": {"value": 12}}]},
            {
                "grounds": [
                    entry_with()["grounds"][0] | {"severity": "minor", "max_months": {"value": 4, "source": ASSUMED}}
                ]
            },
        ],
    )
    def test_an_overlay_that_breaks_a_rule_is_refused(self, change: dict[str, Any]) -> None:
        assert CatalogueEntry.model_validate(entry_with())
        with pytest.raises(ValidationError):
            CatalogueEntry.model_validate(entry_with(**change))


class TestChecks:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"ground": "gossip"}, "ground"),
            ({"identifiers": ()}, "identifier"),
            ({"decision_ref": ""}, "decision_ref"),
            ({"served_on": date(2026, 1, 4)}, "served_on"),
            ({"severity": 0}, "severity"),
            ({"severity": 4}, "severity"),
            ({"expires_on": date(2026, 1, 4)}, "expires_on"),
            ({"expires_on": date(2031, 1, 6)}, "expires_on"),
        ],
    )
    def test_what_the_catalogue_does_not_allow_is_no_listing(self, change: dict[str, Any], field: str) -> None:
        check_listing(make_listing(), load_catalogue()["debarment"])
        with pytest.raises(ListingError) as caught:
            check_listing(make_listing(**change), load_catalogue()["debarment"])
        assert caught.value.field == field

    def test_a_term_may_last_until_the_maximum(self) -> None:
        check_listing(make_listing(expires_on=date(2031, 1, 5)), load_catalogue()["debarment"])

    def test_kinds_of_subject_are_the_registers(self) -> None:
        customs = load_catalogue()["customs"]
        check_listing(make_listing(ground="smuggling"), customs)
        with pytest.raises(ListingError, match="subject_kind"):
            check_listing(make_listing(ground="smuggling", subject_kind="natural"), customs)

    def test_minors_are_never_listed(self) -> None:
        born_1991 = (canonical("cn.ric", "360426199101010071"),)
        court = load_catalogue()["judgment-defaulters"]
        person = make_listing(ground="false-reporting", subject_kind="natural", identifiers=born_1991)
        check_listing(person, court)
        young = make_listing(
            ground="false-reporting",
            subject_kind="natural",
            identifiers=born_1991,
            decided_on=date(2008, 12, 31),
            served_on=date(2009, 1, 2),
        )
        with pytest.raises(ListingError, match="minor"):
            check_listing(young, court)

    def test_a_listing_shows_nothing_of_its_subject(self) -> None:
        shown = repr(make_listing(raw={"note": "Acme"}))
        assert "Acme" not in shown
        assert "91110000" not in shown
        assert "D 17" not in shown
