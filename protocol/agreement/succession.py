"""From one version or epoch of an agreement to the next: what may follow what, and which of them is in force when.

A party that holds one roster goes on to another by itself, so the other must be what all agencies of the first agreed
to: they endorse it under the keys that the party knows (specification §7.6).
"""

from collections.abc import Iterator

from protocol.agreement.model import Agreement
from protocol.agreement.terms import Terms, utc_day
from protocol.agreement.violation import InvalidAgreementError, Violation
from protocol.errors import AgreementError


def require_next(later: Terms, current: Terms, before: Terms | None = None) -> None:
    """Verify that `later` may follow the current epoch, with `before` the one before it, where there is one.

    1. the same agreement, a higher epoch, and the same document or a higher version; 2. what changes may change
    (`changes`); 3. every agency of the version that it follows endorsed it, but those that withdrew from that.

    Raises:
        AgreementError: a step fails; InvalidAgreementError: step 2.
    """
    earlier = followed(current, before)
    if later.agreement.id != current.agreement.id:
        raise AgreementError("a roster beside the current one is for another agreement")
    if later.roster.epoch <= current.roster.epoch:
        raise AgreementError("a roster to come is of no higher epoch than the current one")
    if later.agreement != earlier.agreement:
        if later.agreement.version <= current.agreement.version:
            raise AgreementError("a roster to come is of no higher version than the current one")
        require_changes(earlier.agreement, later.agreement)
    for agency in earlier.agencies:
        if agency not in earlier.force.agencies and not later.roster.is_signed(
            earlier.roster.signing[agency], later.endorsements.get(agency, b"")
        ):
            raise AgreementError(f"{agency}, of the version before, has not endorsed the roster")


def followed(current: Terms, before: Terms | None) -> Terms:
    """The version that the next one follows: the current, or where that is an emergency version, the one it follows."""
    return before if before is not None and current.agreement.emergency else current


def in_force(current: Terms, before: Terms | None, time: int) -> Terms:
    """The version that is in force at a time: outside the days of an emergency version, the one that it follows."""
    valid = current.agreement.valid
    return current if valid.from_ <= utc_day(time) <= valid.until else followed(current, before)


def require_changes(before: Agreement, after: Agreement) -> None:
    """Verify that a new version changes only what a version can change.

    Raises:
        InvalidAgreementError: with every violation.
    """
    if found := tuple(_violations(before, after)):
        raise InvalidAgreementError(found)


def _violations(before: Agreement, after: Agreement) -> Iterator[Violation]:
    if after.id != before.id:
        yield Violation("id", "a new version is of the same agreement", "found another agreement by `concordat init`")
    if after.version <= before.version:
        yield Violation("version", "a new version is higher than the one before", f"at least {before.version + 1}")
    if after.emergency and after.emergency.follows != before.version:
        yield Violation("emergency.follows", "it follows the version that is in force", f"write {before.version}")
    agencies = {agency.id for agency in before.agencies}
    requesters = {requester.id for requester in before.requesters}
    presets = {(agency.id, register.id): register.preset for agency in before.agencies for register in agency.registers}
    for number, agency in enumerate(after.agencies):
        if agency.id in requesters:
            yield Violation(f"agencies[{number}].id", "a requester does not become an agency", "choose another id")
        for position, register in enumerate(agency.registers):
            if presets.get((agency.id, register.id), register.preset) != register.preset:
                path = f"agencies[{number}].registers[{position}].preset"
                yield Violation(path, "what a register holds was entered by its preset", "name another register")
    for number, requester in enumerate(after.requesters):
        if requester.id in agencies:
            yield Violation(f"requesters[{number}].id", "an agency does not become a requester", "choose another id")
