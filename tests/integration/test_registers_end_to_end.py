"""Every kind of register, from its entry to a joint decision through the gateway: what it brings, and what never.

Expected decisions are written by hand.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api.local import LocalFederation
from nodes.catalogue import load_catalogue
from nodes.life import Act, Author
from nodes.lifecycle import Record, State
from nodes.listings import Listing
from nodes.register import Register
from protocol.agreement.model import Agreement
from protocol.agreement.model import Register as Brought
from protocol.agreement.validator import violations
from protocol.identifiers import Identifier, canonical
from protocol.messages import Effect
from tests.federations import Clock
from tests.parties import NOW, agreement, established
from tests.unit.nodes.builders import make_listing

TODAY: Final = datetime.fromtimestamp(NOW, UTC).date()  # Wednesday 18 November 2026
LONG_AGO: Final = TODAY - timedelta(days=60)
OFFICE, PURPOSE = "city-office", "services"
CLERK, HEAD, SUBJECT = Author("clerk", "entered"), Author("head", "as decided", "D 9"), Author("subject", "as I say")

REGISTERS: Final = {
    "court": {"defaulters": "judgment-defaulters"},
    "tax": {"ratings": "tax-rating"},
    "traffic-police": {"jaywalking": "conduct-jaywalking"},
    "city": {"praise": "red-list", "scheme": "civic-points"},
}
MEASURES: Final = {
    "no-first-class": ("restriction", "general", {"registers": ["defaulters", "ratings", "jaywalking"]}),
    "no-luxury": ("restriction", "serious", {"registers": ["defaulters"], "min_weight": 2}),
    "closer-look": ("notice", "general", {"registers": ["defaulters", "ratings", "jaywalking"], "min_agencies": 2}),
    "green-channel": ("incentive", "general", {"registers": ["ratings", "praise"]}),
    "free-library": ("incentive", "general", {"registers": ["scheme"], "min_points": 500}),
}


def document() -> Agreement:
    """An agreement about people and firms over every kind of register."""
    made = agreement(
        tuple(REGISTERS),
        rules=[{"measure": name, "when": when} for name, (_, _, when) in MEASURES.items()],
        anonymity={"population": 20_000, "k_min": 200, "max_listings": 100},
        subject_kinds=["legal", "natural"],
        requesters=[
            {
                "id": OFFICE,
                "name": "City Office",
                "purposes": [PURPOSE],
                "implements": list(MEASURES),
                "quota_per_day": 10**6,
            }
        ],
        measures=[
            {
                "id": name,
                "effect": effect,
                "severity": severity,
                "max_months": 12,
                "legal_basis": "City Act s. 5",
                "notice": "You are told.",
            }
            for name, (effect, severity, _) in MEASURES.items()
        ],
    )
    agencies = tuple(
        agency.model_copy(
            update={"registers": tuple(Brought(id=it, preset=preset) for it, preset in REGISTERS[agency.id].items())}
        )
        for agency in made.agencies
    )
    return made.model_copy(update={"agencies": agencies})


def person(number: int) -> Identifier:
    return canonical("zz.person", f"P{number:06d}")


GROUNDS: Final = {
    "defaulters": "evasion-by-means",
    "jaywalking": "jaywalking",
    "praise": "award",
    "scheme": "enrolled",
}


def listing(register: str, subject: Identifier, day: date = LONG_AGO, **changes: Any) -> Listing:
    given: dict[str, Any] = {
        "register": register,
        "subject_kind": "legal" if register == "ratings" else "natural",
        "identifiers": (subject,),
        "ground": GROUNDS.get(register, "grade-d"),
        "decision_ref": f"{register} {day}",
        "decided_on": day,
        "served_on": day,
        "severity": 2 if register == "defaulters" else 1,
    }
    return make_listing(**given | changes)


@dataclass
class City:
    """The agreement's parties in one process, and what tests do with them."""

    federation: LocalFederation
    clock: Clock
    people: int = 0

    def somebody(self) -> Identifier:
        """A subject whom no register knows yet."""
        self.people += 1
        return person(self.people)

    def register(self, name: str) -> Register:
        return next(own for own in self.federation.registers.values() if name in own.entries)

    def enter(self, *listings: Listing) -> list[Record]:
        """Enter listings at their agencies, each sealed at once."""
        agencies = {register: agency for agency, own in REGISTERS.items() for register in own}
        return [
            asyncio.run(self.register(it.register).enter(it, CLERK, self.federation._send(agencies[it.register])))
            for it in listings
        ]

    def ask(self, subject: Identifier) -> set[str]:
        """The measures that apply, those disputed with a question mark."""
        (decision,) = asyncio.run(self.federation.requesters[OFFICE].check([subject], PURPOSE, "case 5"))
        effects = {name: Effect(effect) for name, effect in decision.body.measures.items()}
        applying = {name for name, effect in effects.items() if effect is Effect.APPLIES}
        return applying | {f"{name}?" for name, effect in effects.items() if effect is Effect.DISPUTED}

    def pass_days(self, days: int) -> None:
        self.clock.now += 86_400 * days


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    made = founded(tmp_path_factory.mktemp("city"))
    yield made
    made.federation.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[City]:
    """A city whose clock a test may move."""
    made = founded(tmp_path)
    yield made
    made.federation.close()


