import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocol.agreement.model import parse
from protocol.agreement.presets import Preset
from protocol.agreement.validator import validate, violations
from protocol.agreement.violation import InvalidAgreementError
from protocol.errors import AgreementError

TEXT = (Path(__file__).parent / "data/procurement.yaml").read_text()


def preset(preset_id: str, **changes: Any) -> Preset:
    fields: dict[str, Any] = {
        "kind": "listing",
        "severity": "serious",
        "effects": frozenset({"restriction", "notice"}),
        "competent": "any",
        "rank": "local-regulation",
        "subject_kinds": frozenset({"legal"}),
    }
    return Preset(preset_id, **(fields | changes))


DAYS_90 = {"valid.from": "2027-01-01", "valid.until": "2027-03-31"}
DAYS_91 = {"valid.from": "2027-01-01", "valid.until": "2027-04-01"}
INCENTIVE = frozenset({"incentive"})
CATALOGUE = {
    item.id: item
    for item in (
        preset("debarment"),
        preset("sanctions"),
        preset("wage-arrears", competent=("labour", "market"), rank="regulation"),
        preset("parking", severity="minor", effects=frozenset({"notice"})),
        preset("late-filing", severity="general"),
        preset("civic-points", kind="points", effects=INCENTIVE),
        preset("red-list", kind="positive", effects=INCENTIVE),
        preset("tax-rating", kind="rating", effects=frozenset({"restriction", "notice", "incentive"})),
        preset("judgment-defaulters", subject_kinds=frozenset({"natural"})),
    )
}


def changed(edits: dict[str, Any]) -> str:
    """The example with the value at each path replaced; a path ending in [+] appends."""
    document = yaml.safe_load(TEXT)
    for path, value in edits.items():
        *steps, last = [int(step) if step.isdecimal() else step for step in re.findall(r"[a-z_0-9+]+", path)]
        target = document
        for step in steps:
            target = target[step]
        if last == "+":
            target.append(value)
        else:
            target[last] = value
    return yaml.safe_dump(document)


def broken(edits: dict[str, Any]) -> list[str]:
    return [violation.path for violation in violations(parse(changed(edits)), CATALOGUE)]


def measure(**changes: Any) -> dict[str, Any]:
    fields = {"id": "x", "effect": "notice", "severity": "general", "max_months": 12, "legal_basis": "s", "notice": "n"}
    return fields | changes


def rule(measure_id: str, **when: Any) -> dict[str, Any]:
    return {"measure": measure_id, "when": {"registers": ["tax-default"]} | when}


def moratorium(**fields: Any) -> dict[str, Any]:
    return {"until": "2027-01-31", "legal_basis": "s. 9"} | fields


def agency(number: int) -> dict[str, Any]:
    return {"id": f"a-{number}", "name": "A", "registers": [{"id": f"r-{number}", "preset": "debarment"}]}


VALID: list[dict[str, Any]] = [
    {},
    {"sieve": True, "rules[1].when": {"registers": ["quality"]}},
    {"valid.until": "2028-05-01"},
    {"valid.until": "2026-11-01"},
    {"validity_of_decision": "1m"},
    {"agencies[3].kind": "labour", "agencies[3].registers[0].preset": "wage-arrears"},
    {"validity_of_decision": "31d"},
    {"keyholders": {"agencies": ["tax", "court"], "threshold": 2}},
    {"subject_kinds": ["legal", "natural"], "agencies[3].registers[0].preset": "judgment-defaulters"},
    {"agencies[0].registers[0].territory": "north"},
    {"territory": "north", "agencies[0].registers[0].territory": "north"},
    {"territory": "north", "agencies[0].registers[0].territory": "national"},
    {"requesters[0].implements": ["extra-scrutiny"]},
    {"measures[+]": measure(effect="incentive", severity="serious"), "rules[+]": rule("x", registers=["designated"])}
    | {"agencies[3].registers[0].preset": "red-list"},
    {"measures[+]": measure(effect="incentive"), "rules[+]": rule("x", registers=["designated"], min_points=9)}
    | {"agencies[3].registers[0].preset": "civic-points"},
    {"measures[+]": measure(effect="incentive"), "rules[+]": rule("x", registers=["tax-default"])}
    | {"agencies[1].registers[0].preset": "tax-rating"},
    {"measures[+]": measure(severity="minor", max_months=3), "rules[+]": rule("x", registers=["designated"])}
    | {"agencies[3].registers[0].preset": "parking"},
    {"measures[+]": measure(id="school-fee-reminder"), "rules[+]": rule("school-fee-reminder")},
    {"opt_outs": [{"agency": "market", "measure": "exclude-from-award"}]},
    {"opt_outs": [{"agency": "tax", "measure": "extra-scrutiny"}, {"agency": "tax", "measure": "exclude-from-award"}]},
    {"moratoria": [{"registers": ["quality", "designated"], "until": "2027-10-31", "legal_basis": "s"}]},
    {"version": 2, "emergency": {"follows": 1, "basis": "s"}, "valid.from": "2027-01-01", "valid.until": "2027-03-31"},
    {"figures": {"epsilon": 2000, "budget": 2000}},
    {"moratoria": [{"measures": ["extra-scrutiny"], "until": "2026-11-01", "legal_basis": "s"}]},
    {"moratoria": [{"registers": ["quality"], "subject_kinds": ["legal"], "until": "2027-01-01", "legal_basis": "s"}]},
    {"measures[+]": measure(id="no-payment-holiday", effect="restriction"), "rules[+]": rule("no-payment-holiday")},
]

