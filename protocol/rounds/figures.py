"""A quarter's figures: every agency contributes, keyholders add and open, C publishes (specification §4.14).

`tally → receive_tally / contribute / seal → accept → open_request → receive_open / open_sums → accept_sums → opened →
publish`. The sum that is opened is made by each keyholder itself, of the contributions that every agency signed and
sealed for it: there is no other number that C could have opened for a quarter, and C sees no contribution at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import reduce

from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import FIGURES, Terms
from protocol.codec import Random, digest, i2osp, os2ip
from protocol.errors import DecodeError, HeaderError, NotGrantedError
from protocol.figures import EVERYBODY, FiguresLayout, Quarter, noise_scale, within
from protocol.hpke import seal as seal_box
from protocol.hpke import unseal
from protocol.messages import Contribution, Figures, OpenedFigures, OpenFigures, Prove, Tallied, Tally
from protocol.opening import OpeningShare, challenge, combine, open_share
from protocol.paillier import Zetas, ciphertext_from_bytes, ciphertext_to_bytes
from protocol.rounds.party import AGENCIES, KEYHOLDERS, Party
from protocol.wire import SESSION_BYTES, Body, Signed, read


@dataclass(frozen=True)
class Opening:
    """A verified request to open a quarter, and the sums that this keyholder made for it."""

    request: Signed[OpenFigures]
    sums: tuple[int, ...]
    xs: tuple[bytes, ...]


@dataclass(frozen=True)
class Opened:
    """What a keyholder answered: the sums that it made, and P_j of each."""

    sums: tuple[bytes, ...]
    shares: tuple[int, ...] = field(repr=False)


def session(terms: Terms, quarter: Quarter) -> bytes:
    """The session of a quarter's figures: always the same one, so that what is claimed of it is claimed once."""
    return digest(labels.FIGURES_SESSION, terms.agreement.id.encode(), str(quarter).encode())[:SESSION_BYTES]


# C asks.


def tally(party: Party, quarter: Quarter, layout: FiguresLayout, now: int) -> bytes:
    """Ask every agency for its contribution."""
    return _send(party, Tally(str(quarter), layout.digest), quarter, AGENCIES, now)


def accept(party: Party, request: Signed[Tally], agency: str, reply: bytes, now: int) -> Mapping[str, bytes]:
    """Verify an agency's reply; returns its box for each keyholder.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: it is not as required.
    """
    sealed = party.receive_reply(reply, Tallied, request, agency, now).body.sealed
    if set(sealed) != set(party.terms.keyholders):
        raise DecodeError("message field sealed does not name exactly the agreement's keyholders")
    return sealed


# An agency contributes.


def receive_tally(party: Party, data: bytes, layout: FiguresLayout, now: int) -> tuple[Signed[Tally], Quarter]:
    """Verify `tally`: 1. the message; 2. from C, for a quarter of this agreement that is over; 3. the same cells.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: steps 1 and 3.
        NotGrantedError: step 2.
    """
    request = party.receive(data, Tally, now, audience=AGENCIES)
    return request, _quarter(party, request, layout, now)


def contribute(
    party: Party,
    quarter: Quarter,
    layout: FiguresLayout,
    numbers: Sequence[int],
    zetas: Zetas,
    random: Random,
    now: int,
) -> bytes:
    """Encrypt and sign an agency's numbers, noise included, for the keyholders; what it counted must not come here."""
    key = party.terms.public_key
    ciphertexts = tuple(
        ciphertext_to_bytes(key, key.encrypt(plaintext, zetas.fresh(random))) for plaintext in layout.encode(numbers)
    )
    return _send(party, Contribution(str(quarter), layout.digest, ciphertexts), quarter, KEYHOLDERS, now)


def seal(party: Party, request: Signed[Tally], contribution: bytes, now: int) -> bytes:
    """Answer `tally` with the contribution in a box for each keyholder."""
    sealed = {
        keyholder: seal_box(
            contribution,
            party.terms.sealing_key(keyholder),
            labels.SEALED_CONTRIBUTION,
            *_context(party.id, keyholder, request.header.session),
        )
        for keyholder in party.terms.keyholders
    }
    return party.reply(Tallied(sealed), request, now)


# A keyholder adds and opens.


def open_request(
    party: Party,
    quarter: Quarter,
    layout: FiguresLayout,
    boxes: Mapping[str, Mapping[str, bytes]],
    keyholder: str,
    now: int,
) -> bytes:
    """Ask one keyholder to open: `boxes` are every agency's, by keyholder."""
    sealed = {agency: own[keyholder] for agency, own in boxes.items()}
    return _send(party, OpenFigures(str(quarter), layout.digest, sealed), quarter, keyholder, now)


def receive_open(party: Party, data: bytes, layout: FiguresLayout, now: int) -> Opening:
    """Verify `open-figures`, every agency's contribution in it, and add them.

    1. the message; 2. from C, for a quarter of this agreement that is over; 3. the same cells; 4. a box of exactly
    every agency that opens to what that agency signed for this quarter and these cells; 5. ciphertexts for all cells.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError: steps 1, 3 and 4.
        NotGrantedError: step 2.
        SealError: step 4.
        CiphertextError, DecodeError: step 5.
    """
    request = party.receive(data, OpenFigures, now)
    _quarter(party, request, layout, now)
    if set(request.body.sealed) != set(party.terms.agencies):
        raise DecodeError("message field sealed does not name exactly the agreement's agencies")
    key = party.terms.public_key
    columns = [_contributed(party, request, agency, layout) for agency in party.terms.agencies]
    sums = tuple(reduce(key.add, column) for column in zip(*columns, strict=True))
    xs = tuple(i2osp(challenge(party.terms.opening_key, it), key.modulus_bytes) for it in sums)
    return Opening(request, sums, xs)


