"""The plain join, computed aside: what the joint answer must be, from all registers laid side by side.

This is the joint database that Concordat makes unnecessary; it exists here, in the demonstration and the tests, only to
check the answers. It shares no code with the protocol beyond the listings themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from nodes.catalogue import CatalogueEntry
from nodes.lifecycle import Record, State, state
from protocol.agreement.model import Agreement, When
from protocol.identifiers import Identifier


@dataclass(frozen=True)
class Outcome:
    """Measures that apply, and measures that would if disputed listings counted; both in alphabetical order."""

    measures: tuple[str, ...]
    disputed: tuple[str, ...]


class PlainJoin:
    """All registers, by identifier."""

    def __init__(
        self, agreement: Agreement, catalogue: Mapping[str, CatalogueEntry], records: Iterable[Record]
    ) -> None:
        self._agreement = agreement
        self._agency_of = {register.id: agency.id for agency in agreement.agencies for register in agency.registers}
        presets = {register.id: register.preset for agency in agreement.agencies for register in agency.registers}
        self._entries = {register: catalogue[preset] for register, preset in presets.items()}
        self._records: dict[Identifier, list[Record]] = {}
        for record in records:
            for identifier in record.listing.identifiers:
                self._records.setdefault(identifier, []).append(record)

    def identifiers(self) -> Iterable[Identifier]:
        """Every identifier in any register."""
        return self._records

    def states(self, identifier: Identifier, on: date) -> dict[str, list[State]]:
        """The states of a subject's listings by register."""
        states: dict[str, list[State]] = {}
        for record in self._records.get(identifier, ()):
            register = record.listing.register
            states.setdefault(register, []).append(state(record, self._entries[register], on))
        return states

    def outcome(self, identifier: Identifier, requester: str, on: date) -> Outcome:
        """The joint decision on one subject."""
        measures, disputed = [], []
        for measure in self._agreement.requester(requester).implements:
            whens = [rule.when for rule in self._agreement.rules if rule.measure == measure]
            if any(self._applies(when, identifier, on) for when in whens):
                measures.append(measure)
            elif any(self._would_apply(when, identifier, on) for when in whens):
                disputed.append(measure)
        return Outcome(tuple(sorted(measures)), tuple(sorted(disputed)))

    def _applies(self, when: When, identifier: Identifier, on: date) -> bool:
        active = self._agencies(when, identifier, on, State.ACTIVE)
        weight = sum(
            record.listing.severity
            for record in self._records.get(identifier, ())
            if record.listing.register in when.registers
            and state(record, self._entries[record.listing.register], on) is State.ACTIVE
        )
        return len(active) >= when.min_agencies and weight >= (when.min_weight or 0)

    def _would_apply(self, when: When, identifier: Identifier, on: date) -> bool:
        active = self._agencies(when, identifier, on, State.ACTIVE)
        only_disputed = self._agencies(when, identifier, on, State.DISPUTED) - active
        return bool(only_disputed) and len(active | only_disputed) >= when.min_agencies

    def _agencies(self, when: When, identifier: Identifier, on: date, wanted: State) -> set[str]:
        return {
            self._agency_of[record.listing.register]
            for record in self._records.get(identifier, ())
            if record.listing.register in when.registers
            and state(record, self._entries[record.listing.register], on) is wanted
        }
