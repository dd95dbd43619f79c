"""What the system makes impossible (domain.md, the twelve): each attempt at a listing fails.

Every way in refuses it with its reason: a file, a command, HTTP. Beside it the one guard is taken away, and it passes:
so the test would fail without the guard. What nothing could even express is looked for, and found where it is planted.
Questions and dossiers are in `test_impossible_questions`, what an agreement cannot say in `test_impossible_agreements`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from api.node_forms import Entry
from nodes import catalogue, service
from nodes import standing as standing_module
from nodes.catalogue import entry as catalogue_entry
from nodes.catalogue import load_catalogue, overlay
from nodes.catalogue.entry import Ground
from nodes.catalogue.overlay import OverlayError, adapted, load_overlay
from nodes.lifecycle import State, record_of
from nodes.listings import Listing, check_listing, ground_of, is_minor
from nodes.roles import Role
from nodes.standing import standings
from protocol.agreement.model import Measure, Rule, When
from protocol.messages import Effect
from tests import federations
from tests.agencies import Scene, row, write
from tests.portals import ENTRY, Town
from tests.unit.nodes.builders import make_listing

pytestmark = pytest.mark.usefixtures("quick_keys")

BOTH_KINDS: dict[str, Any] = {"subject_kinds": ["legal", "natural"]}
BORN_2015 = {"identifier_scheme": "cn.ric", "identifier": "110101201501011233", "subject_kind": "natural"}


def first_ground(_listing: Listing, entry: Any) -> Ground:
    ground: Ground = entry.grounds[0]
    return ground


def passes(*_: object) -> None:
    return None


def no(*_: object) -> bool:
    return False


def remove(monkeypatch: pytest.MonkeyPatch, guard: Callable[..., Any], instead: Callable[..., Any]) -> None:
    """Put another function in a guard's place, wherever it was imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("api", "nodes", "federation")) and getattr(module, guard.__name__, None) is guard:
            monkeypatch.setattr(module, guard.__name__, instead)


# Listings: by file, by command and over HTTP.


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("agency") / "federation", **BOTH_KINDS)


@pytest.fixture(scope="module")
def clerk(town: Town) -> str:
    return town.token("tax", Role.CLERK)


def imported(scene: Scene, folder: Path, changes: dict[str, str]) -> str:
    """Why the import refuses a row, or nothing."""
    result = scene.load(write(folder / "rows.csv", [row(1, **changes)]), "--dry-run")
    assert (result.exit_code == 0) == (not result.stderr)
    return str(result.stderr).strip().removeprefix("line 2, column ")


def entered(scene: Scene, folder: Path, changes: dict[str, Any]) -> str:
    """Why the command refuses the same, or nothing."""
    file = folder / "listing.json"
    document = {name: value for name, value in (ENTRY | changes).items() if name != "register"}
    file.write_text(json.dumps(document))
    register = changes.get("register", "tax-register")
    result = scene.run("node enter", "--agency", "tax", "--register", register, "--file", str(file))
    assert (result.exit_code == 0) == (not result.stderr), result.output
    return str(result.stderr).partition("\n")[0]


def posted(town: Town, clerk: str, changes: dict[str, Any]) -> str:
    """Why the portal refuses the same, or nothing."""
    response = town.post("tax", "/clerk/listings", clerk, ENTRY | changes)
    if response.status_code == 200:
        return ""
    assert response.status_code == 422
    problem = response.json()
    return f"{problem['field']}: {problem['reason']}" if "field" in problem else str(problem["detail"])


ATTEMPTS: dict[str, tuple[dict[str, str], str, Callable[..., Any], Callable[..., Any]]] = {
    "3 no ground of the catalogue": (
        {"ground": "gossip"},
        "ground: not in the register's catalogue",
        ground_of,
        first_ground,
    ),
    "3 no decision": ({"decision_ref": ""}, "decision_ref: missing", check_listing, passes),
    "4 past its ground's maximum": (
        {"expires_on": "2999-01-01"},
        "expires_on: beyond the ground's maximum",
        check_listing,
        passes,
    ),
    "6 a prohibited ground": (
        {"ground": "petitioning"},
        "ground: not in the register's catalogue",
        ground_of,
        first_ground,
    ),
    "9 a minor": (BORN_2015, "identifier: belongs to a minor; minors are never listed", is_minor, no),
}