def founded(folder: Path) -> City:
    clock = Clock()
    federation = LocalFederation(established(document()), folder, clock, secrets.token_bytes)
    asyncio.run(federation.start())
    return City(federation, clock)


class TestTheAgreement:
    def test_breaks_no_rule(self) -> None:
        presets = {name: entry.facts() for name, entry in load_catalogue().items()}
        assert violations(document(), presets) == ()

    @pytest.mark.parametrize(
        ("registers", "min_points", "effect", "rule"),
        [
            (("praise",), None, "restriction", "this register may not feed a restriction"),
            (("scheme",), None, "notice", "this register may not feed a notice"),
            (("scheme",), 5, "restriction", "points bring incentives only"),
            (("defaulters",), 5, "restriction", "points bring incentives only"),
            (("ratings",), 5, "incentive", "this register carries no points"),
            (("defaulters",), None, "incentive", "this register may not feed a incentive"),
        ],
    )
    def test_could_not_punish_for_points_or_praise_nor_reward_a_debt(
        self, registers: tuple[str, ...], min_points: int | None, effect: str, rule: str
    ) -> None:
        """It is refused before any epoch of it begins."""
        valid = document()
        measure, *measures = valid.measures
        first, *rules = valid.rules
        when = first.when.model_copy(update={"registers": registers, "min_points": min_points})
        changed = {
            "measures": (measure.model_copy(update={"effect": effect}), *measures),
            "rules": (first.model_copy(update={"when": when}), *rules),
        }
        presets = {name: entry.facts() for name, entry in load_catalogue().items()}
        assert rule in [violation.rule for violation in violations(valid.model_copy(update=changed), presets)]


