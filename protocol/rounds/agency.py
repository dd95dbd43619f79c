"""An agency's round: receive R's `ask`, answer with one block a subject.

Between `receive` and `answer` the node records the session durably (a second `ask` is refused) and charges R's quota;
then it reads the asked buckets. Nothing that is derived from R's T's ever reaches an agency, so it cannot tell which
entry of a bucket was meant, if any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protocol import codec, labels
from protocol.agreement.roster import COORDINATOR
from protocol.codec import Random, decode, os2ip
from protocol.errors import BucketOverflowError, CommitmentError, DecodeError
from protocol.hpke import seal, unseal
from protocol.lanes import encode
from protocol.messages import KIB, Answer, Ask, SealedAnswer, SealedAsk
from protocol.paillier import Zetas, ciphertext_to_bytes
from protocol.rounds.party import AGENCIES, Party
from protocol.sealing import ask_commitment, build_block, mask, question_secret, tag
from protocol.wire import Signed, from_map, to_map


@dataclass(frozen=True)
class Asked:
    """A verified question: R's signed `ask`, and what it sealed for this agency."""

    request: Signed[Ask]
    nonce: bytes = field(repr=False)
    prefixes: tuple[int, ...] = field(repr=False)


def receive(party: Party, data: bytes, now: int) -> Asked:
    """Verify R's `ask`: 1. the message; 2. R's right; 3. the sealed part opens; 4. it is what com commits to.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: step 1.
        NotGrantedError: step 2.
        SealError, DecodeError: step 3.
        CommitmentError: step 4.
    """
    request = party.receive(data, Ask, now, audience=AGENCIES)
    header, body = request.header, request.body
    party.terms.require_right(header.sender, header.purpose, header.issued)
    if set(body.sealed) != set(party.terms.agencies):
        raise DecodeError("message field sealed does not name exactly the agreement's agencies")
    plain = unseal(body.sealed[party.id], party.sealing_key, labels.SEALED_ASK, party.id.encode(), header.session)
    inner = from_map(SealedAsk, decode(plain, 2 * KIB))
    prefixes = tuple(map(os2ip, inner.prefixes))
    if len(prefixes) != header.m or any(prefix >> party.terms.bucket_bits for prefix in prefixes):
        raise DecodeError("message field prefixes does not fit the agreement")
    if ask_commitment(header.session, inner.nonce, prefixes) != body.commitment:
        raise CommitmentError("the sealed question is not the one committed to")
    return Asked(request, inner.nonce, prefixes)


def answer(
    party: Party,
    asked: Asked,
    buckets: Mapping[int, Sequence[tuple[bytes, Sequence[int]]]],
    randomiser: Zetas,
    random: Random,
    now: int,
) -> bytes:
    """Answer with one block a subject, of the same size whatever the buckets hold, sealed for C.

    R knows every T: were the blocks not sealed, it could ask an agency past C and see by a tag whether that one lists
    its subject.

    `buckets` maps each asked prefix to its entries `(key, lane values)`, in R's own lanes, key being HKDF(t,"session");
    an entry whose values are all zero is left out, so a subject without effect for R has no entry here. One fresh ζ
    serves all entries of a block, for at most one of them can be lifted.

    Raises:
        BucketOverflowError: a bucket holds more entries than B; then nothing is answered.
    """
    terms, ask = party.terms, asked.request.hash
    layout = terms.layout(asked.request.header.sender)
    if any(len(buckets[prefix]) > terms.bucket_size for prefix in asked.prefixes):
        raise BucketOverflowError("a bucket holds more entries than the agreement's bucket size")
    blocks = []
    for subject, prefix in enumerate(asked.prefixes):
        zeta = randomiser.fresh(random)
        entries = {}
        for key, values in buckets[prefix]:
            if any(values):
                secret = question_secret(key, asked.nonce, ask, subject)
                ciphertext = terms.public_key.encrypt(encode(layout, values), zeta)
                element = ciphertext_to_bytes(terms.public_key, ciphertext)
                entries[tag(secret, party.id)] = mask(secret, party.id, element)
        blocks.append(build_block(entries, terms.bucket_size, terms.public_key.ciphertext_bytes, random))
    return party.reply(Answer(seal_blocks(party, blocks, ask)), asked.request, now)


def seal_blocks(party: Party, blocks: Sequence[bytes], ask: bytes) -> bytes:
    """Seal an agency's blocks for C; they open only as this agency's answer to the `ask` of this hash.

    And only as what the agreement says they are: the entries of a sieve, or masked ciphertexts.
    """
    plain = codec.encode(to_map(SealedAnswer(tuple(blocks))))
    label = labels.SEALED_SIEVE if party.terms.agreement.sieve else labels.SEALED_ANSWER
    return seal(plain, party.terms.sealing_key(COORDINATOR), label, party.id.encode(), ask)
