"""Random lives of listings in a portfolio: whoever replays its feed has what a plain evaluation gives at every run."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.life import Act
from nodes.lifecycle import State
from nodes.storage.portfolios import Open
from protocol.identifiers import Identifier
from tests.gateways import firm
from tests.watching import DAY, HEAD, HOUR, Watching

SUBJECTS = {f"s{number}": firm(100 + number) for number in range(3)}
AGENCIES = ("tax", "labour")
EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))

# What happens to a subject at an agency, or an agency that goes away for a while; then a run, so many hours later.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "dispute", "reject", "revoke", "away", "back", "nothing"]),
        st.sampled_from(AGENCIES),
        st.sampled_from(sorted(SUBJECTS)),
        st.sampled_from([1, 6, 12, 26]),
    ),
    min_size=3,
    max_size=7,  # disputes stay within their deadline
)

TAKEN: dict[str, tuple[Act, set[State]]] = {
    "dispute": (Act.OBJECT, {State.ACTIVE}),
    "reject": (Act.REJECT, {State.DISPUTED}),
    "revoke": (Act.REVOKE, {State.ACTIVE, State.DISPUTED}),
}

Step = tuple[str, str, str, int]
Measures = dict[str, dict[str, bool] | None]


class Plain:
    """Every listing as a state of its own; what a run must find follows by hand. None of the nodes' code is used."""

    def __init__(self) -> None:
        self.listings: dict[tuple[str, str], list[str]] = {}
        self.away: set[str] = set()

    def apply(self, act: str, agency: str, reference: str) -> None:
        own = self.listings.setdefault((agency, reference), [])
        after = {"dispute": ("active", "disputed"), "reject": ("disputed", "active")}.get(act)
        if act == "enter":
            own.append("active")
        elif act == "revoke":
            own.clear()
        elif after:
            own[:] = [after[1] if it == after[0] else it for it in own]

    def measures(self, reference: str) -> dict[str, bool]:
        """Which measures apply, and of each whether only disputed listings make it so.

        Exclude needs one agency, scrutinise two and a weight of four (a listing's is two).
        """
        found = {}
        for measure, agencies in (("exclude", 1), ("scrutinise", 2)):
            for disputed, states in ((False, {"active"}), (True, {"active", "disputed"})):
                listing = [it for it in AGENCIES if states & set(self.listings.get((it, reference), []))]
                if len(listing) >= agencies:
                    found[measure] = disputed
                    break
        return found


def replayed(events: list[dict[str, Any]]) -> Measures:
    """What a receiver comes to that goes by the feed alone."""
    state: Measures = {reference: {} for reference in SUBJECTS}
    for event in events:
        data = event["data"]
        lapsed = event["type"].endswith("lapsed")
        before = state[data["reference"]]
        assert before is None or {it["id"]: it["disputed"] for it in data["before"]} == before
        state[data["reference"]] = None if lapsed else {it["id"]: it["disputed"] for it in data["after"]}
    return state


def live(folder: Path, steps: list[Step]) -> None:
    """Let it all happen, and hold the feed against the plain evaluation after every run."""
    watching, plain = Watching(folder, SUBJECTS), Plain()
    handlers = watching.office.federation.network._handlers
    nodes = {agency: handlers[agency] for agency in AGENCIES}
    expected: Measures = {reference: {} for reference in SUBJECTS}
    decided = dict.fromkeys(SUBJECTS, watching.office.clock.now)
    for number, (act, agency, reference, hours) in enumerate(steps):
        subject = SUBJECTS[reference]
        plain.apply(act, agency, reference)
        if act in {"away", "enter", "back"}:
            handlers.update(nodes)
            plain.away = {agency} if act == "away" else set()
        if act == "enter":
            watching.enter(agency, subject, decision_ref=f"D {number}", severity=2)
        elif act == "away":
            handlers.pop(agency)
        elif act in TAKEN:
            take(watching, agency, subject, *TAKEN[act])
        watching.start()  # whatever this process knew, the next one does not
        watching.later(hours * HOUR)
        now = watching.office.clock.now
        for it in SUBJECTS:
            if now >= decided[it] + 6 * HOUR and not plain.away:
                expected[it], decided[it] = plain.measures(it), now
            elif now >= decided[it] + DAY:
                expected[it] = None
        assert replayed(watching.events()) == expected


def take(watching: Watching, agency: str, subject: Identifier, act: Act, states: set[State]) -> None:
    """Take a step with all of a subject's listings at an agency that are in one of these states."""
    register = watching.office.federation.registers[agency]
    for record in register.find([subject]):
        if register.state(record) in states:
            register.act(record.reference, act, HEAD)


@pytest.mark.full
@EXAMPLES
@given(STEPS)
def test_the_replay_of_the_feed_is_the_plain_evaluation_at_each_run(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        live(Path(folder), steps)


EVERYTHING: list[Step] = [
    ("enter", "tax", "s0", 6),
    ("enter", "labour", "s0", 6),
    ("dispute", "tax", "s0", 6),
    ("reject", "tax", "s0", 6),
    ("revoke", "labour", "s0", 6),
    ("away", "tax", "s1", 26),
    ("back", "tax", "s1", 1),
]


def test_a_life_with_everything_in_it(tmp_path: Path) -> None:
    live(tmp_path, EVERYTHING)


def keeps_removals_to_itself(data: dict[str, Any]) -> bool:
    return any(it["change"] == "removed" for it in data.get("changes", []))


def forgets_lapses(data: dict[str, Any]) -> bool:
    return "changes" not in data


def forgets_disputes(data: dict[str, Any]) -> bool:
    return any(it["change"] == "disputed" for it in data.get("changes", []))


@pytest.mark.parametrize("swallows", [keeps_removals_to_itself, forgets_lapses, forgets_disputes])
def test_a_change_that_is_swallowed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swallows: Callable[[dict[str, Any]], bool]
) -> None:
    """The twin."""
    tell = Open.tell

    def forgetful(self: Open, document: Callable[[int], dict[str, Any]], now: int) -> None:
        if not swallows(document(0)["data"]):
            tell(self, document, now)

    monkeypatch.setattr(Open, "tell", forgetful)
    with pytest.raises(AssertionError):
        live(tmp_path, EVERYTHING)
