"""A batched proof verifies exactly what one key evaluated."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.dleq import PROOF_BYTES, generate_proof, length_prefixed, verify_proof
from protocol.errors import ProofError, UsageError
from protocol.group import (
    ORDER,
    Element,
    Scalar,
    element_add,
    hash_to_group,
    random_scalar,
    scalar_base_mult,
    scalar_from_int,
    scalar_mult,
)

CONTEXT = b"a context"


@dataclass(frozen=True)
class Statement:
    public: Element
    blinded: Sequence[Element]
    evaluated: Sequence[Element]
    proof: bytes
    context: bytes = CONTEXT

    def verify(self) -> None:
        verify_proof(self.public, self.blinded, self.evaluated, self.proof, context=self.context)

    def refused(self) -> bool:
        with pytest.raises(ProofError):
            self.verify()
        return True


def prove(size: int, key: Scalar | None = None, evaluating_key: Scalar | None = None) -> Statement:
    key = key or random_scalar(secrets.token_bytes)
    blinded = [hash_to_group(secrets.token_bytes(8), b"test") for _ in range(size)]
    evaluated = [scalar_mult(evaluating_key or key, element) for element in blinded]
    public = scalar_base_mult(key)
    proof = generate_proof(key, public, blinded, evaluated, context=CONTEXT, random=secrets.token_bytes)
    return Statement(public, blinded, evaluated, proof)


@pytest.mark.parametrize("size", [1, 2, 120])
def test_an_honest_batch_verifies(size: int) -> None:
    statement = prove(size)
    statement.verify()
    assert len(statement.proof) == PROOF_BYTES


@pytest.mark.parametrize("size", [1, 2, 120])
def test_a_batch_evaluated_under_another_key_does_not(size: int) -> None:
    assert prove(size, evaluating_key=random_scalar(secrets.token_bytes)).refused()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4))
def test_one_false_evaluation_among_five_is_caught(position: int) -> None:
    statement = prove(5)
    evaluated = list(statement.evaluated)
    evaluated[position] = element_add(evaluated[position], statement.public)
    assert replace(statement, evaluated=evaluated).refused()


def test_false_evaluations_that_cancel_in_a_plain_sum_are_caught() -> None:
    statement = prove(2)
    first, second = statement.evaluated
    shifted = [
        element_add(first, statement.public),
        element_add(second, scalar_mult(scalar_from_int(-1), statement.public)),
    ]
    assert replace(statement, evaluated=shifted).refused()


def test_exchanged_evaluations_are_caught() -> None:
    statement = prove(2)
    assert replace(statement, evaluated=statement.evaluated[::-1]).refused()
    replace(statement, evaluated=statement.evaluated[::-1][::-1]).verify()


def test_a_proof_holds_for_its_key_only() -> None:
    assert replace(prove(3), public=prove(1).public).refused()


def test_a_proof_holds_in_its_context_only() -> None:
    assert replace(prove(3), context=b"another context").refused()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8 * PROOF_BYTES - 1))
def test_no_bit_of_a_proof_can_be_changed(bit: int) -> None:
    statement = prove(1)
    flipped = bytearray(statement.proof)
    flipped[bit // 8] ^= 1 << bit % 8
    assert replace(statement, proof=bytes(flipped)).refused()


def test_a_proof_with_a_scalar_not_below_the_order_is_refused() -> None:
    """Both halves plus the order are the same scalars to libsodium: a second encoding of one proof."""
    statement = prove(1)
    c, s = (int.from_bytes(half, "little") for half in (statement.proof[:32], statement.proof[32:]))
    for malleated in ((c + ORDER, s), (c, s + ORDER), (c | 1 << 255, s), (c, s | 1 << 255)):
        proof = b"".join(half.to_bytes(32, "little") for half in malleated)
        assert replace(statement, proof=proof).refused()


@pytest.mark.parametrize("proof", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_proof_is_refused(proof: bytes) -> None:
    assert replace(prove(1), proof=proof).refused()


def test_a_proof_for_no_elements_is_neither_made_nor_believed() -> None:
    with pytest.raises(UsageError):
        prove(0)
    assert replace(prove(1), blinded=[], evaluated=[]).refused()


def test_an_answer_to_more_or_fewer_elements_is_refused() -> None:
    statement = prove(2)
    assert replace(statement, evaluated=statement.evaluated[:1]).refused()
    assert replace(statement, blinded=statement.blinded[:1]).refused()


def test_the_key_one_is_a_key_like_any_other() -> None:
    statement = prove(2, key=scalar_from_int(1))
    assert statement.evaluated == statement.blinded
    statement.verify()


def test_length_prefixes_take_two_bytes_and_overflow_loudly() -> None:
    assert length_prefixed(b"ab", b"") == b"\x00\x02ab\x00\x00"
    with pytest.raises(UsageError):
        length_prefixed(bytes(65536))