class TestEachKind:
    def test_nobody_known_nothing_follows(self, city: City) -> None:
        assert city.ask(city.somebody()) == set()

    def test_a_judgment_restricts_by_its_weight(self, city: City) -> None:
        light, grave = city.somebody(), city.somebody()
        city.enter(listing("defaulters", light, severity=1), listing("defaulters", grave, severity=2))
        assert city.ask(light) == {"no-first-class"}
        assert city.ask(grave) == {"no-first-class", "no-luxury"}

    @pytest.mark.parametrize(
        ("grade", "points", "expected"),
        [
            ("grade-a", 95, {"green-channel"}),
            ("grade-b", 80, set()),
            ("grade-c", 50, set()),
            ("grade-m", None, set()),
            ("grade-d", 12, {"no-first-class"}),
            ("grade-d-direct", None, {"no-first-class"}),
        ],
    )
    def test_a_rating_rewards_restricts_or_stays_at_home(
        self, city: City, grade: str, points: int | None, expected: set[str]
    ) -> None:
        firm = city.somebody()
        city.enter(listing("ratings", firm, ground=grade, points=points))
        assert city.ask(firm) == expected

    def test_the_next_rating_replaces_the_last(self, city: City) -> None:
        firm = city.somebody()
        city.enter(listing("ratings", firm, points=12))
        assert city.ask(firm) == {"no-first-class"}
        city.enter(listing("ratings", firm, LONG_AGO + timedelta(days=9), ground="grade-b", points=80))
        assert city.ask(firm) == set()
        city.enter(listing("ratings", firm, LONG_AGO + timedelta(days=10), ground="grade-a", points=90))
        assert city.ask(firm) == {"green-channel"}

    def test_the_fifth_infringement_restricts_and_the_first_four_do_nothing(self, city: City) -> None:
        walker = city.somebody()
        for number in range(4):
            city.enter(listing("jaywalking", walker, LONG_AGO - timedelta(days=number)))
            assert city.ask(walker) == set()
        city.enter(listing("jaywalking", walker, LONG_AGO + timedelta(days=1)))
        assert city.ask(walker) == {"no-first-class"}

    def test_praise_rewards_and_never_restricts_whatever_its_weight(self, city: City) -> None:
        good = city.somebody()
        city.enter(*(listing("praise", good, ground=it, severity=3) for it in ("award", "volunteering", "compliance")))
        assert city.ask(good) == {"green-channel"}

    def test_praise_outweighs_nothing(self, city: City) -> None:
        both = city.somebody()
        city.enter(listing("praise", both, severity=3), listing("defaulters", both))
        assert city.ask(both) == {"green-channel", "no-first-class", "no-luxury"}

    @pytest.mark.parametrize(("points", "expected"), [(0, set()), (499, set()), (500, {"free-library"})])
    def test_points_reward_from_a_number_on_and_few_or_none_cost_nothing(
        self, city: City, points: int, expected: set[str]
    ) -> None:
        member = city.somebody()
        city.enter(listing("scheme", member, points=points))
        assert city.ask(member) == expected

    def test_leaving_the_scheme_ends_its_incentive_and_leaves_nothing(self, city: City) -> None:
        member = city.somebody()
        (record,) = city.enter(listing("scheme", member, points=700))
        assert city.ask(member) == {"free-library"}
        city.register("scheme").act(record.reference, Act.LEAVE, SUBJECT)
        assert city.ask(member) == set()
        assert city.register("scheme").find([member]) == []

    def test_two_agencies_together_bring_a_closer_look(self, city: City) -> None:
        somebody = city.somebody()
        city.enter(listing("defaulters", somebody, severity=1), listing("praise", somebody))
        assert city.ask(somebody) == {"no-first-class", "green-channel"}
        city.enter(*(listing("jaywalking", somebody, LONG_AGO - timedelta(days=number)) for number in range(5)))
        assert city.ask(somebody) == {"no-first-class", "green-channel", "closer-look"}


def acted(act: Act, by: Author = HEAD) -> Callable[[City, Record], object]:
    return lambda city, record: city.register("defaulters").act(record.reference, act, by)


def repaired(city: City, record: Record) -> None:
    acted(Act.REQUEST_REPAIR, SUBJECT)(city, record)
    assert city.ask(record.listing.identifiers[0]) == {"no-first-class", "no-luxury"}
    acted(Act.REPAIR)(city, record)


def corrected(city: City, record: Record) -> None:
    """To a lesser weight."""
    register, subject = city.register("defaulters"), record.listing.identifiers[0]
    lighter = listing("defaulters", subject, severity=1, decision_ref="corrected")
    asyncio.run(register.correct(record.reference, lighter, HEAD, city.federation._send("court")))


FLAGGED: Final = {"no-first-class?", "no-luxury?"}
CHANGES: Final[dict[str, tuple[Callable[[City, Record], object], set[str], State]]] = {
    "revoked": (acted(Act.REVOKE), set(), State.REVOKED),
    "repaired": (repaired, set(), State.REPAIRED),
    "corrected": (corrected, {"no-first-class"}, State.CORRECTED),
    "disputed": (acted(Act.OBJECT, SUBJECT), FLAGGED, State.DISPUTED),
    "to be corrected": (acted(Act.REQUEST_CORRECTION, SUBJECT), FLAGGED, State.DISPUTED),
    "suspended": (acted(Act.SUSPEND), set(), State.SUSPENDED),
}


