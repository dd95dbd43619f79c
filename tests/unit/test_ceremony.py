"""What a dealer publishes lets every receiver check its share, the threshold, and that D is the inverse of N."""

import itertools
import secrets
from dataclasses import replace
from functools import cache

import gmpy2
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import labels, shamir
from protocol.ceremony import Ceremony, deal
from protocol.errors import ModulusError, OpeningError, SealError, UsageError
from protocol.modulus import hash_to_modulus
from protocol.opening import OpeningShare, challenge, combine, open_share
from tests.parties import small_primes

P, Q = small_primes()
N, ORDER = P * Q, (P // 2) * (Q // 2)
TEST = labels.INSECURE_TEST_SUITE
THRESHOLD, COUNT = 3, 5
CONTEXT = b"agreement and epoch"


@cache
def dealt() -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    return deal((P, Q), THRESHOLD, COUNT, CONTEXT, secrets.token_bytes)


def dishonest(secret: int, threshold: int = THRESHOLD) -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    """A dealer that shares this instead of N^-1, all else as it should be."""
    ceremony, _ = dealt()
    sharing = shamir.split(secret, threshold, COUNT, ORDER, secrets.token_bytes)
    return publish(ceremony, sharing.coefficients)


def publish(ceremony: Ceremony, coefficients: tuple[int, ...]) -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    shares = tuple(
        OpeningShare(index, sum(a * index**k for k, a in enumerate(coefficients)) % ORDER)
        for index in range(1, COUNT + 1)
    )
    return replace(ceremony, commitments=tuple(pow(base(), a, N) for a in coefficients)), shares


def base() -> int:
    return int(hash_to_modulus(N, labels.CEREMONY_BASE, CONTEXT) ** 2 % N)


def refused(ceremony: Ceremony, reason: str) -> None:
    with pytest.raises(ModulusError, match=reason):
        ceremony.verify(TEST)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 7), st.data())
def test_what_is_dealt_verifies(count: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, count))
    ceremony, shares = deal((P, Q), threshold, count, data.draw(st.binary(max_size=9)), secrets.token_bytes)
    ceremony.verify(TEST)
    assert [share.index for share in shares] == [*range(1, count + 1)]
    assert ceremony.key.threshold == threshold == len(ceremony.commitments)
    for share in shares:
        ceremony.verify_share(share)
        assert ceremony.key.verification[share.index - 1] == pow(ceremony.key.base, share.secret, N)


def test_the_shares_are_of_the_inverse_of_n() -> None:
    _, shares = dealt()
    for quorum in itertools.combinations(shares, THRESHOLD):
        coefficients = shamir.integer_lagrange([share.index for share in quorum], 120)
        scaled = sum(coefficients[share.index] * share.secret for share in quorum)
        assert scaled * N % ORDER == 120


def test_the_base_is_a_square_that_nobody_chose() -> None:
    key = dealt()[0].key
    assert key.base == base()
    assert gmpy2.jacobi(key.base, P) == gmpy2.jacobi(key.base, Q) == 1
    other, _ = deal((P, Q), THRESHOLD, COUNT, b"another epoch", secrets.token_bytes)
    assert other.key.base != key.base


def test_dealing_twice_shares_nothing() -> None:
    again, shares = deal((P, Q), THRESHOLD, COUNT, CONTEXT, secrets.token_bytes)
    assert not {share.secret for share in shares} & {share.secret for share in dealt()[1]}
    assert again.commitments[0] == dealt()[0].commitments[0]
    assert not set(again.commitments[1:]) & set(dealt()[0].commitments)


def test_a_wrong_share_is_refused() -> None:
    ceremony, shares = dealt()
    right = shares[1]
    for wrong in (
        OpeningShare(2, right.secret + 1),
        OpeningShare(2, right.secret - 1),
        OpeningShare(2, shares[2].secret),
        OpeningShare(3, right.secret),
        OpeningShare(2, secrets.randbelow(N)),
    ):
        with pytest.raises(ModulusError, match="does not match"):
            ceremony.verify_share(wrong)


@pytest.mark.parametrize(
    ("index", "secret"),
    [
        pytest.param(0, dealt()[1][-1].secret, id="index 0, the last keyholder's share"),
        pytest.param(-1, dealt()[1][-2].secret, id="index -1"),
        pytest.param(COUNT + 1, 1, id="index beyond"),
        pytest.param(2, 0, id="zero"),
        pytest.param(2, dealt()[1][1].secret - ORDER, id="negative"),
        pytest.param(2, dealt()[1][1].secret + 5 * ORDER, id="beyond N"),
        pytest.param(2, dealt()[1][1].secret + ORDER * (1 << 600), id="far beyond N"),
    ],
)
def test_a_share_out_of_range_is_refused(index: int, secret: int) -> None:
    """A share of many times the order would verify, and give itself away by its time, or burst a proof's width."""
    with pytest.raises(ModulusError, match="out of range"):
        dealt()[0].verify_share(OpeningShare(index, secret))


@pytest.mark.parametrize("position", range(THRESHOLD))
def test_a_wrong_commitment_is_noticed_by_every_keyholder(position: int) -> None:
    ceremony, shares = dealt()
    value = ceremony.commitments[position] * 4 % N
    altered = replace(ceremony, commitments=changed(ceremony.commitments, position, value))
    for share in shares:
        with pytest.raises(ModulusError):
            altered.verify_share(share)


