"""Every claim of the privacy audit, on small samples: it holds, and the leak that its control plants is caught."""

from collections.abc import Iterator

import pytest

from api.audit.claim import Claim
from api.audit.claims import all_claims
from api.audit.grounds import Grounds, Scale

SEED = 20261120
LONG = {"quota", "replay"}  # they kill and restart processes for most of a minute each
each = pytest.mark.parametrize(
    "claim",
    [pytest.param(it, id=it.name, marks=[pytest.mark.full] * (it.name in LONG)) for it in all_claims()],
    scope="module",  # a claim and its control one after the other: what they play once is one process's
)


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with Grounds(Scale.CI, SEED, tmp_path_factory.mktemp("audit")) as made:
        yield made


@each
def test_the_claim_holds(claim: Claim, grounds: Grounds) -> None:
    evidence = claim.measure(grounds)
    assert not evidence.breached, (evidence.findings, evidence.figures)


@each
def test_the_planted_leak_is_caught(claim: Claim, grounds: Grounds) -> None:
    evidence = claim.control(grounds)
    assert evidence.breached, (evidence.findings, evidence.figures)
