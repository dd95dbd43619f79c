"""One question through the rounds of all parties, without nodes or network: a test may exchange whatever travels."""

import itertools
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from api.setup import Established
from protocol import oprf
from protocol.agreement.roster import COORDINATOR
from protocol.codec import encode
from protocol.dkg import KeyShare
from protocol.group import ORDER, ZERO, Scalar, scalar_add, scalar_from_int, scalar_mul
from protocol.lanes import Standing, vector
from protocol.messages import Decision, Open
from protocol.opening import OpeningShare
from protocol.rounds import agency, coordinator, keyholder, requester, sieve
from protocol.rounds.party import Party
from protocol.sealing import bucket, session_key
from protocol.shamir import lagrange_at_zero
from protocol.wire import Signed, read
from tests.parties import NOW, PURPOSE, REQUESTER, party, randomiser

Registers = Mapping[str, Mapping[bytes, Sequence[Standing]]]
"""Agency to subject (canonical bytes) to the subject's listings there."""

Shares = list[dict[str, int]]


@cache
def oprf_key(of: Established) -> Scalar:
    """The joint key, put together from a quorum's shares: in a real epoch nobody ever has it."""
    quorum = of.terms.keyholders[: of.terms.threshold]
    coefficients = lagrange_at_zero([of.terms.keyholder_index(holder) for holder in quorum], ORDER)
    key = ZERO
    for holder in quorum:
        share = oprf_share(of, holder)
        key = scalar_add(key, scalar_mul(scalar_from_int(coefficients[share.index]), share.secret))
    return key


def oprf_share(of: Established, holder: str) -> KeyShare:
    share = of.secrets[holder].oprf_share
    assert share is not None
    return share


def opening_share(of: Established, holder: str) -> OpeningShare:
    share = of.secrets[holder].opening_share
    assert share is not None
    return share


def pseudonym(of: Established, subject: bytes) -> bytes:
    """t of a subject under the whole key, as RFC 9497 defines it for a single one."""
    return oprf.evaluate(oprf_key(of), subject)


class Joint:
    """A federation whose agencies have sealed their registers."""

    def __init__(self, of: Established, registers: Registers) -> None:
        self.of = of
        self.terms = of.terms
        self.parties: dict[str, Party] = {name: party(name, of) for name in of.terms.roster.signing}
        self.buckets: dict[str, dict[int, list[tuple[bytes, tuple[int, ...]]]]] = {
            name: defaultdict(list) for name in of.terms.agencies
        }
        for name, subjects in registers.items():
            for subject, standings in subjects.items():
                t = pseudonym(of, subject)
                entry = session_key(t), vector(self.terms.layout(REQUESTER), name, standings)
                self.buckets[name][bucket(t, self.terms.bucket_bits)].append(entry)

    def quorums(self) -> Iterable[tuple[str, ...]]:
        """Every choice of exactly t keyholders."""
        return itertools.combinations(self.terms.keyholders, self.terms.threshold)

    def blind(self, subjects: Sequence[bytes]) -> tuple[requester.Blinding, bytes]:
        """R's first message."""
        return requester.evaluate(
            self.parties[REQUESTER], subjects, purpose=PURPOSE, case="case", now=NOW, random=secrets.token_bytes
        )

    def evaluate(self, holder: str, data: bytes, share: KeyShare | None = None) -> bytes:
        """One keyholder's reply, under its own share unless another is given."""
        own = self.parties[holder]
        request = keyholder.receive_evaluate(own, data, NOW)
        return keyholder.evaluate(own, request, share or oprf_share(self.of, holder), secrets.token_bytes, NOW)

    def pseudonyms(self, subjects: Sequence[bytes], quorum: Sequence[str]) -> tuple[bytes, ...]:
        """The whole first round with one quorum."""
        state, data = self.blind(subjects)
        replies = encode({holder: self.evaluate(holder, data) for holder in quorum})
        return requester.pseudonyms(self.parties[REQUESTER], state, replies, NOW)

    def answer(self, name: str, asked: bytes) -> bytes:
        """One agency's answer."""
        own = self.parties[name]
        received = agency.receive(own, asked, NOW)
        buckets = {prefix: self.buckets[name].get(prefix, []) for prefix in received.prefixes}
        if self.terms.agreement.sieve:
            return sieve.answer(own, received, buckets, secrets.token_bytes, NOW)
        return agency.answer(own, received, buckets, randomiser(self.of), secrets.token_bytes, NOW)

    def opened(self, holder: str, request: bytes) -> bytes:
        """One keyholder's opening share."""
        own = self.parties[holder]
        opening = keyholder.receive_open(own, request, NOW)
        return keyholder.open_chunk(own, opening, opening_share(self.of, holder), NOW)

    def ask(self, subjects: Sequence[bytes]) -> "Question":
        """A question about subjects whose pseudonyms R holds."""
        return Question(self, [pseudonym(self.of, subject) for subject in subjects])

    def check(self, subjects: Sequence[bytes], quorum: Sequence[str]) -> tuple[Signed[Decision], ...]:
        """Both rounds with one quorum, from subjects to verified decisions."""
        return Question(self, self.pseudonyms(subjects, quorum)).decisions(quorum)