INVALID: list[tuple[dict[str, Any], list[str]]] = [
    # terms
    ({"valid.until": "2026-10-31"}, ["valid.until"]),
    ({"valid.until": "2028-05-02"}, ["valid.until"]),
    ({"validity_of_decision": "745h"}, ["validity_of_decision"]),
    ({"subject_kinds": ["legal", "legal"]}, ["subject_kinds[1]"]),
    ({"agencies[0].kind": "bakery"}, ["agencies[0].registers[0].preset"]),
    # anonymity
    ({"anonymity.population": 900, "anonymity.max_listings": 900}, ["anonymity.k_min"]),
    ({"anonymity.max_listings": 20_000_001}, ["anonymity.max_listings"]),
    ({"anonymity.k_min": 10_000, "anonymity.max_listings": 20_000_000}, ["anonymity.max_listings"]),
    # parties
    (
        {"agencies[2].id": "court", "keyholders.agencies": ["court", "tax"], "keyholders.threshold": 2},
        ["agencies[4].id"],
    ),
    ({"requesters[1].id": "court"}, ["requesters[1].id"]),
    ({"requesters[1].id": "procurement-office"}, ["requesters[1].id"]),
    ({"requesters[1].id": "coordinator"}, ["requesters[1].id"]),
    ({"requesters[1].id": "agencies"}, ["requesters[1].id"]),
    ({"requesters[1].id": "keyholders"}, ["requesters[1].id"]),
    ({"keyholders.agencies[0]": "navy"}, ["keyholders.agencies[0]"]),
    ({"keyholders.agencies[1]": "court"}, ["keyholders.agencies[1]"]),
    ({"keyholders.threshold": 2}, ["keyholders.threshold"]),
    ({"keyholders.threshold": 6}, ["keyholders.threshold"]),
    ({"keyholders.agencies": ["court", "tax"], "keyholders.threshold": 1}, ["keyholders.threshold"]),
    ({"requesters[0].purposes": ["award-contract", "award-contract"]}, ["requesters[0].purposes[1]"]),
    ({"requesters[0].purposes[+]": "seal"}, ["requesters[0].purposes[1]"]),
    ({"requesters[0].purposes[0]": "canary"}, ["requesters[0].purposes[0]"]),
    ({"requesters[0].purposes[0]": "subject-access"}, ["requesters[0].purposes[0]"]),
    ({"requesters[0].implements[1]": "exile"}, ["requesters[0].implements[1]"]),
    ({"requesters[0].implements[1]": "exclude-from-award"}, ["requesters[0].implements[1]"]),
    # registers
    (
        {"agencies[2].registers[0].id": "tax-default", "rules[1].when.registers": ["tax-default", "designated"]},
        ["agencies[2].registers[0].id"],
    ),
    ({"agencies[1].registers[0].preset": "gossip"}, ["agencies[1].registers[0].preset"]),
    ({"agencies[1].registers[0].preset": "wage-arrears"}, ["agencies[1].registers[0].preset"]),
    ({"agencies[3].registers[0].preset": "judgment-defaulters"}, ["agencies[3].registers[0].preset"]),
    ({"legal_basis.rank": "central-policy"}, ["agencies[0].registers[0].preset"]),
    ({"territory": "north", "agencies[1].registers[0].territory": "south"}, ["agencies[1].registers[0].territory"]),
    # measures
    (
        {"measures[1].id": "exclude-from-award"},
        ["requesters[0].implements[1]", "requesters[1].implements[0]", "measures[1].id", "rules[1].measure"],
    ),
    ({"measures[+]": measure()}, ["measures[2].id"]),
    ({"measures[0].max_months": 37}, ["measures[0].max_months"]),
    ({"measures[1].max_months": 13}, ["measures[1].max_months"]),
    ({"measures[1].severity": "minor", "measures[1].max_months": 4}, ["measures[1].max_months"]),
    ({"measures[0].severity": "minor", "measures[0].max_months": 3}, ["measures[0].severity"]),
    # rules
    ({"rules[0].when.registers[1]": "rumours"}, ["rules[0].when.registers[1]"]),
    ({"rules[0].when.registers[1]": "wage-arrears"}, ["rules[0].when.registers[1]"]),
    ({"rules[1].when.min_agencies": 4}, ["rules[1].when.min_agencies"]),
    ({"rules[+]": rule("exile")}, ["rules[2].measure"]),
    ({"sieve": True}, ["sieve"]),
    ({"sieve": True, "rules[1].when": {"registers": ["quality"], "min_weight": 2}}, ["sieve"]),
    ({"agencies[1].registers[0].preset": "late-filing"}, ["rules[0].when.registers[1]"]),
    ({"agencies[2].registers[0].preset": "parking"}, ["rules[1].when.registers[2]"]),
    ({"agencies[1].registers[0].preset": "parking"}, ["rules[0].when.registers[1]", "rules[1].when.registers[1]"]),
    ({"agencies[2].registers[0].preset": "red-list"}, ["rules[1].when.registers[2]"]),
    ({"agencies[1].registers[0].preset": "red-list"}, ["rules[0].when.registers[1]", "rules[1].when.registers[1]"]),
    ({"agencies[2].registers[0].preset": "civic-points"}, ["rules[1].when.registers[2]"]),
    (
        {"measures[+]": measure(effect="incentive"), "rules[+]": rule("x", registers=["tax-default"], min_points=9)}
        | {"agencies[1].registers[0].preset": "tax-rating"},
        ["rules[2].when.registers[0]"],
    ),
    ({"measures[+]": measure(effect="incentive"), "rules[+]": rule("x")}, ["rules[2].when.registers[0]"]),
    (
        {"rules[0].when.min_points": 5},
        ["rules[0].when.min_points", "rules[0].when.registers[0]", "rules[0].when.registers[1]"],
    ),
    (
        {"measures[+]": measure(effect="incentive"), "rules[+]": rule("x", registers=["designated"], min_points=9)}
        | {"agencies[3].registers[0].preset": "red-list"},
        ["rules[2].when.registers[0]"],
    ),
    # limits
    ({"opt_outs": [{"agency": "navy", "measure": "exile"}]}, ["opt_outs[0].agency", "opt_outs[0].measure"]),
    ({"opt_outs": [{"agency": "tax", "measure": "extra-scrutiny"} for _ in range(2)]}, ["opt_outs[1]"]),
    (
        {
            "opt_outs": [
                {"agency": "tax", "measure": "extra-scrutiny"},
                {"agency": "labour", "measure": "extra-scrutiny"},
            ]
        },
        ["rules[1].when.min_agencies"],
    ),
    ({"moratoria": [moratorium()]}, ["moratoria[0]"]),
    ({"version": 2, "emergency": {"follows": 1, "basis": "s"}, **DAYS_91}, ["valid.until"]),
    ({"figures": {"epsilon": 2000, "budget": 1999}}, ["figures.budget"]),
    ({"emergency": {"follows": 1, "basis": "s"}, **DAYS_90}, ["emergency.follows"]),
    ({"moratoria": [moratorium(registers=["quality"], measures=["extra-scrutiny"])]}, ["moratoria[0]"]),
    ({"moratoria": [moratorium(registers=["quality", "rumours"])]}, ["moratoria[0].registers[1]"]),
    ({"moratoria": [moratorium(measures=["exile"])]}, ["moratoria[0].measures[0]"]),
    ({"moratoria": [moratorium(registers=["quality"], subject_kinds=["natural"])]}, ["moratoria[0].subject_kinds[0]"]),
    (
        {"moratoria": [moratorium(measures=["extra-scrutiny"], subject_kinds=["legal"])]},
        ["moratoria[0].subject_kinds"],
    ),
    ({"moratoria": [moratorium(registers=["quality"], until="2026-10-31")]}, ["moratoria[0].until"]),
    ({"moratoria": [moratorium(registers=["quality"], until="2027-11-01")]}, ["moratoria[0].until"]),
    # what no register lists
    *(
        ({"agencies[4].registers": [{"id": name, "preset": "debarment"}]}, ["agencies[4].registers[0].id"])
        for name in ("petitioners", "religious-minority", "trade-union-members", "health-data", "peer-reviews")
    ),
]


