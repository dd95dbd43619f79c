"""The validator: every rule that an agreement breaks, each with its field's path.

The model has refused what a single field can show. Here stand the demands of fields on each other, and those things
that the system makes impossible and that an agreement can show: a restriction from points, a measure graver than its
grounds, a ground that no preset of the catalogue has or that is prohibited, an agency without competence or outside its
territory, the denial of basic services. A measure for anybody but the listed subject needs no rule: the model has no
field for it. Human review is computed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import chain

from protocol.agreement.layout import feeders, layout
from protocol.agreement.limits import condition
from protocol.agreement.model import Agency, Agreement, Measure, Register, Rule
from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.agreement.presets import MAX_MONTHS, RANKS, Preset, names_prohibited_ground
from protocol.agreement.terms import ACCESS, CANARY, FIGURES, SEAL
from protocol.agreement.violation import InvalidAgreementError, Violation
from protocol.lanes import MAX_WIDTH
from protocol.wire import MAX_PARTIES

RESERVED = (
    "coordinator",
    "agencies",
    "keyholders",
    "everybody",
)  # names of audiences that are not a single agency or requester
MAX_VALID_MONTHS = 18
MAX_EMERGENCY_DAYS = 90  # its first and last day included
MAX_BUCKET_SIZE = 4096  # 3.2 MB a subject at 3072 bits, within what a message carries
SHORTEST_DECISION, LONGEST_DECISION = timedelta(minutes=1), timedelta(days=31)
NATIONAL = "national"

_BASIC_SERVICES = re.compile(
    r"(^|-)(school|educat|tuition|kindergarten|student|pupil"
    r"|utilit|water|electric|gas$|gas-|heating|sewage"
    r"|health|medic|hospital|clinic|doctor"
    r"|housing|home|shelter|evict|dwelling"
    r"|wage|salar|pay$|pay-|payroll|pension)"
)
# Written together or cut up by hyphens: the words that are part of no other.
_BASIC_SERVICES_WITHIN = re.compile(
    "school|educat|tuition|kindergarten|utilities|electricit|hospital|healthcare|salary|salaries|payroll"
)

Catalogue = Mapping[str, Preset]


def validate(agreement: Agreement, catalogue: Catalogue) -> None:
    """Verify that the agreement breaks no rule.

    Raises:
        InvalidAgreementError: it does; with every violation.
    """
    if found := violations(agreement, catalogue):
        raise InvalidAgreementError(found)


def violations(agreement: Agreement, catalogue: Catalogue) -> tuple[Violation, ...]:
    """Return every rule the agreement breaks; `catalogue` maps preset ids to presets."""
    return tuple(
        chain(
            _terms(agreement),
            _anonymity(agreement),
            _parties(agreement),
            _registers(agreement, catalogue),
            _measures(agreement),
            _rules(agreement, catalogue),
            _opt_outs(agreement),
            _moratoria(agreement),
            _emergency(agreement),
            _lanes(agreement),
            _figures(agreement),
        )
    )


def _terms(agreement: Agreement) -> Iterator[Violation]:
    valid = agreement.valid
    if valid.until < valid.from_:
        yield Violation("valid.until", "an agreement ends after it begins", "name a later day")
    if _months(valid.from_, valid.until) > MAX_VALID_MONTHS:
        yield Violation("valid.until", f"an agreement lasts {MAX_VALID_MONTHS} months at most", "renew it by a version")
    if not SHORTEST_DECISION <= agreement.decision_lifetime <= LONGEST_DECISION:
        yield Violation("validity_of_decision", "a decision is valid for 1m to 31d", "choose a time between")
    yield from _unique("subject_kinds", agreement.subject_kinds)


def _figures(agreement: Agreement) -> Iterator[Violation]:
    if agreement.public_figures.epsilon > agreement.public_figures.budget:
        yield Violation("figures.budget", "a year's budget covers a quarter at least", "raise it, or lower epsilon")


def _anonymity(agreement: Agreement) -> Iterator[Violation]:
    anonymity = agreement.anonymity
    if anonymity.population < anonymity.k_min:
        yield Violation("anonymity.k_min", "k_min people cannot be more than the population", "lower it")
    if anonymity.population < anonymity.max_listings:
        yield Violation("anonymity.max_listings", "listings cannot outnumber the population", "lower it")
    elif anonymity.population >= anonymity.k_min:
        size = bucket_size(anonymity.max_listings, bucket_bits(anonymity.population, anonymity.k_min))
        if size > MAX_BUCKET_SIZE:
            rule = f"a bucket holds {MAX_BUCKET_SIZE} entries at most; these figures need {size}"
            yield Violation("anonymity.max_listings", rule, "lower it, or lower k_min")


def _parties(agreement: Agreement) -> Iterator[Violation]:
    agencies, requesters = agreement.agencies, agreement.requesters
    parties = [(f"agencies[{number}].id", agency.id) for number, agency in enumerate(agencies)]
    parties += [(f"requesters[{number}].id", requester.id) for number, requester in enumerate(requesters)]
    yield from _distinct(parties, RESERVED)
    if len(parties) + 1 > MAX_PARTIES:
        yield Violation("requesters", f"there are at most {MAX_PARTIES} parties, coordinator included", "name fewer")
    keyholders = agreement.keyholders
    yield from _named("keyholders.agencies", keyholders.agencies, {agency.id for agency in agencies})
    if not len(keyholders.agencies) < 2 * keyholders.threshold <= 2 * len(keyholders.agencies):
        yield Violation(
            "keyholders.threshold", "the threshold is more than half of the keyholders, and not above them", "change it"
        )
    for number, requester in enumerate(requesters):
        purposes = [(f"requesters[{number}].purposes[{i}]", purpose) for i, purpose in enumerate(requester.purposes)]
        yield from _distinct(purposes, (SEAL, CANARY, ACCESS, FIGURES))
        measures = {measure.id for measure in agreement.measures}
        yield from _named(f"requesters[{number}].implements", requester.implements, measures)


def _registers(agreement: Agreement, catalogue: Catalogue) -> Iterator[Violation]:
    registers = [
        (f"agencies[{i}].registers[{j}]", agency, register)
        for i, agency in enumerate(agreement.agencies)
        for j, register in enumerate(agency.registers)
    ]
    yield from _distinct((f"{path}.id", register.id) for path, _, register in registers)
    for path, agency, register in registers:
        if names_prohibited_ground(register.id):
            yield Violation(
                f"{path}.id",
                "no register lists speech, petition, association, religion, ethnicity, health or genetic data, "
                "purchases, social contacts or what peers think",
                "remove it; if it lists none of these, name it otherwise",
            )
        if register.territory not in {None, NATIONAL, agreement.territory} and agreement.territory != NATIONAL:
            yield Violation(f"{path}.territory", "a register lies within the agreement's territory", "leave it out")
        if preset := catalogue.get(register.preset):
            yield from _suits(path, agreement, agency, preset)
        else:
            yield Violation(f"{path}.preset", "not a preset of the catalogue", "name one; no other ground is allowed")


def _suits(path: str, agreement: Agreement, agency: Agency, preset: Preset) -> Iterator[Violation]:
    """Whether this agency may bring a register of this preset into this agreement."""
    if preset.competent != "any" and (agency.kind or agency.id) not in preset.competent:
        yield Violation(f"{path}.preset", "the agency is not competent for this preset", "leave it to one that is")
    if preset.subject_kinds.isdisjoint(agreement.subject_kinds):
        yield Violation(f"{path}.preset", "the preset lists none of the agreement's subject kinds", "leave it out")
    if RANKS.index(agreement.legal_basis.rank) < RANKS.index(preset.rank):
        yield Violation(
            f"{path}.preset", "the agreement's legal basis is of too low a rank for this preset", f"needs {preset.rank}"
        )


def _measures(agreement: Agreement) -> Iterator[Violation]:
    yield from _distinct((f"measures[{number}].id", measure.id) for number, measure in enumerate(agreement.measures))
    used = {rule.measure for rule in agreement.rules}
    for number, measure in enumerate(agreement.measures):
        path = f"measures[{number}]"
        if measure.id not in used:
            yield Violation(f"{path}.id", "every measure is used by a rule", "add a rule, or remove the measure")
        if measure.max_months > MAX_MONTHS[measure.severity]:
            yield Violation(
                f"{path}.max_months",
                "a measure ends within its class's term",
                f"at most {MAX_MONTHS[measure.severity]}",
            )
        if measure.effect == "restriction" and measure.severity == "minor":
            yield Violation(f"{path}.severity", "what is minor never restricts", "make it a notice, or graver")
        if denies_basic_service(measure):
            yield Violation(
                f"{path}.id",
                "no measure denies schooling, utilities, health care, housing or wages",
                "remove it; if it denies none of these, name it otherwise",
            )


def denies_basic_service(measure: Measure) -> bool:
    """Whether a restriction's id names a basic service: schooling, utilities, health care, housing or wages.

    It reads the words of the id, in English, and so catches what is called by its name. It cannot see through another
    name or language: that remains for the agencies that sign. It does not read the notice, which may well name a
    ground ("wage arrears") or a service that stays untouched. Notices and incentives deny nothing.
    """
    return measure.effect == "restriction" and bool(
        _BASIC_SERVICES.search(measure.id) or _BASIC_SERVICES_WITHIN.search(measure.id.replace("-", ""))
    )


def _rules(agreement: Agreement, catalogue: Catalogue) -> Iterator[Violation]:
    measures = {measure.id: measure for measure in agreement.measures}
    registers = {register.id: register for agency in agreement.agencies for register in agency.registers}
    for number, rule in enumerate(agreement.rules):
        path, when = f"rules[{number}]", rule.when
        yield from _named(f"{path}.when.registers", when.registers, registers)
        if when.min_agencies > len(feeders(agreement, condition(agreement, rule))):
            yield Violation(
                f"{path}.when.min_agencies",
                "so many agencies do not bring these registers, or they opted out of the measure",
                "lower it, or add registers",
            )
        if agreement.sieve and (when.min_agencies, when.min_weight, when.min_points) != (1, None, None):
            yield Violation("sieve", "a sieve needs every rule to be min_agencies: 1 and nothing else", "set it false")
        if measure := measures.get(rule.measure):
            yield from _proportionate(path, rule, measure, registers, catalogue)
        else:
            yield Violation(f"{path}.measure", "not a measure of this agreement", "name one, or add it")


def _proportionate(
    path: str, rule: Rule, measure: Measure, registers: Mapping[str, Register], catalogue: Catalogue
) -> Iterator[Violation]:
    """Whether each register's grounds can carry the measure: any one of them may be what makes the rule fire."""
    reads_points = rule.when.min_points is not None
    if reads_points and measure.effect != "incentive":
        yield Violation(f"{path}.when.min_points", "points bring incentives only", "remove it, or make it an incentive")
    for number, register_id in enumerate(rule.when.registers):
        register = registers.get(register_id)
        preset = catalogue.get(register.preset) if register else None
        if preset is None:
            continue  # reported where it is named
        register_path = f"{path}.when.registers[{number}]"
        if measure.effect not in preset.effects:
            yield Violation(register_path, f"this register may not feed a {measure.effect}", "remove it from the rule")
        elif measure.effect != "incentive" and MAX_MONTHS[measure.severity] > MAX_MONTHS[preset.severity]:
            yield Violation(
                register_path, "a measure is no graver than its grounds", f"a {preset.severity} one at most"
            )
        if reads_points and preset.kind != "points":
            yield Violation(register_path, "this register carries no points", "remove it from the rule")


