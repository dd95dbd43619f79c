"""A naive model of listings' lives: the list of what happened, from which all is worked out anew at every look.

It shares no code with the nodes: neither the state machine, nor the clocks, nor the counting. The figures are those of
the catalogue, written down by hand.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from nodes.listings import Listing

THRESHOLD: Final = 2  # infringements, so that random lives reach it
TERM: Final = {"exclusions": 36, "jaywalking": 12, "sanctions": 12, "scheme": 12}  # months
WINDOW: Final = {"exclusions": 10, "jaywalking": 10}  # working days
REPAIRABLE_AFTER: Final = {"exclusions": 3, "jaywalking": 0, "sanctions": 0}  # one part in so many; 0 is at once
ANSWERED: Final = {"object": 7, "request-correction": 15, "request-repair": 10}  # working days
PRESETS: Final = {"exclusions": "debarment", "jaywalking": "conduct-jaywalking", "sanctions": "sanctions"}
ENDS: Final = {"repair": "repaired", "revoke": "revoked", "leave": "revoked", "correct": "corrected"}
OPEN: Final = {"notified", "active", "disputed", "suspended"}
BEYOND_NOTICE: Final = OPEN - {"notified"}
FROM: Final = {
    "serve": {"draft"},
    "object": OPEN,
    "request-correction": OPEN,
    "reject": OPEN,
    "correct": OPEN | {"draft"},
    "revoke": OPEN | {"draft"},
    "request-repair": BEYOND_NOTICE,
    "refuse-repair": BEYOND_NOTICE,
    "repair": BEYOND_NOTICE,
    "suspend": OPEN,
    "resume": {"suspended"},
    "renew": OPEN | {"expired", "revoked"},
    "leave": OPEN | {"expired"},
    "access": OPEN | {"draft", "repaired", "expired", "revoked", "corrected"},
    "erase": {"repaired", "expired", "revoked", "corrected"},
}
DECISIONS: Final = {"reject", "correct", "revoke", "repair", "refuse-repair"}


def working_days(start: date, count: int) -> date:
    day = start
    while count:
        day += timedelta(days=1)
        count -= day.weekday() < 5
    return day


def months(start: date, count: int) -> date:
    year, month = start.year, start.month
    for _ in range(abs(count)):
        month += 1 if count > 0 else -1
        year, month = (year + 1, 1) if month == 13 else (year - 1, 12) if month == 0 else (year, month)
    for day in range(start.day, 0, -1):
        try:
            return date(year, month, day)
        except ValueError:
            continue
    raise AssertionError


@dataclass
class Event:
    act: str
    actor: str
    day: date
    on: date | None


@dataclass
class Modelled:
    """One listing and all that happened to it."""

    listing: Listing
    reference: str
    serve_by: date | None
    events: list[Event] = field(default_factory=list)

    @property
    def register(self) -> str:
        return self.listing.register

    def last(self, *acts: str) -> int:
        return max((at for at, event in enumerate(self.events) if event.act in acts), default=-1)

    def open(self, asked: tuple[str, ...], answered: tuple[str, ...]) -> Event | None:
        at = self.last(*asked)
        return self.events[at] if at > self.last(*answered, *ENDS) else None

    @property
    def dispute(self) -> Event | None:
        return self.open(("object", "request-correction"), ("reject",))

    @property
    def repair(self) -> Event | None:
        return self.open(("request-repair",), ("refuse-repair",))

    @property
    def served(self) -> date | None:
        at = self.last("serve")
        return self.listing.served_on or (self.events[at].on if at >= 0 else None)

    @property
    def start(self) -> date:
        at = self.last("renew")
        return self.events[at].on or date.max if at >= 0 else self.listing.decided_on

    @property
    def end(self) -> date:
        return self.listing.expires_on or months(self.start, TERM[self.register])

    def state(self, day: date) -> str:
        return "expired" if day > self.end and not self.is_ended else self.apart_from_term(day)

    @property
    def is_ended(self) -> bool:
        return self.last(*ENDS) > self.last("renew")

    def apart_from_term(self, day: date) -> str:
        if self.is_ended:
            return ENDS[self.events[self.last(*ENDS)].act]
        if self.served is None:
            return "draft"
        if self.last("suspend") > self.last("resume"):
            return "suspended"
        window = WINDOW.get(self.register)
        if day < self.served or (window and day <= working_days(self.served, window)):
            return "notified"
        if self.dispute:
            return "suspended" if day > due(self.dispute) else "disputed"
        return "active"

    def refuses(self, act: str, day: date, on: date | None) -> bool:
        counts_on = self.register == "jaywalking" and act != "erase"
        if self.state(day) not in FROM[act] and not (counts_on and self.apart_from_term(day) in FROM[act]):
            return True
        received = on or day
        unserved = received < (self.served or self.listing.decided_on)
        is_suspended = self.last("suspend") > self.last("resume")
        wrong = {
            "serve": on is None or on < self.listing.decided_on,
            "object": self.dispute is not None or unserved,
            "request-correction": self.dispute is not None or unserved,
            "request-repair": self.repair is not None or unserved or self.is_too_early_to_repair(day),
            "reject": self.dispute is None,
            "repair": self.repair is None,
            "refuse-repair": self.repair is None,
            "suspend": is_suspended,
            "resume": not is_suspended,
            "renew": self.register != "sanctions" or on is None or on < self.start or self.is_revoked_by_decision(day),
            "leave": self.register not in {"sanctions", "scheme"},
        }
        return received > day or wrong.get(act, False)

    def is_too_early_to_repair(self, day: date) -> bool:
        part = REPAIRABLE_AFTER.get(self.register)
        if part is None:
            return True
        return part > 0 and day < self.start + timedelta(days=(self.end - self.start).days // part)

    def is_revoked_by_decision(self, day: date) -> bool:
        return self.state(day) == "revoked" and self.events[self.last(*ENDS)].act != "leave"

    def is_own_work(self, actor: str, day: date) -> bool:
        return self.state(day) != "draft" and any(
            event.act in {"enter", "serve"} and event.actor == actor for event in self.events
        )

    def as_of(self, day: date) -> "Modelled":
        return Modelled(self.listing, self.reference, self.serve_by, [it for it in self.events if it.day <= day])

    def figures(self, first: date, last: date, *, is_erased: bool) -> set[str]:
        """In which cells of public figures it counts, found by going through the days one by one."""
        if self.register == "scheme":
            return set()
        found = set()
        for at, event in enumerate(self.events):
            if first <= event.day <= last:
                ground = f"{PRESETS[self.register]} {self.listing.ground}"
                disputed = any(it.act in {"object", "request-correction"} for it in self.events[:at])
                found |= {
                    "enter": {"listings erased since" if is_erased else f"listings {ground}"},
                    "object": {"disputes"},
                    "request-correction": {"disputes"},
                    "revoke": {"overturned"} if disputed else set(),
                    "correct": {"overturned"} if disputed else set(),
                }.get(event.act, set())
        then = self.as_of(last)
        for day in (first + timedelta(days=it) for it in range((last - first).days + 1)):
            if is_erased or not then.events:
                break
            yesterday = day - timedelta(days=1)
            if then.served and then.state(yesterday) != "expired" and then.state(day) == "expired":
                found.add("expiries")
            seen = self.as_of(yesterday)
            is_over = seen.state(day) in FROM["erase"] and self.register != "jaywalking"
            if not is_over and any(it and due(it) == yesterday for it in (seen.dispute, seen.repair)):
                found.add("late answers")
        return found

    def dues(self, day: date) -> set[tuple[str, str, date]]:
        if self.state(day) in FROM["erase"] and self.register != "jaywalking":
            return set()
        found = set()
        if self.serve_by and self.served is None and not self.is_ended:
            found.add((self.reference, "serve the notice", self.serve_by))
        if self.dispute:
            found.add((self.reference, f"answer: {self.dispute.act}", due(self.dispute)))
        if self.repair:
            found.add((self.reference, "decide on repair", due(self.repair)))
        return found


def due(event: Event) -> date:
    return working_days(event.on or event.day, ANSWERED[event.act])


@dataclass
class Model:
    """All listings that are not erased, and what was erased."""

    all: list[Modelled] = field(default_factory=list)
    erased: list[Listing] = field(default_factory=list)
    gone: list[Modelled] = field(default_factory=list)

    def together(self, it: Modelled, act: str, day: date) -> list[Modelled]:
        if it.register != "jaywalking" or act not in {"request-repair", "repair", "refuse-repair"}:
            return [it]
        return [it] + [
            other
            for other in self.all
            if other is not it
            and (other.register, other.listing.identifiers) == (it.register, it.listing.identifiers)
            and other.apart_from_term(day) in BEYOND_NOTICE
            and (other.repair is None) == (act == "request-repair")
        ]

    def take(self, it: Modelled, act: str, actor: str, day: date, on: date | None) -> bool:
        """Whether it may be done; if so, it is."""
        concerned = self.together(it, act, day)
        if any(each.refuses(act, day, on) for each in concerned):
            return False
        if act in DECISIONS and any(each.is_own_work(actor, day) for each in concerned):
            return False
        if act == "erase" or (act == "leave" and it.register == "scheme"):
            gone = (
                [it]
                if act == "erase"
                else [
                    each
                    for each in self.all
                    if each.register == "scheme" and each.listing.identifiers == it.listing.identifiers
                ]
            )
            self.all = [each for each in self.all if each not in gone]
            self.erased += [each.listing for each in gone]
            self.gone += gone
            return True
        for each in concerned:
            each.events.append(Event(act, actor, day, on))
        return True

    def figures(self, first: date, last: date) -> dict[str, int]:
        found = [it.figures(first, last, is_erased=False) for it in self.all]
        found += [it.figures(first, last, is_erased=True) for it in self.gone]
        return dict(Counter(cell for cells in found for cell in cells))

    def standings(self, subject: object, day: date) -> list[tuple[object, ...]]:
        """(register, severity, disputed, points, positive) of all that has effect."""
        own = [it for it in self.all if it.listing.identifiers == (subject,)]
        found: list[tuple[object, ...]] = [
            (it.register, it.listing.severity, it.state(day) == "disputed", 0, False)
            for it in own
            if it.register in {"exclusions", "sanctions"} and it.state(day) in {"active", "disputed"}
        ]
        for counting, is_disputed in (({"active"}, False), ({"active", "disputed"}, True)):
            if self.is_reached(own, counting, day):
                found.append(("jaywalking", 1, is_disputed, 0, False))
                break
        balances = [it for it in own if it.register == "scheme" and it.state(day) in {"active", "disputed"}]
        if balances:
            latest = max(balances, key=lambda it: (it.listing.decided_on, it.reference))
            found.append(("scheme", 1, latest.state(day) == "disputed", latest.listing.points, True))
        return sorted(found, key=repr)

    @staticmethod
    def is_reached(own: list[Modelled], counting: set[str], day: date) -> bool:
        days = [
            it.listing.decided_on for it in own if it.register == "jaywalking" and it.apart_from_term(day) in counting
        ]
        return any(
            sum(months(last, -12) < each <= last for each in days) >= THRESHOLD and day <= months(last, 12)
            for last in days
        )
