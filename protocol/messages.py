"""The message types of the protocol, and the size limit of every field (sizes in bytes).

Specification: protocol/spec/concordat-v1.md §4. A tuple with one item a subject has the header's m items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from protocol.wire import (
    HASH_BYTES,
    MAX_ID,
    MAX_PARTIES,
    MAX_SUBJECTS,
    array,
    by_id,
    is_octets,
    is_text,
    is_whole,
    octets,
    text,
    whole,
)

KIB = 1 << 10
MAX_MODULUS_BYTES = 1024
PREFIX_BYTES = 8
MAX_IDENTIFIERS = 16
CONTENT_BYTES = 64 * KIB
QUARTER = 7
MAX_CELLS = 256
MAX_CELL = 200
MAX_SUMS = 32


@dataclass(frozen=True)
class Evaluate:
    """R to the keyholders: blinded elements B_1 … B_m (32 bytes each) and H(case ‖ salt)."""

    TYPE: ClassVar[str] = "evaluate"
    LIMIT: ClassVar[int] = 8 * KIB
    case: bytes = octets(HASH_BYTES)
    blinded: tuple[bytes, ...] = array(is_octets(32), MAX_SUBJECTS)


@dataclass(frozen=True)
class Evaluated:
    """Keyholder to R: Z_j = k_j·B for each blinded element, and one batched DLEQ proof (64 bytes)."""

    TYPE: ClassVar[str] = "evaluated"
    LIMIT: ClassVar[int] = 8 * KIB
    elements: tuple[bytes, ...] = array(is_octets(32), MAX_SUBJECTS)
    proof: bytes = octets(64)


@dataclass(frozen=True)
class Ask:
    """R to every agency: com, and for each agency (ν, prefixes) sealed to it."""

    TYPE: ClassVar[str] = "ask"
    LIMIT: ClassVar[int] = 128 * KIB
    commitment: bytes = octets(HASH_BYTES)
    sealed: Mapping[str, bytes] = by_id(is_octets(48, 2 * KIB))


@dataclass(frozen=True)
class SealedAsk:
    """Inside `Ask.sealed`: the nonce ν and one bucket prefix a subject. Not signed by itself; com binds it.

    Prefixes have a fixed width, for the length of what is sealed must tell C nothing of them.
    """

    nonce: bytes = octets(32)
    prefixes: tuple[bytes, ...] = array(is_octets(PREFIX_BYTES), MAX_SUBJECTS)


@dataclass(frozen=True)
class Look:
    """R to C alone: the hash of `ask`, and T_a and σ_a (32 bytes each) for each subject."""

    TYPE: ClassVar[str] = "look"
    LIMIT: ClassVar[int] = 16 * KIB
    ask: bytes = octets(HASH_BYTES)
    secrets: tuple[bytes, ...] = array(is_octets(32), MAX_SUBJECTS)
    sigmas: tuple[bytes, ...] = array(is_octets(32), MAX_SUBJECTS)


@dataclass(frozen=True)
class SealedAnswer:
    """What an agency seals for C: for each subject one block of exactly B entries `tag ‖ masked ciphertext`."""

    blocks: tuple[bytes, ...] = array(is_octets(1, 4 * KIB * KIB), MAX_SUBJECTS)


@dataclass(frozen=True)
class Answer:
    """Agency to C, whoever passed on the `ask`: what it sealed for C."""

    TYPE: ClassVar[str] = "answer"
    LIMIT: ClassVar[int] = 64 * KIB * KIB
    sealed: bytes = octets(48, 64 * KIB * KIB)


@dataclass(frozen=True)
class Open:
    """C to a keyholder: R's signed `ask`, the chunk number and x = A² mod N."""

    TYPE: ClassVar[str] = "open"
    LIMIT: ClassVar[int] = Ask.LIMIT + 4 * KIB
    ask: bytes = octets(1, Ask.LIMIT)
    chunk: int = whole(MAX_SUBJECTS - 1)
    x: bytes = octets(1, MAX_MODULUS_BYTES)


@dataclass(frozen=True)
class Opened:
    """Keyholder to C: P_j for one chunk."""

    TYPE: ClassVar[str] = "opened"
    LIMIT: ClassVar[int] = 4 * KIB
    share: bytes = octets(1, MAX_MODULUS_BYTES)


