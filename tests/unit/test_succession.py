"""What may follow an epoch, which version is in force when, what ends one: documents, signed and altered."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.setup import Established
from protocol import labels
from protocol.agreement.force import ALWAYS, Force
from protocol.agreement.model import Agreement, canonical, digest, from_canonical
from protocol.agreement.roster import SignedRoster
from protocol.agreement.succession import followed, in_force, require_changes, require_next
from protocol.agreement.terms import DAY, Terms
from protocol.agreement.violation import InvalidAgreementError
from protocol.agreement.withdrawal import read_withdrawal, verify_withdrawal, withdraw
from protocol.codec import decode, encode
from protocol.envelope import Envelope, sign
from protocol.errors import (
    AgreementError,
    DecodeError,
    NoLongerInForceError,
    NotYetInForceError,
    OtherVersionError,
    PeerError,
    UsageError,
    WithdrawnError,
)
from tests.parties import NOW, established
from tests.versions import AGENCIES, EMERGENCY, agreement, emergency, first, second

TODAY = NOW // DAY


def without_force(of: Established) -> Terms:
    """Its terms, as a party has them that reads them anew."""
    return Terms.load(of.terms.agreement, of.roster)


def endorsed(of: Established, **changes: bytes) -> Terms:
    signed = SignedRoster(of.roster.roster, of.roster.signatures, {**of.roster.endorsements, **changes})
    return Terms.load(of.terms.agreement, signed)


def test_what_every_agency_of_the_version_before_endorsed_may_follow_it() -> None:
    require_next(second().terms, first().terms)
    require_next(established(agreement(), 2, first()).terms, first().terms)
    require_next(emergency().terms, first().terms)
    require_next(established(agreement(version=3), 3, first()).terms, emergency().terms, first().terms)


def test_an_endorsement_survives_its_encoding() -> None:
    again = SignedRoster.from_bytes(second().roster.to_bytes())
    assert again == second().roster
    assert set(again.endorsements) == {*AGENCIES}
    assert len(decode(first().roster.to_bytes(), 1 << 20)) == 3


@pytest.mark.parametrize("last", [{}, [], {"tax": bytes(63)}, {"tax": "x" * 64}, b"", None])
def test_endorsements_have_one_encoding(last: object) -> None:
    kind, payload, signatures = decode(first().roster.to_bytes(), 1 << 20)
    with pytest.raises(DecodeError):
        SignedRoster.from_bytes(encode([kind, payload, signatures, last]))
    with pytest.raises(DecodeError):
        SignedRoster.from_bytes(encode([kind, payload, signatures, signatures, signatures]))


@pytest.mark.parametrize("agency", AGENCIES)
def test_nobody_is_moved_to_a_roster_that_an_agency_did_not_endorse(agency: str) -> None:
    """Whoever founds one anew, with the same names, has none of the keys that the party knows."""
    own = second().secrets.get(agency, second().secrets["market"]).signing_key
    for signature in (bytes(64), second().roster.roster.sign(own), b""):
        with pytest.raises(AgreementError, match=f"{agency}, of the version before, has not endorsed"):
            require_next(endorsed(second(), **{agency: signature}), first().terms)
    with pytest.raises(AgreementError, match="has not endorsed"):
        require_next(established(agreement(), 2).terms, first().terms)


def test_who_withdrew_need_not_endorse_what_follows() -> None:
    terms, later = without_force(first()), endorsed(second(), court=bytes(64))
    with pytest.raises(AgreementError, match="court"):
        require_next(later, terms)
    terms.force.agencies = ("court",)
    require_next(later, terms)


@pytest.mark.parametrize(
    ("later", "current", "reason"),
    [
        (lambda: established(agreement(id="another"), 2, first()), first, "another agreement"),
        (lambda: established(agreement(version=2), 1, first()), first, "no higher epoch"),
        (first, first, "no higher epoch"),
        (lambda: established(agreement(quota=7), 2, first()), first, "no higher version"),
        (lambda: established(agreement(version=1, title="Another"), 3, second()), second, "no higher version"),
    ],
)
def test_what_is_no_next_epoch_or_version_is_refused(
    later: Callable[[], Established], current: Callable[[], Established], reason: str
) -> None:
    with pytest.raises(AgreementError, match=reason):
        require_next(later().terms, current().terms)


def test_after_an_emergency_version_comes_a_higher_one_that_follows_what_it_followed() -> None:
    base, current = first().terms, emergency().terms
    with pytest.raises(AgreementError, match="no higher version"):
        require_next(established(agreement(version=2, title="Another"), 3, first()).terms, current, base)
    with pytest.raises(AgreementError, match="has not endorsed"):
        require_next(established(agreement(version=3), 3, emergency()).terms, current, base)
    require_next(established(agreement(), 3, first()).terms, current, base)
    assert followed(current, base) is base
    assert followed(second().terms, base) is second().terms
    assert followed(current, None) is current


def changed(path: str, value: object, **fields: Any) -> Agreement:
    """The second version with one value in its place."""
    plain = agreement(**{"version": 2} | fields).model_dump(mode="json", by_alias=True, exclude_none=True)
    *parents, name = [int(step) if step.isdecimal() else step for step in path.split(".")]
    place: Any = plain
    for step in parents:
        place = place[step]
    place[name] = value
    return from_canonical(encode(plain))


@pytest.mark.parametrize(
    ("after", "violation"),
    [
        (changed("id", "another"), "id: a new version is of the same agreement"),
        (changed("version", 1), "version: a new version is higher"),
        (changed("emergency.follows", 2, **EMERGENCY, version=3), "emergency.follows: it follows the version"),
        (changed("agencies.2.id", "bank"), "agencies[2].id: a requester does not become an agency"),
        (changed("requesters.0.id", "tax"), "requesters[0].id: an agency does not become a requester"),
        (changed("agencies.0.registers.0.preset", "sanctions"), "agencies[0].registers[0].preset: what a register"),
    ],
)
def test_what_a_version_cannot_change_is_named(after: Agreement, violation: str) -> None:
    with pytest.raises(InvalidAgreementError) as caught:
        require_changes(first().terms.agreement, after)
    assert any(str(it).startswith(violation) for it in caught.value.violations), caught.value


def test_everything_else_may_change() -> None:
    after = agreement(
        ("market", "labour", "customs"),
        version=7,
        keyholders=("labour", "market"),
        title="Another",
        anonymity={"population": 90_000, "k_min": 50, "max_listings": 9},
    )
    require_changes(first().terms.agreement, after)
    require_changes(first().terms.agreement, agreement(version=2, **EMERGENCY))


# Which version is in force


def at(day: str, seconds: int = 0) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY + seconds


def test_an_emergency_version_is_in_force_on_its_days_and_the_one_that_it_follows_on_all_others() -> None:
    base, current = first().terms, emergency().terms
    for time in (at("2026-11-19", DAY - 1), at("2026-12-11"), NOW):
        assert in_force(current, base, time) is base
    for time in (at("2026-11-20"), at("2026-12-10", DAY - 1)):
        assert in_force(current, base, time) is current
    assert in_force(current, None, at("2026-12-11")) is current
    assert in_force(second().terms, base, at("2030-01-01")) is second().terms


def test_outside_its_days_after_a_withdrawal_or_elsewhere_nothing_is_answered_and_each_says_why() -> None:
    terms = without_force(first())
    terms.require_in_force(NOW)
    assert terms.is_in_force(NOW)
    with pytest.raises(NotYetInForceError):
        terms.require_in_force(at("2026-10-31", DAY - 1))
    with pytest.raises(NoLongerInForceError):
        terms.require_in_force(at("2027-11-01"))
    terms.force.withdrawn = NOW
    assert terms.is_in_force(NOW - 1)
    for refuses in (terms.require_in_force, terms.require_not_over):
        with pytest.raises(WithdrawnError):
            refuses(NOW)
    assert terms.is_over(NOW)
    terms.force.withdrawn = None
    terms.force.elsewhere = range(NOW, NOW + 2)
    for time in (NOW, NOW + 1):
        with pytest.raises(OtherVersionError):
            terms.require_in_force(time)
        assert not terms.is_over(time)
    assert terms.is_in_force(NOW + 2)
    assert NOW in ALWAYS
    assert Force() == Force(None, (), range(0))


# Withdrawals


def key(agency: str) -> Ed25519PrivateKey:
    return first().secrets[agency].signing_key


def test_an_agency_withdraws_by_its_word_under_its_key() -> None:
    data = withdraw(first().terms, "court", TODAY + 9, key("court"))
    withdrawal = verify_withdrawal(first().terms, data)
    assert (withdrawal.agency, withdrawal.time) == ("court", (TODAY + 9) * DAY)
    assert read_withdrawal(data)[0] == withdrawal
    with pytest.raises(UsageError):
        withdraw(first().terms, "market", TODAY, key("court"))


def test_a_withdrawal_that_is_forged_altered_or_of_another_version_does_not_verify() -> None:
    good = withdraw(first().terms, "court", TODAY, key("court"))
    envelope = Envelope.from_bytes(good, 1024)
    payload: dict[str, Any] = decode(envelope.payload, 1024)

    def forged(signer: str = "court", kind: str = labels.WITHDRAWAL_PAYLOAD_TYPE, **changes: object) -> bytes:
        return sign(kind, encode(payload | changes), key(signer)).to_bytes()

    for data, reason in (
        (forged("tax"), "signature does not verify"),
        (forged(agency="tax"), "signature does not verify"),
        (forged(agency="procurement-office"), "by no agency"),
        (forged(agreement=digest(second().terms.agreement)), "another version"),
        (forged(epoch=2), "another version or epoch"),
        (forged(kind=labels.ROSTER_PAYLOAD_TYPE), "not a withdrawal"),
        (
            Envelope(envelope.payload_type, encode(payload | {"day": TODAY + 1}), envelope.signature).to_bytes(),
            "verify",
        ),
    ):
        with pytest.raises(AgreementError, match=reason):
            verify_withdrawal(first().terms, data)
    for data in (b"", good[:-1], good + b"\x00", forged(day=-1), forged(more=1), forged(agency="")):
        with pytest.raises(DecodeError):
            verify_withdrawal(first().terms, data)
    for position in range(len(good)):
        altered = bytearray(good)
        altered[position] ^= 1
        with pytest.raises(PeerError):
            verify_withdrawal(first().terms, bytes(altered))
    with pytest.raises(AgreementError, match="another version or epoch"):
        verify_withdrawal(established(agreement(), 2, first()).terms, good)


# Emergency versions as documents


def test_an_emergency_version_has_a_canonical_form_of_its_own_and_others_keep_theirs() -> None:
    assert from_canonical(canonical(emergency().terms.agreement)) == emergency().terms.agreement
    assert b"emergency" not in canonical(first().terms.agreement)
    assert replace(first().terms, force=Force(1)) == first().terms
    assert timedelta(days=1).total_seconds() == DAY
