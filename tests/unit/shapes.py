"""The limits of every field of every message, a second time and by hand, with values within them and outside."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from protocol import messages
from protocol.messages import KIB
from protocol.wire import Header


@dataclass(frozen=True)
class Octets:
    shortest: int
    longest: int

    def values(self) -> st.SearchStrategy[Any]:
        drawn = min(self.shortest, 256)
        rest = bytes(self.shortest - drawn)
        return st.binary(min_size=drawn, max_size=drawn + min(self.longest - self.shortest, 8)).map(rest.__add__)

    def edges(self) -> list[Any]:
        return [bytes(self.shortest), bytes(self.longest)]

    def outside(self) -> list[Any]:
        short = [bytes(self.shortest - 1)] if self.shortest else []
        return [*short, bytes(self.longest + 1), "x" * self.shortest, 7, None, True, [0] * self.shortest]


@dataclass(frozen=True)
class Text:
    longest: int
    shortest: int = 1

    def values(self) -> st.SearchStrategy[Any]:
        return st.text(st.characters(exclude_categories=("C", "Z")), min_size=self.shortest, max_size=self.longest)

    def edges(self) -> list[Any]:
        return ["x" * self.shortest, "x" * self.longest]

    def outside(self) -> list[Any]:
        return [
            "x" * (self.shortest - 1),
            "x" * (self.longest + 1),
            "a\nb",
            "\0",
            "\u202e",
            "\ud800",
            b"x",
            7,
            None,
            True,
        ]


@dataclass(frozen=True)
class Whole:
    highest: int

    def values(self) -> st.SearchStrategy[Any]:
        return st.integers(0, self.highest)

    def edges(self) -> list[Any]:
        return [0, self.highest]

    def outside(self) -> list[Any]:
        return [-1, self.highest + 1, 1 << 64, True, False, 1.0, "1", b"1", None]


@dataclass(frozen=True)
class Many:
    item: "Octets | Text | Whole"
    shortest: int
    longest: int

    def values(self) -> st.SearchStrategy[Any]:
        return st.lists(self.item.values(), min_size=self.shortest, max_size=self.shortest + 3).map(tuple)

    def edges(self) -> list[Any]:
        item = self.item.edges()[0]
        return [(item,) * self.shortest, (item,) * self.longest, (self.item.edges()[-1],)]

    def outside(self) -> list[Any]:
        item = self.item.edges()[0]
        short = [(item,) * (self.shortest - 1)] if self.shortest else []
        misfits = [(item, bad) for bad in self.item.outside()]
        return [*short, (item,) * (self.longest + 1), *misfits, {}, b"", "x", 7, None]


@dataclass(frozen=True)
class ById:
    item: Octets | Whole

    def values(self) -> st.SearchStrategy[Any]:
        return st.dictionaries(Text(63).values(), self.item.values(), min_size=1, max_size=4)

    def edges(self) -> list[Any]:
        item = self.item.edges()[0]
        return [{"x" * 63: self.item.edges()[-1]}, {f"p{k}": item for k in range(64)}]

    def outside(self) -> list[Any]:
        item = self.item.edges()[0]
        keys = [{bad: item} for bad in (*Text(63).outside(), 1.0) if not isinstance(bad, list)]
        items = [{"a": item, "b": bad} for bad in self.item.outside()]
        return [{}, {f"p{k}": item for k in range(65)}, *keys, *items, [item], b"", None]


Shape = Octets | Text | Whole | Many | ById

HASH, MODULUS, SUBJECTS, PARTIES, ID = Octets(32, 32), Octets(1, 1024), 120, 64, Text(63)
QUARTER = Text(7, 7)
EACH_32 = Many(HASH, 1, SUBJECTS)

# The limits of every field, a second time and by hand: a limit that changes in the code has to be changed here too.
SHAPES: dict[type, dict[str, Shape]] = {
    Header: {
        "agreement": ID,
        "version": Whole(1 << 31),
        "epoch": Whole(1 << 31),
        "sender": ID,
        "audience": ID,
        "session": Octets(16, 16),
        "purpose": ID,
        "m": Whole(SUBJECTS),
        "issued": Whole(1 << 40),
        "expires": Whole(1 << 40),
        "answers": Octets(0, 32),
    },
    messages.Evaluate: {"case": HASH, "blinded": EACH_32},
    messages.Evaluated: {"elements": EACH_32, "proof": Octets(64, 64)},
    messages.Ask: {"commitment": HASH, "sealed": ById(Octets(48, 2 * KIB))},
    messages.SealedAsk: {"nonce": HASH, "prefixes": Many(Octets(8, 8), 1, SUBJECTS)},
    messages.Look: {"ask": HASH, "secrets": EACH_32, "sigmas": EACH_32},
    messages.SealedAnswer: {"blocks": Many(Octets(1, 4 * KIB * KIB), 1, SUBJECTS)},
    messages.Answer: {"sealed": Octets(48, 64 * KIB * KIB)},
    messages.Open: {"ask": Octets(1, 128 * KIB), "chunk": Whole(SUBJECTS - 1), "x": MODULUS},
    messages.Opened: {"share": MODULUS},
    messages.Prove: {"requester": ID, "chunk": Whole(SUBJECTS - 1), "x": MODULUS},
    messages.Proved: {"challenge": HASH, "response": Octets(1, 2 * KIB)},
    messages.Decide: {"decisions": Many(Octets(1, 8 * KIB), 1, SUBJECTS)},
    messages.Decision: {
        "subject": Whole(SUBJECTS - 1),
        "measures": ById(Whole(2)),
        "agencies": Whole(PARTIES),
        "binding": HASH,
    },
    messages.Evidence: {
        "scheme": Text(64),
        "value": Text(128),
        "blind": HASH,
        "evaluations": ById(Octets(96, 96)),
        "nonce": HASH,
        "prefix": Octets(8, 8),
        "sigma": HASH,
    },
    messages.Access: {"key": HASH, "sealed": ById(Octets(48, KIB))},
    messages.SealedAccess: {"prefixes": Many(Octets(8, 8), 1, 16), "tags": Many(HASH, 1, 16)},
    messages.Accessed: {"sealed": Octets(64 * KIB + 48, 64 * KIB + 48)},
    messages.Tally: {"quarter": QUARTER, "cells": HASH},
    messages.Contribution: {
        "quarter": QUARTER,
        "cells": HASH,
        "ciphertexts": Many(Octets(1, 2 * KIB), 1, 32),
    },
    messages.Tallied: {"sealed": ById(Octets(48, 16 * KIB + 48))},
    messages.OpenFigures: {"quarter": QUARTER, "cells": HASH, "sealed": ById(Octets(48, 16 * KIB + 48))},
    messages.OpenedFigures: {"sums": Many(Octets(1, 2 * KIB), 1, 32), "shares": Many(MODULUS, 1, 32)},
    messages.Figures: {
        "quarter": QUARTER,
        "agencies": Whole(PARTIES),
        "epsilon": Whole(10_000),
        "within": Whole(1 << 31),
        "threshold": Whole(1000),
        "cells": Many(Text(200), 1, 256),
        "numbers": Many(Whole(1 << 40), 1, 256),
    },
    messages.DkgCommit: {"hash": HASH},
    messages.DkgReveal: {
        "commitments": Many(HASH, 1, PARTIES),
        "proof": Octets(64, 64),
        "sealed": Many(Octets(80, 80), 1, PARTIES),
    },
    messages.DkgConfirm: {"transcript": HASH},
}
TYPES: list[Any] = [kind for kind in SHAPES if hasattr(kind, "TYPE")]
FIELDS = [(kind, name) for kind, shape in SHAPES.items() for name in shape]


def smallest(kind: Any) -> Any:
    return kind(**{name: shape.edges()[0] for name, shape in SHAPES[kind].items()})


def largest(kind: Any) -> Any:
    """Every field as long as it may be."""

    def widest(shape: Shape) -> Any:
        match shape:
            case Octets():
                return b"\xff" * shape.longest
            case Text():
                return "x" * shape.longest
            case Whole():
                return shape.highest
            case Many():
                return (widest(shape.item),) * shape.longest
            case ById():
                return {f"{k:063}": widest(shape.item) for k in range(PARTIES)}

    return kind(**{name: widest(shape) for name, shape in SHAPES[kind].items()})


HEADER = smallest(Header)


def instances(kind: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: shape.values() for name, shape in SHAPES[kind].items()})
