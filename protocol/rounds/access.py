"""A subject asks all agencies through one of them, its door D (specification §4.11).

`ask → receive → answer → answers → open_answer`: D sends the subject's question, every agency answers the subject
alone, D hands the answers on, the subject's own client opens them. D authenticates the subject, and its signature says
so. An agency that lists nobody of that name learns a bucket and no more; D and C learn neither who lists the subject
nor how often, for every answer is of one size and sealed to a key that the subject made for this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol import labels
from protocol.agreement.terms import ACCESS, Terms
from protocol.codec import Random, concat, decode, encode, i2osp, os2ip
from protocol.errors import (
    DecodeError,
    ExpiredError,
    HeaderError,
    NotGrantedError,
    SignatureError,
    UsageError,
)
from protocol.hpke import receiver_key, seal, unseal
from protocol.messages import CONTENT_BYTES, KIB, MAX_IDENTIFIERS, PREFIX_BYTES, Access, Accessed, SealedAccess
from protocol.rounds.party import AGENCIES, Party
from protocol.sealing import access_tag, bucket, session_key
from protocol.wire import MAX_PARTIES, SESSION_BYTES, Signed, from_map, read, to_map

MAX_CONTENT = CONTENT_BYTES - 4
"""Bytes that an agency can tell a subject in one answer."""


@dataclass(frozen=True)
class Accessing:
    """A verified request for a subject: the buckets of its identifiers, and by which tags this agency knows them."""

    request: Signed[Access]
    prefixes: tuple[int, ...] = field(repr=False)
    tags: frozenset[bytes] = field(repr=False)


def ask(
    party: Party, pseudonyms: Sequence[bytes], *, key: bytes, now: int, random: Random
) -> tuple[Signed[Access], bytes]:
    """Ask for a subject that D authenticated, under 1 to 16 pseudonyms; `key` is the subject's own X25519 public key.

    Returns the state and the signed `access` for every agency; the subject needs the latter to open the answers.

    Raises:
        SealError: the key is of low order.
        UsageError: too few or many pseudonyms.
    """
    if not 1 <= len(pseudonyms) <= MAX_IDENTIFIERS:
        raise UsageError(f"a subject asks under 1 to {MAX_IDENTIFIERS} identifiers")
    receiver_key(key)
    terms, session = party.terms, random(SESSION_BYTES)
    prefixes = tuple(i2osp(bucket(t, terms.bucket_bits), PREFIX_BYTES) for t in pseudonyms)
    sealed = {}
    for agency in terms.agencies:
        inner = SealedAccess(prefixes, tuple(access_tag(session_key(t), session, agency) for t in pseudonyms))
        context = _context(agency, party.id, session, key)
        sealed[agency] = seal(encode(to_map(inner)), terms.sealing_key(agency), labels.SEALED_ACCESS, *context)
    body = Access(key, sealed)
    data = party.send(body, audience=AGENCIES, session=session, purpose=ACCESS, m=len(pseudonyms), now=now)
    return read(data, Access), data


def verify(party: Party, data: bytes, now: int) -> Signed[Access]:
    """Verify D's `access`, as C and every agency does: 1. the message; 2. D's right; 3. the key; 4. who is asked.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: step 1; DecodeError also step 4.
        NotGrantedError: step 2.
        SealError: step 3.
    """
    request = party.receive(data, Access, now, audience=AGENCIES)
    party.terms.require_in_force(request.header.issued)
    if request.header.sender not in party.terms.agencies or request.header.purpose != ACCESS:
        raise NotGrantedError("only an agency asks for a subject, and for this purpose")
    receiver_key(request.body.key)
    if set(request.body.sealed) != set(party.terms.agencies):
        raise DecodeError("message field sealed does not name exactly the agreement's agencies")
    return request


def receive(party: Party, data: bytes, now: int) -> Accessing:
    """Verify D's `access` and open what is sealed to this agency.

    The box is bound to D, session and key, so that no agency can pass another's off under a key of its own.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError, NotGrantedError, SealError: as `verify`; the sealed
            part does not open, or does not fit the agreement.
    """
    request = verify(party, data, now)
    header, body = request.header, request.body
    context = _context(party.id, header.sender, header.session, body.key)
    plain = unseal(body.sealed[party.id], party.sealing_key, labels.SEALED_ACCESS, *context)
    inner = from_map(SealedAccess, decode(plain, KIB))
    prefixes = tuple(map(os2ip, inner.prefixes))
    if not len(prefixes) == len(inner.tags) == header.m:
        raise DecodeError("message fields prefixes and tags are not one an identifier")
    if any(prefix >> party.terms.bucket_bits for prefix in prefixes):
        raise DecodeError("message field prefixes does not fit the agreement")
    return Accessing(request, prefixes, frozenset(inner.tags))


def names(party: Party, accessing: Accessing, key: bytes) -> bool:
    """Whether the subject asks under a pseudonym of this session key, one of this agency's own in these `prefixes`."""
    return access_tag(key, accessing.request.header.session, party.id) in accessing.tags


