"""Listings for tests; every field may be overridden."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from nodes.listings import Listing
from protocol.identifiers import canonical

USCC = "91110000600037341L"
LEI = "213800KUD8LAJWSQ9D15"

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def make_listing(**changes: Any) -> Listing:
    listing = Listing(
        register="exclusions",
        subject_kind="legal",
        name="Acme Ltd",
        identifiers=(canonical("cn.uscc", USCC),),
        ground="debarred",
        decision_ref="D 17/2026",
        decided_on=date(2026, 1, 5),
        served_on=date(2026, 1, 9),
        severity=2,
    )
    return replace(listing, **changes)