class TestTheVeryNextAnswer:
    @pytest.mark.parametrize(("change", "expected", "state"), CHANGES.values(), ids=CHANGES)
    def test_is_of_the_listing_as_it_stands_then(
        self, city: City, change: Callable[[City, Record], object], expected: set[str], state: State
    ) -> None:
        subject = city.somebody()
        (record,) = city.enter(listing("defaulters", subject))
        assert city.ask(subject) == {"no-first-class", "no-luxury"}
        change(city, record)
        assert city.ask(subject) == expected
        register = city.register("defaulters")
        assert register.state(register.get(record.reference)) is state

    def test_a_rejected_objection_a_lifted_suspension_count_again(self, city: City) -> None:
        subject = city.somebody()
        (record,) = city.enter(listing("defaulters", subject))
        for act, by, expected in (
            (Act.OBJECT, SUBJECT, FLAGGED),
            (Act.REJECT, HEAD, {"no-first-class", "no-luxury"}),
            (Act.SUSPEND, HEAD, set()),
            (Act.RESUME, HEAD, {"no-first-class", "no-luxury"}),
        ):
            acted(act, by)(city, record)
            assert city.ask(subject) == expected

    def test_one_infringement_of_five_disputed_or_revoked(self, city: City) -> None:
        walker = city.somebody()
        first, *_ = city.enter(
            *(listing("jaywalking", walker, LONG_AGO - timedelta(days=number)) for number in range(5))
        )
        register = city.register("jaywalking")
        register.act(first.reference, Act.OBJECT, SUBJECT)
        assert city.ask(walker) == {"no-first-class?"}
        register.act(first.reference, Act.REVOKE, HEAD)
        assert city.ask(walker) == set()

    def test_five_infringements_repaired_by_one_act(self, city: City) -> None:
        walker = city.somebody()
        *_, last = city.enter(
            *(listing("jaywalking", walker, LONG_AGO - timedelta(days=number)) for number in range(5))
        )
        city.register("jaywalking").act(last.reference, Act.REQUEST_REPAIR, SUBJECT)
        city.register("jaywalking").act(last.reference, Act.REPAIR, HEAD)
        assert city.ask(walker) == set()

    def test_a_draft_and_a_notified_listing_are_seen_by_nobody(self, fresh: City) -> None:
        """Served on Wednesday 18 November 2026: the tenth working day after is Wednesday 2 December."""
        subject = fresh.somebody()
        (record,) = fresh.enter(listing("defaulters", subject, served_on=None))
        assert fresh.ask(subject) == set()
        register = fresh.register("defaulters")
        register.act(record.reference, Act.SERVE, Author("clerk", "", "delivery 5"), TODAY)
        assert fresh.ask(subject) == set()
        fresh.pass_days(14)
        assert fresh.ask(subject) == set()
        fresh.pass_days(1)
        assert fresh.ask(subject) == {"no-first-class", "no-luxury"}

    def test_an_objection_that_is_overdue_suspends_and_a_term_ends_with_nothing_running(self, fresh: City) -> None:
        """Received on Wednesday 18 November 2026: the seventh working day after is Friday 27 November."""
        subject, other, third = fresh.somebody(), fresh.somebody(), fresh.somebody()
        record, *_ = fresh.enter(
            listing("defaulters", subject),
            listing("defaulters", other, expires_on=date(2026, 11, 27)),
            listing("praise", third, date(2025, 11, 27)),
        )
        acted(Act.OBJECT, SUBJECT)(fresh, record)
        fresh.pass_days(9)
        assert fresh.ask(subject) == FLAGGED
        assert fresh.ask(other) == {"no-first-class", "no-luxury"}
        assert fresh.ask(third) == {"green-channel"}
        fresh.pass_days(1)
        assert fresh.ask(subject) == fresh.ask(other) == fresh.ask(third) == set()
        acted(Act.REJECT)(fresh, record)
        assert fresh.ask(subject) == {"no-first-class", "no-luxury"}
