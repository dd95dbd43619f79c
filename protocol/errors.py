"""Two families of errors: what came from outside is not as required, and a caller's own mistake.

Messages name the field, the party or the rule; they never repeat a value that was sent. An error's `args` are those it
was made with, so it crosses process boundaries as it is.
"""

from collections.abc import Iterable


class ConcordatError(Exception):
    """Root of every error raised by this project."""


class UsageError(ConcordatError):
    """A caller inside the project broke a precondition; a bug here, never somebody else's input."""


class PeerError(ConcordatError):
    """Something from outside (a party, a person, a file) is not as required; nothing of it is used."""


class DecodeError(PeerError):
    """Bytes are not the one canonical encoding of what was expected, or exceed its size limit."""


class IdentifierError(PeerError):
    """An identifier is malformed or its check digit is wrong."""


class AgreementError(PeerError):
    """An agreement or roster breaks a rule, is not fully signed, or is not in force."""


class GroupElementError(PeerError):
    """Bytes are not the canonical encoding of a ristretto255 element, or are the identity."""


class ScalarError(PeerError):
    """Bytes are not the canonical encoding of a scalar below the group order."""


class ProofError(PeerError):
    """A zero-knowledge proof does not verify."""


class DkgError(PeerError):
    """Key generation aborts; `culprits` are the ids of the parties whose contribution was wrong."""

    def __init__(self, reason: str, culprits: Iterable[str]) -> None:
        self.culprits = tuple(sorted(culprits))
        super().__init__(reason, self.culprits)

    def __str__(self) -> str:
        return f"{self.args[0]}: {', '.join(self.culprits)}"


class ModulusError(PeerError):
    """A Paillier modulus or its ceremony transcript fails a check."""


class CiphertextError(PeerError):
    """A ciphertext is outside 1..N²-1 or shares a factor with N."""


class OpeningError(PeerError):
    """The combined root does not satisfy w^N = A^(8Δ²): some opening share is wrong."""


class SignatureError(PeerError):
    """A message's signature does not verify under its sender's key."""


class HeaderError(PeerError):
    """A message's header does not fit: type, agreement, version, epoch, sender, audience, or what it answers."""


class ExpiredError(PeerError):
    """A message is outside its time of validity."""


class ReplayedError(PeerError):
    """A message or session was seen before."""


class SpentError(PeerError):
    """This session's chunk was opened before."""


class NotGrantedError(PeerError):
    """The sender has no right to ask this, for this purpose or at this time."""


class NotYetInForceError(NotGrantedError):
    """The first day of this version of the agreement is still to come."""


class NoLongerInForceError(NotGrantedError):
    """The last day of this version of the agreement has passed."""


class WithdrawnError(NotGrantedError):
    """An agency has withdrawn from this version of the agreement, which answers nothing any more."""


class OtherVersionError(NotGrantedError):
    """At the time of the question another version of the agreement is in force, or another epoch current."""


class QuotaError(PeerError):
    """The sender's quota does not cover the request; `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(reason, retry_after)

    def __str__(self) -> str:
        return str(self.args[0])


class CommitmentError(PeerError):
    """A sealed part does not open to what its sender committed to."""


class SealError(PeerError):
    """A sealed box does not open under this party's key."""


class QuorumError(PeerError):
    """Fewer than the threshold of distinct keyholders answered."""


class BucketOverflowError(PeerError):
    """A bucket holds more entries than the agreement's bucket size."""


class BlockError(PeerError):
    """An agency's block is not exactly B entries, strictly ascending by tag."""


class LaneError(PeerError):
    """An opened slot or lane is not what the matched agencies can have sent: an integrity failure, never a decision."""


class DecisionError(PeerError):
    """A decision or certificate does not verify against its question or roster."""


class IndeterminateError(PeerError):
    """No decision: `missing` are the ids of the parties that did not answer, or answered wrongly."""

    def __init__(self, missing: Iterable[str], reason: str = "no answer from") -> None:
        self.missing = tuple(sorted(set(missing)))
        super().__init__(self.missing, reason)

    def __str__(self) -> str:
        return f"{self.args[1]}: {', '.join(self.missing)}"