@pytest.mark.parametrize("edits", VALID)
def test_an_agreement_within_the_rules_is_valid(edits: dict[str, Any]) -> None:
    validate(parse(changed(edits)), CATALOGUE)


@pytest.mark.parametrize(("edits", "paths"), INVALID)
def test_each_broken_rule_is_reported_at_its_field(edits: dict[str, Any], paths: list[str]) -> None:
    assert broken(edits) == paths


def test_more_parties_than_a_message_can_name_are_refused() -> None:
    document = yaml.safe_load(TEXT)
    document["agencies"] += [agency(number) for number in range(56)]
    validate(parse(yaml.safe_dump(document)), CATALOGUE)
    document["agencies"] += [agency(56)]
    found = violations(parse(yaml.safe_dump(document)), CATALOGUE)
    assert [violation.path for violation in found] == ["requesters"]


def test_lanes_wider_than_a_slot_are_refused() -> None:
    registers = ["wage-arrears", "tax-default", "quality", "designated"]
    conditions = [[register for bit, register in enumerate(registers) if number >> bit & 1] for number in range(1, 16)]
    rules = [rule("extra-scrutiny", registers=condition, min_weight=2) for condition in conditions]
    measures = yaml.safe_load(TEXT)["measures"][1:]
    requesters = yaml.safe_load(TEXT)["requesters"][1:]
    edits = {"measures": measures, "requesters": requesters}
    assert broken(edits | {"rules": rules[:10]}) == []  # ten conditions of 4 + 4 + 12 bits
    assert broken(edits | {"rules": rules[:11]}) == ["requesters[0].implements"]


