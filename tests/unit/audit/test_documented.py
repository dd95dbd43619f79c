"""The audit's pages list exactly the claims there are, and the leakage table as it is declared."""

import re
from pathlib import Path

from api.audit.claims import all_claims
from federation.audit.leakage import inserted

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "federation/docs/privacy/audit.md").read_text()


def listed(page: str) -> list[tuple[int, str]]:
    return [(int(item), name) for item, name in re.findall(r"^\| (\d+) \| `([a-z-]+)` \|$", page, flags=re.MULTILINE)]


def built() -> list[tuple[int, str]]:
    return [(claim.number, claim.name) for claim in all_claims()]


def test_every_claim_is_listed_with_its_item_in_order() -> None:
    assert listed(PAGE) == built()


def test_a_claim_that_is_listed_otherwise_would_be_found() -> None:
    for said, instead in (("| 9 |", "| 8 |"), ("`linkage`", "`linking`"), ("| 15 | `bad-moduli` |\n", "")):
        assert said in PAGE
        assert listed(PAGE.replace(said, instead)) != built()


def test_each_claim_says_all_of_itself_in_sentences() -> None:
    for claim in all_claims():
        for text in (claim.statement, claim.attack, claim.sizing, claim.planted):
            assert text.endswith((".", ".)")), claim.name
            assert text == " ".join(text.split()), claim.name


def test_readme_and_the_page_of_fields_print_the_declared_leakage_table() -> None:
    for page, fields in (("README.md", False), ("federation/docs/privacy/leakage.md", True)):
        text = (ROOT / page).read_text()
        assert inserted(text, fields=fields) == text, page
        assert inserted(text.replace("who; whether it matched", "who it was"), fields=fields) == text
