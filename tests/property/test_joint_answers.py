"""Whatever the registers, the rules, the agencies and the quorum: the joint answer is that of a plain join."""

import random as seeded
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.lanes import MAX_WEIGHT, Standing
from protocol.messages import Decision, Effect
from protocol.wire import MAX_SUBJECTS, Signed
from tests.flow import Joint, Registers
from tests.parties import AGENCIES, Rule, agreement, established

SUBJECTS = 1000
NAMES = (*AGENCIES, "environment", "food")


def conditions(*thresholds: tuple[str, Sequence[str], int, int | None]) -> list[Rule]:
    """Rules (measure, agencies whose registers count, min_agencies, min_weight)."""
    return [
        {
            "measure": measure,
            "when": {"registers": [f"{agency}-register" for agency in agencies], "min_agencies": least}
            | ({} if weight is None else {"min_weight": weight}),
        }
        for measure, agencies, least, weight in thresholds
    ]


def plain_join(registers: Registers, rules: Sequence[Rule], subject: bytes) -> dict[str, Effect]:
    """What the decision must be, from all registers side by side; it shares no code with the protocol."""
    effects = {"exclude": Effect.NONE, "scrutinise": Effect.NONE}
    for rule in rules:
        when = rule["when"]
        assert isinstance(when, dict)
        active: set[str] = set()
        disputed: set[str] = set()
        weight = 0
        for agency, listed in registers.items():
            for standing in listed.get(subject, ()):
                if standing.register in when["registers"]:
                    (disputed if standing.disputed else active).add(agency)
                    weight += 0 if standing.disputed else standing.severity
        effect = Effect.NONE
        if len(active) >= when["min_agencies"] and weight >= when.get("min_weight", 0):
            effect = Effect.APPLIES
        elif disputed - active and len(active | disputed) >= when["min_agencies"]:
            effect = Effect.DISPUTED
        measure = str(rule["measure"])
        effects[measure] = max(effects[measure], effect)
    return effects


def effects(decisions: Sequence[Signed[Decision]]) -> list[Mapping[str, int]]:
    return [decision.body.measures for decision in decisions]


RULES = conditions(
    ("exclude", ("labour", "tax"), 1, None),
    ("exclude", AGENCIES, 3, 7),
    ("scrutinise", AGENCIES, 2, None),
    ("scrutinise", ("court", "customs"), 1, 3),
)


@cache
def sealed() -> tuple[Joint, Registers]:
    """1,000 subjects, each with a listing at every agency with probability 1/4; sealed once a test process."""
    numbers = seeded.Random("one federation for every quorum")  # noqa: S311  # made data
    registers: dict[str, dict[bytes, list[Standing]]] = {agency: {} for agency in AGENCIES}
    for subject in range(SUBJECTS):
        for agency in AGENCIES:
            for _ in range(numbers.choices((0, 1, 2), (12, 3, 1))[0]):
                standing = Standing(f"{agency}-register", numbers.randint(1, 3), disputed=numbers.random() < 0.3)
                registers[agency].setdefault(b"subject %d" % subject, []).append(standing)
    figures = {"population": 10**6, "k_min": 100, "max_listings": 2 * SUBJECTS}
    return Joint(established(agreement(rules=RULES, anonymity=figures)), registers), registers


@pytest.mark.parametrize("quorum", list(combinations(AGENCIES, 3)), ids="-".join)
def test_a_thousand_subjects_are_answered_as_by_a_plain_join_by_every_quorum(quorum: tuple[str, ...]) -> None:
    """The quorum both evaluates the pseudonyms and opens the sums."""
    joint, registers = sealed()
    subjects = [b"subject %d" % subject for subject in range(SUBJECTS)]
    expected = [plain_join(registers, RULES, subject) for subject in subjects]
    assert {effect for outcome in expected for effect in outcome.values()} == set(Effect)
    for start in range(0, SUBJECTS, MAX_SUBJECTS):
        batch = slice(start, start + MAX_SUBJECTS)
        assert effects(joint.check(subjects[batch], quorum)) == expected[batch]