@pytest.mark.parametrize(
    "measure_id",
    [
        "no-school-admission",
        "deny-tuition",
        "cut-water",
        "cut-electricity",
        "cut-gas",
        "utilities-off",
        "no-health-care",
        "hospital-refusal",
        "housing-ban",
        "eviction",
        "withhold-wages",
        "stop-pay",
        "salary-freeze",
        "noschooling",
        "no-kinder-garten",
        "cut-off-electri-city",
    ],
)
def test_a_restriction_of_a_basic_service_is_refused(measure_id: str) -> None:
    edits = {"measures[+]": measure(id=measure_id, effect="restriction"), "rules[+]": rule(measure_id)}
    assert broken(edits) == ["measures[2].id"]


def test_validation_raises_with_every_violation_and_no_value() -> None:
    agreement = parse(changed({"keyholders.threshold": 2, "rules[0].when.registers[1]": "rumours"}))
    with pytest.raises(InvalidAgreementError) as caught:
        validate(agreement, CATALOGUE)
    assert caught.value.violations == violations(agreement, CATALOGUE)
    assert str(caught.value).splitlines() == [str(violation) for violation in caught.value.violations]
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "keyholders.threshold",
        "rules[0].when.registers[1]",
    ]
    assert "rumours" not in str(caught.value)


def test_a_preset_that_would_punish_by_points_or_for_trifles_cannot_exist() -> None:
    for kind in ("points", "positive"):
        with pytest.raises(AgreementError, match="incentives only"):
            preset("bad", kind=kind)
    with pytest.raises(AgreementError, match="no incentive"):
        preset("bad", effects=frozenset({"restriction", "incentive"}))
    with pytest.raises(AgreementError, match="minor grounds"):
        preset("bad", severity="minor")
