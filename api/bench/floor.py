"""The floor of a question: its cryptographic operations, bare, in the protocol's order (specification §4).

No message, signature, sealing, database, process or network: only what no implementation of the protocol could leave
out. Steps follow one another; in a step the parties work side by side as far as there are processors: k equal pieces of
work take max(1, k / processors) of one's time, which no schedule undercuts (McNaughton 1959).
"""

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from api.bench.figure import Figure
from api.bench.ground import cpu
from api.setup import Established
from protocol import opening, oprf
from protocol.codec import os2ip
from protocol.group import random_scalar
from protocol.lanes import CHECK_BITS, check_factor, encode
from protocol.paillier import Randomiser, ciphertext_from_bytes, ciphertext_to_bytes
from protocol.sealing import SESSION_KEY_BYTES, bucket, mask, question_secret, session_key, tag

BLIND, EVALUATE, FINALISE, ASK = "blind", "evaluate with proof", "verify, combine, finalise", "question secrets"
ANSWER, SUM, OPEN, COMBINE = "ζ and bucket", "lift and sum", "opening share", "combine and verify"
STEPS = (BLIND, EVALUATE, FINALISE, ASK, ANSWER, SUM, OPEN, COMBINE)

_random = secrets.token_bytes


@dataclass
class Bare:
    """One question about `m` subjects, computed bare; `took` has the CPU milliseconds of each party's part of a step.

    Every asked bucket holds `entries` listings, one of them the subject's at every agency.
    """

    of: Established
    requester: str
    m: int
    entries: int
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        terms = self.of.terms
        self._layout = terms.layout(self.requester)
        self._slots = terms.slots(self.requester)
        self._key = terms.public_key
        self._randomiser = Randomiser.create(self._key, _random)
        self._holders = terms.keyholders[: terms.threshold]
        self._values = [1 for _ in self._layout.lanes]

    def run(self) -> list[int]:
        """Compute it once; returns what the openings give."""
        pseudonyms = self.pseudonyms()
        nonce, ask = _random(32), _random(32)
        with cpu(self.took[ASK]):
            asked = [question_secret(session_key(t), nonce, ask, a) for a, t in enumerate(pseudonyms)]
            for t in pseudonyms:
                bucket(t, self.of.terms.bucket_bits)
        keys = [session_key(t) for t in pseudonyms]  # which agencies keep
        blocks = {it: self._block(it, keys, nonce, ask) for it in self.of.terms.agencies}
        return [self._open(packed) for packed in self._sums(asked, blocks)]

    @property
    def milliseconds(self) -> Figure:
        """The CPU of all parties together."""
        runs = len(self.took[BLIND])
        totals = [0.0] * runs
        for values in self.took.values():
            each = len(values) // runs
            for run in range(runs):
                totals[run] += sum(values[run * each : (run + 1) * each])
        return Figure(f"bare cryptography, m = {self.m}", "ms CPU", totals)

    def steps(self) -> list[tuple[Figure, int]]:
        """Each step's CPU of one party, and how many parties take it."""
        runs = len(self.took[BLIND])
        return [(Figure(name, "ms CPU", self.took[name]), len(self.took[name]) // runs) for name in STEPS]

    def floor(self, processors: int) -> Figure:
        """The time that it takes on so many processors, in the protocol's order."""
        took = sum(laid(step.median, parties, processors) for step, parties in self.steps())
        return Figure(f"floor on {processors} processors", "ms", (took,))

    def pseudonyms(self) -> tuple[bytes, ...]:
        """The first round alone: as many pseudonyms as there are subjects."""
        terms = self.of.terms
        inputs = [_random(16) for _ in range(self.m)]
        with cpu(self.took[BLIND]):
            blinds = [random_scalar(_random) for _ in inputs]
            blinded = oprf.blind(inputs, blinds)
        evaluated, proofs = {}, {}
        for holder in self._holders:
            share = self.of.secrets[holder].oprf_share
            assert share is not None  # noqa: S101  # a keyholder's
            with cpu(self.took[EVALUATE]):
                evaluated[share.index], proofs[holder] = oprf.blind_evaluate_with_proof(
                    share.secret, share.public_share, blinded, _random
                )
        with cpu(self.took[FINALISE]):
            for holder, proof in proofs.items():
                index = terms.keyholder_index(holder)
                oprf.verify(terms.oprf_share(holder), blinded, evaluated[index], proof)
            return oprf.finalize(inputs, blinds, evaluated, terms.threshold)

    def _block(self, agency: str, keys: Sequence[bytes], nonce: bytes, ask: bytes) -> list[dict[bytes, bytes]]:
        blocks = []
        with cpu(self.took[ANSWER]):
            for subject, asked in enumerate(keys):
                zeta, block = self._randomiser.fresh(_random), {}
                for key in (asked, *(_random(SESSION_KEY_BYTES) for _ in range(self.entries - 1))):
                    secret = question_secret(key, nonce, ask, subject)
                    ciphertext = self._key.encrypt(encode(self._layout, self._values), zeta)
                    element = ciphertext_to_bytes(self._key, ciphertext)
                    block[tag(secret, agency)] = mask(secret, agency, element)
                blocks.append(block)
        return blocks

    def _sums(self, asked: Sequence[bytes], blocks: dict[str, list[dict[bytes, bytes]]]) -> list[int]:
        with cpu(self.took[SUM]):
            sums = []
            for subject, secret in enumerate(asked):
                total = 1
                for agency, block in blocks.items():
                    element = mask(secret, agency, block[subject][tag(secret, agency)])
                    total = self._key.add(total, ciphertext_from_bytes(self._key, element))
                sums.append(total)
            return [self._packed(sums[start : start + self._slots]) for start in range(0, len(sums), self._slots)]

    def _packed(self, sums: Sequence[int]) -> int:
        factors = [check_factor(self._layout, os2ip(_random(CHECK_BITS // 8))) for _ in sums]
        return self._key.add(self._key.pack(sums, factors, self._layout.stride), self._randomiser.fresh(_random))

    def _open(self, packed: int) -> int:
        key, shares = self.of.terms.opening_key, {}
        x = opening.challenge(key, packed)
        for holder in self._holders:
            share = self.of.secrets[holder].opening_share
            assert share is not None  # noqa: S101  # a keyholder's
            with cpu(self.took[OPEN]):
                shares[share.index] = opening.open_share(key, share, x)
        with cpu(self.took[COMBINE]):
            return opening.combine(key, packed, shares)


def laid(milliseconds: float, parties: int, processors: int) -> float:
    """How long it takes that each of some parties works so long, on some processors."""
    return milliseconds * max(1, parties / processors)


def bare(of: Established, requester: str, m: int, entries: int, runs: int) -> Bare:
    """Compute a question bare, so often."""
    question = Bare(of, requester, m, entries)
    for _ in range(runs):
        question.run()
    return question