def _opt_outs(agreement: Agreement) -> Iterator[Violation]:
    """What an opt-out leaves of the rules is seen at the rules: each still has `min_agencies` to count."""
    opt_outs = agreement.opt_outs or ()
    agencies, measures = {agency.id for agency in agreement.agencies}, {measure.id for measure in agreement.measures}
    for number, opt_out in enumerate(opt_outs):
        path = f"opt_outs[{number}]"
        for field, name, known in (("agency", opt_out.agency, agencies), ("measure", opt_out.measure, measures)):
            if name not in known:
                yield Violation(f"{path}.{field}", "not named in this agreement", "correct it, or remove the opt-out")
        if opt_out in opt_outs[:number]:
            yield Violation(path, "the agency has opted out of this measure already", "remove it")


def _moratoria(agreement: Agreement) -> Iterator[Violation]:
    registers = {register.id for agency in agreement.agencies for register in agency.registers}
    measures, valid = {measure.id for measure in agreement.measures}, agreement.valid
    for number, moratorium in enumerate(agreement.moratoria or ()):
        path = f"moratoria[{number}]"
        yield from _named(f"{path}.registers", moratorium.registers or (), registers)
        yield from _named(f"{path}.measures", moratorium.measures or (), measures)
        yield from _named(f"{path}.subject_kinds", moratorium.subject_kinds or (), agreement.subject_kinds)
        if (moratorium.registers is None) == (moratorium.measures is None):
            yield Violation(path, "a moratorium suspends either registers or measures", "name one of the two")
        if moratorium.measures is not None and moratorium.subject_kinds is not None:
            # Who decides knows no subject: only the agencies could leave some out, and they send no measures.
            yield Violation(
                f"{path}.subject_kinds",
                "a measure is suspended for all subjects",
                "leave it out, or suspend for these subjects the registers that the measure's rules name",
            )
        if not valid.from_ <= moratorium.until <= valid.until:
            yield Violation(f"{path}.until", "a moratorium ends while the agreement is valid", "name such a day")


