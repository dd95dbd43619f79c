"""Any threshold of shares determines the secret, and fewer determine nothing."""

import itertools
import math
import secrets
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import shamir
from protocol.codec import Random
from protocol.errors import CommitmentError, UsageError
from protocol.group import (
    ORDER,
    element_add,
    random_scalar,
    scalar_add,
    scalar_base_mult,
    scalar_from_int,
)

PRIME = 101
COMPOSITE = 3 * 5 * 7 * 1000003  # shares a factor with Δ and with differences of indices

thresholds = st.integers(1, 7).flatmap(lambda count: st.tuples(st.integers(1, count), st.just(count)))


@given(st.integers(0, ORDER - 1), thresholds)
def test_every_quorum_recovers_the_secret(secret: int, shape: tuple[int, int]) -> None:
    threshold, count = shape
    shares = shamir.split(secret, threshold, count, ORDER, secrets.token_bytes).shares
    assert len(shares) == count
    for quorum in itertools.combinations(range(1, count + 1), threshold):
        coefficients = shamir.lagrange_at_zero(quorum, ORDER)
        assert sum(coefficients[i] * shares[i - 1] for i in quorum) % ORDER == secret


@given(st.integers(0, COMPOSITE - 1), thresholds)
def test_every_quorum_recovers_delta_times_the_secret_without_inverting(secret: int, shape: tuple[int, int]) -> None:
    threshold, count = shape
    delta = math.factorial(count)
    shares = shamir.split(secret, threshold, count, COMPOSITE, secrets.token_bytes).shares
    for quorum in itertools.combinations(range(1, count + 1), threshold):
        coefficients = shamir.integer_lagrange(quorum, delta)
        assert sum(coefficients[i] * shares[i - 1] for i in quorum) % COMPOSITE == delta * secret % COMPOSITE


def test_a_wrong_share_changes_the_result_of_every_quorum_that_uses_it() -> None:
    shares = list(shamir.split(42, 3, 5, PRIME, secrets.token_bytes).shares)
    shares[0] = (shares[0] + 1) % PRIME
    for quorum in itertools.combinations(range(1, 6), 3):
        coefficients = shamir.lagrange_at_zero(quorum, PRIME)
        recovered = sum(coefficients[i] * shares[i - 1] for i in quorum) % PRIME
        assert (recovered == 42) == (1 not in quorum)


def constant(byte: int) -> Random:
    return lambda n: bytes([byte]) * n


def test_fewer_shares_than_the_threshold_fit_every_secret() -> None:
    """Exhaustively for threshold 2 over a small prime: one share is the same for one polynomial of each secret."""
    seen: dict[int, set[int]] = {}
    for secret, slope in itertools.product(range(7), repeat=2):
        sharing = shamir.split(secret, 2, 3, 7, constant(slope))
        assert sharing.coefficients == (secret, slope)
        seen.setdefault(sharing.shares[0], set()).add(secret)
    assert seen == {share: set(range(7)) for share in range(7)}


def test_with_a_constant_polynomial_one_share_would_tell_the_secret() -> None:
    assert shamir.split(5, 2, 3, 7, constant(0)).shares == (5, 5, 5)


@pytest.mark.parametrize(
    ("secret", "threshold", "count", "modulus"),
    [(-1, 1, 1, 7), (7, 1, 1, 7), (1, 0, 3, 7), (1, 4, 3, 7), (1, 2, 7, 7)],
)
def test_a_sharing_out_of_range_is_refused(secret: int, threshold: int, count: int, modulus: int) -> None:
    with pytest.raises(UsageError):
        shamir.split(secret, threshold, count, modulus, secrets.token_bytes)


def test_the_secret_parts_of_a_sharing_do_not_show() -> None:
    sharing = shamir.split(42, 2, 3, PRIME, secrets.token_bytes)
    assert repr(sharing) == "Sharing()"


def first_draw(bound: int, byte: int) -> int | None:
    """What this byte as the source's first becomes; None if it is rejected and another asked for."""
    source = iter([bytes([byte])])
    try:
        return shamir.random_below(bound, lambda _: next(source))
    except StopIteration:
        return None


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 8, 9, 200, 256])
def test_random_integers_are_exactly_uniform(bound: int) -> None:
    counts = Counter(first_draw(bound, byte) for byte in range(256))
    del counts[None]
    assert set(counts) == set(range(bound))
    assert len(set(counts.values())) == 1


def test_a_reduction_would_not_be_uniform() -> None:
    assert len(set(Counter(byte % 200 for byte in range(256)).values())) == 2


def test_nothing_is_below_zero() -> None:
    with pytest.raises(UsageError):
        shamir.random_below(0, secrets.token_bytes)


@pytest.mark.parametrize("indices", [[], [0, 1], [-1, 2], [2, 2]])
def test_bad_indices_are_refused(indices: list[int]) -> None:
    with pytest.raises(UsageError):
        shamir.lagrange_at_zero(indices, ORDER)
    with pytest.raises(UsageError):
        shamir.integer_lagrange(indices, 120)


def test_an_index_that_vanishes_modulo_the_prime_is_refused() -> None:
    assert shamir.lagrange_at_zero([1, PRIME - 1], PRIME)
    with pytest.raises(UsageError):
        shamir.lagrange_at_zero([1, PRIME], PRIME)


def test_a_delta_of_too_few_shares_is_refused() -> None:
    assert shamir.integer_lagrange([1, 4], 24) == {1: 32, 4: -8}
    with pytest.raises(UsageError):
        shamir.integer_lagrange([1, 4], 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9))
def test_a_share_verifies_against_commitments_to_its_polynomial(threshold: int, index: int) -> None:
    coefficients = [random_scalar(secrets.token_bytes) for _ in range(threshold)]
    commitments = shamir.commit(coefficients)
    share = shamir.evaluate(coefficients, index)
    assert commitments[0] == scalar_base_mult(coefficients[0])
    assert shamir.public_share(commitments, index) == scalar_base_mult(share)
    shamir.verify_share(share, index, commitments)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(1, 9))
def test_anything_else_does_not_verify(threshold: int, index: int) -> None:
    coefficients = [random_scalar(secrets.token_bytes) for _ in range(threshold)]
    commitments = shamir.commit(coefficients)
    share = shamir.evaluate(coefficients, index)
    altered = (*commitments[:-1], element_add(commitments[-1], commitments[0]))
    wrong = [
        (scalar_add(share, scalar_from_int(1)), index, commitments),
        (share, index + 1, commitments),
        (share, index, altered),
    ]
    for arguments in wrong:
        with pytest.raises(CommitmentError):
            shamir.verify_share(*arguments)


def test_scalars_and_integers_share_alike() -> None:
    sharing = shamir.split(1234, 3, 5, ORDER, secrets.token_bytes)
    coefficients = [scalar_from_int(value) for value in sharing.coefficients]
    assert [shamir.evaluate(coefficients, i) for i in range(1, 6)] == [scalar_from_int(s) for s in sharing.shares]
