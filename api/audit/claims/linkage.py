"""Asking again teaches nothing, and two sessions do not show whether they were about one subject."""

from api.audit.claim import Claim, Evidence
from api.audit.claims.match_hiding import GAME as MATCHES
from api.audit.claims.match_hiding import REPEATED
from api.audit.claims.query_hiding import GAME as QUERIES
from api.audit.claims.query_hiding import LINKED
from api.audit.grounds import Grounds
from api.audit.hiding import SIZING, controlled, decisions, measured, played

DECISIONS = decisions((LINKED, REPEATED))


def _measure(grounds: Grounds) -> Evidence:
    linked, repeated = played(grounds, QUERIES), played(grounds, MATCHES)
    return measured({LINKED: linked[None, LINKED], REPEATED: repeated[None, REPEATED]})


def _control(grounds: Grounds) -> Evidence:
    linked = controlled(QUERIES, played(grounds, QUERIES), [LINKED])
    repeated = controlled(MATCHES, played(grounds, MATCHES), [REPEATED])
    return Evidence(
        linked.breached and repeated.breached,
        {**linked.figures, **repeated.figures},
        [*linked.findings, *repeated.findings],
        [*linked.charts, *repeated.charts],
    )


CLAIM = Claim(
    number=6,
    name="linkage",
    statement="The coordinator cannot link sessions of a subject, and a requester learns nothing by asking again.",
    attack="The coordinator compares every two consecutive sessions and guesses whether they were about one subject of "
    "two with equal lanes. The bank asks the same subject again and again, compares all it has of every two "
    "consecutive sessions, and guesses whether the subject was listed in both or neither, or in one.",
    sizing=SIZING,
    planted="Defects rewritten into recorded sessions: "
    + "; ".join(leak.name for game in (QUERIES, MATCHES) for leak in game.leaks if {LINKED, REPEATED} & set(leak.views))
    + ".",
    measure=_measure,
    control=_control,
)
