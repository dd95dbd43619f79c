"""What a subject is told: all of its own, in dates and words, whoever may see the effect, and nothing else."""

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from nodes.catalogue import load_catalogue
from nodes.life import Act, Author, Transition, TransitionError, apply
from nodes.lifecycle import Record, record_of
from nodes.listings import UnknownListingError
from nodes.rights import check_way, described, encoded, identified, instant, own, seen_by, step_of, subject_file
from tests.parties import agreement
from tests.unit.nodes.builders import USCC, make_listing

CATALOGUE = load_catalogue()
DEBARMENT = CATALOGUE["debarment"]
TODAY = date(2026, 3, 2)
LISTED = record_of(make_listing(register="tax-register"), "a" * 32)
RULES = [
    {"measure": "exclude", "when": {"registers": ["tax-register"]}},
    {"measure": "scrutinise", "when": {"registers": ["court-register"]}},
    {"measure": "fast", "when": {"registers": ["tax-register"], "min_points": 5}},
]


def terms() -> Any:
    made = agreement(rules=RULES[:2])
    fast = made.measures[0].model_copy(update={"id": "fast", "effect": "incentive"})
    rule = made.rules[0].model_copy(update={"measure": "fast"})
    office = made.requesters[0].model_copy(update={"implements": ("exclude", "fast")})
    return made.model_copy(
        update={
            "measures": (*made.measures, fast),
            "rules": (*made.rules, rule),
            "requesters": (office, *made.requesters[1:]),
        }
    )


def taken(record: Record, act: Act, day: date, **changes: Any) -> tuple[Record, Transition]:
    at = int(datetime(day.year, day.month, day.day, 12).astimezone().timestamp())
    step = replace(Author("somebody", "why", "letter").step(act, at), **changes)
    noted, life = apply(record, step, DEBARMENT)
    return replace(record, life=life), noted


def test_a_listing_is_told_with_reasons_basis_term_and_clocks() -> None:
    told = described(LISTED, DEBARMENT, TODAY)
    assert told["state"] == "active"
    assert told["ground"] == {"id": "debarred", "text": "Excluded from public contracts by decision."}
    assert (told["legal_basis_rank"], told["decision_ref"]) == ("local-regulation", "D 17/2026")
    assert (told["decided_on"], told["served_on"]) == ("2026-01-05", "2026-01-09")
    assert told["objection_window_ends"] == "2026-01-23"
    assert told["term"] == {"from": "2026-01-05", "last_day": "2029-01-05"}
    assert told["repair"]["earliest"] == "2027-01-05"
    assert "damages" in told["repair"]["duties"]
    assert (told["dispute"], told["ended"], told["replaced_by"]) == (None, None, None)


def test_what_is_open_has_its_deadline_and_what_ended_its_end() -> None:
    disputed, _ = taken(LISTED, Act.OBJECT, TODAY)
    assert described(disputed, DEBARMENT, TODAY)["dispute"] == {
        "asked": "object",
        "since": "2026-03-02",
        "due": "2026-03-11",
    }
    revoked, _ = taken(disputed, Act.REVOKE, TODAY)
    told = described(revoked, DEBARMENT, TODAY)
    assert (told["state"], told["dispute"]) == ("revoked", None)
    assert told["ended"] == {"as": "revoked", "on": "2026-03-02", "by": "revoke"}


def test_a_draft_has_no_window_yet_and_a_positive_record_nothing_to_repair() -> None:
    draft = record_of(make_listing(served_on=None), "b" * 32)
    assert described(draft, DEBARMENT, TODAY)["objection_window_ends"] is None
    award = record_of(make_listing(ground="award"), "c" * 32)
    assert described(award, CATALOGUE["red-list"], TODAY)["repair"] is None


def test_who_a_listing_is_about_is_told_apart_from_the_rest() -> None:
    assert identified(LISTED)["identifiers"] == [{"scheme": "cn.uscc", "value": USCC}]
    for needle in (USCC, "Acme"):
        assert needle not in json.dumps(described(LISTED, DEBARMENT, TODAY))


def test_only_measures_of_the_same_polarity_whose_rules_name_the_register_see_the_effect() -> None:
    ground = DEBARMENT.grounds[0]
    seen = {
        effect: seen_by(terms(), "tax-register", ground.model_copy(update={"effect": effect}))
        for effect in ("listing", "positive", "none")
    }
    assert {effect: [it["measure"] for it in them] for effect, them in seen.items()} == {
        "listing": ["exclude"],
        "positive": ["fast"],
        "none": [],
    }
    [requester] = seen["listing"][0]["requesters"]
    assert (requester["id"], requester["purposes"]) == ("procurement-office", ["award-contract"])
    assert seen_by(terms(), "labour-register", ground) == []


def test_the_file_has_every_step_and_who_asked_through_which_door() -> None:
    disputed, objection = taken(LISTED, Act.OBJECT, TODAY)
    record, outcome = taken(disputed, Act.REJECT, TODAY)
    asked = Transition(Act.ACCESS, "court", outcome.time)
    file = subject_file(
        "tax", [record], {record.reference: [objection, outcome, asked]}, terms(), {"tax-register": DEBARMENT}, TODAY
    )
    assert (file["agency"], file["whole"]) == ({"id": "tax", "name": "Tax"}, True)
    assert file["agreement"]["legal_basis"] == {"reference": "Procurement Act s. 57", "rank": "law"}
    [told] = file["listings"]
    assert [(it["act"], it["reason"], it["document"]) for it in told["history"]] == [
        ("object", "why", "letter"),
        ("reject", "why", "letter"),
    ]
    assert told["history"][0]["due"] == "2026-03-11"
    assert told["asked_for"] == [{"through": "court", "time": instant(outcome.time)}]
    assert told["subject"]["name"] == "Acme Ltd"
    assert set(file["rights"]) == {"objection", "correction", "repair", "leaving"}
    json.dumps(file)


def test_who_is_not_listed_gets_the_same_file_without_listings() -> None:
    file = subject_file("tax", [], {}, terms(), {}, TODAY)
    assert file["listings"] == []
    assert file["agency"]["id"] == "tax"


def test_a_file_that_is_too_long_says_so_and_loses_no_listing_silently() -> None:
    file = subject_file("tax", [LISTED] * 3, {LISTED.reference: []}, terms(), {"tax-register": DEBARMENT}, TODAY)
    whole = encoded(file, 1 << 20)
    assert json.loads(whole) == file
    assert encoded(file, len(whole)) == whole
    short = json.loads(encoded(file, len(whole) - 1))
    assert (short["whole"], short["listings"], short["number"]) == (False, [], 3)


def test_times_are_in_utc() -> None:
    assert step_of(Transition(Act.ACCESS, "court", 1_795_000_000))["time"] == "2026-11-18T11:06:40Z"


def test_a_listing_is_ones_own_by_its_whole_reference_only() -> None:
    assert own([LISTED], "a" * 32) is LISTED
    said = set()
    for reference in ("a" * 31, "b" * 32, "", "A" * 32):
        with pytest.raises(UnknownListingError) as caught:
            own([LISTED], reference)
        said.add(str(caught.value))
    assert len(said) == 1


def test_only_an_opt_in_scheme_is_left_by_its_subject() -> None:
    check_way(Act.LEAVE, CATALOGUE["civic-points"])
    check_way(Act.OBJECT, DEBARMENT)
    for preset, entry in CATALOGUE.items():
        if preset != "civic-points":
            with pytest.raises(TransitionError):
                check_way(Act.LEAVE, entry)
