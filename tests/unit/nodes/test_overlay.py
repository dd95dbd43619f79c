"""An overlay adapts figures in the subject's favour, says where they come from, and can say nothing else."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodes.catalogue import ASSUMED, CatalogueEntry, load_catalogue
from nodes.catalogue.overlay import MAX_TEXT, OverlayError, adapted, load_overlay

LAW = "Ordinance 7, s. 3"


TEXT = f"""
wage-arrears:
  calendar: CN
  grounds:
    unpaid-wages:
      default_term: {{value: 24, source: "{LAW}"}}
  notice:
    text: The labour office hears you at any time.
    window: {{value: 15, source: "{LAW}"}}
"""


def figure(value: object, source: str = LAW, **more: object) -> dict[str, Any]:
    return {"value": value, "source": source, **more}


def nested(path: str, value: object) -> Any:
    """`value` under the dotted path."""
    name, _, rest = path.partition(".")
    return {name: nested(rest, value)} if name else value


def changed(preset: str, path: str, value: object) -> CatalogueEntry:
    text = yaml.safe_dump({preset: nested(path, value)})
    return adapted(load_catalogue(), load_overlay(text))[preset]


def refusal(text: str) -> str:
    with pytest.raises(OverlayError) as caught:
        adapted(load_catalogue(), load_overlay(text))
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
    return str(caught.value)


def test_what_it_says_is_changed_and_all_else_stays() -> None:
    before, after = load_catalogue(), adapted(load_catalogue(), load_overlay(TEXT))
    entry = after["wage-arrears"]
    assert (entry.calendar, entry.notice.text) == ("CN", "The labour office hears you at any time.")
    assert entry.notice.window
    assert (entry.notice.window.value, entry.notice.window.source) == (15, LAW)
    assert str(entry.grounds[0].default_term) == "24 months"
    assert entry.grounds[0].max_term == before["wage-arrears"].grounds[0].max_term
    assert entry.grounds[1] == before["wage-arrears"].grounds[1]
    assert entry.facts() == before["wage-arrears"].facts()
    assert {preset: it for preset, it in after.items() if preset != "wage-arrears"} == {
        preset: it for preset, it in before.items() if preset != "wage-arrears"
    }


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}"])
def test_an_empty_overlay_adapts_nothing(text: str) -> None:
    assert adapted(load_catalogue(), load_overlay(text)) == load_catalogue()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "document: line 1 is not plain YAML"),
        ("a: &x 1\nb: *x", "document: line 2 is not plain YAML"),
        ("a: 1\na: 2", "document: line 1 is not plain YAML"),
        ("!!python/object:os.system {}", "document: line 1 is not plain YAML"),
        ("\0", "document: not plain YAML"),
        ("[" * 5000, "document: "),
        ("#" * (MAX_TEXT + 1), f"document: longer than {MAX_TEXT} characters"),
        ("- SECRET", "document: "),
        ("SECRET", "document: "),
        ("SECRET 1: {}", "?: "),
        ("secretary: {}", "secretary: not a preset of the catalogue"),
        ("customs:", "customs: "),
    ],
)
def test_what_is_no_overlay_is_refused_without_its_text(text: str, reason: str) -> None:
    assert refusal(text).startswith(reason)
    assert "SECRET" not in refusal(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("id", "tolls"), ("kind", "rating"), ("snapshot", True), ("competent", "any"), ("title", "Tolls")),
        *(("subject_kinds", ["natural"]), ("basis_rank", "law"), ("severity", "minor")),
        *(("grounds.smuggling.severity", "minor"), ("grounds.smuggling.effect", "positive")),
        *(("grounds.smuggling.basis_rank", "law"), ("grounds.smuggling.text", "t"), ("grounds.smuggling.id", "x")),
        *(("grounds.smuggling.points", {"min": 0, "max": 9, "source": LAW}), ("objection.window", figure(9))),
        *(("notice.served_on", figure(1)), ("repair.allowed", True), ("SECRET", "SECRET")),
    ],
)
def test_what_an_agreement_was_signed_over_has_no_place_in_it(path: str, value: object) -> None:
    said = refusal(yaml.safe_dump({"customs": nested(path, value)}))
    assert said == f"customs.{path.replace('SECRET', '?')}: no field of an overlay"


@pytest.mark.parametrize("ground", ["religion", "ethnicity", "health-data", "purchases", "petition", "friends"])
def test_no_ground_can_be_added(ground: str) -> None:
    whole = load_catalogue()["customs"].grounds[0].model_dump(mode="json")
    for value in (whole, {"default_term": figure(12)}):
        said = refusal(yaml.safe_dump({"customs": {"grounds": {ground: value}}}))
        assert said.startswith(f"customs.grounds.{ground}")
    assert refusal(yaml.safe_dump({"customs": {"grounds": [whole]}})).startswith("customs.grounds: ")


@pytest.mark.parametrize("path", ["grounds", "grounds.smuggling", "grounds.smuggling.max_term", "notice"])
@pytest.mark.parametrize("value", [None, []])
def test_nothing_can_be_taken_away_by_leaving_it_empty(path: str, value: object) -> None:
    assert refusal(yaml.safe_dump({"customs": nested(path, value)})).startswith(f"customs.{path}: ")


@pytest.mark.parametrize("path", ["notice.window", "repair", "calendar", "retention", "objection.answered_within"])
def test_no_window_repair_or_deadline_can_be_taken_away(path: str) -> None:
    assert refusal(yaml.safe_dump({"customs": nested(path, None)})).startswith(f"customs.{path}: ")


# Figures: customs has a term of 12 months, 36 at most; a window of 10; 1, 7, 15; 1/3, 10, 3; retention of 12 months.
@pytest.mark.parametrize(
    ("preset", "path", "fair", "unfair"),
    [
        ("customs", "grounds.smuggling.default_term", (1, 11, 13, 36), (37,)),
        ("customs", "grounds.smuggling.max_term", (12, 35), (37,)),
        ("customs", "notice.window", (11, 60), (0, 9)),
        ("customs", "notice.served_within", (1, 9), (11,)),
        ("customs", "objection.flagged_within", (0,), (2,)),
        ("customs", "objection.answered_within", (1, 6), (8,)),
        ("customs", "objection.corrected_within", (14,), (16,)),
        ("customs", "repair.earliest", ("0", "1/4"), ("1/2",)),
        ("customs", "repair.decided_within", (9,), (11,)),
        ("customs", "repair.removed_within", (0, 2), (4,)),
        ("customs", "retention", (1, 13, 120), ()),
        ("conduct-jaywalking", "grounds.jaywalking.counted.threshold", (6, 20), (2, 4)),
        ("conduct-jaywalking", "grounds.jaywalking.counted.within", (1, 11), (13,)),
    ],
)
def test_figures_change_in_the_subjects_favour_only(
    preset: str, path: str, fair: tuple[object, ...], unfair: tuple[object, ...]
) -> None:
    for value in fair:
        assert changed(preset, path, figure(value)) != load_catalogue()[preset]
    for value in unfair:
        assert refusal(yaml.safe_dump({preset: nested(path, figure(value))})).startswith(f"{preset}.{path}: ")


@pytest.mark.parametrize(("path", "value"), [("grounds.smuggling.default_term", 13), ("retention", 13)])
def test_what_is_longer_for_the_subject_needs_a_published_rule(path: str, value: int) -> None:
    changed("customs", path, figure(value))
    changed("customs", path, figure(11, ASSUMED))
    said = refusal(yaml.safe_dump({"customs": nested(path, figure(value, ASSUMED))}))
    assert said == f"customs.{path}: longer only by a published rule, named as the source"


def test_a_changed_figure_brings_its_own_source() -> None:
    path = "grounds.unpaid-wages.default_term"
    published = load_catalogue()["wage-arrears"].grounds[0].default_term.source
    changed("wage-arrears", path, figure(36, published))
    assert "source of its own" in refusal(yaml.safe_dump({"wage-arrears": nested(path, figure(24, published))}))
    assert refusal(yaml.safe_dump({"wage-arrears": nested(path, {"value": 24})})).endswith("source: absent")
    assert f"{path}.source" in refusal(yaml.safe_dump({"wage-arrears": nested(path, figure(24, " "))}))


def test_a_term_keeps_its_unit_so_that_lengths_compare_exactly() -> None:
    path = "grounds.smoking.default_term"
    said = refusal(yaml.safe_dump({"conduct-points-rail": nested(path, figure(6))}))
    assert said == f"conduct-points-rail.{path}: counted in days, as the preset's"
    assert changed("conduct-points-rail", path, figure(90, unit="days")).grounds[0].default_term.value == 90


def test_what_the_preset_has_not_is_not_brought_in() -> None:
    for text in (
        yaml.safe_dump({"red-list": {"repair": {"duties": "Pay."}}}),
        yaml.safe_dump({"customs": nested("grounds.smuggling.counted.threshold", figure(5))}),
    ):
        assert refusal(text).endswith("the preset has none")


def test_a_window_may_be_given_where_there_is_none_with_a_notice_to_open_it() -> None:
    window = {"window": figure(10), "served_within": figure(5)}
    assert changed("sanctions", "notice", window).notice.window
    assert "served within a time" in refusal(yaml.safe_dump({"sanctions": {"notice": {"window": figure(10)}}}))


@pytest.mark.parametrize("value", ["12", 12.5, True, -1, 10**30, "SECRET", [12], {"SECRET": 1}])
def test_a_figure_is_a_whole_number_and_its_value_is_never_repeated(value: object) -> None:
    said = refusal(yaml.safe_dump({"customs": nested("notice.window", figure(value))}))
    assert said.startswith("customs.notice.window.value: ")
    assert "SECRET" not in said


def test_the_maximum_may_not_fall_below_the_term() -> None:
    said = refusal(yaml.safe_dump({"customs": nested("grounds.smuggling.max_term", figure(11))}))
    assert said == "customs.grounds.smuggling: the default term is longer than the maximum"


def test_an_unknown_calendar_is_refused() -> None:
    assert refusal("customs: {calendar: Atlantis}").startswith("customs.calendar: no calendar")


@given(default=st.integers(1, 60), longest=st.integers(1, 60), window=st.integers(0, 30), answered=st.integers(0, 15))
def test_no_overlay_makes_a_preset_harsher(default: int, longest: int, window: int, answered: int) -> None:
    before = load_catalogue()["customs"]
    overlay = load_overlay(
        yaml.safe_dump(
            {
                "customs": {
                    "grounds": {"smuggling": {"default_term": figure(default), "max_term": figure(longest)}},
                    "notice": {"window": figure(window)},
                    "objection": {"answered_within": figure(answered)},
                }
            }
        )
    )
    try:
        after = adapted(load_catalogue(), overlay)["customs"]
    except OverlayError:
        assert default > longest or longest > 36 or window < 10 or answered > 7
        return
    assert after.notice.window
    assert before.notice.window
    assert after.grounds[0].default_term.length <= after.grounds[0].max_term.length <= before.grounds[0].max_term.length
    assert after.notice.window.value >= before.notice.window.value
    assert after.objection.answered_within.value <= before.objection.answered_within.value
