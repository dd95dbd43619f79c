"""Batched proofs that many evaluations used one key (RFC 9497 §2.2).

A proof shows log_G(public) = log_blinded[i](evaluated[i]) for every i. Of the RFC's arguments, A is always the
generator G, B is `public`, C is `blinded` and D is `evaluated`; `context` is the RFC's context string.
"""

import hashlib
from collections.abc import Sequence

from protocol.codec import Random, i2osp
from protocol.errors import ProofError, ScalarError, UsageError
from protocol.group import (
    SCALAR_BYTES,
    Element,
    Scalar,
    decode_scalar,
    element_add,
    hash_to_scalar,
    linear_combination,
    random_scalar,
    scalar_base_mult,
    scalar_mul,
    scalar_mult,
    scalar_sub,
)

PROOF_BYTES = 2 * SCALAR_BYTES


def generate_proof(
    secret: Scalar,
    public: Element,
    blinded: Sequence[Element],
    evaluated: Sequence[Element],
    *,
    context: bytes,
    random: Random,
) -> bytes:
    """Prove evaluated[i] = secret·blinded[i] for every i, where public = secret·G (RFC 9497 §2.2.1).

    Returns the challenge c and the response s, 32 bytes each. Costs one multiplication an element and three more.

    Raises:
        UsageError: the lists are empty or differ in length.
    """
    if not 0 < len(blinded) == len(evaluated):
        raise UsageError("a proof takes as many evaluated as blinded elements, and at least one")
    m = linear_combination(_weights(public, blinded, evaluated, context), blinded)
    z = scalar_mult(secret, m)
    r = random_scalar(random)
    c = _challenge(context, public, m, z, scalar_base_mult(r), scalar_mult(r, m))
    s = scalar_sub(r, scalar_mul(c, secret))
    return c + s


def verify_proof(
    public: Element, blinded: Sequence[Element], evaluated: Sequence[Element], proof: bytes, *, context: bytes
) -> None:
    """Verify a proof of `generate_proof` (RFC 9497 §2.2.2); costs two multiplications an element and four more.

    Raises:
        ProofError: it does not verify, is not a canonical encoding, or is not about exactly the blinded elements.
    """
    if not 0 < len(blinded) == len(evaluated):
        raise ProofError("not as many evaluated as blinded elements, or none")
    try:
        c = decode_scalar(proof[:SCALAR_BYTES], allow_zero=True)
        s = decode_scalar(proof[SCALAR_BYTES:], allow_zero=True)
    except ScalarError as error:
        raise ProofError("not the canonical encoding of a proof") from error
    weights = _weights(public, blinded, evaluated, context)
    m = linear_combination(weights, blinded)
    z = linear_combination(weights, evaluated)
    t2 = element_add(scalar_base_mult(s), scalar_mult(c, public))
    t3 = element_add(scalar_mult(s, m), scalar_mult(c, z))
    if _challenge(context, public, m, z, t2, t3) != c:
        raise ProofError("proof of evaluation does not verify")


def length_prefixed(*parts: bytes) -> bytes:
    """Concatenate parts, each behind its two-byte length, as RFC 9497 does in every transcript."""
    return b"".join(i2osp(len(part), 2) + part for part in parts)


def _weights(public: Element, blinded: Sequence[Element], evaluated: Sequence[Element], context: bytes) -> list[Scalar]:
    """Compute the d_i of ComputeComposites: hashed from everything, so no false evaluation cancels another."""
    seed = hashlib.sha512(length_prefixed(public, b"Seed-" + context)).digest()
    return [
        hash_to_scalar(
            length_prefixed(seed) + i2osp(i, 2) + length_prefixed(blinded[i], evaluated[i]) + b"Composite",
            b"HashToScalar-" + context,
        )
        for i in range(len(blinded))
    ]


def _challenge(context: bytes, *elements: Element) -> Scalar:
    """Hash public, M, Z, t2 and t3 to the challenge c."""
    return hash_to_scalar(length_prefixed(*elements) + b"Challenge", b"HashToScalar-" + context)