@dataclass(frozen=True)
class Prove:
    """C to a keyholder: prove the share that was opened for this chunk and x; only asked when an opening fails."""

    TYPE: ClassVar[str] = "prove"
    LIMIT: ClassVar[int] = 4 * KIB
    requester: str = text(MAX_ID)
    chunk: int = whole(MAX_SUBJECTS - 1)
    x: bytes = octets(1, MAX_MODULUS_BYTES)


@dataclass(frozen=True)
class Proved:
    """Keyholder to C: Shoup's proof of equal exponents, (challenge, response)."""

    TYPE: ClassVar[str] = "proved"
    LIMIT: ClassVar[int] = 8 * KIB
    challenge: bytes = octets(32)
    response: bytes = octets(1, 2 * MAX_MODULUS_BYTES)


class Effect(IntEnum):
    """What a decision says of one measure."""

    NONE = 0
    DISPUTED = 1  # would apply if disputed listings counted
    APPLIES = 2


@dataclass(frozen=True)
class Decision:
    """What C signs for one subject: every measure its requester implements, and the binding H(σ ‖ T ‖ com).

    All these measures stand in it whether they apply or not, so a decision's length says nothing of its content. Its
    header's `issued` is the as-of time and `expires` the end of its validity, and `answers` the hash of R's `ask`: T
    binds it too, so what is decided is what agencies were asked. `subject` is the subject's number in the session;
    `measures` maps measure ids to an `Effect`; `agencies` is how many agencies answered: all, or there is no decision.
    """

    TYPE: ClassVar[str] = "decision"
    LIMIT: ClassVar[int] = 8 * KIB
    subject: int = whole(MAX_SUBJECTS - 1)
    measures: Mapping[str, int] = by_id(is_whole(max(Effect)))
    agencies: int = whole(MAX_PARTIES)
    binding: bytes = octets(HASH_BYTES)

    def having(self, effect: Effect) -> tuple[str, ...]:
        """Ids of the measures with this effect, in alphabetical order."""
        return tuple(sorted(measure for measure, value in self.measures.items() if value == effect))


@dataclass(frozen=True)
class Decide:
    """C to R: one signed decision a subject, each an envelope of its own that others can verify."""

    TYPE: ClassVar[str] = "decide"
    LIMIT: ClassVar[int] = 1024 * KIB
    decisions: tuple[bytes, ...] = array(is_octets(1, Decision.LIMIT), MAX_SUBJECTS)


@dataclass(frozen=True, repr=False)
class Evidence:
    """What ties a decision about one subject to its identifier; R's to give away. The decision binds it, no signature.

    `evaluations` are exactly t keyholders' Z_j ‖ proof (96 bytes) of what `blind` blinded; `nonce`, `prefix` and
    `sigma` are the question's. Whoever holds it has the subject's identifier, and by it t.
    """

    LIMIT: ClassVar[int] = 16 * KIB
    scheme: str = text(64)
    value: str = text(128)
    blind: bytes = octets(32)
    evaluations: Mapping[str, bytes] = by_id(is_octets(96))
    nonce: bytes = octets(32)
    prefix: bytes = octets(PREFIX_BYTES)
    sigma: bytes = octets(32)


@dataclass(frozen=True)
class Access:
    """Agency D, a subject's door, to every agency: the subject's fresh X25519 key, and for each agency a sealed part.

    D's signature says that it authenticated the holder of the m identifiers that are asked under, and of this key.
    """

    TYPE: ClassVar[str] = "access"
    LIMIT: ClassVar[int] = 72 * KIB
    key: bytes = octets(32)
    sealed: Mapping[str, bytes] = by_id(is_octets(48, KIB))


@dataclass(frozen=True)
class SealedAccess:
    """Inside `Access.sealed`, for one agency: of each of the subject's identifiers a bucket prefix and a tag."""

    prefixes: tuple[bytes, ...] = array(is_octets(PREFIX_BYTES), MAX_IDENTIFIERS)
    tags: tuple[bytes, ...] = array(is_octets(32), MAX_IDENTIFIERS)


@dataclass(frozen=True)
class Accessed:
    """Agency to D, for the subject alone: what it holds of the subject, sealed to its key, always `CONTENT_BYTES`."""

    TYPE: ClassVar[str] = "accessed"
    LIMIT: ClassVar[int] = CONTENT_BYTES + 4 * KIB
    sealed: bytes = octets(48 + CONTENT_BYTES)


