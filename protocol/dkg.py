"""Key generation without a dealer: n parties come to a shared key that nobody ever holds (Pedersen 1991).

Every party deals: it shares a secret of its own among all, itself included, and the key is the sum of these secrets.

1. `commit`: hash of (Feldman commitments, proof of knowledge of the secret). All are bound before any is seen: nobody
   can choose its part by the others' and bias the joint key (an attack of Gennaro, Jarecki, Krawczyk and Rabin, 2007).
2. `reveal`: what was committed to, and one share sealed to each party.
3. `confirm`: every dealing is checked against its hash, degree, proof and this party's own share; any fault aborts and
   names its dealers. Only then does the party confirm the transcript.
4. `finish`: all parties confirmed the same transcript, so all have good shares of one key.

Each step returns `(state, message)`: the state stays home, the message goes to everybody, its maker included, signed
in an envelope. A missing or wrong message aborts; what is tried after that is a new run, with new secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocol import labels, shamir
from protocol.codec import Random, concat, digest, i2osp
from protocol.errors import CommitmentError, DkgError, PeerError, ProofError, UsageError
from protocol.group import (
    IDENTITY,
    SCALAR_BYTES,
    Element,
    Scalar,
    decode_element,
    decode_scalar,
    element_add,
    hash_to_scalar,
    random_scalar,
    scalar_add,
    scalar_base_mult,
    scalar_mul,
    scalar_mult,
    scalar_sub,
)
from protocol.hpke import seal, unseal
from protocol.messages import DkgCommit, DkgConfirm, DkgReveal


@dataclass(frozen=True)
class DkgConfig:
    """What the parties agree on beforehand; the party at position i has the index i + 1.

    `context` names the one key this run is for: the caller binds agreement, version, epoch and the key's label in it,
    and a nonce of the run, so that no message of an aborted run fits another.
    Any `threshold` of the parties will be able to evaluate under the key.
    """

    context: bytes
    parties: tuple[str, ...]
    threshold: int

    def __post_init__(self) -> None:
        if len(set(self.parties)) < len(self.parties) or not 1 <= self.threshold <= len(self.parties):
            raise UsageError("parties must be distinct and the threshold among 1 and their number")

    @property
    def binding(self) -> bytes:
        """Hash (32 bytes) that ties every proof, seal and transcript to this run."""
        names = (party.encode() for party in self.parties)
        return digest(labels.DKG_CONTEXT, self.context, i2osp(self.threshold, 2), *names)

    def index(self, party: str) -> int:
        """Return the index of a party.

        Raises:
            UsageError: it is none of the parties.
        """
        if party not in self.parties:
            raise UsageError("not a party of this key generation")
        return self.parties.index(party) + 1


@dataclass(frozen=True)
class KeyShare:
    """One party's share of the joint key, and every party's public share, in order of index."""

    index: int
    secret: Scalar = field(repr=False)
    public_key: Element
    public_shares: tuple[Element, ...]

    @property
    def public_share(self) -> Element:
        """This party's own public share, secret·G."""
        return self.public_shares[self.index - 1]


@dataclass(frozen=True)
class Committed:
    """State after round 1: this party's secret polynomial, and what it committed to."""

    config: DkgConfig
    party: str
    coefficients: tuple[Scalar, ...] = field(repr=False)
    commitments: tuple[Element, ...]
    proof: bytes


@dataclass(frozen=True)
class Revealed:
    """State after round 2: everybody's hash. The polynomial is gone; its share of it is sealed like any other."""

    config: DkgConfig
    party: str
    commits: Mapping[str, DkgCommit]


@dataclass(frozen=True)
class Confirmed:
    """State after round 3: a key share, not to be used before `finish` releases it."""

    config: DkgConfig
    transcript: bytes
    share: KeyShare


def commit(config: DkgConfig, party: str, random: Random) -> tuple[Committed, DkgCommit]:
    """Round 1: draw a secret polynomial and commit to it.

    Raises:
        UsageError: `party` is none of the parties.
    """
    config.index(party)
    coefficients = tuple(random_scalar(random) for _ in range(config.threshold))
    commitments = shamir.commit(coefficients)
    proof = _prove_knowledge(config, party, coefficients[0], commitments[0], random)
    message = DkgCommit(_commitment_hash(config, party, commitments, proof))
    return Committed(config, party, coefficients, commitments, proof), message


def reveal(
    state: Committed, commits: Mapping[str, DkgCommit], receivers: Mapping[str, X25519PublicKey]
) -> tuple[Revealed, DkgReveal]:
    """Round 2: once everybody is bound, open the commitment and seal each party's share to its key.

    Raises:
        DkgError: somebody's commit is missing.
        UsageError: `receivers` are not exactly the parties.
    """
    config = state.config
    _require_everybody(config, commits)
    if set(receivers) != set(config.parties):
        raise UsageError("receivers are not the parties")
    sealed = tuple(
        seal(
            shamir.evaluate(state.coefficients, config.index(receiver)),
            receivers[receiver],
            labels.SEALED_DKG_SHARE,
            *_seal_context(config, state.party, receiver),
        )
        for receiver in config.parties
    )
    return Revealed(config, state.party, dict(commits)), DkgReveal(state.commitments, state.proof, sealed)


