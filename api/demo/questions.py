"""The demonstration's questions: one subject for every case that matters, found in the registers as they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from api.demo.plain import PlainJoin
from api.stage import Subject
from nodes.lifecycle import State
from nodes.listings import Listing
from protocol.identifiers import Identifier

MADE = ("wage-arrears", "tax-debarment", "judgments")

States = Mapping[str, Sequence[State]]


@dataclass(frozen=True)
class Question:
    """A case, and its subject as a clerk would type it."""

    case: str
    subject: Subject


def choose(join: PlainJoin, listings: Sequence[Listing], requester: str, on: date) -> Iterator[Question]:
    """Find a subject for each case.

    Raises:
        LookupError: the registers hold no subject for a case.
    """
    subjects = [(listing.identifiers[0], listing) for listing in listings]
    weights = {True: "heavy enough", False: "too light"}

    def first(wanted: Callable[[States], bool], *, excluded: bool | None = None) -> Identifier:
        for identifier, _ in subjects:
            applies = "exclude-from-award" in join.outcome(identifier, requester, on).measures
            if wanted(join.states(identifier, on)) and excluded in {None, applies}:
                return identifier
        raise LookupError("no subject for a case of the demonstration")

    def ask(case: str, identifier: Identifier) -> Question:
        return Question(case, Subject(identifier.scheme, identifier.value))

    yield ask("on one sanctions list", first(lambda it: set(it) == {"sdn"}))
    yield ask("on both sanctions lists", first(lambda it: set(it) == {"sdn", "consolidated"}))
    yield ask("on a sanctions list and in made registers", first(lambda it: "consolidated" in it and len(it) > 1))
    for heavy, words in weights.items():
        yield ask(
            f"in two made registers, together {words}",
            first(lambda it: len(_active(it)) == len(it) == 2 and set(it) <= set(MADE), excluded=heavy),
        )
    yield ask("in one made register", first(lambda it: len(_active(it)) == len(it) == 1 and set(it) <= set(MADE)))
    for found in (State.DISPUTED, State.EXPIRED, State.NOTIFIED):
        yield ask(f"{found.value}, nothing else", first(partial(_is_only, found)))
    second = next(listing for _, listing in subjects if listing.register in MADE and len(listing.identifiers) > 1)
    yield ask("asked by its second identifier", second.identifiers[1])
    typed = first(lambda it: _active(it) == {"tax-debarment"})
    spelt = typed.value.lower().translate({ord("1"): "１"})
    yield Question("in lower case, full width and spaces", Subject(typed.scheme, f" {spelt[:9]} {spelt[9:]}"))
    yield Question("unknown to every register", Subject("cn.uscc", "9111000010000106X1"))
    yield Question("malformed: a wrong check digit", Subject("cn.uscc", "9111000010000106X2"))


def _is_only(wanted: State, states: States) -> bool:
    return list(states.values()) == [[wanted]]


def _active(states: States) -> set[str]:
    return {register for register, found in states.items() if State.ACTIVE in found}
