"""A roster is for one agreement, signed by exactly its agencies, and every key in it follows from what was agreed."""

import secrets
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from protocol import labels, shamir
from protocol.agreement.roster import COORDINATOR, Roster, SignedRoster
from protocol.agreement.terms import ACCESS, CANARY, SEAL, Allowance, Terms, key_context
from protocol.ceremony import deal
from protocol.codec import i2osp
from protocol.errors import AgreementError, ModulusError, NotGrantedError, UsageError
from protocol.group import IDENTITY, random_scalar, scalar_base_mult
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, agreement, established, federation, party, small_primes

Change = Mapping[str, Any]

FEDERATION = federation()
AGREEMENT, ROSTER = FEDERATION.terms.agreement, FEDERATION.roster.roster
KEYS = {name: FEDERATION.secrets[name].signing_key for name in FEDERATION.secrets}


def signed(roster: Roster) -> SignedRoster:
    """A roster that every agency has signed, whatever stands in it."""
    return SignedRoster(roster, {agency: roster.sign(KEYS[agency]) for agency in AGENCIES})


def load(**changes: object) -> Terms:
    return Terms.load(AGREEMENT, signed(replace(ROSTER, **changes)))  # type: ignore[arg-type]


def refused(roster: SignedRoster, reason: str) -> None:
    with pytest.raises(AgreementError, match=reason):
        Terms.load(AGREEMENT, roster)


def test_what_all_agencies_signed_loads_and_survives_its_encoding() -> None:
    again = SignedRoster.from_bytes(FEDERATION.roster.to_bytes())
    assert again == FEDERATION.roster
    terms = Terms.load(AGREEMENT, again)
    assert terms.agencies == terms.keyholders == AGENCIES
    assert load() == terms


@pytest.mark.parametrize("absent", AGENCIES)
def test_every_agency_has_to_sign(absent: str) -> None:
    signatures = {name: signature for name, signature in FEDERATION.roster.signatures.items() if name != absent}
    refused(replace(FEDERATION.roster, signatures=signatures), "exactly")


@pytest.mark.parametrize("stranger", [REQUESTER, COORDINATOR, "zebra"])
def test_nobody_else_signs(stranger: str) -> None:
    extra = {stranger: ROSTER.sign(KEYS.get(stranger, KEYS[REQUESTER]))}
    refused(replace(FEDERATION.roster, signatures={**FEDERATION.roster.signatures, **extra}), "exactly")


@pytest.mark.parametrize("victim", AGENCIES)
def test_nobody_signs_for_an_agency(victim: str) -> None:
    for signature in (ROSTER.sign(KEYS[COORDINATOR]), bytes(64), b"\xff" * 64):
        forged = {**FEDERATION.roster.signatures, victim: signature}
        refused(replace(FEDERATION.roster, signatures=forged), f"by {victim}")


ALTERED: Change = {
    "agreement": bytes(32),
    "epoch": 2,
    "signing": {**ROSTER.signing, REQUESTER: ROSTER.signing["bank"]},
    "sealing": {**ROSTER.sealing, "tax": ROSTER.sealing["labour"]},
    "oprf_public": ROSTER.oprf_shares[0],
    "oprf_shares": ROSTER.oprf_shares[::-1],
    "modulus": ROSTER.modulus[::-1],
    "commitments": ROSTER.commitments[::-1],
    "coprime_proof": ROSTER.coprime_proof[::-1],
}


@pytest.mark.parametrize("field", [item.name for item in fields(Roster)])
def test_no_field_is_altered_after_signing(field: str) -> None:
    refused(SignedRoster(replace(ROSTER, **{field: ALTERED[field]}), FEDERATION.roster.signatures), "by labour")


def test_a_roster_of_one_agreement_is_none_for_another() -> None:
    """The digest binds every field, so not even the quota may differ."""
    for other in (agreement(quota=7), agreement(threshold=4), agreement(title="Another title")):
        with pytest.raises(AgreementError, match="another agreement"):
            Terms.load(other, FEDERATION.roster)


def without(name: str, keys: Mapping[str, bytes]) -> dict[str, bytes]:
    return {party: key for party, key in keys.items() if party != name}