@pytest.mark.parametrize(("changes", "reason", "guard", "instead"), ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_no_way_in_takes_such_a_listing_and_each_would_without_its_guard(
    scene: Scene,
    town: Town,
    clerk: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    reason: str,
    guard: Callable[..., Any],
    instead: Callable[..., Any],
) -> None:
    def refusals() -> list[str]:
        return [imported(scene, tmp_path, changes), entered(scene, tmp_path, changes), posted(town, clerk, changes)]

    assert all(found.startswith(reason) for found in refusals()), refusals()
    remove(monkeypatch, guard, instead)
    assert refusals() == ["", "", ""]


def test_what_was_not_served_is_a_draft_without_effect(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imported(scene, tmp_path, {"served_on": ""}) == "served_on: missing"
    draft, entries = record_of(make_listing(served_on=None)), {"exclusions": load_catalogue()["debarment"]}
    day = date(2026, 11, 18)
    assert standings([draft], entries, day) == []
    monkeypatch.setattr(standing_module, "state", lambda *_: State.ACTIVE)
    assert len(standings([draft], entries, day)) == 1


def test_a_listing_has_an_end_even_where_it_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ground.model_fields["default_term"].is_required()
    assert Ground.model_fields["max_term"].is_required()
    listed, entries = record_of(make_listing(expires_on=None)), {"exclusions": load_catalogue()["debarment"]}
    years_later = date(2040, 1, 1)
    assert standings([listed], entries, years_later) == []
    monkeypatch.setattr("nodes.lifecycle.last_day", lambda *_: date.max)
    assert len(standings([listed], entries, years_later)) == 1


LONGER = "debarment: {grounds: {debarred: {max_term: {value: 120, source: Ordinance 7}}}}"


def test_no_overlay_lengthens_a_maximum(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    own = scene.home.party_path("tax", scene.federation.terms.agreement) / "catalogue.yaml"
    own.write_text(LONGER)
    try:
        refused = scene.run("node catalogue", "--agency", "tax")
    finally:
        own.unlink()
    assert refused.exit_code == 2
    assert "debarment.grounds.debarred.max_term: may only shrink" in refused.stderr
    with pytest.raises(OverlayError, match="may only shrink"):
        adapted(load_catalogue(), load_overlay(LONGER))
    monkeypatch.setattr(overlay, "_unfair", passes)
    assert adapted(load_catalogue(), load_overlay(LONGER))["debarment"].grounds[0].max_term.value == 120


def test_no_preset_has_a_prohibited_ground_and_no_overlay_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OverlayError, match="the preset has none"):
        adapted(load_catalogue(), load_overlay("debarment: {grounds: {petitioning: {}}}"))
    ground = load_catalogue()["debarment"].grounds[0].model_dump()
    prohibited = ("free-speech", "petitioning", "religion", "ethnic-group", "genetic-data", "purchases", "peer-votes")
    for name in prohibited:
        with pytest.raises(ValidationError, match="a prohibited ground"):
            Ground.model_validate(ground | {"id": name})
    monkeypatch.setattr(catalogue_entry, "names_prohibited_ground", no)
    assert [Ground.model_validate(ground | {"id": name}).id for name in prohibited] == list(prohibited)


def test_no_agency_lists_in_a_register_that_is_not_its_own(
    scene: Scene, town: Town, clerk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"register": "court-register"}
    assert entered(scene, tmp_path, other).startswith("--register: not a register of this agency")
    assert scene.load(write(tmp_path / "rows.csv", [row(1)]), register="court-register").exit_code == 2
    assert posted(town, clerk, other) == "register: not a register of this agency"
    register = town.desk("tax").register
    monkeypatch.setattr(register, "entries", {**register.entries, "court-register": load_catalogue()["debarment"]})
    monkeypatch.setattr(register.registrar, "_entries", register.entries)
    assert posted(town, clerk, other) == ""


def test_a_person_is_not_listed_under_an_agreement_about_firms_whose_decisions_nobody_reviews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firms = Scene(tmp_path / "federation")
    person = {"subject_kind": "natural"}
    reason = "subject_kind: the register does not accept this kind of subject"
    assert imported(firms, tmp_path, person) == entered(firms, tmp_path, person) == reason
    monkeypatch.setattr(catalogue, "_about", lambda _agreement, entry: entry)
    assert imported(firms, tmp_path, person) == entered(firms, tmp_path, person) == ""


def test_a_person_listed_before_counts_for_nothing_under_an_agreement_about_firms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = federations.listing("tax", federations.ONE, subject_kind="natural")
    scene = federations.Scene.create(tmp_path, registers={"tax": [person]})
    assert scene.check(federations.ONE) == [federations.NONE]
    monkeypatch.setattr(service, "listing_is_suspended", no)
    federations.forget(scene.federation)
    assert scene.check(federations.ONE) == [federations.NONE | {"exclude": Effect.APPLIES}]
    scene.close()


# Spill-over: there is nowhere to name anybody else.

NAMED: dict[Any, set[str]] = {
    Measure: {"id", "effect", "severity", "max_months", "legal_basis", "notice"},
    Rule: {"measure", "when"},
    When: {"registers", "min_agencies", "min_weight", "min_points"},
    Entry: {
        *("register_id", "identifier_scheme", "identifier", "other_identifiers", "subject_kind", "name", "ground"),
        *("decision_ref", "decided_on", "served_on", "severity", "expires_on", "points"),
    },
    Listing: {
        *("register", "subject_kind", "name", "identifiers", "ground", "decision_ref", "decided_on", "served_on"),
        *("severity", "expires_on", "points", "published", "raw"),
    },
}


def unknown_fields(model: Any, like: Any) -> set[str]:
    names = set(model.model_fields) if issubclass(model, BaseModel) else {it.name for it in fields(model)}
    return names - NAMED[like]


def test_neither_measure_nor_rule_nor_listing_can_name_relatives(
    scene: Scene, town: Town, clerk: str, tmp_path: Path
) -> None:
    for model in NAMED:
        assert unknown_fields(model, model) == set()
    for refused in (entered(scene, tmp_path, {"relatives": ["x"]}), posted(town, clerk, {"relatives": ["x"]})):
        assert "has a field that is not known" in refused

    class Planted(Measure):
        relatives: tuple[str, ...] = ()

    assert unknown_fields(Planted, Measure) == {"relatives"}
