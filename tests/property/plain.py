"""What a question's answer must be, worked out from all agencies' registers side by side, as if they were one table.

It shares no code with the nodes and the protocol: neither with a listing's states and standings, nor with lanes and
rules. It reads the agreement as the plain mapping that its YAML is. Figures of the catalogue are written down by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from nodes.listings import Listing
from protocol.identifiers import Identifier
from tests.property.lives import months, working_days

TERM_MONTHS: Final = {
    "evasion-by-means": 24,
    "debarred": 36,
    "designated": 12,
    "jaywalking": 12,
    "grade-a": 12,
    "grade-b": 12,
    "grade-d": 12,
    "award": 12,
    "enrolled": 12,
}
TERM_DAYS: Final = {"smoking": 180, "fare-evasion": 90}
COUNTED: Final = {"jaywalking": 5, "fare-evasion": 4}  # so many within twelve months
AT_ONCE: Final = {"designated", "award", "enrolled"}  # all others after ten working days
POSITIVE: Final = {"grade-a", "award", "enrolled"}
WITHOUT_EFFECT: Final = {"grade-b"}
ONE_AT_A_TIME: Final = {"grade-a", "grade-b", "grade-d", "enrolled"}
ENDED: Final = {"repair", "revoke", "leave", "correct"}


@dataclass
class Row:
    """A row of a register, and what happened to it since: what, and the day that it is about."""

    listing: Listing
    reference: str
    events: list[tuple[str, date]] = field(default_factory=list)

    def on(self, *names: str) -> date | None:
        """The day of the last of these events."""
        return next((day for name, day in reversed(self.events) if name in names), None)

    def is_open(self, opening: set[str], closing: str) -> bool:
        """Whether the last of these events is an opening one."""
        return next((name in opening for name, _ in reversed(self.events) if name in {*opening, closing}), False)


def effect(row: Row, day: date) -> str | None:
    """`active` or `disputed`, or None if the row does nothing on this day."""
    ground = row.listing.ground
    served = row.listing.served_on or row.on("serve")
    if served is None or any(name in ENDED for name, _ in row.events) or row.is_open({"suspend"}, "resume"):
        return None
    if ground not in COUNTED and day > end(row):
        return None
    if day < served or (ground not in AT_ONCE and day <= working_days(served, 10)):
        return None
    for request, answered in (("object", 7), ("request-correction", 10 if ground == "evasion-by-means" else 15)):
        asked = row.on(request)
        if asked and row.is_open({request}, "reject"):
            return "disputed" if day <= working_days(asked, answered) else None
    return "active"


def end(row: Row) -> date:
    """The last day of the term."""
    start = row.on("renew") or row.listing.decided_on
    if row.listing.expires_on:
        return row.listing.expires_on
    if row.listing.ground in TERM_DAYS:
        return start + timedelta(days=TERM_DAYS[row.listing.ground])
    return months(start, TERM_MONTHS[row.listing.ground])


def in_register(rows: Sequence[Row], day: date) -> list[tuple[Listing, str]]:
    """What stands against or for one subject in one register: listings, and whether active or disputed."""
    having = [(row, found) for row in rows if (found := effect(row, day))]
    if any(row.listing.ground in ONE_AT_A_TIME for row, _ in having):
        having = [max(having, key=lambda it: (it[0].listing.decided_on, it[0].reference))]
    standing = [(row.listing, found) for row, found in having if row.listing.ground not in {*COUNTED, *WITHOUT_EFFECT}]
    for ground, least in COUNTED.items():
        counted = [(row, found) for row, found in having if row.listing.ground == ground]
        firm = [row for row, found in counted if found == "active"]
        if last := reached(firm, least, day):
            standing.append((last.listing, "active"))
        elif last := reached([row for row, _ in counted], least, day):
            standing.append((last.listing, "disputed"))
    return standing


def reached(rows: Sequence[Row], least: int, day: date) -> Row | None:
    """An infringement that made the number full within twelve months, if its own term still runs."""
    for last in rows:
        until = last.listing.decided_on
        year = [row for row in rows if months(until, -12) < row.listing.decided_on <= until]
        if len(year) >= least and day <= end(last):
            return last
    return None


def decision(
    agreement: Mapping[str, Any], rows: Sequence[Row], subject: Identifier, requester: str, day: date
) -> dict[str, str]:
    """What the requester must be told of each measure that it implements: `none`, `applies` or `disputed`."""
    own = [row for row in rows if subject in row.listing.identifiers]
    brings = {register["id"]: agency["id"] for agency in agreement["agencies"] for register in agency["registers"]}
    standing = {
        register: in_register([row for row in own if row.listing.register == register], day) for register in brings
    }
    for pause in agreement["moratoria"]:
        for register in pause.get("registers", ()):
            if day <= date.fromisoformat(pause["until"]):
                standing[register] = [
                    (listing, found)
                    for listing, found in standing[register]
                    if listing.subject_kind not in pause.get("subject_kinds", ["legal", "natural"])
                ]
    [implements] = [it["implements"] for it in agreement["requesters"] if it["id"] == requester]
    answer: dict[str, str] = {}
    for measure in agreement["measures"]:
        if measure["id"] not in implements:
            continue
        found = {
            outcome(agreement, rule["when"], measure, brings, standing)
            for rule in agreement["rules"]
            if rule["measure"] == measure["id"]
        }
        paused = any(
            measure["id"] in pause.get("measures", ()) and day <= date.fromisoformat(pause["until"])
            for pause in agreement["moratoria"]
        )
        answer[measure["id"]] = (
            "none" if paused else next(it for it in ("applies", "disputed", "none") if it in {*found, "none"})
        )
    return answer


def outcome(
    agreement: Mapping[str, Any],
    when: Mapping[str, Any],
    measure: Mapping[str, Any],
    brings: Mapping[str, str],
    standing: Mapping[str, Sequence[tuple[Listing, str]]],
) -> str:
    """What one rule says."""
    counted = [
        (brings[register], listing, found)
        for register in when["registers"]
        for listing, found in standing[register]
        if (listing.ground in POSITIVE) == (measure["effect"] == "incentive")
        and {"agency": brings[register], "measure": measure["id"]} not in agreement["opt_outs"]
    ]
    firm = {agency for agency, _, found in counted if found == "active"}
    either = {agency for agency, _, _ in counted}
    weight = sum(listing.severity for _, listing, found in counted if found == "active")
    points = sum(listing.points or 0 for _, listing, found in counted if found == "active")
    least = when.get("min_agencies", 1)
    if len(firm) >= least and weight >= when.get("min_weight", 0) and points >= when.get("min_points", 0):
        return "applies"
    return "disputed" if either - firm and len(either) >= least else "none"