def test_a_wrong_answer_would_be_seen() -> None:
    """The twin: one listing less in the plain join, and both disagree about exactly that subject."""
    joint, registers = sealed()
    listed = [subject for subject, standings in registers["labour"].items() if not standings[0].disputed][:20]
    altered = {**registers, "labour": {k: v for k, v in registers["labour"].items() if k != listed[7]}}
    altered["tax"] = {k: v for k, v in registers["tax"].items() if k != listed[7]}
    expected = [plain_join(altered, RULES, subject) for subject in listed]
    answers = effects(joint.check(listed, AGENCIES[:3]))
    assert [number for number, pair in enumerate(zip(answers, expected, strict=True)) if pair[0] != pair[1]] == [7]


@st.composite
def federations(draw: st.DrawFn) -> tuple[Joint, Registers, list[Rule]]:
    """An agreement of 2 to 7 agencies with random keyholders, rules, figures and registers."""
    agencies = NAMES[: draw(st.integers(2, 7))]
    keyholders = agencies[: draw(st.integers(1, len(agencies)))]
    threshold = draw(st.integers(len(keyholders) // 2 + 1, len(keyholders)))
    rules = []
    for measure in draw(st.permutations(["exclude", "scrutinise", "exclude", "scrutinise"]))[: draw(st.integers(2, 4))]:
        feeding = draw(st.lists(st.sampled_from(agencies), min_size=1, unique=True))
        least = draw(st.integers(1, len(feeding)))
        weight = draw(st.none() | st.integers(1, 12) | st.just(MAX_WEIGHT))
        rules += conditions((measure, feeding, least, weight))
    if len({str(rule["measure"]) for rule in rules}) == 1:
        rules += conditions(("exclude", agencies, 1, None), ("scrutinise", agencies, 1, None))
    figures = draw(
        st.sampled_from(
            [
                {"population": 500, "k_min": 400, "max_listings": 40},  # one bucket, β = 0
                {"population": 20_000, "k_min": 1000, "max_listings": 60},
                {"population": 10**6, "k_min": 100, "max_listings": 100},
                {"population": 10**9, "k_min": 2, "max_listings": 200},  # many buckets, almost all empty
            ]
        )
    )
    # One subject may have several listings at an agency, and several identifiers: each is a subject of its own here.
    standings = st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=3)
    load = st.dictionaries(st.integers(0, 30), standings, max_size=draw(st.integers(0, 12)))
    registers: dict[str, dict[bytes, list[Standing]]] = {}
    for agency in agencies:
        registers[agency] = {}
        for subject, found in draw(load).items():
            listings = [Standing(f"{agency}-register", severity, disputed) for severity, disputed in found]
            for identifier in range(draw(st.integers(1, 3))):
                registers[agency][b"%d, identifier %d" % (subject, identifier)] = listings
    document = agreement(agencies, threshold, rules, anonymity=figures, keyholders=keyholders)
    return Joint(established(document), registers), registers, rules


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(federations(), st.data())
def test_any_federation_answers_as_a_plain_join(
    federation: tuple[Joint, Registers, list[Rule]], data: st.DataObject
) -> None:
    joint, registers, rules = federation
    known = sorted({subject for listed in registers.values() for subject in listed})
    everyone = [*known, *(b"nobody %d" % number for number in range(MAX_SUBJECTS))]
    count = data.draw(st.sampled_from([1, 2, MAX_SUBJECTS]) | st.integers(1, MAX_SUBJECTS), label="m")
    subjects = data.draw(st.permutations(everyone), label="order")[:count]
    quorum = data.draw(st.permutations(joint.terms.keyholders), label="quorum")[: joint.terms.threshold]
    assert effects(joint.check(subjects, quorum)) == [plain_join(registers, rules, subject) for subject in subjects]