def answer(party: Party, accessing: Accessing, content: bytes, now: int) -> bytes:
    """Answer the subject alone: `content`, of at most `MAX_CONTENT` bytes, in the size of every answer.

    An agency that holds nothing of the subject answers too, and says so inside.

    Raises:
        UsageError: the content is too long; nothing of it is cut.
    """
    if len(content) > MAX_CONTENT:
        raise UsageError("the content is too long for one answer")
    request = accessing.request
    plain = concat(content).ljust(CONTENT_BYTES, b"\0")
    sealed = seal(plain, receiver_key(request.body.key), labels.SEALED_CONTENT, party.id.encode(), request.hash)
    return party.reply(Accessed(sealed), request, now)


def answers(party: Party, request: Signed[Access], reply: bytes, now: int) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Verify what C passed on: the answers to hand to the subject by agency, and who gave none that verifies.

    Raises:
        DecodeError: not a map of agencies' answers.
    """
    found = decode(reply, MAX_PARTIES * (Accessed.LIMIT + 128))
    if not isinstance(found, dict) or not (
        set(found) <= set(party.terms.agencies) and all(isinstance(data, bytes) for data in found.values())
    ):
        raise DecodeError("not a map of agencies' answers")
    verified: dict[str, bytes] = {}
    for agency, data in found.items():
        try:
            party.receive_reply(data, Accessed, request, agency, now)
        except (DecodeError, HeaderError, SignatureError, ExpiredError):
            continue  # as good as none
        verified[agency] = data
    return verified, tuple(agency for agency in party.terms.agencies if agency not in verified)


def open_answer(terms: Terms, key: X25519PrivateKey, request: bytes, agency: str, reply: bytes) -> bytes:
    """Open an agency's answer with the subject's private key, at the subject's own client, which is no party.

    1. `request` is an `access` by an agency for exactly this key; 2. `reply` is the agency's signed answer to it and
    to nothing else; 3. it opens. No time is checked: the key was made for this request, so no answer is older.

    Raises:
        DecodeError, HeaderError, SignatureError: steps 1 and 2.
        SealError, DecodeError: step 3.
    """
    asked = read(request, Access)
    if not {asked.header.sender, agency} <= set(terms.agencies):
        raise HeaderError("not asked or answered by an agency of the agreement")
    asked.envelope.verify(terms.signing_key(asked.header.sender))
    if asked.body.key != key.public_key().public_bytes_raw():
        raise HeaderError("the door asked for another key than the subject's")
    answered = read(reply, Accessed)
    answered.envelope.verify(terms.signing_key(agency))
    expected = replace(
        asked.header,
        agreement=terms.agreement.id,
        version=terms.agreement.version,
        epoch=terms.roster.epoch,
        sender=agency,
        audience=asked.header.sender,
        issued=answered.header.issued,
        expires=answered.header.expires,
        answers=asked.hash,
    )
    if answered.header != expected:
        raise HeaderError("reply answers another message")
    plain = unseal(answered.body.sealed, key, labels.SEALED_CONTENT, agency.encode(), asked.hash)
    length = os2ip(plain[:4])
    content, padding = plain[4 : 4 + length], plain[4 + length :]
    if len(content) != length or any(padding):
        raise DecodeError("the answer's content is not of its form")
    return content


def _context(agency: str, door: str, session: bytes, key: bytes) -> tuple[bytes, ...]:
    return agency.encode(), door.encode(), session, key
