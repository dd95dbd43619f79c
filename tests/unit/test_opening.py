"""Any quorum opens a sum, nobody else does, and no wrong share passes or stays unnamed."""

import itertools
import math
import secrets
from collections.abc import Callable
from functools import cache

import gmpy2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import labels
from protocol import opening as opening_module
from protocol.ceremony import deal
from protocol.codec import digest, i2osp, os2ip
from protocol.errors import CiphertextError, ModulusError, OpeningError, ProofError, QuorumError, UsageError
from protocol.modulus import check_modulus, prove_coprime, verify_coprime
from protocol.opening import (
    OpeningKey,
    OpeningShare,
    challenge,
    check_challenge,
    combine,
    open_share,
    prove_share,
    verify_share,
)
from protocol.paillier import PublicKey
from tests.parties import small_primes

P, Q = small_primes()
N = P * Q
THRESHOLD, COUNT = 3, 5

plaintexts = st.integers(0, N - 1) | st.sampled_from([0, 1, 2, N // 2, N - 1])


@cache
def dealt(threshold: int = THRESHOLD, count: int = COUNT) -> tuple[OpeningKey, tuple[OpeningShare, ...]]:
    ceremony, shares = deal((P, Q), threshold, count, b"opening", secrets.token_bytes)
    return ceremony.key, shares


def encrypt(plaintext: int) -> int:
    return int(PublicKey(N).phe.raw_encrypt(plaintext))


class Opening:
    """One ciphertext, and what every keyholder returns for it."""

    def __init__(self, plaintext: int = 0xC0FFEE, threshold: int = THRESHOLD, count: int = COUNT) -> None:
        self.plaintext = plaintext
        self.key, self.shares = dealt(threshold, count)
        self.ciphertext = encrypt(plaintext)
        self.x = challenge(self.key, self.ciphertext)
        self.opened = {share.index: open_share(self.key, share, self.x) for share in self.shares}

    def combine(self, *quorum: int, **altered: int) -> int:
        """Open by these keyholders, some of whose shares, named p1 … p5, are altered."""
        shares = {index: altered.get(f"p{index}", self.opened[index]) for index in quorum or self.opened}
        return combine(self.key, self.ciphertext, shares)

    def prove(self, index: int) -> tuple[bytes, bytes]:
        return prove_share(self.key, self.shares[index - 1], self.x, secrets.token_bytes)

    def culprits(self, opened: dict[int, int]) -> set[int]:
        """Whose share is not the one its proof is for; every keyholder proves what it holds."""
        found = set()
        for index, share in opened.items():
            try:
                verify_share(self.key, index, self.x, share, self.prove(index))
            except ProofError:
                found.add(index)
        return found


@settings(deadline=None, max_examples=25)
@given(plaintexts)
def test_every_quorum_opens_the_plaintext(plaintext: int) -> None:
    opening = Opening(plaintext)
    for quorum in itertools.combinations(opening.opened, THRESHOLD):
        assert opening.combine(*quorum) == plaintext
    assert opening.combine() == plaintext


@settings(deadline=None, max_examples=40)
@given(plaintexts, st.integers(1, 7), st.data())
def test_any_threshold_of_any_number_of_keyholders_opens(plaintext: int, count: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, count))
    opening = Opening(plaintext, threshold, count)
    quorum = data.draw(st.permutations(range(1, count + 1)))[: data.draw(st.integers(threshold, count))]
    assert opening.combine(*quorum) == plaintext


def test_fewer_than_the_threshold_are_no_quorum() -> None:
    opening = Opening()
    for pair in itertools.combinations(opening.opened, THRESHOLD - 1):
        with pytest.raises(QuorumError):
            opening.combine(*pair)
    with pytest.raises(QuorumError):
        combine(opening.key, opening.ciphertext, {})


def test_fewer_shares_than_the_threshold_open_nothing_even_if_taken_for_a_quorum() -> None:
    """The twin: it is the sharing, not the counting, that keeps two keyholders from opening."""
    opening = Opening()
    lowered = OpeningKey(opening.key.public_key, THRESHOLD - 1, opening.key.base, opening.key.verification)
    for pair in itertools.combinations(opening.opened, THRESHOLD - 1):
        with pytest.raises(OpeningError):
            combine(lowered, opening.ciphertext, {index: opening.opened[index] for index in pair})


@pytest.mark.parametrize("index", [0, -1, COUNT + 1])
def test_a_share_of_nobody_is_refused(index: int) -> None:
    opening = Opening()
    with pytest.raises(UsageError):
        combine(opening.key, opening.ciphertext, opening.opened | {index: opening.opened[1]})
    with pytest.raises(UsageError):
        verify_share(opening.key, index, opening.x, opening.opened[1], opening.prove(1))


def unit() -> int:
    return 2 + secrets.randbelow(N - 3)


ALTERATIONS: dict[str, Callable[[Opening], int]] = {
    "one bit": lambda o: o.opened[2] ^ 2,
    "another keyholder's": lambda o: o.opened[3],
    "random": lambda _: unit(),
    "one": lambda _: 1,
    "minus one": lambda _: N - 1,
    "the challenge itself": lambda o: o.x,
    "multiplied by a random unit": lambda o: o.opened[2] * unit() % N,
    "multiplied by the challenge": lambda o: o.opened[2] * o.x % N,
    "multiplied by two": lambda o: o.opened[2] * 2 % N,
    "inverted": lambda o: pow(o.opened[2], -1, N),
    "squared": lambda o: o.opened[2] ** 2 % N,
    "for another ciphertext": lambda o: open_share(o.key, o.shares[1], challenge(o.key, encrypt(o.plaintext))),
    "by another share": lambda o: open_share(o.key, OpeningShare(2, o.shares[1].secret + 1), o.x),
    "shifted by an encryption of one": lambda o: o.opened[2] * (1 + N),
    "shifted by an encryption of one, reduced": lambda o: o.opened[2] * encrypt(1) % N,
    "shifted by the root of a marked ciphertext": lambda o: o.opened[2] * pow(1 + 5 * N, 2, N * N),
    "not reduced": lambda o: o.opened[2] + N,
    "negative": lambda o: o.opened[2] - N,
    "zero": lambda _: 0,
    "N": lambda _: N,
    "a factor": lambda _: P,
    "a multiple of a factor": lambda o: o.opened[2] * Q % N,
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_wrong_share_is_refused_in_every_quorum_and_its_maker_is_named(alter: Callable[[Opening], int]) -> None:
    opening = Opening()
    altered = alter(opening)
    for others in itertools.combinations((1, 3, 4, 5), THRESHOLD - 1):
        with pytest.raises(OpeningError):
            # The quorum is exactly these, so the altered share is never merely left out.
            opening.combine(2, *others, p2=altered)
    assert opening.culprits(opening.opened | {2: altered}) == {2}


def test_right_shares_name_nobody() -> None:
    opening = Opening()
    assert opening.culprits(opening.opened) == set()


def test_two_wrong_shares_that_would_cancel_are_no_opening_either() -> None:
    opening = Opening()
    factor = unit()
    first, second = opening.opened[1] * factor % N, opening.opened[2] * pow(factor, -1, N) % N
    with pytest.raises(OpeningError):
        opening.combine(1, 2, 3, p1=first, p2=second)
    assert opening.culprits(opening.opened | {1: first, 2: second}) == {1, 2}


@pytest.mark.parametrize("negated", [(1,), (2,), (1, 3), (1, 2, 3)])
def test_a_share_with_the_other_sign_gives_the_same_plaintext_never_another(negated: tuple[int, ...]) -> None:
    """Shares are squared, so their sign is no part of the statement; the proofs are of the square as well."""
    opening = Opening()
    altered = {f"p{index}": N - opening.opened[index] for index in negated}
    assert opening.combine(1, 2, 3, **altered) == opening.plaintext
    assert opening.culprits(opening.opened | {index: N - opening.opened[index] for index in negated}) == set()


def test_only_the_first_keyholders_of_a_quorum_are_used() -> None:
    opening = Opening()
    assert opening.combine(p4=unit(), p5=unit()) == opening.plaintext
    with pytest.raises(OpeningError):
        opening.combine(p3=unit())


def unchecked(opening: Opening, **altered: int) -> int:
    """What the last formula would give without the equation before it."""
    root = 1
    for index in (1, 2, 3):
        others = [j for j in (1, 2, 3) if j != index]
        coefficient = opening.key.delta * math.prod(others) // math.prod(j - index for j in others)
        root = root * pow(altered.get(f"p{index}", opening.opened[index]), 2 * coefficient, N) % N
    scale = 8 * opening.key.delta**2
    y = pow(opening.ciphertext, scale, N * N) * pow(root, -N, N * N) % (N * N)
    return (y - 1) // N * pow(scale, -1, N) % N


def test_without_the_equation_a_wrong_share_would_give_a_wrong_plaintext() -> None:
    """The twin of verifiability."""
    opening = Opening()
    assert unchecked(opening) == opening.plaintext
    assert unchecked(opening, p2=unit()) != opening.plaintext


def square_times_prime() -> tuple[int, int, int]:
    """Primes p, q and N = p²q that passes every check but the proof that gcd(N, φ(N)) = 1."""
    while True:
        p, q = (int(gmpy2.next_prime(secrets.randbits(bits) | 3 << (bits - 2))) for bits in (170, 172))
        if p * p * q % 12 == 1 and (p * p * q).bit_length() == 512:
            return p, q, p * p * q


def test_where_roots_are_not_unique_a_share_shifts_the_plaintext_and_only_the_ceremonys_proof_tells() -> None:
    """The twin of gcd(N, φ(N)) = 1: for N = p²q, (1 + ap)^N = 1 mod N, and not mod N²: a chosen plaintext."""
    p, q, n = square_times_prime()
    check_modulus(n, "concordat-v1-insecure-test")
    exponent = pow(n, -1, (p - 1) * (q - 1))
    key = OpeningKey(PublicKey(n), 1, 4, (1,))
    ciphertext = (1 + 7 * n) * pow(pow(unit(), n, n), n, n * n) % (n * n)
    opened = open_share(key, OpeningShare(1, exponent), challenge(key, ciphertext))
    assert combine(key, ciphertext, {1: opened}) == 7

    marked = (1 + p * q) % n  # 1 mod pq, so its N-th power is 1 mod N
    assert pow(marked, n, n) == 1
    unit_of_shift = (1 - pow(marked, n, n * n)) // n % n
    shifted = combine(key, ciphertext, {1: opened * marked % n})
    assert shifted == (7 + 2 * unit_of_shift * pow(8, -1, n)) % n != 7

    with pytest.raises(ModulusError):
        verify_coprime(n, prove_coprime(n, exponent, b""), b"")


@settings(deadline=None, max_examples=30)
@given(plaintexts, plaintexts)
def test_the_challenge_does_not_depend_on_the_plaintext(plaintext: int, other: int) -> None:
    key, _ = dealt()
    ciphertext = encrypt(plaintext)
    assert challenge(key, ciphertext * (1 + other * N) % (N * N)) == challenge(key, ciphertext)
    assert challenge(key, encrypt(plaintext)) != challenge(key, ciphertext)


def test_the_square_erases_the_mark_of_a_jacobi_symbol() -> None:
    """Without it an agency could choose its randomness' symbol, and know its entry again as a keyholder."""
    key, _ = dealt()
    marked = next(c for c in iter(lambda: encrypt(1), None) if gmpy2.jacobi(c % N, N) == -1)
    plain = next(c for c in iter(lambda: encrypt(1), None) if gmpy2.jacobi(c % N, N) == 1)
    assert gmpy2.jacobi(marked % N, N) != gmpy2.jacobi(plain % N, N)  # the twin: A mod N would show it
    assert gmpy2.jacobi(challenge(key, marked), N) == gmpy2.jacobi(challenge(key, plain), N) == 1


@pytest.mark.parametrize("x", [0, -1, N, N + 1, P, 3 * Q], ids=["0", "-1", "N", "N + 1", "p", "3q"])
def test_what_is_no_challenge_is_neither_checked_nor_opened(x: int) -> None:
    key, shares = dealt()
    check_challenge(key, 1)
    for refuse in (
        lambda: check_challenge(key, x),
        lambda: open_share(key, shares[0], x),
        lambda: prove_share(key, shares[0], x, secrets.token_bytes),
    ):
        with pytest.raises(CiphertextError):
            refuse()


def test_a_proof_is_for_one_keyholder_one_challenge_and_one_share() -> None:
    opening = Opening()
    key, x, opened, proof = opening.key, opening.x, opening.opened, opening.prove(2)
    verify_share(key, 2, x, opened[2], proof)
    other = challenge(key, encrypt(1))
    other_key, _ = dealt(2, 5)
    for statement in (
        (key, 1, x, opened[2]),
        (key, 1, x, opened[1]),
        (key, 2, other, opened[2]),
        (key, 2, other, open_share(key, opening.shares[1], other)),
        (key, 2, x, opened[1]),
        (key, 2, x, opened[2] ** 2 % N),
        (other_key, 2, x, opened[2]),
    ):
        with pytest.raises(ProofError):
            verify_share(*statement, proof)


def test_every_part_of_a_proof_is_needed() -> None:
    opening = Opening()
    c, response = opening.prove(2)
    z = os2ip(response)
    for proof in (
        (bytes(32), response),
        (i2osp(os2ip(c) ^ 1, 32), response),
        (c, i2osp(z + 1, len(response))),
        (c, bytes(len(response))),
        (c[:-1], response),
        (c + b"\0", response),
        (c, response[1:]),
        (c, b"\0" + response),
        (b"", b""),
    ):
        with pytest.raises(ProofError):
            verify_share(opening.key, 2, opening.x, opening.opened[2], proof)


def test_the_proofs_challenge_is_hashed_from_all_of_the_statement_and_the_commitment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Strong Fiat-Shamir (Bernhard, Pereira, Warinschi 2012): what is left out, a prover may choose afterwards."""
    hashed: list[tuple[bytes, ...]] = []
    o = Opening()

    def recorded(*parts: bytes) -> bytes:
        hashed.append(parts)
        return digest(*parts)

    monkeypatch.setattr(opening_module, "digest", recorded)
    c, response = o.prove(2)
    verify_share(o.key, 2, o.x, o.opened[2], (c, response))
    lifted, squared = pow(o.x, 4 * o.key.delta, N), o.opened[2] ** 2 % N
    z, minus_c = os2ip(response), -os2ip(c)
    commitment = (
        pow(o.key.base, z, N) * pow(o.key.verification[1], minus_c, N) % N,
        pow(lifted, z, N) * pow(squared, minus_c, N) % N,
    )
    values = (N, o.key.base, o.key.verification[1], lifted, squared, *commitment)
    assert hashed == [(labels.SHARE_PROOF, i2osp(2, 2), *(i2osp(value, 64) for value in values))] * 2


def test_proofs_are_fresh_and_a_repeated_nonce_would_give_the_share_away() -> None:
    """The twin of fresh nonces: two responses to different challenges under one nonce are two equations in s_j."""
    opening = Opening()
    assert opening.prove(2) != opening.prove(2)
    key, share = opening.key, opening.shares[1]
    nonce = secrets.token_bytes(200)
    x, y = opening.x, challenge(key, encrypt(5))
    (c, z), (d, w) = (prove_share(key, share, value, lambda size: nonce[:size]) for value in (x, y))
    assert (os2ip(z) - os2ip(w)) // (os2ip(c) - os2ip(d)) == share.secret


def test_a_response_hides_the_share_whatever_its_size() -> None:
    """The nonce is 256 bits longer than s_j·c can be, and the largest response still fits its width."""
    key, _ = dealt()
    largest = OpeningShare(1, N - 1)
    c, response = prove_share(key, largest, 4, lambda size: b"\xff" * size)
    assert len(response) == key.public_key.modulus_bytes + 65
    assert os2ip(response) - (N - 1) * os2ip(c) == (1 << (8 * (key.public_key.modulus_bytes + 64))) - 1
    assert ((N - 1) * (1 << 256)).bit_length() + 256 <= 8 * (key.public_key.modulus_bytes + 64)


def test_a_share_does_not_show_itself() -> None:
    assert str(dealt()[1][0].secret) not in repr(dealt()[1][0])


def test_delta_is_the_factorial_of_the_keyholders() -> None:
    assert [dealt(1, count)[0].delta for count in (1, 3, 5)] == [1, 6, 120]