def open_sums(party: Party, opening: Opening, share: OpeningShare, now: int) -> bytes:
    """Return the sums and P_j of each; the node has committed that this quarter is opened for them."""
    key = party.terms.opening_key
    shares = tuple(i2osp(open_share(key, share, os2ip(x)), key.public_key.modulus_bytes) for x in opening.xs)
    sums = tuple(ciphertext_to_bytes(key.public_key, it) for it in opening.sums)
    return party.reply(OpenedFigures(sums, shares), opening.request, now)


# C opens and publishes.


def accept_sums(
    party: Party, request: Signed[OpenFigures], layout: FiguresLayout, keyholder: str, reply: bytes, now: int
) -> Opened:
    """Verify a keyholder's reply; whether its shares are right shows when a quorum is combined.

    Raises:
        DecodeError, HeaderError, SignatureError, ExpiredError, CiphertextError: it is not as required.
    """
    body = party.receive_reply(reply, OpenedFigures, request, keyholder, now).body
    if not len(body.sums) == len(body.shares) == layout.plaintexts:
        raise DecodeError("message fields sums and shares are not one a plaintext")
    for encoded in body.sums:
        ciphertext_from_bytes(party.terms.public_key, encoded)
    return Opened(body.sums, tuple(map(os2ip, body.shares)))


def opened(party: Party, layout: FiguresLayout, quorum: Mapping[str, Opened]) -> tuple[int, ...]:
    """Combine the answers of keyholders that made the same sums; returns one number a cell, noise included.

    Raises:
        QuorumError: fewer than t.
        OpeningError: a share is wrong.
        LaneError: a sum is not of agencies' numbers.
    """
    terms, (sums, *_) = party.terms, [it.sums for it in quorum.values()]
    plaintexts = [
        combine(
            terms.opening_key,
            os2ip(encoded),
            {terms.keyholder_index(keyholder): it.shares[number] for keyholder, it in quorum.items()},
        )
        for number, encoded in enumerate(sums)
    ]
    return layout.decode(plaintexts)


def prove_request(party: Party, quarter: Quarter, opening: Opened, number: int, keyholder: str, now: int) -> bytes:
    """Ask one keyholder to prove its share of a sum, after combined roots did not verify."""
    key = party.terms.opening_key
    x = i2osp(challenge(key, os2ip(opening.sums[number])), key.public_key.modulus_bytes)
    return _send(party, Prove(COORDINATOR, number, x), quarter, keyholder, now)


def publish(party: Party, quarter: Quarter, layout: FiguresLayout, numbers: Sequence[int], now: int) -> bytes:
    """Sign a quarter's figures for everybody; small numbers are left out."""
    terms = party.terms.agreement.public_figures
    body = Figures(
        quarter=str(quarter),
        agencies=layout.agencies,
        epsilon=terms.epsilon,
        within=within(noise_scale(terms.epsilon), layout.agencies),
        threshold=terms.threshold,
        cells=layout.cells,
        numbers=tuple(number if number >= terms.threshold else 0 for number in numbers),
    )
    return _send(party, body, quarter, EVERYBODY, now)


def _contributed(party: Party, request: Signed[OpenFigures], agency: str, layout: FiguresLayout) -> tuple[int, ...]:
    """One agency's ciphertexts out of its box for this keyholder."""
    context = _context(agency, party.id, request.header.session)
    plain = unseal(request.body.sealed[agency], party.sealing_key, labels.SEALED_CONTRIBUTION, *context)
    message = read(plain, Contribution)
    message.envelope.verify(party.terms.signing_key(agency))
    # Its times are not compared: it is for this quarter, whenever that is opened.
    own = message.header
    if own != replace(request.header, sender=agency, audience=KEYHOLDERS, issued=own.issued, expires=own.expires):
        raise HeaderError("a contribution is for other keyholders or another session")
    if (message.body.quarter, message.body.cells) != (request.body.quarter, request.body.cells):
        raise HeaderError("a contribution is for another quarter, or of other cells")
    if len(message.body.ciphertexts) != layout.plaintexts:
        raise DecodeError("message field ciphertexts is not one a plaintext")
    return tuple(ciphertext_from_bytes(party.terms.public_key, it) for it in message.body.ciphertexts)


def _quarter(party: Party, request: Signed[Tally] | Signed[OpenFigures], layout: FiguresLayout, now: int) -> Quarter:
    """The quarter that C asks for, once it is known to be one, and over."""
    header, body, valid = request.header, request.body, party.terms.agreement.valid
    if header.sender != COORDINATOR or header.purpose != FIGURES:
        raise NotGrantedError("only the coordinator asks for figures, and for this purpose")
    quarter = Quarter.parse(body.quarter)
    if header.session != session(party.terms, quarter):
        raise HeaderError("figures are asked for in another session than their quarter's")
    if not (quarter.last < _day(now) and valid.from_ <= quarter.last and quarter.first <= valid.until):
        raise NotGrantedError("the quarter is not over, or not of this agreement")
    party.terms.force.require_not_withdrawn(quarter.begins)
    if body.cells != layout.digest:
        raise DecodeError("message field cells is not the digest of this agreement's cells")
    return quarter


def _day(now: int) -> date:
    return datetime.fromtimestamp(now, UTC).date()


def _send(party: Party, body: Body, quarter: Quarter, audience: str, now: int) -> bytes:
    return party.send(body, audience=audience, session=session(party.terms, quarter), purpose=FIGURES, m=0, now=now)


def _context(agency: str, keyholder: str, session_: bytes) -> tuple[bytes, ...]:
    return agency.encode(), keyholder.encode(), session_
