"""Thirty agencies answer one question, rightly, and each more costs as much as the one before."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import pytest
import yaml

from api.founding import read_agreement
from api.local import LocalFederation
from nodes.listings import Listing
from protocol.identifiers import Identifier
from protocol.messages import Effect
from tests.federations import FIGURES, Clock, firm
from tests.parties import established
from tests.unit.nodes.builders import make_listing

PLATFORM, PURPOSE = "procurement-platform", "award-contract"
NOBODY, ONCE, TWICE, TWICE_AT_ONE, DISPUTED, ONCE_AND_DISPUTED, EVERYWHERE = subjects = [firm(it) for it in range(7)]
ROUNDS = 7
SIZES = (3, 16, 30)  # agencies
BEND = 1.8  # of costs that grow with the square it would be 2.4


def thirty(count: int = 30) -> dict[str, Any]:
    """The worked agreement on small keys, of its first `count` agencies."""
    document: dict[str, Any] = yaml.safe_load((files("api.agreements") / "thirty.yaml").read_text("utf-8"))
    document["valid"] = {name: str(day) for name, day in document["valid"].items()}
    document |= {"suite": "concordat-v1-insecure-test", "anonymity": FIGURES}
    document["agencies"] = document["agencies"][:count]
    brought = [register["id"] for agency in document["agencies"] for register in agency["registers"]]
    for rule in document["rules"]:
        rule["when"]["registers"] = [*brought]
    return document


@contextmanager
def federation(folder: Path, document: dict[str, Any]) -> Iterator[LocalFederation]:
    local = LocalFederation(established(read_agreement(yaml.safe_dump(document))), folder, Clock(), secrets.token_bytes)
    try:
        asyncio.run(local.start())
        yield local
    finally:
        local.close()


def listing(agency: str, subject: Identifier, decision: str = "D 1") -> Listing:
    return make_listing(register=f"{agency}-list", identifiers=(subject,), decision_ref=decision)


def decisions(local: LocalFederation, *asked: Identifier) -> list[dict[str, str]]:
    answers = asyncio.run(local.requesters[PLATFORM].check(asked, PURPOSE, "tender 7"))
    return [{name: Effect(effect).name.lower() for name, effect in it.body.measures.items()} for it in answers]


def test_thirty_agencies_answer_rightly(tmp_path: Path) -> None:
    with federation(tmp_path, thirty()) as local:
        agencies = local.terms.agencies
        assert len(agencies) == 30
        first, last = agencies[0], agencies[-1]
        for agency in agencies:
            listed = [listing(agency, EVERYWHERE)]
            if agency == first:
                listed += [listing(agency, it) for it in (ONCE, TWICE, DISPUTED, ONCE_AND_DISPUTED)]
                listed += [listing(agency, TWICE_AT_ONE, decision) for decision in ("D 1", "D 2")]
            if agency == last:
                listed += [listing(agency, TWICE), listing(agency, ONCE_AND_DISPUTED)]
            asyncio.run(local.enter(agency, listed))
        local.dispute(first, DISPUTED)
        local.dispute(last, ONCE_AND_DISPUTED)
        answers = decisions(local, *subjects)
        assert [(it["exclude-from-award"], it["extra-scrutiny"]) for it in answers] == [
            ("none", "none"),
            ("none", "applies"),
            ("applies", "applies"),
            ("none", "applies"),  # two listings of one agency are one agency
            ("none", "disputed"),
            ("disputed", "applies"),
            ("applies", "applies"),
        ]


def costs(folder: Path) -> dict[int, float]:
    """CPU milliseconds of one question about one subject by number of agencies: all parties, proofs and databases."""
    spent: dict[int, list[float]] = {count: [] for count in SIZES}
    with ExitStack() as stack:
        locals_ = {}
        for count in SIZES:
            document = thirty(count)
            # Always the same three keyholders: what is measured is an agency more.
            document["keyholders"] = {"agencies": [it["id"] for it in document["agencies"][:3]], "threshold": 2}
            local = locals_[count] = stack.enter_context(federation(folder / str(count), document))
            for agency in local.terms.agencies:
                asyncio.run(local.enter(agency, [listing(agency, EVERYWHERE)]))
            decisions(local, EVERYWHERE)
        for _ in range(ROUNDS):  # in turn, so that a busy machine is as busy for all
            for count, local in locals_.items():
                start = process_time()
                decisions(local, EVERYWHERE)
                spent[count].append(1000 * (process_time() - start))
    return {count: median(times) for count, times in spent.items()}


def steps(costs: dict[int, float]) -> list[float]:
    """What an agency more costs, between each two sizes."""
    return [(costs[after] - costs[before]) / (after - before) for before, after in pairwise(costs)]


def bend(costs: dict[int, float]) -> float:
    """By how much an agency more costs in the larger federation: 1 on a line."""
    smaller, larger = steps(costs)
    return larger / smaller


def test_an_agency_more_costs_the_same_among_three_and_among_thirty(tmp_path: Path) -> None:
    measured = costs(tmp_path)
    figures = ", ".join(f"{count}: {spent:.1f} ms" for count, spent in measured.items())
    more = " and ".join(f"{step:.2f} ms" for step in steps(measured))
    print(f"CPU a question by agencies: {figures}; an agency more: {more}")  # noqa: T201  # for pytest -s
    assert 1 / BEND < bend(measured) < BEND


def test_a_cost_that_grows_with_the_square_would_be_seen() -> None:
    assert bend({count: 20 + 5 * count for count in SIZES}) == pytest.approx(1)
    assert bend({count: 20 + 5 * count**2 for count in SIZES}) > BEND
