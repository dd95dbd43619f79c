"""What no agreement can say (domain.md, the twelve): every attempt is refused, by command and at a party's start.

Beside each attempt stands the one function of the validator that refuses it: with that taken away the attempt passes,
so the test would fail without the guard.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import founding
from api.cli import app
from api.founding import read_terms
from protocol.agreement import validator
from protocol.agreement.terms import terms_to_bytes
from protocol.agreement.violation import InvalidAgreementError
from tests.parties import agreement, established
from tests.unit.test_agreement_validator import changed, measure, rule

Attempt = tuple[dict[str, Any], str, str, Callable[..., Any]]


def nothing(*_: object) -> tuple[()]:
    return ()


def no(*_: object) -> bool:
    return False


def brought(preset: str, **agency: str) -> dict[str, Any]:
    """The fifth agency brings a register of this preset, and the first rule reads it."""
    document: dict[str, Any] = {f"agencies[4].{name}": value for name, value in agency.items()}
    document |= {"agencies[4].registers": [{"id": "fifth", "preset": preset}], "rules[0].when.registers": ["fifth"]}
    return document | {"subject_kinds": ["legal", "natural"]}


BASIC = {"measures[+]": measure(id="cut-water", effect="restriction"), "rules[+]": rule("cut-water")}
ATTEMPTS: dict[str, Attempt] = {
    "1 a restriction from a score": (
        {"rules[0].when.min_points": 5},
        "rules[0].when.min_points: points bring incentives only",
        "_proportionate",
        nothing,
    ),
    "1 a restriction over a points scheme": (
        brought("civic-points"),
        "rules[0].when.registers[0]: this register may not feed a restriction",
        "_proportionate",
        nothing,
    ),
    "3 a legal basis of too low a rank": (
        {"legal_basis.rank": "central-policy"},
        "agencies[0].registers[0].preset: the agreement's legal basis is of too low a rank",
        "_suits",
        nothing,
    ),
    "4 an agreement that goes on": (
        {"valid.until": "2030-10-31"},
        "valid.until: an agreement lasts 18 months at most",
        "_months",
        lambda *_: 1,
    ),
    "4 a measure past its class's term": (
        {"measures[0].max_months": 37},
        "measures[0].max_months: a measure ends within its class's term",
        "_measures",
        nothing,
    ),
    "5 a measure graver than its grounds": (
        brought("conduct-jaywalking", kind="traffic-police"),
        "rules[0].when.registers[0]: a measure is no graver than its grounds",
        "_proportionate",
        nothing,
    ),
    "5 what is minor restricts": (
        {"measures[0].severity": "minor", "measures[0].max_months": 3},
        "measures[0].severity: what is minor never restricts",
        "_measures",
        nothing,
    ),
    "6 a register of petitioners": (
        {"agencies[4].registers": [{"id": "petitioners", "preset": "debarment"}]},
        "agencies[4].registers[0].id: no register lists speech, petition",
        "names_prohibited_ground",
        no,
    ),
    "6 a ground that no preset has": (
        {"agencies[4].registers": [{"id": "fifth", "preset": "religion"}]},
        "agencies[4].registers[0].preset: not a preset of the catalogue",
        "_registers",
        nothing,
    ),
    "11 an agency that is not competent": (
        {"agencies[1].registers[0].preset": "wage-arrears"},
        "agencies[1].registers[0].preset: the agency is not competent",
        "_suits",
        nothing,
    ),
    "11 a register of another territory": (
        {"territory": "north", "agencies[1].registers[0].territory": "south"},
        "agencies[1].registers[0].territory: a register lies within",
        "_registers",
        nothing,
    ),
    "12 the denial of a basic service": (
        BASIC,
        "measures[2].id: no measure denies schooling, utilities",
        "denies_basic_service",
        no,
    ),
}


@pytest.mark.parametrize(("edits", "reason", "guard", "instead"), ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_it_is_refused_with_its_reason_and_would_pass_without_its_guard(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edits: dict[str, Any],
    reason: str,
    guard: str,
    instead: Callable[..., Any],
) -> None:
    file, directory = tmp_path / "agreement.yaml", tmp_path / "federation"
    file.write_text(changed(edits))
    validate = ["agreement", "validate", str(file)]
    for command in (validate, ["init", str(directory), "--agreement", str(file)]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 2
        assert any(line.startswith(reason) for line in refused.stderr.splitlines()), refused.stderr
    assert not directory.exists()
    monkeypatch.setattr(validator, guard, instead)
    assert CliRunner().invoke(app, validate).exit_code == 0


def test_what_all_agencies_signed_starts_no_party_if_it_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    document = agreement()
    cut = document.measures[0].model_copy(update={"severity": "minor", "max_months": 3})
    of = established(document.model_copy(update={"measures": (cut, *document.measures[1:])}))
    data = terms_to_bytes(of.terms.agreement, of.roster)
    with pytest.raises(InvalidAgreementError, match="minor never restricts"):
        read_terms(data)
    monkeypatch.setattr(founding, "validate", nothing)
    assert read_terms(data).agreement == of.terms.agreement


def test_a_measure_for_somebody_else_has_no_field(tmp_path: Path) -> None:
    file = tmp_path / "agreement.yaml"
    for path in ("measures[0]", "rules[0]", "rules[0].when"):
        file.write_text(changed({f"{path}.relatives": ["spouse"]}))
        refused = CliRunner().invoke(app, ["agreement", "validate", str(file)])
        assert refused.exit_code == 2
        assert refused.stderr.startswith(
            f"{path}.relatives: unknown field: a measure concerns the listed subject alone"
        )
