"""The terms: an agreement and its signed roster, verified once, and everything public that follows from both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cache, cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from protocol import labels
from protocol.agreement.force import Force
from protocol.agreement.layout import layout
from protocol.agreement.model import MAX_CANONICAL, Agreement, canonical, from_canonical
from protocol.agreement.model import digest as agreement_digest
from protocol.agreement.parameters import bucket_bits, bucket_size
from protocol.agreement.roster import COORDINATOR, LIMIT, Roster, SignedRoster
from protocol.ceremony import Ceremony
from protocol.codec import concat, decode, encode, i2osp, os2ip
from protocol.errors import (
    AgreementError,
    DecodeError,
    NoLongerInForceError,
    NotGrantedError,
    NotYetInForceError,
    PeerError,
    UsageError,
)
from protocol.group import Element, decode_element
from protocol.lanes import LaneLayout
from protocol.opening import OpeningKey
from protocol.oprf import combine
from protocol.paillier import PublicKey
from protocol.sealing import EFFECTS_BYTES, TAG_BYTES
from protocol.wire import Header

SEAL = "seal"
CANARY = "canary"
ACCESS = "subject-access"
FIGURES = "figures"
"""Purposes of the protocol itself: an agency seals its register; a requester asks for canaries, with known answers; an
agency asks all agencies for a subject that stands at its door; the coordinator has a quarter's figures counted."""

DAY = 86_400
_CANARY_CHECKS = 300  # a day: enough for one every five minutes, far below what a requester may ask anyway
_ACCESSES = 1000  # identifiers a day: many times what people ask at one agency, too few to go through a register by


def key_context(agreement: Agreement, epoch: int, label: bytes) -> bytes:
    """What a key is bound to: the agreement with every field, the epoch, and the key's label."""
    return concat(label, agreement_digest(agreement), i2osp(epoch, 4))


def terms_to_bytes(agreement: Agreement, signed: SignedRoster) -> bytes:
    """Encode an agreement with its signed roster, for file and wire."""
    return encode([canonical(agreement), signed.to_bytes()])


@dataclass(frozen=True)
class Allowance:
    """A quota: at most `limit` subjects in `period`, which ends at `ends` (Unix seconds)."""

    limit: int
    period: str
    ends: int


