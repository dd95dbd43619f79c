"""What an agreement's opt-outs and moratoria take away (specification §5.5).

They only ever take away: a register, for some subjects or a measure, counts less, or a measure not at all; so nothing
applies because of them that would not apply without. Whoever computes with rules, lanes or standings asks here.
"""

from datetime import date

from protocol.agreement.model import Agreement, Rule, SubjectKind


def condition(agreement: Agreement, rule: Rule) -> tuple[str, ...]:
    """The registers that a rule counts, sorted: those it names, but for agencies that opted out of its measure.

    Rules over the same registers share their lanes.
    """
    opted_out = {it.agency for it in agreement.opt_outs or () if it.measure == rule.measure}
    without = {register.id for agency in agreement.agencies if agency.id in opted_out for register in agency.registers}
    return tuple(sorted(set(rule.when.registers) - without))


def measure_is_suspended(agreement: Agreement, measure: str, day: date) -> bool:
    """Whether a moratorium suspends a measure on a day, its last included: then none of its rules fires."""
    return any(measure in (it.measures or ()) and day <= it.until for it in agreement.moratoria or ())


def listing_is_suspended(agreement: Agreement, register: str, subject_kind: SubjectKind, day: date) -> bool:
    """Whether a register is without effect for subjects of a kind on a day.

    A moratorium suspends it, its last day included; or the agreement is not about such subjects at all: of a person
    nothing is decided under an agreement about firms, whose decisions nobody would review.
    """
    return subject_kind not in agreement.subject_kinds or any(
        register in (it.registers or ()) and day <= it.until and subject_kind in (it.subject_kinds or (subject_kind,))
        for it in agreement.moratoria or ()
    )
