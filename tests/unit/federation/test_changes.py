"""What is told of a change: the form of CloudEvents 1.0, and what became of each measure."""

import json
from typing import Any

import pytest
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from federation.changes import CHANGED, changed, differences, event, lapsed, seconds, timestamp
from tests.parties import NOW

ABOUT = {"reference": "supplier one", "purpose": "award-contract", "case": "tender"}
ID = "0123456789abcdef" * 2
BAN, FLAG = ({"id": "ban", "effect": "restriction", "disputed": it} for it in (False, True))
LOOK = {"id": "look", "effect": "notice", "disputed": False}


def answer(*measures: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": "decided", "measures": list(measures), "valid_until": timestamp(NOW), "session": "5"}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ([], [BAN], [("ban", "added")]),
        ([BAN], [], [("ban", "removed")]),
        ([BAN], [FLAG], [("ban", "disputed")]),
        ([], [FLAG], [("ban", "disputed")]),
        ([FLAG], [BAN], [("ban", "settled")]),
        ([FLAG], [], [("ban", "removed")]),
        ([BAN, LOOK], [LOOK, BAN], []),
        ([BAN], [LOOK], [("look", "added"), ("ban", "removed")]),
    ],
)
def test_each_measure_is_added_removed_disputed_or_settled(before: Any, after: Any, change: Any) -> None:
    assert [(it["measure"], it["change"]) for it in differences(before, after)] == change
    data = changed(ABOUT, before, answer(*after))
    assert (data is None) == (not change)


def test_a_decision_after_a_lapse_is_told_though_nothing_applies() -> None:
    data = changed(ABOUT, None, answer())
    assert data is not None
    assert (data["before"], data["after"], data["changes"]) == ([], [], [])


def test_a_lapse_says_what_no_longer_holds_and_since_when() -> None:
    data = lapsed(ABOUT, [BAN], NOW)
    assert (data["before"], data["after"], seconds(data["valid_until"])) == ([BAN], [], NOW)


def test_the_same_change_is_the_same_event() -> None:
    assert event(CHANGED, ID, NOW, {"a": 1}, 7) == event(CHANGED, ID, NOW, {"a": 1}, 7)
    assert event(CHANGED, ID, NOW, {}, 7)["id"] != event(CHANGED, ID, NOW, {}, 8)["id"]


def test_sequences_sort_as_the_changes_came() -> None:
    numbers = [event(CHANGED, ID, NOW, {}, number)["sequence"] for number in (1, 9, 10, 123_456)]
    assert sorted(numbers) == numbers


def test_an_event_is_one_of_cloudevents_as_its_own_library_reads_it() -> None:
    document = event(CHANGED, ID, NOW, {"reference": "供应商"}, 7)
    read = JSONFormat().read(CloudEvent, json.dumps(document, ensure_ascii=False).encode())
    assert (read.get_id(), read.get_source()) == (f"{ID}-7", f"urn:concordat:portfolio:{ID}")
    assert (read.get_type(), read.get_specversion()) == (CHANGED, "1.0")
    assert read.get_extension("sequence") == "0000000007"
    assert read.get_data() == {"reference": "供应商"}
    assert read.get_time() is not None
    for missing in ("id", "source", "type"):  # the twin
        with pytest.raises(CloudEventValidationError):
            JSONFormat().read(CloudEvent, json.dumps(document | {missing: ""}).encode())