@dataclass(frozen=True)
class Terms:
    """Verified public terms of one agreement and epoch; `load` is the only way to get one.

    `force` is the one part that changes: whoever follows withdrawals and other versions sets it.
    """

    agreement: Agreement
    roster: Roster
    ceremony: Ceremony
    endorsements: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    force: Force = field(default_factory=Force, compare=False)

    @staticmethod
    def from_bytes(data: bytes) -> "Terms":
        """Read and verify what `terms_to_bytes` wrote: all that a third party needs to verify this epoch's messages.

        Raises:
            DecodeError, AgreementError, ModulusError: it is not canonical, or does not verify.
        """
        match decode(data, MAX_CANONICAL + LIMIT):
            case [bytes() as agreement, bytes() as roster]:
                return Terms.load(from_canonical(agreement), SignedRoster.from_bytes(roster))
        raise DecodeError("not an agreement and its roster")

    @staticmethod
    def load(agreement: Agreement, signed: SignedRoster) -> "Terms":
        """Verify a roster for an agreement.

        1. exactly the agreement's agencies signed it; 2. it is for this agreement, by digest; 3. it has keys for
        exactly the agreement's parties; 4. the keyholders' public shares lie on one polynomial of degree t - 1, no
        lower, with the OPRF public key at 0; 5. the opening key's published values verify.

        Raises:
            AgreementError: steps 1 to 4.
            ModulusError: step 5.
        """
        roster = signed.roster
        agencies = tuple(agency.id for agency in agreement.agencies)
        signed.verify(agencies)
        if roster.agreement != agreement_digest(agreement):
            raise AgreementError("the roster is for another agreement")
        parties = {*agencies, *(requester.id for requester in agreement.requesters), COORDINATOR}
        if set(roster.signing) != parties or set(roster.sealing) != parties:
            raise AgreementError("the roster's parties are not the agreement's")
        _check_oprf_keys(agreement, roster)
        if roster.modulus[0] == 0 or any(len(value) != len(roster.modulus) for value in roster.commitments):
            raise AgreementError("the opening key's published values are not in the modulus's width")
        ceremony = Ceremony(
            modulus=os2ip(roster.modulus),
            keyholders=len(agreement.keyholders.agencies),
            commitments=tuple(map(os2ip, roster.commitments)),
            proof=roster.coprime_proof,
            context=key_context(agreement, roster.epoch, labels.OPENING_KEY),
        )
        if len(ceremony.commitments) != agreement.keyholders.threshold:
            raise AgreementError("the opening key's threshold is not the agreement's")
        ceremony.verify(agreement.suite)
        return Terms(agreement, roster, ceremony, signed.endorsements)

    @cached_property
    def agencies(self) -> tuple[str, ...]:
        """Ids of all agencies, in the agreement's order."""
        return tuple(agency.id for agency in self.agreement.agencies)

    @property
    def keyholders(self) -> tuple[str, ...]:
        """Ids of the keyholders; keyholder j = 1..n is at position j - 1."""
        return tuple(self.agreement.keyholders.agencies)

    @property
    def threshold(self) -> int:
        """t, how many keyholders answer together."""
        return self.agreement.keyholders.threshold

    @cached_property
    def bucket_bits(self) -> int:
        """β."""
        return bucket_bits(self.agreement.anonymity.population, self.agreement.anonymity.k_min)

    @cached_property
    def bucket_size(self) -> int:
        """B."""
        return bucket_size(self.agreement.anonymity.max_listings, self.bucket_bits)

    @property
    def element_bytes(self) -> int:
        """Width of what stands behind a tag in an agency's answer: a ciphertext, or by the sieve the effects."""
        return EFFECTS_BYTES if self.agreement.sieve else self.public_key.ciphertext_bytes

    @property
    def block_bytes(self) -> int:
        """Size of what an agency answers about one subject."""
        return self.bucket_size * (TAG_BYTES + self.element_bytes)

    @cached_property
    def _layouts(self) -> Mapping[str, LaneLayout]:
        return {requester.id: layout(self.agreement, requester.id) for requester in self.agreement.requesters}

    def layout(self, requester: str) -> LaneLayout:
        """The lanes of a requester's questions."""
        return self._layouts[requester]

    def slots(self, requester: str) -> int:
        """How many subjects of a requester's question share one opening."""
        return self.layout(requester).slots(self.public_key.bits)

    @property
    def opening_key(self) -> OpeningKey:
        """The verified opening key."""
        return self.ceremony.key

    @property
    def public_key(self) -> PublicKey:
        """The Paillier key that agencies encrypt under."""
        return self.ceremony.key.public_key

    def keyholder_index(self, keyholder: str) -> int:
        """J of a keyholder."""
        if keyholder not in self.keyholders:
            raise UsageError("not a keyholder of this agreement")
        return self.keyholders.index(keyholder) + 1

    def oprf_share(self, keyholder: str) -> Element:
        """K_j of a keyholder."""
        return Element(self.roster.oprf_shares[self.keyholder_index(keyholder) - 1])

    def signing_key(self, party: str) -> Ed25519PublicKey:
        """A party's key for signatures."""
        return _signing_key(self.roster.signing[party])

    def sealing_key(self, party: str) -> X25519PublicKey:
        """A party's key for sealing."""
        return X25519PublicKey.from_public_bytes(self.roster.sealing[party])

    @property
    def decision_seconds(self) -> int:
        """How long a decision is valid."""
        return int(self.agreement.decision_lifetime.total_seconds())

    def allowance(self, request: Header, now: int) -> Allowance:
        """How many subjects a request's sender may have evaluated, asked about or opened, and in what time.

        A requester's is in the agreement, for a UTC day; canaries have a small one of their own. An agency seals its
        own identifiers: twice `max_listings` (once, and the turnover of as many again) for the whole epoch, since a
        daily allowance would let it test the population within a year. For subjects at its door it has a daily one.
        """
        day = now // DAY
        if request.sender in self.agencies and request.purpose == ACCESS:
            return Allowance(_ACCESSES, f"access day {day}", (day + 1) * DAY)
        if request.sender in self.agencies:
            end = datetime.combine(self.agreement.valid.until, time.max, UTC)
            limit = 2 * self.agreement.anonymity.max_listings
            return Allowance(limit, f"epoch {self.roster.epoch}", int(end.timestamp()))
        if request.purpose == CANARY:
            return Allowance(_CANARY_CHECKS * self.canaries, f"canary day {day}", (day + 1) * DAY)
        return Allowance(self.agreement.requester(request.sender).quota_per_day, f"day {day}", (day + 1) * DAY)

    @property
    def canaries(self) -> int:
        """How many subjects one canary check asks about: each agency's canary, and one that nobody lists."""
        return len(self.agencies) + 1

    def require_in_force(self, time: int) -> None:
        """Refuse what is asked at a time at which this version is not in force.

        That is outside its days (UTC, the last included), from the day of a withdrawal, and while another version or
        epoch answers. `time` is the question's, not the receiver's: so all parties change at the same moment.

        Raises:
            NotYetInForceError, NoLongerInForceError, WithdrawnError, OtherVersionError: as their names say.
        """
        if utc_day(time) < self.agreement.valid.from_:
            raise NotYetInForceError("the agreement is not in force yet")
        self.require_not_over(time)
        self.force.require_here(time)

    def require_not_over(self, time: int) -> None:
        """Refuse what is asked once this version has ended: registers are sealed before it is in force, not after.

        Raises:
            NoLongerInForceError, WithdrawnError: as their names say.
        """
        if utc_day(time) > self.agreement.valid.until:
            raise NoLongerInForceError("the agreement is not in force any more")
        self.force.require_not_withdrawn(time)

    def is_in_force(self, time: int) -> bool:
        """Whether what is asked at this time is not refused by `require_in_force`."""
        return _passes(self.require_in_force, time)

    def is_over(self, time: int) -> bool:
        """Whether what is asked at this time is refused by `require_not_over`."""
        return not _passes(self.require_not_over, time)

    def require_right(self, party: str, purpose: str, time: int) -> None:
        """Refuse a question that the agreement does not grant; `time` is the question's.

        Raises:
            NotGrantedError: no requester, a purpose it does not have, or an agreement not in force.
        """
        self.require_in_force(time)
        if purpose not in {*self.agreement.requester(party).purposes, CANARY}:
            raise NotGrantedError("the agreement does not grant this purpose to the requester")


