"""The oblivious pseudorandom function of RFC 9497, ristretto255-SHA512, modes OPRF and VOPRF; one key or a threshold.

Concordat runs mode VOPRF with a key shared among keyholders. Each answers with its share as the RFC's server does with
its key, proof included; the client verifies each answer against that keyholder's public share, interpolates any t of
them in the exponent and unblinds as the RFC's client (`finalize`). The output is the single key's, bit for bit.

Everything works on batches: the i-th items of all sequences belong to one subject.
"""

import hashlib
from collections.abc import Mapping, Sequence, Sized
from enum import IntEnum

from protocol.codec import Random, i2osp
from protocol.dleq import generate_proof, length_prefixed, verify_proof
from protocol.errors import QuorumError, UsageError
from protocol.group import (
    IDENTITY,
    ORDER,
    ZERO,
    Element,
    Scalar,
    hash_to_group,
    hash_to_scalar,
    linear_combination,
    scalar_base_mult,
    scalar_from_int,
    scalar_invert,
    scalar_mul,
    scalar_mult,
)
from protocol.shamir import lagrange_at_zero

OUTPUT_BYTES = 64


class Mode(IntEnum):
    """The protocol variants (RFC 9497 §3.1)."""

    OPRF = 0x00
    VOPRF = 0x01


def context_string(mode: Mode) -> bytes:
    """CreateContextString (RFC 9497 §3.1): what separates the modes and suites from each other."""
    return b"OPRFV1-" + i2osp(mode, 1) + b"-ristretto255-SHA512"


def derive_key_pair(seed: bytes, info: bytes, mode: Mode = Mode.VOPRF) -> tuple[Scalar, Element]:
    """Derive a secret key and its public key from a 32-byte seed (RFC 9497 §3.2.1).

    Raises:
        UsageError: `info` is longer than 65535 bytes, or no counter gives a key (never seen).
    """
    for counter in range(256):
        derive_input = seed + length_prefixed(info) + i2osp(counter, 1)
        secret = hash_to_scalar(derive_input, b"DeriveKeyPair" + context_string(mode))
        if secret != ZERO:
            return secret, scalar_base_mult(secret)
    raise UsageError("seed derives no key pair")


def blind(inputs: Sequence[bytes], blinds: Sequence[Scalar], mode: Mode = Mode.VOPRF) -> tuple[Element, ...]:
    """Blind each input with its own fresh `random_scalar` (RFC 9497 §3.3.1): the server sees uniform elements.

    Raises:
        UsageError: lengths differ, or an input hashes to the identity (never seen).
    """
    _require_one_length(inputs, blinds)
    return tuple(scalar_mult(r, _input_element(x, mode)) for x, r in zip(inputs, blinds, strict=True))


def blind_evaluate(secret: Scalar, blinded: Sequence[Element]) -> tuple[Element, ...]:
    """Evaluate blinded elements under a key or a share, without a proof (RFC 9497 §3.3.1)."""
    return tuple(scalar_mult(secret, element) for element in blinded)


def blind_evaluate_with_proof(
    secret: Scalar, public: Element, blinded: Sequence[Element], random: Random
) -> tuple[tuple[Element, ...], bytes]:
    """Evaluate under a key or a share, with one proof (64 bytes) for the batch against `public` (RFC 9497 §3.3.2).

    Raises:
        UsageError: the batch is empty.
    """
    evaluated = blind_evaluate(secret, blinded)
    return evaluated, generate_proof(
        secret, public, blinded, evaluated, context=context_string(Mode.VOPRF), random=random
    )


def verify(public: Element, blinded: Sequence[Element], evaluated: Sequence[Element], proof: bytes) -> None:
    """Verify one keyholder's answer to a batch against its public share (RFC 9497 §3.3.2).

    Raises:
        ProofError: some evaluation is not under that share, or the answer is not about exactly this batch.
    """
    verify_proof(public, blinded, evaluated, proof, context=context_string(Mode.VOPRF))


def combine(evaluated: Mapping[int, Sequence[Element]], threshold: int) -> tuple[Element, ...]:
    """Interpolate verified evaluations of keyholders, by their indices, to those of the shared key.

    Uses `threshold` of the answers and costs as many multiplications a subject; which ones does not change the result.

    Raises:
        QuorumError: fewer than `threshold` keyholders.
        UsageError: an index is not positive, or batches differ in length.
    """
    weights, batches = _quorum(evaluated, threshold)
    return tuple(linear_combination(weights, subject) for subject in zip(*batches, strict=True))


def finalize(
    inputs: Sequence[bytes], blinds: Sequence[Scalar], evaluated: Mapping[int, Sequence[Element]], threshold: int
) -> tuple[bytes, ...]:
    """`combine` verified evaluations, unblind and hash to the outputs, 64 bytes each.

    With one keyholder, of index 1, this is Finalize of RFC 9497 §3.3.1. Interpolated and unblinded at once, as
    Σ (λ_j/r)·D_j, a subject costs one multiplication less than one after the other.

    Raises:
        QuorumError, UsageError: as `combine`; UsageError also where an input is longer than 65535 bytes.
    """
    weights, batches = _quorum(evaluated, threshold)
    _require_one_length(inputs, blinds, *batches)
    return tuple(
        _output(x, linear_combination([scalar_mul(weight, inverse) for weight in weights], of_subject))
        for x, inverse, *of_subject in zip(inputs, map(scalar_invert, blinds), *batches, strict=True)
    )


def _quorum(evaluated: Mapping[int, Sequence[Element]], threshold: int) -> tuple[list[Scalar], list[Sequence[Element]]]:
    """The Lagrange coefficients and batches of the `threshold` lowest indices."""
    if len(evaluated) < threshold:
        raise QuorumError("fewer keyholders answered than the threshold")
    indices = sorted(evaluated)[:threshold]
    batches = [evaluated[index] for index in indices]
    _require_one_length(*batches)
    coefficients = lagrange_at_zero(indices, ORDER)
    return [scalar_from_int(coefficients[index]) for index in indices], batches


def evaluate(secret: Scalar, private_input: bytes, mode: Mode = Mode.VOPRF) -> bytes:
    """Evaluate one input under the whole key, unblinded (RFC 9497 §3.3.1); 64 bytes.

    Raises:
        UsageError: the input is longer than 65535 bytes, or hashes to the identity (never seen).
    """
    return _output(private_input, scalar_mult(secret, _input_element(private_input, mode)))


def _input_element(private_input: bytes, mode: Mode) -> Element:
    element = hash_to_group(private_input, b"HashToGroup-" + context_string(mode))
    if element == IDENTITY:
        raise UsageError("input hashes to the identity")
    return element


def _output(private_input: bytes, element: Element) -> bytes:
    return hashlib.sha512(length_prefixed(private_input, element) + b"Finalize").digest()


def _require_one_length(*batches: Sized) -> None:
    if len({len(batch) for batch in batches}) > 1:
        raise UsageError("batches differ in length")