@pytest.mark.parametrize("field", ["signing", "sealing"])
def test_the_roster_has_keys_for_exactly_the_agreements_parties(field: str) -> None:
    keys: Mapping[str, bytes] = getattr(ROSTER, field)
    for parties in (without(REQUESTER, keys), without(COORDINATOR, keys), {**keys, "zebra": keys["bank"]}):
        refused(signed(replace(ROSTER, **{field: parties})), "parties are not")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [REQUESTER, COORDINATOR, "tax"])
@pytest.mark.parametrize(
    "encoded", [bytes(32), b"\x01" + bytes(31), bytes(31) + b"\x80", b"\xec" + b"\xff" * 30 + b"\x7f"]
)
def test_a_key_under_which_anybody_could_sign_is_refused(name: str, encoded: bytes) -> None:
    refused(signed(replace(ROSTER, signing={**ROSTER.signing, name: encoded})), "low order")


def test_an_agency_without_a_key_has_not_signed() -> None:
    refused(signed(replace(ROSTER, signing=without("court", ROSTER.signing))), "by court")


def on_polynomial(degree: int) -> Change:
    """Public shares of a fresh key on a polynomial of this degree."""
    coefficients = tuple(random_scalar(secrets.token_bytes) for _ in range(degree + 1))
    shares = tuple(scalar_base_mult(shamir.evaluate(coefficients, index)) for index in range(1, len(AGENCIES) + 1))
    return {"oprf_public": scalar_base_mult(coefficients[0]), "oprf_shares": shares}


FOREIGN = scalar_base_mult(random_scalar(secrets.token_bytes))
SHARES = ROSTER.oprf_shares
OPRF: Mapping[str, tuple[Change, str]] = {
    "another public key": ({"oprf_public": FOREIGN}, "do not belong"),
    "a share of another key, first": ({"oprf_shares": (FOREIGN, *SHARES[1:])}, "do not belong"),
    "a share of another key, last": ({"oprf_shares": (*SHARES[:4], FOREIGN)}, "do not belong"),
    "shares exchanged": ({"oprf_shares": (SHARES[1], SHARES[0], *SHARES[2:])}, "do not belong"),
    "degree t": (on_polynomial(3), "do not belong"),
    "degree t - 2": (on_polynomial(1), "lower degree"),
    "degree 0: every keyholder has the key": (on_polynomial(0), "lower degree"),
    "public key is no element": ({"oprf_public": b"\xff" * 32}, "not a group element"),
    "public key is the identity": ({"oprf_public": IDENTITY}, "not a group element"),
    "share is no element": ({"oprf_shares": (*SHARES[:4], b"\xff" * 32)}, "not a group element"),
    "share is the identity": ({"oprf_shares": (IDENTITY, *SHARES[1:])}, "not a group element"),
    "a share missing": ({"oprf_shares": SHARES[:4]}, "one OPRF share"),
    "a share too many": ({"oprf_shares": (*SHARES, SHARES[0])}, "one OPRF share"),
}


@pytest.mark.parametrize(("changes", "reason"), OPRF.values(), ids=OPRF.keys())
def test_oprf_keys_that_do_not_belong_together_are_refused(changes: Change, reason: str) -> None:
    refused(signed(replace(ROSTER, **changes)), reason)


def test_another_key_shared_as_agreed_is_taken() -> None:
    """The twin: what the tests above plant is refused for its fault, not for being planted."""
    load(**on_polynomial(2))


def test_an_agreement_with_one_keyholder_has_a_polynomial_of_degree_zero() -> None:
    alone = established(agreement(AGENCIES[:2], threshold=1, keyholders=AGENCIES[:1]))
    assert alone.terms.keyholder_index(AGENCIES[0]) == 1
    with pytest.raises(UsageError):
        alone.terms.keyholder_index(AGENCIES[1])


