"""An honest question step by step, and what a receiver of its messages is."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.audit.dishonest import Scene
from api.audit.grounds import PURPOSE, REQUESTER, firm
from federation.audit.hostile import Fault, Forger, damaged
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.identifiers import to_bytes
from protocol.messages import (
    Ask,
    Decide,
    Evaluate,
    Open,
    Prove,
)
from protocol.paillier import Randomiser
from protocol.rounds import coordinator, requester
from protocol.wire import SESSION_BYTES, read

Changes = dict[str, dict[str, Any]]
"""Fields to replace in a message, by the name of the fault."""

ANSWERING_OTHERWISE: Changes = {
    "another session": {"session": bytes(SESSION_BYTES)},
    "to another": {"answers": bytes(32)},
    "another purpose": {"purpose": "lend"},
    "other subjects": {"m": 1},
}
"""What no reply to a question about two subjects has in its header."""

KEYHOLDER = "tax"
LISTED, UNLISTED = firm(1), firm(2)


@dataclass(frozen=True)
class Target:
    """A receiver: `accept` returns what it takes and raises what it refuses with; `fault` draws a hostile input."""

    name: str
    accept: Callable[[Any], object]
    honest: object
    fault: Callable[[random.Random], tuple[str, object]]


class Question:
    """One question of two subjects, step by step, none of which the federation's own nodes have seen."""

    def __init__(self, scene: Scene, factor: int) -> None:
        """`factor` is one of N's primes, which an insider of the set-up machine has."""
        self.scene, self.terms, self.factor = scene, scene.federation.terms, factor
        self.now, self.nodes = scene.clock(), scene.federation.nodes
        self.r, self.c = scene.party(REQUESTER), scene.party(COORDINATOR)
        self.aside = {agency: scene.node(agency, scene.ledger()) for agency in self.terms.agencies}
        self.quorum = self.terms.keyholders[: self.terms.threshold]
        self.blinding, self.evaluate = self.blind()
        replies = {holder: self.aside[holder].handle(Evaluate.TYPE, self.evaluate) for holder in self.quorum}
        self.evaluated = replies
        self.known = requester.pseudonyms(self.r, self.blinding, encode(replies), self.now)
        self.question, self.asked, self.looked = self.ask()
        self.session = coordinator.receive(self.c, self.asked, self.looked, self.now)
        self.answers = {agency: node.handle(Ask.TYPE, self.asked) for agency, node in self.aside.items()}
        lifted = {
            agency: coordinator.accept(self.c, self.session, agency, answer, self.now)
            for agency, answer in self.answers.items()
        }
        zetas = Randomiser.create(self.terms.public_key, secrets.token_bytes)
        self.sums = coordinator.add(self.c, self.session, lifted, zetas, secrets.token_bytes)
        [self.chunk] = self.sums.chunks
        self.opens = {holder: self.open_request(holder) for holder in self.terms.keyholders}
        self.opened = {holder: self.aside[holder].handle(Open.TYPE, self.opens[holder]) for holder in self.quorum}
        self.shares = {holder: self.share(holder, reply) for holder, reply in self.opened.items()}
        self.prove = coordinator.prove_request(self.c, self.session, self.chunk, KEYHOLDER, self.now)
        self.proved = self.aside[KEYHOLDER].handle(Prove.TYPE, self.prove)
        lanes = coordinator.opened(self.c, self.session, self.sums, [self.shares])
        self.decide = coordinator.decide(self.c, self.session, lanes, self.now)
        self.decisions = read(self.decide, Decide).body.decisions

    def key(self, party: str) -> Ed25519PrivateKey:
        """A party's key for signatures."""
        return self.scene.key(party)

    def blind(self) -> tuple[requester.Blinding, bytes]:
        """A new `evaluate`."""
        inputs, random = list(map(to_bytes, (LISTED, UNLISTED))), secrets.token_bytes
        return requester.evaluate(self.r, inputs, purpose=PURPOSE, case="audit", now=self.now, random=random)

    def ask(self) -> tuple[requester.Question, bytes, bytes]:
        """A new `ask` with its `look`."""
        return requester.ask(self.r, self.known, purpose=PURPOSE, now=self.now, random=secrets.token_bytes)

    def open_request(self, holder: str) -> bytes:
        """The coordinator's `open`."""
        return coordinator.open_request(self.c, self.session, self.chunk, holder, self.now)

    def share(self, holder: str, reply: bytes) -> int:
        """A keyholder's opening share."""
        return coordinator.accept_share(self.c, read(self.opens[holder], Open), holder, reply, self.now)


def one_of(*faults: Callable[[random.Random], Fault]) -> Callable[[random.Random], Fault]:
    """Draw from one of these, chosen anew each time."""
    return lambda draws: draws.choice(faults)(draws)


def impostor(it: Question, forger: Forger, party: str) -> Callable[[random.Random], Fault]:
    """The same message, rightly signed by who has no right to send it."""
    data = replace(forger, key=it.key(party)).signed(header={"sender": party})
    return lambda _: ("signed by another party", data)


def altered(data: bytes) -> bytes:
    """The same bytes but for one bit."""
    return bytes([data[0] ^ 1]) + data[1:]


def damaging(data: bytes) -> Callable[[random.Random], Fault]:
    """Draw what happens to bytes on their way."""
    return lambda draws: damaged(data, draws)