class Question:
    """The second round: R's messages at once, everything else step by step."""

    def __init__(self, joint: Joint, known: Sequence[bytes]) -> None:
        self.joint = joint
        self.r, self.c = joint.parties[REQUESTER], joint.parties[COORDINATOR]
        self.known = tuple(known)
        self.state, self.asked, self.looked = requester.ask(
            self.r, known, purpose=PURPOSE, now=NOW, random=secrets.token_bytes
        )
        self.session = coordinator.receive(self.c, self.asked, self.looked, NOW)

    def answers(self) -> dict[str, bytes]:
        return {name: self.joint.answer(name, self.asked) for name in self.joint.terms.agencies}

    def accept(self, answers: Mapping[str, bytes]) -> dict[str, tuple[int | None, ...]]:
        return {name: coordinator.accept(self.c, self.session, name, answer, NOW) for name, answer in answers.items()}

    def add(self, answers: Mapping[str, bytes] | None = None) -> coordinator.Sums:
        lifted = self.accept(self.answers() if answers is None else answers)
        return coordinator.add(self.c, self.session, lifted, randomiser(self.joint.of), secrets.token_bytes)

    def open_request(self, chunk: coordinator.Chunk, holder: str) -> bytes:
        return coordinator.open_request(self.c, self.session, chunk, holder, NOW)

    def shares(self, sums: coordinator.Sums, quorum: Sequence[str] = ()) -> Shares:
        return [
            {holder: self.share(chunk, holder) for holder in quorum or self.joint.terms.keyholders}
            for chunk in sums.chunks
        ]

    def share(self, chunk: coordinator.Chunk, holder: str) -> int:
        request = self.open_request(chunk, holder)
        reply = self.joint.opened(holder, request)
        return coordinator.accept_share(self.c, read(request, Open), holder, reply, NOW)

    def lanes(
        self, quorum: Sequence[str] = (), answers: Mapping[str, bytes] | None = None
    ) -> Sequence[tuple[int, ...]]:
        sums = self.add(answers)
        return coordinator.opened(self.c, self.session, sums, self.shares(sums, quorum))

    def sieve(self, answers: Mapping[str, bytes]) -> bytes:
        """C's reply under an agreement with a sieve."""
        found = {name: sieve.accept(self.c, self.session, name, answer, NOW) for name, answer in answers.items()}
        return sieve.decide(self.c, self.session, found, NOW)

    def decide(self, quorum: Sequence[str] = (), answers: Mapping[str, bytes] | None = None) -> bytes:
        return coordinator.decide(self.c, self.session, self.lanes(quorum, answers), NOW)

    def decisions(self, quorum: Sequence[str] = ()) -> tuple[Signed[Decision], ...]:
        return requester.decisions(self.r, self.state, self.decide(quorum), NOW)
