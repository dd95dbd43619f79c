"""Every preset is complete, every figure says where it comes from, and what must be impossible is."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import federation
from nodes.catalogue import ASSUMED, CatalogueEntry, load_catalogue
from nodes.catalogue.document import START, inserted
from nodes.listings import ListingError, check_listing
from protocol.errors import AgreementError
from protocol.identifiers import canonical
from protocol.lanes import MAX_POINTS
from tests.unit.nodes.builders import make_listing

# Every ground there is. Whoever adds one asks first: is it none of speech, petition, association, religion, ethnicity,
# health or genetic data, purchases, social contacts, peer evaluation? (domain, impossibility 6)
GROUNDS = {
    "civic-points": {"enrolled"},
    "conduct-jaywalking": {"jaywalking"},
    "conduct-points-rail": {"smoking", "disturbance", "ticket-fraud", "fare-evasion"},
    "customs": {"smuggling", "false-declaration", "duty-evasion"},
    "debarment": {"debarred"},
    "environment": {"unlawful-discharge", "falsified-monitoring", "hazardous-waste"},
    "food-drug-safety": {"unsafe-food", "counterfeit-drug", "unlicensed-production"},
    "illegal-fundraising": {"organised-fundraising", "assisted-fundraising"},
    "judgment-defaulters": {
        *("evasion-by-means", "obstruction", "asset-evasion", "false-reporting", "spending-order-breach"),
        "settlement-breach",
    },
    "red-list": {"award", "volunteering", "compliance"},
    "sanctions": {"designated"},
    "tax-rating": {"grade-a", "grade-b", "grade-c", "grade-d", "grade-d-direct", "grade-m"},
    "vehicle-overloading": {"repeated-overloading", "grave-overloading", "scale-evasion"},
    "wage-arrears": {"unpaid-wages", "arrears-incident"},
}


def document(preset: str) -> dict[str, Any]:
    return load_catalogue()[preset].model_dump(mode="json")


def entry_with(**changes: Any) -> dict[str, Any]:
    return document("debarment") | changes


def ground_with(preset: str = "debarment", **changes: Any) -> dict[str, Any]:
    """The preset with its first ground changed."""
    first, *others = document(preset)["grounds"]
    return document(preset) | {"grounds": [first | changes, *others]}


def term(value: object, unit: str = "months", source: str = ASSUMED) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": source}


def figures(value: object) -> Iterator[dict[str, Any]]:
    """Whatever has a source, anywhere in a document."""
    if isinstance(value, dict):
        if "source" in value:
            yield value
        for it in value.values():
            yield from figures(it)
    elif isinstance(value, list):
        for it in value:
            yield from figures(it)


class TestPresets:
    def test_the_catalogue_holds_exactly_these_grounds(self) -> None:
        assert {preset: {it.id for it in entry.grounds} for preset, entry in load_catalogue().items()} == GROUNDS
        assert load_catalogue() is load_catalogue()

    def test_every_row_of_the_packages_files_is_read(self) -> None:
        assert {it.name for it in files("nodes.catalogue").iterdir() if it.name.endswith(".yaml")} == {
            f"{preset}.yaml" for preset in GROUNDS
        }

    @pytest.mark.parametrize("preset", GROUNDS)
    def test_every_figure_has_a_source(self, preset: str) -> None:
        found = list(figures(document(preset)))
        assert len(found) > 5
        for it in found:
            assert it["source"] == ASSUMED or re.search(r"\d{4}|World Bank", it["source"])

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
        assert {(ground.default_term.value, ground.max_term.value) for ground in entry.grounds} == {(24, 60)}
        assert entry.repair
        assert entry.repair.earliest.value == 0
        assert entry.repair.removed_within.value == 3

    @pytest.mark.parametrize(
        "preset",
        ["wage-arrears", "illegal-fundraising", "vehicle-overloading", "food-drug-safety", "environment", "customs"],
    )
    def test_sectoral_lists_are_serious_and_end_early_after_a_third(self, preset: str) -> None:
        entry = load_catalogue()[preset]
        assert entry.facts().severity == "serious"
        assert all(12 <= it.default_term.value <= it.max_term.value == 36 for it in entry.grounds)
        assert entry.repair
        assert entry.repair.earliest.value == Fraction(1, 3)

    def test_of_tax_ratings_a_brings_incentives_d_lists_and_the_rest_stays_at_home(self) -> None:
        entry = load_catalogue()["tax-rating"]
        assert {it.id: it.effect for it in entry.grounds} == {
            "grade-a": "positive",
            "grade-b": "none",
            "grade-c": "none",
            "grade-d": "listing",
            "grade-d-direct": "listing",
            "grade-m": "none",
        }
        assert entry.kind == "rating"
        assert entry.facts().effects == {"restriction", "notice", "incentive"}

    def test_every_number_of_points_from_0_to_100_has_one_grade(self) -> None:
        ranges = [it.points for it in load_catalogue()["tax-rating"].grounds if it.points]
        points = sorted(value for it in ranges for value in range(it.min, it.max + 1))
        assert points == list(range(101))

    def test_five_jaywalkings_a_year_list_for_a_year_and_a_repair_act_ends_it_at_any_time(self) -> None:
        entry = load_catalogue()["conduct-jaywalking"]
        (ground,) = entry.grounds
        assert ground.counted
        assert (ground.counted.threshold.value, str(ground.counted.within)) == (5, "12 months")
        assert str(ground.default_term) == "12 months"
        assert entry.repair
        assert entry.repair.earliest.value == 0
        assert entry.subject_kinds == ("natural",)

    def test_conduct_on_railways_lists_for_180_days(self) -> None:
        entry = load_catalogue()["conduct-points-rail"]
        assert {str(it.max_term) for it in entry.grounds if not it.counted} == {"180 days"}
        assert (entry.facts().severity, entry.subject_kinds) == ("general", ("natural",))

    def test_red_list_and_civic_points_bring_incentives_only(self) -> None:
        for preset, kind in (("red-list", "positive"), ("civic-points", "points")):
            assert load_catalogue()[preset].kind == kind
            assert load_catalogue()[preset].facts().effects == {"incentive"}
        (enrolled,) = load_catalogue()["civic-points"].grounds
        assert enrolled.points
        assert (enrolled.points.min, enrolled.points.max) == (0, MAX_POINTS)

    def test_whoever_may_be_restricted_has_ten_working_days_to_object_unless_publication_is_service(self) -> None:
        for entry in load_catalogue().values():
            window = entry.notice.window
            if entry.snapshot or "restriction" not in entry.facts().effects:
                assert window is None
            else:
                assert window is not None
                assert window.value == 10
        assert [preset for preset, entry in load_catalogue().items() if entry.snapshot] == ["sanctions"]

    def test_no_text_states_a_figure_that_an_overlay_may_change(self) -> None:
        for entry in load_catalogue().values():
            assert not re.search(r"\d|\b(two|three|five|seven|ten|fifteen)\b", entry.notice.text)


class TestTheImpossible:
    """What no data file may say, and so no overlay either: its result is validated by the same models."""

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            (entry_with(grounds=[]), "at least 1 item"),
            (entry_with(subject_kinds=[]), "at least 1 item"),
            (entry_with(subject_kinds=["family"]), "'legal' or 'natural'"),
            (entry_with(competent=[]), "competent"),
            (entry_with(competent="all"), "competent"),
            (entry_with(calendar="Atlantis"), "no calendar"),
            (entry_with(unknown=1), "Extra inputs"),
            (entry_with(kind="score"), "kind"),
            (entry_with(grounds=entry_with()["grounds"] * 2), "two grounds with the same id"),
            (ground_with(max_term=term(60)), "beyond the severity class needs a law of its own"),
            (ground_with(default_term=term(61)), "longer than the maximum"),
            (ground_with(default_term={"value": 12}), "source"),
            (ground_with(default_term=term("12")), "valid integer"),
            (ground_with(default_term=term(True)), "valid integer"),
            (ground_with(default_term=term(0)), "greater than or equal to 1"),
            (ground_with(default_term=term(1, "years")), "'months' or 'days'"),
            (ground_with(severity="minor", default_term=term(3), max_term=term(4)), "beyond the severity class"),
            (ground_with(severity="minor", default_term=term(3), max_term=term(91, "days")), "beyond the severity"),
            (ground_with("conduct-points-rail", max_term=term(366, "days")), "beyond the severity class"),
            (ground_with(effect="positive"), "not one of this kind"),
            (ground_with(effect="none"), "not one of this kind"),
            (ground_with("red-list", effect="listing"), "not one of this kind"),
            (ground_with("civic-points", effect="listing"), "not one of this kind"),
            (ground_with("civic-points", points=None), "how many points there are"),
            (ground_with(points={"min": 0, "max": 9, "source": ASSUMED}), "only ratings and points schemes"),
            (ground_with("red-list", points={"min": 0, "max": 9, "source": ASSUMED}), "only ratings and points"),
            (ground_with("tax-rating", points={"min": 9, "max": 0, "source": ASSUMED}), "above the greatest"),
            (ground_with("civic-points", points={"min": 0, "max": 65_536, "source": ASSUMED}), "65535"),
            (ground_with("red-list", counted=document("conduct-jaywalking")["grounds"][0]["counted"]), "are counted"),
            (
                ground_with(counted={"threshold": {"value": 1, "source": ASSUMED}, "within": term(12)}),
                "one infringement is not counted",
            ),
            (document("red-list") | {"snapshot": True}, "follow an official publication"),
            (ground_with("customs", severity="general", default_term=term(6), max_term=term(12)), "one severity class"),
            (entry_with(notice=entry_with()["notice"] | {"window": None}), "may object before it has effect"),
            (
                entry_with(notice=entry_with()["notice"] | {"window": {"value": 0, "source": ASSUMED}}),
                "may object before it has effect",
            ),
            (entry_with(notice=entry_with()["notice"] | {"served_within": None}), "served within a time"),
            (document("tax-rating") | {"notice": {"text": "t", "window": None}}, "may object before it has effect"),
            (
                entry_with(repair=entry_with()["repair"] | {"earliest": {"value": "4/3", "source": ASSUMED}}),
                "equal to 1",
            ),
            (entry_with(retention=None), "retention"),
        ],
    )
    def test_an_entry_that_breaks_a_rule_is_refused(self, entry: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValidationError, match=re.escape(reason)):
            CatalogueEntry.model_validate(entry)

    @pytest.mark.parametrize("preset", GROUNDS)
    def test_what_the_catalogue_holds_is_validated_again_as_it_is(self, preset: str) -> None:
        assert CatalogueEntry.model_validate(document(preset)) == load_catalogue()[preset]

    def test_a_published_rule_may_go_beyond_the_class(self) -> None:
        longer = ground_with(max_term=term(60, source="Act 5, s. 9"))
        assert CatalogueEntry.model_validate(longer).grounds[0].max_term.value == 60

    def test_minor_grounds_never_restrict(self) -> None:
        minor = ground_with(severity="minor", default_term=term(3), max_term=term(3))
        assert CatalogueEntry.model_validate(minor).facts().effects == {"notice"}

    @pytest.mark.parametrize("preset", GROUNDS)
    def test_nothing_positive_and_no_points_ever_restrict(self, preset: str) -> None:
        """An agreement reads these facts, and refuses a rule that asks for more."""
        facts, effects = load_catalogue()[preset].facts(), {it.effect for it in load_catalogue()[preset].grounds}
        assert ("restriction" in facts.effects) == ("listing" in effects)
        assert ("incentive" in facts.effects) == ("positive" in effects)
        with pytest.raises(AgreementError):
            replace(load_catalogue()["red-list"].facts(), effects=frozenset({"restriction", "incentive"}))


class TestDocument:
    PAGE = (Path(federation.__path__[0]) / "docs/catalogue.md").read_text()

    def test_the_page_is_the_catalogue(self) -> None:
        assert inserted(self.PAGE) == self.PAGE

    @pytest.mark.parametrize(
        ("said", "instead"), [("| 24 months | SPC", "| 25 months | SPC"), ("| assumed default |", "| Act 5 |")]
    )
    def test_a_page_that_says_otherwise_would_be_found(self, said: str, instead: str) -> None:
        assert said in self.PAGE
        changed = self.PAGE.replace(said, instead, 1)
        assert inserted(changed) == self.PAGE != changed

    def test_it_holds_every_figure_with_its_source(self) -> None:
        rows = [line for line in self.PAGE.splitlines() if line.startswith("| ")]
        for preset in GROUNDS:
            for figure in figures(document(preset)):
                assert any(row.endswith(f"| {figure['source']} |") for row in rows)
        lines = sum(len(list(figures(document(it)))) for it in GROUNDS) + sum(map(len, GROUNDS.values()))
        marked = self.PAGE.partition(START)[2]
        assert marked.count("\n| ") - marked.count("\n| --- ") - 2 * len(GROUNDS) == lines

    def test_a_page_without_marks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no marks"):
            inserted("# Nothing")


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

    @pytest.mark.parametrize(
        ("preset", "ground", "points", "reason"),
        [
            ("tax-rating", "grade-d", 39, None),
            ("tax-rating", "grade-d", 40, "not between 0 and 39"),
            ("tax-rating", "grade-d", None, "missing"),
            ("tax-rating", "grade-d-direct", 20, "the ground has none"),
            ("customs", "smuggling", 20, "the ground has none"),
            ("civic-points", "enrolled", MAX_POINTS, None),
            ("civic-points", "enrolled", MAX_POINTS + 1, "not between"),
            ("civic-points", "enrolled", -1, "not between"),
        ],
    )
    def test_points_are_given_exactly_where_the_ground_has_a_range_and_lie_in_it(
        self, preset: str, ground: str, points: int | None, reason: str | None
    ) -> None:
        listing, entry = make_listing(ground=ground, points=points), load_catalogue()[preset]
        if reason is None:
            check_listing(listing, entry)
        else:
            with pytest.raises(ListingError, match=f"points: {reason}"):
                check_listing(listing, entry)

    def test_a_listing_shows_nothing_of_its_subject(self) -> None:
        shown = repr(make_listing(raw={"note": "Acme"}))
        assert "Acme" not in shown
        assert "91110000" not in shown
        assert "D 17" not in shown
