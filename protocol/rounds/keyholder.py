"""A keyholder's rounds: evaluate blinded elements for R, and open sums under R's signed `ask`.

Between each `receive_…` and its answer the node commits what limits it: R's quota, the session, and for an opening
that (R, session, chunk) is spent. Since 2t > n, one opening a chunk at each keyholder is at most one in all.
"""

from dataclasses import dataclass

from protocol import oprf
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import ACCESS, SEAL
from protocol.codec import Random, i2osp, os2ip
from protocol.dkg import KeyShare
from protocol.errors import CiphertextError, DecodeError, HeaderError, NotGrantedError
from protocol.group import Element, decode_element
from protocol.messages import Ask, Evaluate, Evaluated, Open, Opened, Prove, Proved
from protocol.opening import OpeningShare, check_challenge, open_share, prove_share
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.wire import Signed


@dataclass(frozen=True)
class Opening:
    """A verified request to open one chunk of R's question."""

    request: Signed[Open]
    ask: Signed[Ask]
    x: int

    @property
    def chunk(self) -> int:
        """Number of the chunk."""
        return self.request.body.chunk

    def subjects(self, slots: int) -> int:
        """How many of the question's subjects this chunk carries."""
        return min(slots, self.ask.header.m - self.chunk * slots)


@dataclass(frozen=True)
class Proof:
    """A verified request to prove the share of an opening; the node checks that it opened exactly this x."""

    request: Signed[Prove]
    x: int


def receive_evaluate(party: Party, data: bytes, now: int) -> Signed[Evaluate]:
    """Verify `evaluate` and the sender's right: a requester for its purpose; an agency that seals, or is a door.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the message is not as required.
        NotGrantedError: no right.
        GroupElementError: a blinded element is the identity or not canonical.
    """
    request = party.receive(data, Evaluate, now, audience=KEYHOLDERS)
    header = request.header
    if header.sender in party.terms.agencies and header.purpose in {SEAL, ACCESS}:
        party.terms.require_in_force(now)
    else:
        party.terms.require_right(header.sender, header.purpose, now)
    if len(request.body.blinded) != header.m:
        raise DecodeError("message field blinded is not one element a subject")
    for element in request.body.blinded:
        decode_element(element)
    return request


def evaluate(party: Party, request: Signed[Evaluate], share: KeyShare, random: Random, now: int) -> bytes:
    """Return Z_j = k_j·B for every element with one batched DLEQ proof."""
    blinded = tuple(map(Element, request.body.blinded))  # decoded when it was received
    elements, proof = oprf.blind_evaluate_with_proof(share.secret, share.public_share, blinded, random)
    return party.reply(Evaluated(elements, proof), request, now)


def receive_open(party: Party, data: bytes, now: int) -> Opening:
    """Verify `open`: from the coordinator, under an `ask` that R signed and that is still valid, for one of its chunks.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: either message is not as required.
        NotGrantedError: R has no right to ask, or the agreement has a sieve, by which nothing is opened.
        CiphertextError: x is outside Z_N*.
    """
    request = party.receive(data, Open, now)
    if request.header.sender != COORDINATOR:
        raise NotGrantedError("only the coordinator asks for openings")
    if party.terms.agreement.sieve:
        raise NotGrantedError("nothing is encrypted under this agreement that could be opened")
    ask = party.receive(request.body.ask, Ask, now, audience=AGENCIES)
    party.terms.require_right(ask.header.sender, ask.header.purpose, now)
    same = ("session", "purpose", "m")
    if any(getattr(request.header, name) != getattr(ask.header, name) for name in same):
        raise HeaderError("the opening is for another session than its ask")
    if request.body.chunk * party.terms.slots(ask.header.sender) >= ask.header.m:
        raise DecodeError("message field chunk is beyond the ask's subjects")
    return Opening(request, ask, _challenge(party, request.body.x))


def open_chunk(party: Party, opening: Opening, share: OpeningShare, now: int) -> bytes:
    """Return P_j = x^(2Δ·s_j) mod N; the node has committed "spent" before it calls this."""
    opened = open_share(party.terms.opening_key, share, opening.x)
    return party.reply(Opened(i2osp(opened, party.terms.public_key.modulus_bytes)), opening.request, now)


def receive_prove(party: Party, data: bytes, now: int) -> Proof:
    """Verify `prove`, from the coordinator.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: the message is not as required.
        NotGrantedError: from another party.
        CiphertextError: x is outside Z_N*.
    """
    request = party.receive(data, Prove, now)
    if request.header.sender != COORDINATOR:
        raise NotGrantedError("only the coordinator asks for share proofs")
    return Proof(request, _challenge(party, request.body.x))


def prove(party: Party, proof: Proof, share: OpeningShare, random: Random, now: int) -> bytes:
    """Return Shoup's proof for the share of exactly this x."""
    challenge, response = prove_share(party.terms.opening_key, share, proof.x, random)
    return party.reply(Proved(challenge, response), proof.request, now)


def _challenge(party: Party, data: bytes) -> int:
    if len(data) != party.terms.public_key.modulus_bytes:
        raise CiphertextError("opening challenge has the wrong width")
    x = os2ip(data)
    check_challenge(party.terms.opening_key, x)
    return x