def opening_key(threshold: int, epoch: int = 1) -> Change:
    """The published values of another ceremony, as a roster holds them."""
    context = key_context(AGREEMENT, epoch, labels.OPENING_KEY)
    ceremony, _ = deal(small_primes(), threshold, len(AGENCIES), context, secrets.token_bytes)
    width = ceremony.key.public_key.modulus_bytes
    return {
        "modulus": i2osp(ceremony.modulus, width),
        "commitments": tuple(i2osp(value, width) for value in ceremony.commitments),
        "coprime_proof": ceremony.proof,
    }


@pytest.mark.parametrize("threshold", [1, 2, 4, 5])
def test_an_opening_key_of_another_threshold_is_refused(threshold: int) -> None:
    refused(signed(replace(ROSTER, **opening_key(threshold))), "opening key's threshold")
    load(**opening_key(3))


MODULUS: Mapping[str, Change] = {
    "even": {"modulus": i2osp(int.from_bytes(ROSTER.modulus) - 1, 64)},
    "too short for its suite": {
        "modulus": ROSTER.modulus[:62],
        "commitments": tuple(value[:62] for value in ROSTER.commitments),
    },
    "proof of another order": {"coprime_proof": ROSTER.coprime_proof[::-1]},
    "proof too short": {"coprime_proof": ROSTER.coprime_proof[1:]},
    "values exchanged": {"commitments": ROSTER.commitments[::-1]},
    "value of degree zero": {"commitments": (*ROSTER.commitments[:2], i2osp(1, 64))},
    "value outside Z_N*": {"commitments": (*ROSTER.commitments[:2], ROSTER.modulus)},
    "made for another epoch": opening_key(3, epoch=2),
}


@pytest.mark.parametrize("changes", MODULUS.values(), ids=MODULUS.keys())
def test_an_opening_key_that_does_not_verify_is_refused(changes: Change) -> None:
    with pytest.raises(ModulusError):
        load(**changes)


def at(day: str, clock: str) -> int:
    return int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC).timestamp())


def test_the_agreement_is_in_force_from_its_first_to_its_last_day() -> None:
    """Dates are in UTC and both ends belong to the agreement."""
    terms, valid = FEDERATION.terms, AGREEMENT.valid
    day = timedelta(days=1)
    for moment in (at(str(valid.from_), "00:00:00"), NOW, at(str(valid.until), "23:59:59")):
        terms.require_in_force(moment)
    for moment in (at(str(valid.from_ - day), "23:59:59"), at(str(valid.until + day), "00:00:00"), 0):
        with pytest.raises(NotGrantedError, match="not in force"):
            terms.require_in_force(moment)
        with pytest.raises(NotGrantedError, match="not in force"):
            terms.require_right(REQUESTER, PURPOSE, moment)


@pytest.mark.parametrize(
    ("party", "purpose"),
    [(REQUESTER, "lend"), (REQUESTER, ""), ("bank", PURPOSE), ("tax", PURPOSE), ("zebra", PURPOSE), (COORDINATOR, "x")],
)
def test_a_right_is_a_requesters_own_purpose_and_nothing_else(party: str, purpose: str) -> None:
    with pytest.raises(NotGrantedError):
        FEDERATION.terms.require_right(party, purpose, NOW)


def test_a_requesters_own_purpose_is_granted() -> None:
    FEDERATION.terms.require_right(REQUESTER, PURPOSE, NOW)
    FEDERATION.terms.require_right("bank", "lend", NOW)


def allowance(sender: str, purpose: str, now: int = NOW, terms: Terms = FEDERATION.terms) -> Allowance:
    header = party(REQUESTER, FEDERATION).header(
        audience="agencies", session=bytes(16), purpose=purpose, m=1, now=now, expires=now + 60
    )
    return terms.allowance(replace(header, sender=sender), now)


def test_a_requesters_allowance_is_the_agreements_for_one_utc_day() -> None:
    terms, tonight = Terms(agreement(quota=7), ROSTER, FEDERATION.terms.ceremony), at("2026-11-19", "00:00:00")
    today = allowance(REQUESTER, PURPOSE, tonight - 86_400, terms)
    assert (today.limit, today.ends) == (7, tonight)
    assert allowance(REQUESTER, PURPOSE, tonight - 1, terms) == allowance("bank", "lend", tonight - 1, terms) == today
    assert allowance(REQUESTER, PURPOSE, tonight, terms).period != today.period