def changed(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


@pytest.mark.parametrize("value", [0, -1, N, N + 4, P, 3 * Q], ids=["0", "-1", "N", "N + 4", "p", "3q"])
def test_a_commitment_that_is_no_unit_is_refused(value: int) -> None:
    ceremony, _ = dealt()
    for position in range(THRESHOLD):
        refused(replace(ceremony, commitments=changed(ceremony.commitments, position, value)), "outside Z_N")


def test_another_degree_is_refused() -> None:
    ceremony, shares = dealt()
    refused(replace(ceremony, commitments=()), "threshold")
    refused(replace(ceremony, keyholders=THRESHOLD - 1), "threshold")
    for degree in (ceremony.commitments[:-1], (*ceremony.commitments, 4)):
        with pytest.raises(ModulusError):
            replace(ceremony, commitments=degree).verify_share(shares[0])


def test_a_polynomial_of_a_lower_degree_is_refused_and_would_let_fewer_open() -> None:
    """Padded with a commitment to zero it would look like the agreed threshold; two keyholders could open alone."""
    inverse = pow(N, -1, ORDER)
    padded, shares = publish(dealt()[0], (inverse, secrets.randbelow(ORDER), 0))
    refused(padded, "lower degree")
    for share in shares:
        padded.verify_share(share)  # the twin: the shares themselves tell nothing of it
    alone = replace(padded.key, threshold=2)
    ciphertext = alone.public_key.phe.raw_encrypt(42)
    x = challenge(alone, ciphertext)
    assert combine(alone, ciphertext, {s.index: open_share(alone, s, x) for s in shares[:2]}) == 42


def test_sharing_anything_but_the_inverse_is_refused() -> None:
    inverse = pow(N, -1, ORDER)
    dishonest(inverse)[0].verify(TEST)
    for secret in (inverse + 1, ORDER - inverse, 1, 2, N % ORDER, secrets.randbelow(ORDER)):
        refused(dishonest(secret)[0], "inverse of N")


def test_shares_of_anything_else_would_verify_one_by_one_and_open_nothing() -> None:
    """The twin: without V_0^N = v the keyholders would find out at the first question."""
    ceremony, shares = dishonest(pow(N, -1, ORDER) + 1)
    for share in shares:
        ceremony.verify_share(share)
    ciphertext = ceremony.key.public_key.phe.raw_encrypt(42)
    x = challenge(ceremony.key, ciphertext)
    with pytest.raises(OpeningError):
        combine(ceremony.key, ciphertext, {s.index: open_share(ceremony.key, s, x) for s in shares[:THRESHOLD]})


def test_what_is_published_is_for_one_context() -> None:
    ceremony, shares = dealt()
    moved = replace(ceremony, context=b"another epoch")
    refused(moved, "proof does not verify")
    with pytest.raises(ModulusError, match="does not match"):
        moved.verify_share(shares[0])
    other, _ = deal((P, Q), THRESHOLD, COUNT, b"another epoch", secrets.token_bytes)
    refused(replace(ceremony, context=b"another epoch", proof=other.proof), "inverse of N")  # the base is bound, too


def test_the_modulus_and_its_proof_are_checked() -> None:
    ceremony, _ = dealt()
    refused(replace(ceremony, modulus=N + 1), "even")
    refused(replace(ceremony, proof=ceremony.proof[:-1]), "malformed")
    refused(replace(ceremony, proof=ceremony.proof[::-1]), "does not verify")
    with pytest.raises(ModulusError, match="shorter"):
        ceremony.verify(labels.SUITE)


def test_a_sealed_share_opens_for_its_keyholder_and_its_length_tells_nothing() -> None:
    ceremony, shares = dealt()
    keys = [X25519PrivateKey.generate() for _ in shares]
    sealed = [ceremony.seal_share(share, key.public_key()) for share, key in zip(shares, keys, strict=True)]
    assert [ceremony.unseal_share(*item) for item in zip(range(1, COUNT + 1), sealed, keys, strict=True)] == [*shares]
    assert len({*map(len, sealed), len(ceremony.seal_share(OpeningShare(1, 1), keys[0].public_key()))}) == 1


def test_a_sealed_share_is_for_one_keyholder_one_index_and_one_ceremony() -> None:
    ceremony, shares = dealt()
    key, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    sealed = ceremony.seal_share(shares[1], key.public_key())
    for opener, index, receiver in (
        (ceremony, 2, other),
        (ceremony, 3, key),
        (replace(ceremony, context=b"another epoch"), 2, key),
    ):
        with pytest.raises(SealError):
            opener.unseal_share(index, sealed, receiver)


def test_a_wrong_share_is_refused_although_well_sealed() -> None:
    ceremony, shares = dealt()
    key = X25519PrivateKey.generate()
    wrong = ceremony.seal_share(OpeningShare(2, shares[2].secret), key.public_key())
    with pytest.raises(ModulusError, match="does not match"):
        ceremony.unseal_share(2, wrong, key)


@pytest.mark.parametrize(
    "primes",
    [
        pytest.param((P, P), id="equal"),
        pytest.param((P, 7919), id="prime, not safe"),
        pytest.param((15, Q), id="composite"),
        pytest.param((P, 2 * Q), id="even"),
        pytest.param((P, 1), id="one"),
        pytest.param((P, 0), id="zero"),
        pytest.param((P, -Q), id="negative"),
        pytest.param((11, 23), id="one divides the other's order"),
    ],
)
def test_the_dealer_takes_only_two_distinct_safe_primes(primes: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        deal(primes, THRESHOLD, COUNT, CONTEXT, secrets.token_bytes)
    with pytest.raises(UsageError):
        deal(primes[::-1], THRESHOLD, COUNT, CONTEXT, secrets.token_bytes)


@pytest.mark.parametrize(("threshold", "count"), [(0, 5), (6, 5), (1, 0)])
def test_the_dealer_takes_only_a_threshold_that_can_be_reached(threshold: int, count: int) -> None:
    with pytest.raises(UsageError):
        deal((P, Q), threshold, count, CONTEXT, secrets.token_bytes)
