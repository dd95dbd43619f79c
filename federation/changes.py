"""What a requester is told about a portfolio: changes of decisions as CloudEvents 1.0 (JSON format, structured mode).

An event names its subject by the requester's own reference, never by an identifier. It is worded once, when it is
committed, and is sent as it stands however often: its `id` is what a receiver knows a repetition by. Pure: what was,
what is and the time are passed in.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

CHANGED: Final = "org.concordat.decision.changed"
"""Measures apply, or are disputed, otherwise than before; or a lapsed decision was made anew."""
LAPSED: Final = "org.concordat.decision.lapsed"
"""A decision lapsed and there is none after it: nothing follows about the subject any more."""
OUTDATED: Final = "org.concordat.portfolio.outdated"
"""A new epoch began: the subjects must be handed in again, or their decisions lapse."""

MEDIA_TYPE: Final = "application/cloudevents+json"

Measure = Mapping[str, Any]
Event = dict[str, Any]


def differences(before: Sequence[Measure], after: Sequence[Measure]) -> list[dict[str, str]]:
    """What changed for each measure: added, removed, disputed (it may apply, and does not now), settled (it does)."""
    was, is_ = _effects(before), _effects(after)
    return [
        {"measure": measure, "change": _change(was.get(measure), is_.get(measure))}
        for measure in [*is_, *(gone for gone in was if gone not in is_)]
        if was.get(measure) != is_.get(measure)
    ]


def changed(about: Mapping[str, str], before: Sequence[Measure] | None, answer: Mapping[str, Any]) -> Event | None:
    """The data of a change to the gateway's `answer`; None where there is none.

    `about` says what it is about (reference, purpose, case). `before` is None where the decision before has lapsed: a
    new one is told whatever it says.
    """
    after = answer["measures"]
    changes = differences(before or [], after)
    if before is not None and not changes:
        return None
    told = {name: value for name, value in answer.items() if name not in {"outcome", "measures"}}
    return {**about, "before": before or [], "after": after, "changes": changes, **told}


def lapsed(about: Mapping[str, str], before: Sequence[Measure], valid_until: int) -> Event:
    """The data of a lapse at `valid_until` (Unix seconds)."""
    return {**about, "before": list(before), "after": [], "valid_until": timestamp(valid_until)}


def event(kind: str, portfolio: str, now: int, data: Mapping[str, Any], number: int) -> Event:
    """An event, the portfolio's `number`th; the same number is the same event, whenever it is sent."""
    return {
        "specversion": "1.0",
        "id": f"{portfolio}-{number}",
        "source": f"urn:concordat:portfolio:{portfolio}",
        "type": kind,
        "time": timestamp(now),
        "sequence": f"{number:010d}",  # CloudEvents' extension of that name: texts that sort as they came
        "datacontenttype": "application/json",
        "data": dict(data),
    }


def timestamp(seconds: int) -> str:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(stamp: str) -> int:
    """The reverse."""
    return int(datetime.fromisoformat(stamp).timestamp())


def _effects(measures: Sequence[Measure]) -> dict[str, bool]:
    return {measure["id"]: measure["disputed"] for measure in measures}


def _change(was_disputed: bool | None, is_disputed: bool | None) -> str:
    if is_disputed is None:
        return "removed"
    if is_disputed:
        return "disputed"
    return "added" if was_disputed is None else "settled"
