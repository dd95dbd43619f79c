"""Keyholders together compute the single key's function, and cannot answer with another key unnoticed."""

import itertools
import secrets
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import oprf, shamir
from protocol.errors import ProofError, QuorumError, UsageError
from protocol.group import (
    IDENTITY,
    ORDER,
    ZERO,
    Element,
    Scalar,
    random_scalar,
    scalar_base_mult,
    scalar_from_int,
)
from protocol.oprf import Mode

THRESHOLD, COUNT = 3, 5


def draw(size: int) -> list[Scalar]:
    return [random_scalar(secrets.token_bytes) for _ in range(size)]


class Keyholders:
    """Holders of shares of one fresh key, by index."""

    def __init__(self) -> None:
        sharing = shamir.split(secrets.randbelow(ORDER), THRESHOLD, COUNT, ORDER, secrets.token_bytes)
        self.key = scalar_from_int(sharing.coefficients[0])
        self.shares = {index: scalar_from_int(share) for index, share in enumerate(sharing.shares, 1)}
        self.public_shares = {index: scalar_base_mult(share) for index, share in self.shares.items()}

    def evaluate(self, blinded: Sequence[Element]) -> dict[int, tuple[Element, ...]]:
        return {index: oprf.blind_evaluate(share, blinded) for index, share in self.shares.items()}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_every_quorum_gives_the_output_of_the_single_key(inputs: list[bytes]) -> None:
    keyholders, blinds = Keyholders(), draw(len(inputs))
    evaluated = keyholders.evaluate(oprf.blind(inputs, blinds))
    expected = tuple(oprf.evaluate(keyholders.key, x) for x in inputs)
    for quorum in itertools.combinations(evaluated, THRESHOLD):
        some = {index: evaluated[index] for index in quorum}
        assert oprf.finalize(inputs, blinds, some, THRESHOLD) == expected
    assert oprf.finalize(inputs, blinds, evaluated, THRESHOLD) == expected


def test_a_full_batch_of_120_with_proofs() -> None:
    inputs = [i.to_bytes(2, "big") for i in range(120)]
    keyholders, blinds = Keyholders(), draw(120)
    blinded = oprf.blind(inputs, blinds)
    evaluated = {}
    for index in (5, 1, 3):
        public = keyholders.public_shares[index]
        evaluated[index], proof = oprf.blind_evaluate_with_proof(
            keyholders.shares[index], public, blinded, secrets.token_bytes
        )
        oprf.verify(public, blinded, evaluated[index], proof)
    outputs = oprf.finalize(inputs, blinds, evaluated, THRESHOLD)
    assert len(set(outputs)) == 120
    assert outputs[77] == oprf.evaluate(keyholders.key, inputs[77])


def test_a_keyholder_answering_with_another_key_is_caught() -> None:
    keyholders = Keyholders()
    blinded = oprf.blind([b"x"], draw(1))
    evaluated, proof = oprf.blind_evaluate_with_proof(
        draw(1)[0], keyholders.public_shares[2], blinded, secrets.token_bytes
    )
    with pytest.raises(ProofError):
        oprf.verify(keyholders.public_shares[2], blinded, evaluated, proof)


def test_a_keyholder_answering_under_another_ones_index_is_caught() -> None:
    keyholders = Keyholders()
    blinded = oprf.blind([b"x"], draw(1))
    public = keyholders.public_shares
    evaluated, proof = oprf.blind_evaluate_with_proof(keyholders.shares[1], public[1], blinded, secrets.token_bytes)
    oprf.verify(public[1], blinded, evaluated, proof)
    with pytest.raises(ProofError):
        oprf.verify(public[2], blinded, evaluated, proof)


def test_an_unverified_wrong_share_would_change_the_output() -> None:
    """The twin: interpolation by itself notices nothing, so every answer is verified first."""
    keyholders, blinds = Keyholders(), draw(1)
    evaluated = keyholders.evaluate(oprf.blind([b"x"], blinds))
    evaluated[1] = evaluated[2]
    assert oprf.finalize([b"x"], blinds, evaluated, THRESHOLD) != (oprf.evaluate(keyholders.key, b"x"),)


def test_fewer_keyholders_than_the_threshold_are_no_quorum() -> None:
    blinds = draw(1)
    evaluated = Keyholders().evaluate(oprf.blind([b"x"], blinds))
    with pytest.raises(QuorumError):
        oprf.finalize([b"x"], blinds, {1: evaluated[1], 2: evaluated[2]}, THRESHOLD)


