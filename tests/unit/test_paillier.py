"""Ciphertexts are `phe`'s, randomisers are fresh encryptions of zero, and nothing else passes for a ciphertext."""

import itertools
import secrets
from functools import cache

import gmpy2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phe import EncryptedNumber, PaillierPrivateKey, PaillierPublicKey

from protocol.ceremony import Ceremony, deal
from protocol.errors import CiphertextError, UsageError
from protocol.opening import OpeningShare, challenge, combine, open_share
from protocol.paillier import PublicKey, Randomiser, ciphertext_from_bytes, ciphertext_to_bytes
from tests.parties import small_primes

P, Q = small_primes()
N = P * Q
KEY = PublicKey(N)
PHE = PaillierPublicKey(N)
PHE_PRIVATE = PaillierPrivateKey(PHE, P, Q)

plaintexts = st.integers(0, N - 1) | st.sampled_from([0, 1, N // 3, N // 3 + 1, N - PHE.max_int, N - 1])
quick = settings(deadline=None, max_examples=40)


@cache
def randomiser() -> Randomiser:
    return Randomiser.create(KEY, secrets.token_bytes)


def zeta() -> int:
    return randomiser().fresh(secrets.token_bytes)


def encrypt(plaintext: int) -> int:
    return KEY.encrypt(plaintext, zeta())


def opened(ciphertext: int) -> int:
    """The keyholders' opening, by a quorum of two of three."""
    ceremony, shares = dealt()
    x = challenge(ceremony.key, ciphertext)
    return combine(ceremony.key, ciphertext, {s.index: open_share(ceremony.key, s, x) for s in shares[1:]})


@cache
def dealt() -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    return deal((P, Q), 2, 3, b"paillier", secrets.token_bytes)


@quick
@given(plaintexts)
def test_phe_opens_our_ciphertexts(plaintext: int) -> None:
    ciphertext = encrypt(plaintext)
    KEY.check(ciphertext)
    assert PHE_PRIVATE.raw_decrypt(ciphertext) == plaintext


@quick
@given(st.lists(plaintexts, min_size=1, max_size=5))
def test_phe_opens_our_sums(values: list[int]) -> None:
    total = 1
    for value in values:
        total = KEY.add(total, encrypt(value))
    assert PHE_PRIVATE.raw_decrypt(total) == sum(values) % N == opened(total)


@quick
@given(st.lists(st.tuples(st.integers(0, (1 << 40) - 1), st.integers(0, (1 << 20) - 1)), max_size=7))
def test_phe_opens_our_packed_sums_each_times_its_factor(slots: list[tuple[int, int]]) -> None:
    values, factors = [value for value, _ in slots], [factor for _, factor in slots]
    packed = KEY.add(KEY.pack(map(encrypt, values), factors, 64), zeta())
    expected = sum(value * factor << (64 * slot) for slot, (value, factor) in enumerate(slots))
    assert PHE_PRIVATE.raw_decrypt(packed) == expected == opened(packed)


@quick
@given(plaintexts, st.integers(0, (1 << 64) - 1))
def test_a_multiple_opens_to_the_multiple(plaintext: int, factor: int) -> None:
    assert PHE_PRIVATE.raw_decrypt(KEY.pack([encrypt(plaintext)], [factor], 64)) == plaintext * factor % N


def test_each_packed_sum_has_one_factor_which_fits_its_slot() -> None:
    assert PHE_PRIVATE.raw_decrypt(KEY.pack([encrypt(1), encrypt(1)], [(1 << 64) - 1] * 2, 64)) == (1 << 128) - 1
    with pytest.raises(UsageError):
        KEY.pack([encrypt(1), encrypt(1)], [1 << 64, 1], 64)
    with pytest.raises(ValueError, match="zip"):
        KEY.pack([encrypt(1), encrypt(1)], [1], 64)


def test_a_lane_wider_than_its_stride_spills_into_the_next_slot() -> None:
    """The twin: packing adds and shifts and checks nothing; guards and bounds are what notices."""
    assert PHE_PRIVATE.raw_decrypt(KEY.pack([encrypt(1 << 64), encrypt(5)], [1, 1], 64)) == 6 << 64


def test_nothing_packs_to_zero() -> None:
    assert KEY.pack([], [], 64) == 1
    assert PHE_PRIVATE.raw_decrypt(KEY.pack([], [], 64)) == 0


@quick
@given(plaintexts)
def test_our_opening_opens_phes_ciphertexts(plaintext: int) -> None:
    ciphertext = PHE.raw_encrypt(plaintext)
    KEY.check(ciphertext)
    assert opened(ciphertext) == plaintext


@quick
@given(st.lists(st.integers(-(1 << 64), 1 << 64), min_size=1, max_size=4), st.integers(-100, 100))
def test_our_opening_opens_phes_numbers(values: list[int], factor: int) -> None:
    total: EncryptedNumber = sum((PHE.encrypt(value) for value in values[1:]), PHE.encrypt(values[0])) * factor
    assert total.exponent == 0
    expected = sum(values) * factor
    assert opened(total.ciphertext()) == expected % N
    assert PHE_PRIVATE.decrypt(total) == expected


def test_phe_adds_to_what_we_encrypted() -> None:
    ours = EncryptedNumber(PHE, encrypt(40), 0)
    assert opened((ours + PHE.encrypt(2)).ciphertext()) == 42


def test_our_ciphertexts_are_phes_to_the_byte() -> None:
    r = secrets.randbelow(N)
    for plaintext in (0, 1, N // 2, N - 1):
        assert KEY.encrypt(plaintext, int(gmpy2.powmod(r, N, N * N))) == PHE.raw_encrypt(plaintext, r)
    assert KEY.phe == PHE


@pytest.mark.parametrize("plaintext", [-1, N, N + 1], ids=["-1", "N", "N + 1"])
def test_a_plaintext_outside_its_range_is_refused(plaintext: int) -> None:
    with pytest.raises(UsageError):
        KEY.encrypt(plaintext, 1)


def from_digits(made: Randomiser, exponent: bytes) -> int:
    return made.fresh(lambda size: exponent[:size])


def digits(*pattern: int) -> bytes:
    size = KEY.bits // 16
    return bytes(itertools.islice(itertools.cycle(pattern), size))


PATTERNS = [digits(0), digits(255), digits(0, 255), digits(255, 0), digits(1), digits(128), digits(0)[:-1] + b"\1"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_randomiser_encrypts_zero_whatever_its_digits(pattern: bytes) -> None:
    made = from_digits(randomiser(), pattern)
    KEY.check(made)
    assert PHE_PRIVATE.raw_decrypt(made) == 0 == opened(made)
    assert made != 1  # even of all-zero digits: the exponent's offset keeps every plaintext hidden


def test_different_digits_make_different_randomisers() -> None:
    assert len({from_digits(randomiser(), pattern) for pattern in PATTERNS}) == len(PATTERNS)


@quick
@given(st.binary(min_size=KEY.bits // 16, max_size=KEY.bits // 16))
def test_the_table_computes_the_power_it_stands_for(drawn: bytes) -> None:
    x = secrets.token_bytes(KEY.modulus_bytes + 16)
    made = from_digits(Randomiser.create(KEY, lambda _: x), drawn)
    h = -pow(int.from_bytes(x, "big") % N, 2, N) % N
    exponent = sum((digit + 1) << (8 * position) for position, digit in enumerate(drawn))
    assert made == pow(pow(h, N, N * N), exponent, N * N)


def test_every_randomiser_is_fresh_and_every_party_draws_its_own_base() -> None:
    other = Randomiser.create(KEY, secrets.token_bytes)
    drawn = [secrets.token_bytes(KEY.bits // 16) for _ in range(20)]
    assert len({from_digits(made, item) for made in (randomiser(), other) for item in drawn}) == 40
    assert len({zeta() for _ in range(100)}) == 100


def test_a_source_that_repeats_makes_randomisers_that_repeat() -> None:
    """The twin: freshness is the source's, so a broken source shows."""
    assert len({randomiser().fresh(bytes) for _ in range(5)}) == 1
    assert encrypt(7) != encrypt(7)


@pytest.mark.parametrize("x", [0, P, 2 * Q, N], ids=["0", "p", "2q", "N"])
def test_a_base_that_is_no_unit_is_refused(x: int) -> None:
    with pytest.raises(UsageError):
        Randomiser.create(KEY, lambda size: x.to_bytes(size, "big"))


def test_a_table_does_not_show_its_base() -> None:
    assert "_table" not in repr(randomiser())


HOSTILE = {
    "zero": 0,
    "negative": -1,
    "N²": N * N,
    "N² + 1": N * N + 1,
    "N": N,
    "multiple of N": 5 * N,
    "p": P,
    "q": Q,
    "multiple of p": P * (2 + secrets.randbelow(Q)),
    "p²": P * P,
}


@pytest.mark.parametrize("element", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_ciphertext_is_refused(element: int) -> None:
    with pytest.raises(CiphertextError):
        KEY.check(element)
    if element >= 0:
        with pytest.raises(CiphertextError):
            ciphertext_from_bytes(KEY, element.to_bytes(KEY.ciphertext_bytes, "big"))


@pytest.mark.parametrize("element", [1, N * N - 1, N + 1, 2], ids=["1", "N² - 1", "N + 1", "2"])
def test_the_edges_of_the_range_are_ciphertexts(element: int) -> None:
    assert ciphertext_from_bytes(KEY, ciphertext_to_bytes(KEY, element)) == element


def test_phe_itself_would_open_what_shares_a_factor() -> None:
    """The twin: phe checks neither range nor gcd, so the check is ours to make."""
    assert isinstance(PHE_PRIVATE.raw_decrypt(N * N + encrypt(3)), int)


@quick
@given(plaintexts)
def test_a_ciphertext_has_one_fixed_width_encoding(plaintext: int) -> None:
    ciphertext = encrypt(plaintext)
    encoded = ciphertext_to_bytes(KEY, ciphertext)
    assert len(encoded) == KEY.ciphertext_bytes == 128
    assert ciphertext_from_bytes(KEY, encoded) == ciphertext
    for other in (encoded[1:], b"\0" + encoded, encoded + b"\0", b""):
        with pytest.raises(CiphertextError, match="width"):
            ciphertext_from_bytes(KEY, other)


def test_what_exceeds_the_width_is_not_encoded() -> None:
    with pytest.raises(UsageError):
        ciphertext_to_bytes(KEY, 1 << (8 * KEY.ciphertext_bytes))


def test_sizes_follow_from_the_modulus() -> None:
    assert (KEY.bits, KEY.modulus_bytes, KEY.n_squared) == (512, 64, N * N)
    assert PublicKey(1 << 512).modulus_bytes == 65