def _emergency(agreement: Agreement) -> Iterator[Violation]:
    """What the version that it follows must be is seen only beside that one (`protocol.agreement.succession`)."""
    if agreement.emergency is None:
        return
    if (agreement.valid.until - agreement.valid.from_).days >= MAX_EMERGENCY_DAYS:
        rule = f"an emergency version lasts {MAX_EMERGENCY_DAYS} days at most, its first and last included"
        yield Violation("valid.until", rule, "name an earlier day")
    if agreement.emergency.follows >= agreement.version:
        yield Violation("emergency.follows", "an emergency version follows a lower version", "name that version")


def _lanes(agreement: Agreement) -> Iterator[Violation]:
    for number, requester in enumerate(agreement.requesters):
        if layout(agreement, requester.id).width > MAX_WIDTH:
            yield Violation(
                f"requesters[{number}].implements",
                f"the lanes of all conditions of its measures are wider than {MAX_WIDTH} bits",
                "use fewer distinct conditions",
            )


def _named(path: str, names: Iterable[str], known: Iterable[str]) -> Iterator[Violation]:
    """Whether each name of a list is known, and none is there twice."""
    names = tuple(names)
    yield from _unique(path, names)
    for number, name in enumerate(names):
        if name not in known:
            yield Violation(f"{path}[{number}]", "not named in this agreement", "correct it, or add what it names")


def _unique(path: str, names: Iterable[str]) -> Iterator[Violation]:
    return _distinct((f"{path}[{number}]", name) for number, name in enumerate(names))


def _distinct(named: Iterable[tuple[str, str]], taken: Iterable[str] = ()) -> Iterator[Violation]:
    """Whether no name, of pairs (path, name), is taken or comes twice."""
    seen = set(taken)
    for path, name in named:
        if name in seen:
            yield Violation(path, "the name is taken, or reserved", "choose another, or remove it")
        seen.add(name)


def _months(start: date, end: date) -> int:
    """Months begun after `start` until `end`: 18 up to the same day of the month, 19 from the next day on."""
    whole = (end.year - start.year) * 12 + end.month - start.month
    return whole + (end.day > start.day)