def utc_day(time: int) -> date:
    """The UTC day of a time in Unix seconds."""
    return datetime.fromtimestamp(time, UTC).date()


def _passes(check: Callable[[int], None], time: int) -> bool:
    try:
        check(time)
    except NotGrantedError:
        return False
    return True


@cache
def _signing_key(encoded: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(encoded)


def _check_oprf_keys(agreement: Agreement, roster: Roster) -> None:
    count, threshold = len(agreement.keyholders.agencies), agreement.keyholders.threshold
    if len(roster.oprf_shares) != count:
        raise AgreementError("the roster does not have one OPRF share a keyholder")
    try:
        public = decode_element(roster.oprf_public)
        shares = {index: (decode_element(share),) for index, share in enumerate(roster.oprf_shares, start=1)}
    except PeerError as error:
        raise AgreementError("an OPRF public key is not a group element") from error
    first = {index: shares[index] for index in range(1, threshold)}
    for last in range(threshold, count + 1):
        if combine({**first, last: shares[last]}, threshold) != (public,):
            raise AgreementError("the OPRF public shares do not belong to the OPRF public key")
    # Of a lower degree, fewer keyholders than the threshold would have the key.
    if first and combine(first, threshold - 1) == (public,):
        raise AgreementError("the OPRF key is shared by a polynomial of a lower degree")
