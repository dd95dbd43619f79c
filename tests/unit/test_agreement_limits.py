"""What opt-outs and moratoria take away: by measure, by register, by kind of subject, and until which day."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from protocol.agreement.limits import condition, listing_is_suspended, measure_is_suspended
from protocol.agreement.model import Agreement, Moratorium, OptOut, SubjectKind, parse

EXAMPLE = parse((Path(__file__).parent / "data/procurement.yaml").read_text())
LAST = date(2027, 1, 31)


def suspending(
    registers: tuple[str, ...] | None = None,
    measures: tuple[str, ...] | None = None,
    kinds: tuple[SubjectKind, ...] | None = None,
) -> Agreement:
    moratorium = Moratorium(registers=registers, measures=measures, subject_kinds=kinds, until=LAST, legal_basis="s. 9")
    return EXAMPLE.model_copy(update={"moratoria": (moratorium,), "subject_kinds": ("legal", "natural")})


def test_a_condition_is_what_the_rule_names_as_a_set_without_whoever_opted_out_of_its_measure() -> None:
    exclude, scrutiny = EXAMPLE.rules
    assert condition(EXAMPLE, scrutiny) == ("quality", "tax-default", "wage-arrears")
    opted_out = EXAMPLE.model_copy(update={"opt_outs": (OptOut(agency="tax", measure=scrutiny.measure),)})
    assert condition(opted_out, scrutiny) == ("quality", "wage-arrears")
    assert condition(opted_out, exclude) == condition(EXAMPLE, exclude)


@pytest.mark.parametrize(("days", "suspended"), [(-400, True), (0, True), (1, False)])
def test_a_moratorium_holds_through_its_last_day(days: int, suspended: bool) -> None:
    day = LAST + timedelta(days=days)
    assert measure_is_suspended(suspending(measures=("extra-scrutiny",)), "extra-scrutiny", day) is suspended
    assert listing_is_suspended(suspending(registers=("quality",)), "quality", "legal", day) is suspended


def test_it_suspends_what_it_names_and_nothing_else() -> None:
    people = suspending(registers=("quality",), kinds=("natural",))
    assert listing_is_suspended(people, "quality", "natural", LAST)
    assert not listing_is_suspended(people, "quality", "legal", LAST)
    assert not listing_is_suspended(people, "tax-default", "natural", LAST)
    assert not measure_is_suspended(people, "extra-scrutiny", LAST)
    assert not measure_is_suspended(suspending(measures=("extra-scrutiny",)), "exclude-from-award", LAST)


def test_whom_an_agreement_is_not_about_it_never_counts() -> None:
    assert listing_is_suspended(EXAMPLE, "quality", "natural", LAST)
    assert not listing_is_suspended(EXAMPLE, "quality", "legal", LAST)
