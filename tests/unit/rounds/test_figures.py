"""A quarter's figures through the rounds of all parties: what is summed, what is opened, and what nobody can have."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from protocol import labels
from protocol.agreement.force import Force
from protocol.agreement.roster import COORDINATOR
from protocol.certificate import figures_to_json, to_json, verify_figures
from protocol.codec import os2ip
from protocol.errors import (
    CiphertextError,
    DecisionError,
    DecodeError,
    ExpiredError,
    HeaderError,
    NotGrantedError,
    OpeningError,
    PeerError,
    ProofError,
    QuorumError,
    SealError,
    SignatureError,
    WithdrawnError,
)
from protocol.figures import FiguresLayout, Quarter
from protocol.hpke import seal as seal_box
from protocol.messages import Contribution, Figures, OpenFigures, Prove, Tallied, Tally
from protocol.rounds import coordinator, figures, keyholder
from protocol.wire import SESSION_BYTES, read
from tests.flow import opening_share
from tests.parties import AGENCIES, NOW, REQUESTER, federation, forged, party, randomiser

QUARTER = Quarter(2026, 4)
LATER = int(datetime(2027, 1, 2, tzinfo=UTC).timestamp())
CELLS = tuple(f"listings of ground {number}" for number in range(20))
LAYOUT = FiguresLayout(CELLS, len(AGENCIES), 512)
NUMBERS = {name: [number * 10 - at for number in range(20)] for at, name in enumerate(AGENCIES)}
SUM = tuple(map(sum, zip(*NUMBERS.values(), strict=True)))
C = party(COORDINATOR, federation())


def key(name: str) -> Any:
    return federation().secrets[name].signing_key


@cache
def tallied_for() -> bytes:
    return figures.tally(C, QUARTER, LAYOUT, LATER)


@cache
def contribution(name: str) -> bytes:
    own = party(name, federation())
    zetas = randomiser(federation())
    return figures.contribute(own, QUARTER, LAYOUT, NUMBERS[name], zetas, secrets.token_bytes, LATER)


def boxes(name: str, message: bytes | None = None) -> Any:
    own = party(name, federation())
    request, _ = figures.receive_tally(own, tallied_for(), LAYOUT, LATER)
    reply = figures.seal(own, request, message or contribution(name), LATER)
    return figures.accept(C, request, name, reply, LATER)


def open_request(holder: str = "court", others: Mapping[str, bytes] | None = None) -> bytes:
    """What C sends a keyholder; `others` are contributions in the place of an agency's own."""
    of = {name: boxes(name, (others or {}).get(name)) for name in AGENCIES}
    return figures.open_request(C, QUARTER, LAYOUT, of, holder, LATER)


def receive_open(data: bytes, holder: str = "court", now: int = LATER, layout: FiguresLayout = LAYOUT) -> Any:
    return figures.receive_open(party(holder, federation()), data, layout, now)


@cache
def answers() -> dict[str, figures.Opened]:
    found = {}
    for holder in AGENCIES[:3]:
        request = open_request(holder)
        own, opening = party(holder, federation()), receive_open(request, holder)
        reply = figures.open_sums(own, opening, opening_share(federation(), holder), LATER)
        found[holder] = figures.accept_sums(C, read(request, OpenFigures), LAYOUT, holder, reply, LATER)
    return found


def test_a_quorum_opens_the_sum_of_every_agencys_numbers_and_nothing_else() -> None:
    assert LAYOUT.plaintexts == 2
    assert figures.opened(C, LAYOUT, answers()) == SUM
    assert len({answer.sums for answer in answers().values()}) == 1


def test_fewer_than_a_quorum_open_nothing() -> None:
    with pytest.raises(QuorumError):
        figures.opened(C, LAYOUT, dict(list(answers().items())[:2]))


def test_a_wrong_share_is_found_and_its_keyholder_named_by_its_proof() -> None:
    (holder, right), *rest = answers().items()
    wrong = figures.Opened(right.sums, (right.shares[0], right.shares[1] + 1))
    with pytest.raises(OpeningError):
        figures.opened(C, LAYOUT, {holder: wrong, **dict(rest)})
    own, share = party(holder, federation()), opening_share(federation(), holder)
    request = figures.prove_request(C, QUARTER, right, 1, holder, LATER)
    proof = keyholder.prove(own, keyholder.receive_prove(own, request, LATER), share, secrets.token_bytes, LATER)
    coordinator.accept_proof(C, read(request, Prove), holder, right.shares[1], proof, LATER)
    with pytest.raises(ProofError):
        coordinator.accept_proof(C, read(request, Prove), holder, wrong.shares[1], proof, LATER)


def test_the_coordinator_cannot_read_a_contribution() -> None:
    """Its boxes are for the keyholders; nobody else opens one, nor a keyholder another's."""
    request = open_request("court")
    for holder in ("tax", COORDINATOR):
        with pytest.raises(SealError):
            receive_open(forged(request, OpenFigures, key(COORDINATOR), {"audience": holder}), holder)


# What an agency and a keyholder refuse.