def test_fewer_shares_than_the_threshold_give_something_else() -> None:
    keyholders, blinds = Keyholders(), draw(1)
    evaluated = keyholders.evaluate(oprf.blind([b"x"], blinds))
    for pair in itertools.combinations(evaluated, THRESHOLD - 1):
        some = {index: evaluated[index] for index in pair}
        assert oprf.finalize([b"x"], blinds, some, THRESHOLD - 1) != (oprf.evaluate(keyholders.key, b"x"),)


def test_of_more_answers_than_needed_only_the_threshold_is_computed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    blinds = draw(2)
    evaluated = Keyholders().evaluate(oprf.blind([b"x", b"y"], blinds))
    widths = []

    def counted(weights: Sequence[Scalar], _: Sequence[Element]) -> Element:
        widths.append(len(weights))
        return IDENTITY

    monkeypatch.setattr(oprf, "linear_combination", counted)
    oprf.finalize([b"x", b"y"], blinds, evaluated, THRESHOLD)
    assert widths == [THRESHOLD] * 2


@pytest.mark.parametrize("index", [0, -1])
def test_an_index_that_is_no_keyholders_is_refused(index: int) -> None:
    blinds = draw(1)
    evaluated = Keyholders().evaluate(oprf.blind([b"x"], blinds))
    evaluated[index] = evaluated.pop(4)
    with pytest.raises(UsageError):
        oprf.finalize([b"x"], blinds, evaluated, THRESHOLD)


def test_a_threshold_of_none_is_refused() -> None:
    with pytest.raises(UsageError):
        oprf.finalize([b"x"], draw(1), {}, 0)


def test_batches_of_different_lengths_are_refused() -> None:
    element = scalar_base_mult(scalar_from_int(2))
    misfits: list[Callable[[], object]] = [
        lambda: oprf.blind([b"x"], draw(2)),
        lambda: oprf.finalize([b"x"], draw(1), {1: [element, element]}, 1),
        lambda: oprf.finalize([b"x"], draw(2), {1: [element]}, 1),
        lambda: oprf.finalize([b"x"], draw(1), {1: [element], 2: [element, element]}, 2),
    ]
    for misfit in misfits:
        with pytest.raises(UsageError, match="length"):
            misfit()


def test_blinding_hides_equal_inputs_and_unblinding_finds_them_again() -> None:
    key, blinds = draw(1)[0], draw(2)
    blinded = oprf.blind([b"same", b"same"], blinds)
    assert blinded[0] != blinded[1]
    first, second = oprf.finalize([b"same", b"same"], blinds, {1: oprf.blind_evaluate(key, blinded)}, 1)
    assert first == second == oprf.evaluate(key, b"same")


def test_unblinding_with_another_blind_gives_something_else() -> None:
    key, blinds = draw(1)[0], draw(1)
    evaluated = oprf.blind_evaluate(key, oprf.blind([b"x"], blinds))
    assert oprf.finalize([b"x"], draw(1), {1: evaluated}, 1) != (oprf.evaluate(key, b"x"),)


def test_modes_are_separate_functions_even_under_one_key() -> None:
    key = draw(1)[0]
    assert oprf.evaluate(key, b"x", Mode.OPRF) != oprf.evaluate(key, b"x", Mode.VOPRF)
    assert oprf.derive_key_pair(bytes(32), b"", Mode.OPRF) != oprf.derive_key_pair(bytes(32), b"", Mode.VOPRF)


def test_an_input_has_at_most_65535_bytes() -> None:
    assert len(oprf.evaluate(draw(1)[0], bytes(65535))) == oprf.OUTPUT_BYTES
    with pytest.raises(UsageError):
        oprf.evaluate(draw(1)[0], bytes(65536))


def test_an_input_that_hashes_to_the_identity_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oprf, "hash_to_group", lambda *_: IDENTITY)
    with pytest.raises(UsageError, match="identity"):
        oprf.blind([b"x"], draw(1))


def test_key_derivation_goes_on_after_a_zero_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = iter([ZERO, ZERO, scalar_from_int(6)])
    monkeypatch.setattr(oprf, "hash_to_scalar", lambda *_: next(hashes))
    assert oprf.derive_key_pair(bytes(32), b"") == (scalar_from_int(6), scalar_base_mult(scalar_from_int(6)))
    monkeypatch.setattr(oprf, "hash_to_scalar", lambda *_: ZERO)
    with pytest.raises(UsageError):
        oprf.derive_key_pair(bytes(32), b"")