def test_canaries_have_a_small_allowance_of_their_own() -> None:
    terms = Terms(agreement(quota=7), ROSTER, FEDERATION.terms.ceremony)
    assert allowance(REQUESTER, CANARY, NOW, terms).period != allowance(REQUESTER, PURPOSE, NOW, terms).period
    assert terms.canaries <= allowance(REQUESTER, CANARY, NOW, terms).limit <= 10_000


def test_an_agencys_allowance_is_for_the_whole_epoch_and_covers_every_listing() -> None:
    """A daily one would let an agency test the population within a year."""
    first, last = at(str(AGREEMENT.valid.from_), "00:00:00"), at(str(AGREEMENT.valid.until), "23:59:59")
    assert allowance("tax", SEAL, first) == allowance("tax", SEAL, last)
    assert allowance("tax", SEAL).ends == last
    assert 500 <= allowance("tax", SEAL).limit <= 1000
    later = replace(FEDERATION.terms, roster=replace(ROSTER, epoch=2))
    assert allowance("tax", SEAL, terms=later).period != allowance("tax", SEAL).period


def test_a_door_has_a_small_daily_allowance_of_its_own() -> None:
    """Beside what it may seal, so that neither is spent by the other."""
    tonight = at("2026-11-19", "00:00:00")
    today = allowance("tax", ACCESS, tonight - 1)
    assert (today.limit, today.ends) == (1000, tonight)
    assert len({today.period, allowance("tax", ACCESS, tonight).period, allowance("tax", SEAL).period}) == 3


def test_a_requester_cannot_use_the_agencies_purposes() -> None:
    for purpose in (SEAL, ACCESS):
        with pytest.raises(NotGrantedError):
            FEDERATION.terms.require_right(REQUESTER, purpose, NOW)


@pytest.mark.parametrize("stranger", [COORDINATOR, "zebra"])
def test_nobody_else_has_an_allowance(stranger: str) -> None:
    with pytest.raises(NotGrantedError):
        allowance(stranger, PURPOSE)


@pytest.mark.parametrize(
    "changes",
    [
        {"modulus": b"\x00" + ROSTER.modulus},
        {
            "modulus": b"\x00" + ROSTER.modulus,
            "commitments": tuple(b"\x00" + value for value in ROSTER.commitments),
        },
        {"modulus": ROSTER.modulus[1:]},
        {"commitments": tuple(value[1:] for value in ROSTER.commitments)},
        {"commitments": tuple(b"\x00" + value for value in ROSTER.commitments)},
    ],
    ids=["modulus padded", "all padded", "modulus cut", "values cut", "values padded"],
)
def test_published_values_have_one_encoding(changes: Change) -> None:
    refused(signed(replace(ROSTER, **changes)), "width")


def test_everything_public_follows_from_agreement_and_roster() -> None:
    terms = FEDERATION.terms
    assert terms.threshold == 3
    assert terms.public_key == terms.opening_key.public_key
    assert terms.public_key.n == int.from_bytes(ROSTER.modulus)
    assert terms.slots(REQUESTER) == terms.layout(REQUESTER).slots(512) >= 1
    assert terms.decision_seconds == 86_400
    assert 1 << terms.bucket_bits <= 20_000 // 1000
    assert terms.bucket_size < 500
    for index, name in enumerate(AGENCIES, start=1):
        assert terms.keyholder_index(name) == index
        assert terms.oprf_share(name) == ROSTER.oprf_shares[index - 1]
        assert terms.signing_key(name).public_bytes_raw() == ROSTER.signing[name]
        assert terms.sealing_key(name).public_bytes_raw() == ROSTER.sealing[name]
    with pytest.raises(UsageError):
        terms.keyholder_index(REQUESTER)


def test_a_keys_context_differs_by_agreement_epoch_and_use() -> None:
    contexts = {
        key_context(document, epoch, label)
        for document in (AGREEMENT, agreement(quota=7))
        for epoch in (1, 2)
        for label in (labels.OPRF_KEY, labels.OPENING_KEY)
    }
    assert len(contexts) == 8