def confirm(state: Revealed, reveals: Mapping[str, DkgReveal], key: X25519PrivateKey) -> tuple[Confirmed, DkgConfirm]:
    """Round 3: check every dealing, add up the shares, and confirm the transcript.

    Raises:
        DkgError: a reveal is missing or wrong; `culprits` are all its dealers, or everybody if the sum vanishes.
    """
    config = state.config
    _require_everybody(config, reveals)
    dealings, faults = [], {}
    for dealer in config.parties:
        try:
            dealings.append(_open_dealing(state, dealer, reveals[dealer], key))
        except PeerError as error:
            faults[dealer] = str(error)
    if faults:
        raise DkgError("; ".join(sorted(set(faults.values()))), faults)
    joint = tuple(reduce(element_add, column) for column in zip(*(dealt for dealt, _ in dealings), strict=True))
    # A vanishing sum would be a known key, or a key that fewer than the threshold can use.
    if IDENTITY in joint:
        raise DkgError("the joint polynomial vanishes", config.parties)
    share = KeyShare(
        config.index(state.party),
        reduce(scalar_add, (share for _, share in dealings)),
        joint[0],
        tuple(shamir.public_share(joint, config.index(party)) for party in config.parties),
    )
    transcript = _transcript(config, reveals)
    return Confirmed(config, transcript, share), DkgConfirm(transcript)


def finish(state: Confirmed, confirms: Mapping[str, DkgConfirm]) -> KeyShare:
    """Round 4: release the key share once everybody confirmed this party's transcript.

    Raises:
        DkgError: a confirm is missing, or for another transcript; then `culprits` saw other messages than this party,
            which may be the doing of a third that told them different things.
    """
    _require_everybody(state.config, confirms)
    diverging = [party for party, message in confirms.items() if message.transcript != state.transcript]
    if diverging:
        raise DkgError("another transcript was confirmed by", diverging)
    return state.share


def _require_everybody(config: DkgConfig, messages: Mapping[str, object]) -> None:
    if wrong := set(config.parties) ^ set(messages):
        raise DkgError("message missing from a party, or come from no party", wrong)


def _open_dealing(
    state: Revealed, dealer: str, dealing: DkgReveal, key: X25519PrivateKey
) -> tuple[tuple[Element, ...], Scalar]:
    """Check one dealing; return its commitments and this party's share, or raise the PeerError that it deserves."""
    config, receiver = state.config, state.party
    if len(dealing.commitments) != config.threshold:
        raise CommitmentError("polynomial is not of the agreed degree")
    if len(dealing.sealed) != len(config.parties):
        raise CommitmentError("there is not one sealed share a party")
    if _commitment_hash(config, dealer, dealing.commitments, dealing.proof) != state.commits[dealer].hash:
        raise CommitmentError("reveal is not what was committed to")
    commitments = tuple(map(decode_element, dealing.commitments))
    _verify_knowledge(config, dealer, commitments[0], dealing.proof)
    sealed = dealing.sealed[config.index(receiver) - 1]
    plaintext = unseal(sealed, key, labels.SEALED_DKG_SHARE, *_seal_context(config, dealer, receiver))
    share = decode_scalar(plaintext, allow_zero=True)
    shamir.verify_share(share, config.index(receiver), commitments)
    return commitments, share


def _prove_knowledge(config: DkgConfig, dealer: str, secret: Scalar, public: Element, random: Random) -> bytes:
    """Prove knowledge of log_G(public) (Schnorr 1991, Fiat-Shamir), so that no part is made out of another's."""
    r = random_scalar(random)
    c = _knowledge_challenge(config, dealer, public, scalar_base_mult(r))
    return c + scalar_sub(r, scalar_mul(c, secret))


def _verify_knowledge(config: DkgConfig, dealer: str, public: Element, proof: bytes) -> None:
    c = decode_scalar(proof[:SCALAR_BYTES], allow_zero=True)
    s = decode_scalar(proof[SCALAR_BYTES:], allow_zero=True)
    if _knowledge_challenge(config, dealer, public, element_add(scalar_base_mult(s), scalar_mult(c, public))) != c:
        raise ProofError("proof of knowledge of the dealt secret does not verify")


def _knowledge_challenge(config: DkgConfig, dealer: str, public: Element, nonce: Element) -> Scalar:
    return hash_to_scalar(concat(config.binding, dealer.encode(), public, nonce), labels.DKG_KNOWLEDGE)


def _seal_context(config: DkgConfig, dealer: str, receiver: str) -> tuple[bytes, bytes, bytes]:
    return config.binding, dealer.encode(), receiver.encode()


def _commitment_hash(config: DkgConfig, dealer: str, commitments: tuple[bytes, ...], proof: bytes) -> bytes:
    # Hiding without a nonce: the commitments are as unpredictable as the polynomial itself.
    return digest(labels.DKG_COMMITMENT, config.binding, dealer.encode(), concat(*commitments), proof)


def _transcript(config: DkgConfig, reveals: Mapping[str, DkgReveal]) -> bytes:
    """Hash all dealings in order of the parties; the sealed shares by their hash, so that they need not be kept."""
    dealings = (
        concat(concat(*dealt.commitments), dealt.proof, digest(labels.DKG_SEALED, *dealt.sealed))
        for dealt in (reveals[party] for party in config.parties)
    )
    return digest(labels.DKG_TRANSCRIPT, config.binding, *dealings)
