"""At 3072 bits, on published safe primes: the ceremony, an opening of twelve slots, and phe on both ends."""

import itertools
import secrets
from functools import cache

import pytest
from phe import PaillierPrivateKey, PaillierPublicKey

from protocol import labels
from protocol.ceremony import Ceremony, deal
from protocol.errors import OpeningError, ProofError
from protocol.opening import OpeningShare, challenge, combine, open_share, prove_share, verify_share
from protocol.paillier import Randomiser, ciphertext_from_bytes, ciphertext_to_bytes
from tests.parties import FULL_SIZE_PRIMES

N = FULL_SIZE_PRIMES[0] * FULL_SIZE_PRIMES[1]
PHE = PaillierPublicKey(N)
PHE_PRIVATE = PaillierPrivateKey(PHE, *FULL_SIZE_PRIMES)
THRESHOLD, COUNT = 3, 5
SLOTS, STRIDE = 12, 255  # a lane vector of 215 bits and 40 guard bits


@cache
def dealt() -> tuple[Ceremony, tuple[OpeningShare, ...]]:
    return deal(FULL_SIZE_PRIMES, THRESHOLD, COUNT, b"full size", secrets.token_bytes)


@cache
def randomiser() -> Randomiser:
    return Randomiser.create(dealt()[0].key.public_key, secrets.token_bytes)


def opened(ciphertext: int, *quorum: int) -> int:
    key, shares = dealt()[0].key, dealt()[1]
    x = challenge(key, ciphertext)
    return combine(key, ciphertext, {index: open_share(key, shares[index - 1], x) for index in quorum})


def test_what_is_dealt_verifies_in_the_real_suite() -> None:
    ceremony, shares = dealt()
    ceremony.verify(labels.SUITE)
    for share in shares:
        ceremony.verify_share(share)
    key = ceremony.key.public_key
    assert (key.bits, key.modulus_bytes, key.ciphertext_bytes) == (3072, 384, 768)
    assert (key.bits - 2) // STRIDE == SLOTS


def test_twelve_subjects_sums_open_together_by_any_quorum() -> None:
    key = dealt()[0].key.public_key
    full = (1 << 215) - 1
    values = [full, 0, *(secrets.randbits(215) for _ in range(SLOTS - 3)), full]
    parts = [(value // 2, value - value // 2) for value in values]
    sums = []
    for pair in parts:
        first, second = (key.encrypt(part, randomiser().fresh(secrets.token_bytes)) for part in pair)
        sums.append(ciphertext_from_bytes(key, ciphertext_to_bytes(key, key.add(first, second))))
    packed = key.add(key.pack(sums, [1] * SLOTS, STRIDE), randomiser().fresh(secrets.token_bytes))
    expected = sum(value << (STRIDE * slot) for slot, value in enumerate(values))
    assert expected.bit_length() == STRIDE * (SLOTS - 1) + 215
    assert PHE_PRIVATE.raw_decrypt(packed) == expected
    for quorum in itertools.islice(itertools.combinations(range(1, COUNT + 1), THRESHOLD), 0, None, 3):
        assert opened(packed, *quorum) == expected


def test_phe_and_the_keyholders_open_each_others_ciphertexts() -> None:
    key = dealt()[0].key.public_key
    for plaintext in (0, N - 1, secrets.randbelow(N)):
        ours = key.encrypt(plaintext, randomiser().fresh(secrets.token_bytes))
        assert PHE_PRIVATE.raw_decrypt(ours) == plaintext
    numbers = [PHE.encrypt(value) for value in (1 << 200, -5)]
    assert opened((numbers[0] + numbers[1]).ciphertext(), 1, 3, 5) == (1 << 200) - 5


def test_a_wrong_share_is_refused_and_its_maker_named() -> None:
    key, shares = dealt()[0].key, dealt()[1]
    ciphertext = PHE.raw_encrypt(7)
    x = challenge(key, ciphertext)
    answers = {share.index: open_share(key, share, x) for share in shares[:THRESHOLD]}
    proofs = {share.index: prove_share(key, share, x, secrets.token_bytes) for share in shares[:THRESHOLD]}
    answers[2] = answers[2] * 4 % N
    with pytest.raises(OpeningError):
        combine(key, ciphertext, answers)
    verify_share(key, 1, x, answers[1], proofs[1])
    verify_share(key, 3, x, answers[3], proofs[3])
    with pytest.raises(ProofError):
        verify_share(key, 2, x, answers[2], proofs[2])