def changed_tally(header: Any = None, body: Any = None, signer: str = COORDINATOR) -> bytes:
    return forged(tallied_for(), Tally, key(signer), header, body)


def other_session(quarter: str) -> dict[str, bytes]:
    return {"session": figures.session(federation().terms, Quarter.parse(quarter))}


REFUSED: list[tuple[str, Callable[[], bytes], type[PeerError]]] = [
    ("from a requester", lambda: changed_tally({"sender": REQUESTER}, signer=REQUESTER), NotGrantedError),
    ("from an agency", lambda: changed_tally({"sender": "tax"}, signer="tax"), NotGrantedError),
    ("for another purpose", lambda: changed_tally({"purpose": "seal"}), NotGrantedError),
    ("with another's signature", lambda: changed_tally(signer="tax"), SignatureError),
    ("in a session of its own", lambda: changed_tally({"session": bytes(SESSION_BYTES)}), HeaderError),
    ("of no quarter", lambda: changed_tally(body={"quarter": "2026-Q9"}), DecodeError),
    ("not over yet", lambda: changed_tally(other_session("2027-Q1"), {"quarter": "2027-Q1"}), NotGrantedError),
    ("before the agreement", lambda: changed_tally(other_session("2026-Q3"), {"quarter": "2026-Q3"}), NotGrantedError),
    ("of other cells", lambda: changed_tally(body={"cells": bytes(32)}), DecodeError),
    ("too old", lambda: changed_tally({"issued": NOW, "expires": NOW + 60}), ExpiredError),
]


@pytest.mark.parametrize(("make", "error"), [it[1:] for it in REFUSED], ids=[it[0] for it in REFUSED])
def test_an_agency_contributes_for_the_coordinator_to_a_quarter_that_is_over(
    make: Callable[[], bytes], error: type[PeerError]
) -> None:
    with pytest.raises(error):
        figures.receive_tally(party("tax", federation()), make(), LAYOUT, LATER)


