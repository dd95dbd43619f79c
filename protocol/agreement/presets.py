"""What an agreement needs to know of a catalogue's preset. The catalogue itself is data files of the nodes."""

import re
from dataclasses import dataclass
from typing import Literal

from protocol.agreement.model import Effect, Rank, Severity, SubjectKind
from protocol.errors import AgreementError

# How long a listing or measure of a class has effect at most; the classes' order is that of these terms.
MAX_MONTHS: dict[Severity, int] = {"minor": 3, "general": 12, "serious": 36}

Kind = Literal["listing", "rating", "positive", "points"]
"""Of a register: infringements; one rating a subject; positive records; points of a scheme opted into."""

# Ranks of a legal basis, the lowest first.
RANKS: tuple[Rank, ...] = ("local-regulation", "central-policy", "regulation", "law")


_PROHIBITED = re.compile(
    r"(^|-)(speech|speak|opinion|petition|protest|demonstrat|complain|assembl|associat|trade-union|political"
    r"|religio|faith|belief|church|mosque|ethnic|racial|race$|race-|nationalit"
    r"|health|medical|illness|disease|disab|genetic|genom|dna|biometr"
    r"|purchas|shopping|social-contact|friend|relativ|famil|neighbo|acquaint|peer)"
)


def names_prohibited_ground(name: str) -> bool:
    """Whether the id of a ground or register names what nobody is listed for.

    That is speech, petition, association, religion, ethnicity, health or genetic data, purchases, social contacts or
    evaluation by peers. It reads the words of the id, in English: another name or language remains for those who sign.
    """
    return _PROHIBITED.search(name) is not None


@dataclass(frozen=True)
class Preset:
    """A kind of register.

    `severity` is the class of its gravest ground, `effects` are those of the measures it may feed, `competent` the
    agencies that may bring it, `rank` the lowest legal basis that suffices, `subject_kinds` whom it may list.

    Raises:
        AgreementError: it would let points, positive records or minor grounds restrict, or a listing reward.
    """

    id: str
    kind: Kind
    severity: Severity
    effects: frozenset[Effect]
    competent: tuple[str, ...] | Literal["any"]
    rank: Rank
    subject_kinds: frozenset[SubjectKind]

    def __post_init__(self) -> None:
        if self.kind in {"positive", "points"} and self.effects != {"incentive"}:
            raise AgreementError(f"preset {self.id}: points and positive records bring incentives only")
        if self.kind == "listing" and "incentive" in self.effects:
            raise AgreementError(f"preset {self.id}: a listing brings no incentive")
        if self.severity == "minor" and "restriction" in self.effects:
            raise AgreementError(f"preset {self.id}: minor grounds never restrict")
