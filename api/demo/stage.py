"""Where the demonstration runs, and what it does there."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from api.demo.registers import Source
from api.stage import Processes, Subject
from federation.transport import Record
from protocol.agreement.terms import Terms
from protocol.rounds.party import Party

PURPOSE = "award-contract"


class Stage(Protocol):
    """A running federation: what the demonstration does with it."""

    @property
    def terms(self) -> Terms:
        """The epoch's public terms."""

    @property
    def parties(self) -> Mapping[str, Party]:
        """The agencies and the coordinator as themselves, to open what was sealed for them."""

    @property
    def records(self) -> Sequence[Record]:
        """Every message that travelled."""

    def load_source(self, source: Source) -> None:
        """Load a register at its agency, and flag its dispute."""

    def ask(self, subjects: Sequence[Subject], requester: str) -> list[Mapping[str, object]]:
        """Ask through the requester's gateway: one answer object a subject, as its HTTP interface gives it."""


class DemoProcesses(Processes):
    """The stage of separate processes."""

    def load_source(self, source: Source) -> None:
        """Load a register by the commands that its agency's staff would type."""
        directory, done = str(self.home.directory), (0, 5) if source.refused else (0,)
        self.load(source.agency, source.register, source.content, source.format, done)
        if source.disputed:
            own = ["--agency", source.agency, "--register", source.register]
            self.command((0,), "node", "dispute", *own, directory, f"{source.disputed.scheme}:{source.disputed.value}")
