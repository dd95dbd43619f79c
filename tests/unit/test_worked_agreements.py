"""The worked agreements are valid, say why they are as they are, and come with the package."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from api.cli import app
from api.founding import read_agreement
from protocol.agreement.layout import layout
from protocol.agreement.model import PlainLoader
from protocol.agreement.violation import InvalidAgreementError
from tests.unit.test_docs import ROOT, fenced, rows, section

GUIDE = (ROOT / "federation/docs/agreements.md").read_text()
NAMES = ["civic-rewards", "court-enforcement", "lending", "procurement", "thirty"]


def text(name: str) -> str:
    return (files("api.agreements") / f"{name}.yaml").read_text("utf-8")


def test_they_come_with_the_package() -> None:
    assert sorted(it.name for it in files("api.agreements").iterdir() if it.name.endswith(".yaml")) == [
        f"{name}.yaml" for name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_breaks_no_rule_and_explains_its_choices(name: str) -> None:
    agreement = read_agreement(text(name))
    assert agreement.id == name
    assert agreement.suite == "concordat-v1"
    assert sum("# " in line for line in text(name).splitlines()) >= 8


def test_procurement_has_five_registers_and_every_effect_side_by_side() -> None:
    agreement = read_agreement(text("procurement"))
    assert [register.preset for agency in agreement.agencies for register in agency.registers] == [
        "wage-arrears",
        "tax-rating",
        "judgment-defaulters",
        "customs",
        "environment",
    ]
    assert {measure.effect for measure in agreement.measures} == {"restriction", "notice", "incentive"}
    assert {lane.positive for lane in layout(agreement, "procurement-office").lanes} == {False, True}
    assert {lane.positive for lane in layout(agreement, "guarantee-fund").lanes} == {False}


def test_civic_rewards_takes_nothing_from_anybody() -> None:
    document = yaml.load(text("civic-rewards"), Loader=PlainLoader)  # noqa: S506  # a SafeLoader, narrowed
    assert {measure["effect"] for measure in document["measures"]} == {"incentive"}
    document["measures"][0]["effect"] = "restriction"
    with pytest.raises(InvalidAgreementError, match="points bring incentives only"):
        read_agreement(yaml.safe_dump(document))


def test_thirty_are_thirty() -> None:
    agreement = read_agreement(text("thirty"))
    assert len(agreement.agencies) == 30
    assert (len(agreement.keyholders.agencies), agreement.keyholders.threshold) == (7, 4)
    assert all(set(rule.when.registers) == {f"{it.id}-list" for it in agreement.agencies} for rule in agreement.rules)


def commands(document: str) -> list[list[str]]:
    [block] = fenced(document, "sh")
    return [line.split()[1:] for line in block.splitlines()]


def test_the_guides_commands_run() -> None:
    assert [Path(argument).stem for *_, argument in commands(GUIDE)] == sorted(NAMES, key=GUIDE.index)
    for arguments in commands(GUIDE):
        result = CliRunner().invoke(app, [*arguments[:-1], str(ROOT / arguments[-1])])
        assert (result.exit_code, result.output) == (0, "the agreement breaks no rule\n")


REFUSED = rows(section(GUIDE, "What the validator refuses, and why"), "in", "instead of", "write", "refused, since")


@pytest.mark.parametrize(("name", "instead", "write", "reason"), REFUSED, ids=lambda cell: cell.strip("`"))
def test_what_the_guide_says_is_refused_is_refused_so(name: str, instead: str, write: str, reason: str) -> None:
    assert instead.strip("`") in text(name)
    with pytest.raises(InvalidAgreementError, match=re.escape(reason)):
        read_agreement(text(name).replace(instead.strip("`"), write.strip("`")))


def test_the_guides_rule_is_one_of_the_agreement() -> None:
    [rule] = fenced(section(GUIDE, "Rules"), "yaml")
    assert rule in text("procurement")