def test_nothing_is_contributed_while_the_quarter_lasts() -> None:
    last = int(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    request = figures.tally(C, QUARTER, LAYOUT, last)
    with pytest.raises(NotGrantedError, match="not over"):
        figures.receive_tally(party("tax", federation()), request, LAYOUT, last)
    request = figures.tally(C, QUARTER, LAYOUT, last + 1)
    figures.receive_tally(party("tax", federation()), request, LAYOUT, last + 1)


def test_a_quarter_after_the_agreements_end_is_not_its_own() -> None:
    far = int(datetime(2028, 6, 1, tzinfo=UTC).timestamp())
    for quarter, is_own in ((Quarter(2027, 4), True), (Quarter(2028, 1), False)):
        request = figures.tally(C, quarter, LAYOUT, far)
        if is_own:
            figures.receive_tally(party("tax", federation()), request, LAYOUT, far)
        else:
            with pytest.raises(NotGrantedError, match="not of this agreement"):
                figures.receive_tally(party("tax", federation()), request, LAYOUT, far)


def test_what_agencies_did_is_accounted_for_after_a_withdrawal_and_no_quarter_that_begins_then() -> None:
    own = party("tax", federation())
    request = figures.tally(C, QUARTER, LAYOUT, LATER)
    for withdrawn, is_told in ((QUARTER.begins + 1, True), (QUARTER.begins, False)):
        terms = replace(own.terms, force=Force(withdrawn=withdrawn, agencies=("labour",)))
        if is_told:
            figures.receive_tally(replace(own, terms=terms), request, LAYOUT, LATER)
        else:
            with pytest.raises(WithdrawnError):
                figures.receive_tally(replace(own, terms=terms), request, LAYOUT, LATER)


def other(name: str, header: Any = None, body: Any = None, signer: str = "") -> dict[str, bytes]:
    return {name: forged(contribution(name), Contribution, key(signer or name), header, body)}


def missing_an_agency() -> bytes:
    sealed = dict(read(open_request(), OpenFigures).body.sealed)
    del sealed["tax"]
    return forged(open_request(), OpenFigures, key(COORDINATOR), body={"sealed": sealed})


def twice_the_same() -> bytes:
    """C puts one agency's box in another's place, so that the sum would hold it twice."""
    sealed = dict(read(open_request(), OpenFigures).body.sealed)
    return forged(open_request(), OpenFigures, key(COORDINATOR), body={"sealed": sealed | {"tax": sealed["labour"]}})


def resealed() -> bytes:
    """Whoever knows another's contribution seals it anew as its own."""
    of = federation()
    context = b"tax", b"court", figures.session(of.terms, QUARTER)
    box = seal_box(contribution("labour"), of.terms.sealing_key("court"), labels.SEALED_CONTRIBUTION, *context)
    sealed = {**read(open_request(), OpenFigures).body.sealed, "tax": box}
    return forged(open_request(), OpenFigures, key(COORDINATOR), body={"sealed": sealed})


N = federation().terms.public_key.n
BAD = [
    ("an agency is missing", missing_an_agency, DecodeError),
    ("one agency's box twice", twice_the_same, SealError),
    ("another's contribution", resealed, SignatureError),
    ("signed by another", lambda: open_request(others=other("tax", signer="labour")), SignatureError),
    ("of another epoch", lambda: open_request(others=other("tax", {"epoch": 2})), HeaderError),
    ("of another version", lambda: open_request(others=other("tax", {"version": 2})), HeaderError),
    ("for another audience", lambda: open_request(others=other("tax", {"audience": "court"})), HeaderError),
    ("of another session", lambda: open_request(others=other("tax", other_session("2027-Q1"))), HeaderError),
    ("of another quarter", lambda: open_request(others=other("tax", body={"quarter": "2027-Q1"})), HeaderError),
    ("of other cells", lambda: open_request(others=other("tax", body={"cells": bytes(32)})), HeaderError),
    (
        "one ciphertext only",
        lambda: open_request(
            others=other("tax", body={"ciphertexts": read(contribution("tax"), Contribution).body.ciphertexts[:1]})
        ),
        DecodeError,
    ),
    ("zero", lambda: open_request(others=other("tax", body={"ciphertexts": (bytes(128),) * 2})), CiphertextError),
    ("short", lambda: open_request(others=other("tax", body={"ciphertexts": (b"1",) * 2})), CiphertextError),
    ("no message", lambda: open_request(others={"tax": b"\x80"}), DecodeError),
    ("from an agency", lambda: forged(open_request(), OpenFigures, key("tax"), {"sender": "tax"}), NotGrantedError),
]


@pytest.mark.parametrize(("make", "error"), [it[1:] for it in BAD], ids=[it[0] for it in BAD])
def test_a_keyholder_opens_only_the_sum_of_what_every_agency_signed(
    make: Callable[[], bytes], error: type[PeerError]
) -> None:
    receive_open(open_request())
    with pytest.raises(error):
        receive_open(make())


def test_what_a_keyholder_opens_is_the_product_that_it_made() -> None:
    """C has no say in x."""
    opening, n_squared = receive_open(open_request()), N * N
    for number, total in enumerate(opening.sums):
        product = 1
        for name in AGENCIES:
            product = product * os2ip(read(contribution(name), Contribution).body.ciphertexts[number]) % n_squared
        assert total == product
        assert os2ip(opening.xs[number]) == product * product % N


def test_boxes_are_for_exactly_the_keyholders() -> None:
    own = party("tax", federation())
    request, _ = figures.receive_tally(own, tallied_for(), LAYOUT, LATER)
    reply = figures.seal(own, request, contribution("tax"), LATER)
    sealed = dict(read(reply, Tallied).body.sealed)
    sealed.pop("court")
    with pytest.raises(DecodeError, match="keyholders"):
        figures.accept(C, request, "tax", forged(reply, Tallied, key("tax"), body={"sealed": sealed}), LATER)


def test_a_keyholder_answers_for_all_sums() -> None:
    request, own = open_request(), party("court", federation())
    opening = receive_open(request)
    opening = figures.Opening(opening.request, opening.sums[:1], opening.xs[:1])
    reply = figures.open_sums(own, opening, opening_share(federation(), "court"), LATER)
    with pytest.raises(DecodeError, match="not one a plaintext"):
        figures.accept_sums(C, read(request, OpenFigures), LAYOUT, "court", reply, LATER)


# What is published.


def published(*numbers: int) -> bytes:
    layout = FiguresLayout(CELLS[: len(numbers)], len(AGENCIES), 512)
    return figures.publish(C, QUARTER, layout, numbers, LATER)


def test_small_numbers_are_not_told() -> None:
    document = figures_to_json(read(published(-7, 9, 10, 300), Figures))
    assert list(document["figures"].values()) == [None, None, 10, 300]
    assert (document["fewer_than"], document["within"], document["noise_scale"]) == (10, 32, 5.0)
    assert verify_figures(federation().terms, document["certificate"]).body.numbers == (0, 0, 10, 300)


@pytest.mark.parametrize(
    ("header", "body", "signer"),
    [
        ({}, {}, "tax"),
        ({"epoch": 2}, {}, COORDINATOR),
        ({"audience": "tax"}, {}, COORDINATOR),
        ({}, {"agencies": 4}, COORDINATOR),
        ({}, {"epsilon": 100}, COORDINATOR),
        ({}, {"threshold": 5}, COORDINATOR),
        ({}, {"numbers": (3, 10)}, COORDINATOR),
        ({}, {"numbers": (10,)}, COORDINATOR),
    ],
)
def test_what_is_not_what_was_published_does_not_verify(header: Any, body: Any, signer: str) -> None:
    right = published(10, 10)
    verify_figures(federation().terms, to_json(read(right, Figures).envelope))
    wrong = read(forged(right, Figures, key(signer), header, body), Figures)
    with pytest.raises(DecisionError):
        verify_figures(federation().terms, to_json(wrong.envelope))


def test_no_decision_passes_for_figures() -> None:
    document = to_json(read(published(10), Figures).envelope)
    with pytest.raises(DecisionError):
        verify_figures(federation().terms, document | {"payloadType": "application/vnd.concordat.v1.decision+cbor"})
