"""Asking again teaches nothing, and two sessions do not show whether they were about one subject."""

from api.audit.claim import Claim, Evidence
from api.audit.claims.match_hiding import GAME as MATCHES
from api.audit.claims.match_hiding import REPEATED
from api.audit.claims.match_hiding import SIEVED as SIEVED_MATCHES
from api.audit.claims.query_hiding import GAME as QUERIES
from api.audit.claims.query_hiding import LINKED
from api.audit.claims.query_hiding import SIEVED as SIEVED_QUERIES
from api.audit.grounds import Grounds
from api.audit.hiding import BY_SIEVE, SIZING, controlled, decisions, measured, played, together

GAMES = ((QUERIES, LINKED), (MATCHES, REPEATED), (SIEVED_QUERIES, LINKED), (SIEVED_MATCHES, REPEATED))
DECISIONS = 2 * decisions((LINKED, REPEATED))  # without a sieve and with one


def _measure(grounds: Grounds) -> Evidence:
    return measured(
        {f"{view}{BY_SIEVE if game.sieve else ''}": played(grounds, game)[None, view] for game, view in GAMES}
    )


def _control(grounds: Grounds) -> Evidence:
    return together(*(controlled(game, played(grounds, game), [view]) for game, view in GAMES))


CLAIM = Claim(
    number=6,
    name="linkage",
    statement="The coordinator cannot link sessions of a subject, and a requester learns nothing by asking again.",
    attack="The coordinator compares every two consecutive sessions and guesses whether they were about one subject of "
    "two with equal lanes. The bank asks the same subject again and again, compares all it has of every two "
    "consecutive sessions, and guesses whether the subject was listed in both or neither, or in one. Both again by the "
    "sieve, in arrays; there the bank guesses whether the same agency listed the subject both times.",
    sizing=SIZING,
    planted="Defects rewritten into recorded sessions: "
    + "; ".join(dict.fromkeys(leak.name for game, view in GAMES for leak in game.leaks if view in leak.views))
    + ".",
    measure=_measure,
    control=_control,
)