@dataclass(frozen=True)
class Tally:
    """C to every agency: contribute to a quarter's figures, in the cells of this digest."""

    TYPE: ClassVar[str] = "tally"
    LIMIT: ClassVar[int] = 2 * KIB
    quarter: str = text(QUARTER, QUARTER)
    cells: bytes = octets(HASH_BYTES)


@dataclass(frozen=True)
class Contribution:
    """One agency's noisy numbers of a quarter, encrypted; the same to every keyholder, sealed to each."""

    TYPE: ClassVar[str] = "contribution"
    LIMIT: ClassVar[int] = 16 * KIB
    quarter: str = text(QUARTER, QUARTER)
    cells: bytes = octets(HASH_BYTES)
    ciphertexts: tuple[bytes, ...] = array(is_octets(1, 2 * MAX_MODULUS_BYTES), MAX_SUMS)


@dataclass(frozen=True)
class Tallied:
    """Agency to C: its contribution in a box for each keyholder. C sees none of them, only their sum."""

    TYPE: ClassVar[str] = "tallied"
    LIMIT: ClassVar[int] = MAX_PARTIES * (Contribution.LIMIT + 128)
    sealed: Mapping[str, bytes] = by_id(is_octets(48, Contribution.LIMIT + 48))


@dataclass(frozen=True)
class OpenFigures:
    """C to a keyholder: every agency's box for it."""

    TYPE: ClassVar[str] = "open-figures"
    LIMIT: ClassVar[int] = Tallied.LIMIT
    quarter: str = text(QUARTER, QUARTER)
    cells: bytes = octets(HASH_BYTES)
    sealed: Mapping[str, bytes] = by_id(is_octets(48, Contribution.LIMIT + 48))


@dataclass(frozen=True)
class OpenedFigures:
    """Keyholder to C: the product of all agencies' ciphertexts, and P_j of each."""

    TYPE: ClassVar[str] = "opened-figures"
    LIMIT: ClassVar[int] = 104 * KIB
    sums: tuple[bytes, ...] = array(is_octets(1, 2 * MAX_MODULUS_BYTES), MAX_SUMS)
    shares: tuple[bytes, ...] = array(is_octets(1, MAX_MODULUS_BYTES), MAX_SUMS)


@dataclass(frozen=True)
class Figures:
    """What C signs for everybody: a quarter's sums over all agencies with their noise, one a cell.

    `epsilon` is what the quarter cost every agency, in thousandths; a number lies within ±`within` of the true sum in
    95 of 100 cases. A number below `threshold` is not told: 0 stands in its place, and no other number is so low.
    """

    TYPE: ClassVar[str] = "figures"
    LIMIT: ClassVar[int] = 64 * KIB
    quarter: str = text(QUARTER, QUARTER)
    agencies: int = whole(MAX_PARTIES)
    epsilon: int = whole(10_000)
    within: int = whole(1 << 31)
    threshold: int = whole(1000)
    cells: tuple[str, ...] = array(is_text(MAX_CELL), MAX_CELLS)
    numbers: tuple[int, ...] = array(is_whole(1 << 40), MAX_CELLS)


@dataclass(frozen=True)
class DkgCommit:
    """DKG round 1: a hash commitment to the round-2 broadcast."""

    TYPE: ClassVar[str] = "dkg-commit"
    LIMIT: ClassVar[int] = 2 * KIB
    hash: bytes = octets(HASH_BYTES)


@dataclass(frozen=True)
class DkgReveal:
    """DKG round 2: Feldman commitments, proof of knowledge, and every receiver's sealed share."""

    TYPE: ClassVar[str] = "dkg-reveal"
    LIMIT: ClassVar[int] = 16 * KIB
    commitments: tuple[bytes, ...] = array(is_octets(32), MAX_PARTIES)
    proof: bytes = octets(64)
    sealed: tuple[bytes, ...] = array(is_octets(80), MAX_PARTIES)


@dataclass(frozen=True)
class DkgConfirm:
    """DKG round 3: the hash of the transcript, signed only after the party's own share verified."""

    TYPE: ClassVar[str] = "dkg-confirm"
    LIMIT: ClassVar[int] = 2 * KIB
    transcript: bytes = octets(HASH_BYTES)
