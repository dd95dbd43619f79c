"""The privacy documents point at what is there: claims of the audit, tests, sections of threat model and specification.

Every check is a function from a document's text to what is wrong with it; beside the real document each is given one
with a fault planted, which it must find.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.audit.claims import all_claims
from nodes.storage.state import GRACE
from protocol.agreement.validator import LONGEST_DECISION, MAX_VALID_MONTHS
from protocol.wire import MAX_LIFETIME
from tests.unit.test_docs import rows, section

ROOT = Path(__file__).parents[2]
DPIA = (ROOT / "federation/docs/privacy/dpia.md").read_text()
LINDDUN = (ROOT / "federation/docs/privacy/linddun.md").read_text()
THREATS = (ROOT / "protocol/spec/threat-model.md").read_text()
SPECIFICATION = (ROOT / "protocol/spec/concordat-v1.md").read_text()

CATEGORIES = {
    "L": "Linking",
    "I": "Identifying",
    "N": "Non-repudiation",
    "D": "Detecting",
    "DD": "Data disclosure",
    "U": "Unawareness and unintervenability",
    "NC": "Non-compliance",
}
CLAIMS = {claim.name for claim in all_claims()}

# Pointers


def sections(document: str) -> set[str]:
    """The numbers of a document's sections, and of the items of the threat model's list of residual risks."""
    numbers = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", document, flags=re.MULTILINE))
    return numbers | {f"5.{item}" for item in residual_risks(document)}


def residual_risks(document: str) -> list[str]:
    found = re.search(r"^## 5\. Residual risks.*?(?=^## )", document, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(\d+)\. \*\*", found[0], flags=re.MULTILINE) if found else []


def pointed_sections(document: str) -> Iterator[tuple[str, str]]:
    """Each section that is named, with its document: `threat model §5.8 and §5.7` names two."""
    for words, many in re.findall(r"(threat model|specification)((?:[,:;]?(?: and)? §\d+(?:\.\d+)*)+)", document):
        for number in re.findall(r"\d+(?:\.\d+)*", many):
            yield words, number


def wrong_pointers(document: str) -> list[str]:
    there = {"threat model": sections(THREATS), "specification": sections(SPECIFICATION)}
    claims = [f"claim {name}" for name in re.findall(r"\bclaim `([^`]+)`", document) if name not in CLAIMS | {"name"}]
    tests = [
        f"test {path}"
        for path in re.findall(r"\btest `([^`]+)`", document)
        if path != "path" and not (ROOT / path).is_file()
    ]
    return claims + tests + [f"{words} §{it}" for words, it in pointed_sections(document) if it not in there[words]]


@pytest.mark.parametrize("document", [DPIA, LINDDUN], ids=["dpia", "linddun"])
def test_every_pointer_leads_somewhere(document: str) -> None:
    assert wrong_pointers(document) == []
    assert len(re.findall(r"\bclaim `", document)) > 10
    assert len(list(pointed_sections(document))) > 5


@pytest.mark.parametrize(
    ("said", "instead", "wrong"),
    [
        ("claim `linkage`", "claim `linking`", "claim linking"),
        ("threat model §5.13", "threat model §5.99", "threat model §5.99"),
        ("§5.8 and §5.7", "§5.8 and §5.77", "threat model §5.77"),
        ("specification §10", "specification §11", "specification §11"),
        ("threat model §2.4", "threat model §2.8", "threat model §2.8"),
        ("tests/unit/test_certificate.py", "tests/unit/test_certain.py", "test tests/unit/test_certain.py"),
    ],
)
def test_a_pointer_to_nothing_would_be_found(said: str, instead: str, wrong: str) -> None:
    assert said in LINDDUN
    assert wrong in wrong_pointers(LINDDUN.replace(said, instead))


# LINDDUN


def threats(document: str) -> list[tuple[str, list[str]]]:
    """Each threat with the prefix of its category."""
    return [
        (prefix, row)
        for prefix, title in CATEGORIES.items()
        for row in rows(section(document, title), "no.", "element", "threat", "met by")
    ]


def wrong_threats(document: str) -> list[str]:
    elements = {name for name, _ in rows(section(document, "Elements"), "element", "holds")}
    numbers: dict[str, int] = dict.fromkeys(CATEGORIES, 0)
    wrong = []
    for prefix, (number, element, threat, met) in threats(document):
        numbers[prefix] += 1
        if number != f"{prefix}{numbers[prefix]}" or not threat:
            wrong.append(f"{number}: not the next of its category, or says nothing")
        if element not in elements:
            wrong.append(f"{number}: no element of the data flow")
        if not re.search(r"claim `|test `|accepted: (threat model|specification) §", met):
            wrong.append(f"{number}: points at nothing")
    return wrong + [f"{CATEGORIES[prefix]}: no threat" for prefix, count in numbers.items() if not count]


def test_every_category_has_threats_over_the_elements_and_each_is_met_or_accepted() -> None:
    assert wrong_threats(LINDDUN) == []
    assert {row[1] for _, row in threats(LINDDUN)} == {
        name for name, _ in rows(section(LINDDUN, "Elements"), "element", "holds")
    }


@pytest.mark.parametrize(
    ("said", "instead", "wrong"),
    [
        ("| L2 | coordinator |", "| L2 | courier |", "L2: no element"),
        ("| claim `linkage` |", "| it is safe |", "L1: points at nothing"),
        ("| NC9 |", "| NC8 |", "NC8: not the next"),
        ("accepted: threat model §2.2.", "nobody would do it", "NC3: points at nothing"),
    ],
)
def test_a_threat_that_is_not_met_would_be_found(said: str, instead: str, wrong: str) -> None:
    assert said in LINDDUN
    assert any(it.startswith(wrong) for it in wrong_threats(LINDDUN.replace(said, instead)))


def test_a_category_without_threats_would_be_found() -> None:
    without = re.sub(r"^\| D\d+ .*\n", "", LINDDUN, flags=re.MULTILINE)
    assert wrong_threats(without) == ["Detecting: no threat"]


def unnamed(document: str) -> list[str]:
    """Claims and residual risks that the document does not name."""
    named = set(re.findall(r"\bclaim `([^`]+)`", document))
    risks = {f"5.{item}" for item in residual_risks(THREATS)} - set(re.findall(r"§(5\.\d+)", document))
    return sorted(CLAIMS - named) + sorted(risks)


def test_every_claim_and_every_residual_risk_is_named() -> None:
    assert len(residual_risks(THREATS)) > 20
    assert unnamed(LINDDUN) == []
    assert unnamed(LINDDUN.replace("claim `linkage`", "").replace("§5.15", "")) == ["linkage", "5.15"]


# DPIA

ARTICLE = {
    "(Art. 35(7)(a))": "Systematic description",
    "(Art. 35(7)(b))": "Necessity and proportionality",
    "(Art. 35(7)(c) and (d))": "Risks and measures",
}
CRITERIA = 9


def missing_parts(document: str) -> list[str]:
    """What Article 35 and WP 248 ask for and the document has not, each part with a blank to fill."""
    headings = re.findall(r"^## \d+\. (.*)$", document, flags=re.MULTILINE)
    parts = re.split(r"^## ", document, flags=re.MULTILINE)[1:]
    missing = [title for paragraph, title in ARTICLE.items() if f"{title} {paragraph}" not in headings]
    determined = ("8. What is missing",)
    missing += [it.splitlines()[0] for it in parts if "**[AGENCIES: " not in it and not it.startswith(determined)]
    criteria = rows(section(document, "1. Whether an assessment is needed"), "criterion of WP 248", "met")
    missing += ["criteria"] * (len(criteria) != CRITERIA)
    articles = ("Art. 26", "Art. 28", "Art. 36", "Art. 22", "Art. 6", "Art. 9", "Art. 10", "Chapter V", "Art. 35(11)")
    return missing + [article for article in articles if article not in document]


def test_the_assessment_has_every_part_with_blanks_for_the_agencies() -> None:
    assert missing_parts(DPIA) == []
    assert len(re.findall(r"\[AGENCIES: [^\]]+\]\*\*", DPIA)) == DPIA.count("[AGENCIES: ") > 30


@pytest.mark.parametrize(
    ("said", "instead", "missing"),
    [
        ("(Art. 35(7)(b))", "", "Necessity and proportionality"),
        ("| systematic monitoring |", "\n| systematic monitoring |", "criteria"),
        ("(Art. 26", "(Art. 25", "Art. 26"),
        ("**[AGENCIES: whether any party, its", "**[whether any party, its", "9. Transfers (Chapter V)"),
    ],
)
def test_a_part_that_is_not_there_would_be_found(said: str, instead: str, missing: str) -> None:
    assert said in DPIA
    assert missing in missing_parts(DPIA.replace(said, instead))


def wrong_figures(document: str) -> list[str]:
    text = " ".join(document.split())
    figures = [
        f"{GRACE} seconds after its message expires, which is {MAX_LIFETIME} seconds after it was signed",
        f"valid for at most {LONGEST_DECISION.days} days",
        f"after {MAX_VALID_MONTHS} months at the latest",
    ]
    return [figure for figure in figures if figure not in text]


def test_the_times_of_retention_are_those_of_the_code() -> None:
    assert wrong_figures(DPIA) == []
    assert len(wrong_figures(DPIA.replace("3600", "7200").replace("31 days", "30 days").replace("18 m", "12 m"))) == 3


@pytest.mark.parametrize("read", [threats, wrong_threats, missing_parts], ids=lambda read: str(read.__name__))
def test_a_section_that_is_gone_is_a_failure(read: Callable[[str], object]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read("# Nothing\n")
