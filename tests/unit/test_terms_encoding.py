"""What is read as a roster, or as an agreement with one, is what its agencies signed, in its one encoding."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import labels
from protocol.agreement.model import canonical, digest
from protocol.agreement.roster import LIMIT, SignedRoster
from protocol.agreement.terms import Terms, terms_to_bytes
from protocol.codec import encode
from protocol.errors import AgreementError, DecodeError
from protocol.wire import to_map
from tests.parties import agreement
from tests.unit.test_terms import AGREEMENT, FEDERATION, ROSTER, without

SIGNATURES: dict[str, object] = dict(FEDERATION.roster.signatures)
MAP = to_map(ROSTER)
HOSTILE: Mapping[str, object] = {
    "a number": 1,
    "an empty list": [],
    "no signatures": [labels.ROSTER_PAYLOAD_TYPE, encode(MAP)],
    "signatures in a list": [labels.ROSTER_PAYLOAD_TYPE, encode(MAP), list(SIGNATURES.values())],
    "a short signature": [labels.ROSTER_PAYLOAD_TYPE, encode(MAP), SIGNATURES | {"tax": bytes(63)}],
    "a signature that is text": [labels.ROSTER_PAYLOAD_TYPE, encode(MAP), SIGNATURES | {"tax": "x" * 64}],
    "another type": [labels.ROSTER_PAYLOAD_TYPE.replace("roster", "ask"), encode(MAP), SIGNATURES],
    "a payload not in bytes": [labels.ROSTER_PAYLOAD_TYPE, MAP, SIGNATURES],
    "a payload that is no CBOR": [labels.ROSTER_PAYLOAD_TYPE, b"\xff", SIGNATURES],
    "a payload that is a list": [labels.ROSTER_PAYLOAD_TYPE, encode([1]), SIGNATURES],
    "a payload that is a number": [labels.ROSTER_PAYLOAD_TYPE, encode(1), SIGNATURES],
    "a field missing": [labels.ROSTER_PAYLOAD_TYPE, encode(without("epoch", MAP)), SIGNATURES],
    "a field too many": [labels.ROSTER_PAYLOAD_TYPE, encode({**MAP, "note": 1}), SIGNATURES],
    "a key too short": [labels.ROSTER_PAYLOAD_TYPE, encode({**MAP, "oprf_public": bytes(31)}), SIGNATURES],
    "no shares": [labels.ROSTER_PAYLOAD_TYPE, encode({**MAP, "oprf_shares": []}), SIGNATURES],
    "something after it": [labels.ROSTER_PAYLOAD_TYPE, encode(MAP), SIGNATURES, 1],
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_signed_roster_does_not_decode(value: object) -> None:
    with pytest.raises(DecodeError):
        SignedRoster.from_bytes(encode(value))


def test_the_encoding_that_the_hostile_ones_were_made_from_does_decode() -> None:
    assert SignedRoster.from_bytes(encode([labels.ROSTER_PAYLOAD_TYPE, encode(MAP), SIGNATURES])) == FEDERATION.roster


@given(st.integers(0, len(FEDERATION.roster.to_bytes()) - 1), st.integers(1, 255))
def test_no_altered_byte_of_a_roster_passes(position: int, flip: int) -> None:
    data = bytearray(FEDERATION.roster.to_bytes())
    data[position] ^= flip
    with pytest.raises((DecodeError, AgreementError)):
        Terms.load(AGREEMENT, SignedRoster.from_bytes(bytes(data)))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_roster_cut_short_or_too_long_does_not_decode(cut: int) -> None:
    data = FEDERATION.roster.to_bytes()
    for broken in (data[:cut], data + b"\x00", data + bytes(LIMIT)):
        with pytest.raises(DecodeError):
            SignedRoster.from_bytes(broken)


def test_setting_up_is_bound_to_its_agreement_by_digest() -> None:
    assert ROSTER.agreement == digest(AGREEMENT)


def test_agreement_and_roster_travel_together_and_are_verified_when_read() -> None:
    data = terms_to_bytes(AGREEMENT, FEDERATION.roster)
    assert Terms.from_bytes(data) == FEDERATION.terms
    with pytest.raises(AgreementError, match="another agreement"):
        Terms.from_bytes(terms_to_bytes(agreement(quota=7), FEDERATION.roster))


@pytest.mark.parametrize(
    "value",
    [
        1,
        [],
        [canonical(AGREEMENT)],
        [FEDERATION.roster.to_bytes(), canonical(AGREEMENT)],
        [canonical(AGREEMENT), FEDERATION.roster.to_bytes(), b""],
        [canonical(AGREEMENT).hex(), FEDERATION.roster.to_bytes()],
        [canonical(AGREEMENT)[:-1], FEDERATION.roster.to_bytes()],
        [encode({"id": "x"}), FEDERATION.roster.to_bytes()],
    ],
    ids=["number", "empty", "no roster", "exchanged", "more", "text", "cut short", "no agreement"],
)
def test_what_is_no_agreement_and_roster_is_not_read(value: object) -> None:
    with pytest.raises((DecodeError, AgreementError)):
        Terms.from_bytes(encode(value))
