"""What is wrong with an agreement, said to the person who writes it."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.errors import AgreementError


@dataclass(frozen=True)
class Violation:
    """One broken rule: the field's path, the rule, what to do about it. The field's value is never repeated."""

    path: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}; {self.remedy}"


class InvalidAgreementError(AgreementError):
    """An agreement breaks rules; `violations` are all that could be seen at once, never empty."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(map(str, self.violations)))
