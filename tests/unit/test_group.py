"""The group decodes strictly and computes what the group laws say."""

import secrets
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import rbcl
from hypothesis import given
from hypothesis import strategies as st

from protocol import group
from protocol.errors import GroupElementError, ScalarError, UsageError
from protocol.group import IDENTITY, ORDER, ZERO, Element, Scalar, scalar_from_int

FIELD = 2**255 - 19
MULTIPLES_OF_G = [  # RFC 9496, Appendix A.1
    "0000000000000000000000000000000000000000000000000000000000000000",
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
]

integers = st.integers(0, ORDER - 1)
scalars = integers.map(scalar_from_int)
nonzero = st.integers(1, ORDER - 1).map(scalar_from_int)
elements = nonzero.map(group.scalar_base_mult)


def little(value: int) -> bytes:
    return value.to_bytes(32, "little")


def test_small_multiples_of_the_generator_are_those_of_rfc_9496() -> None:
    assert [group.scalar_base_mult(scalar_from_int(i)).hex() for i in range(4)] == MULTIPLES_OF_G


@given(elements)
def test_an_element_decodes_from_its_one_encoding(element: Element) -> None:
    assert group.decode_element(element) == element


@given(elements)
def test_no_other_encoding_of_an_element_decodes(element: Element) -> None:
    value = int.from_bytes(element, "little")
    for other in (little(FIELD - value), element + b"\x00", element[:-1]):
        with pytest.raises(GroupElementError, match="canonical"):
            group.decode_element(other)


@pytest.mark.parametrize("value", [1, FIELD, FIELD + 2, 2**255 - 1, 2**256 - 1])
def test_numbers_that_are_no_element_are_refused(value: int) -> None:
    with pytest.raises(GroupElementError, match="canonical"):
        group.decode_element(little(value))


def test_the_identity_is_refused_though_libsodium_calls_it_valid() -> None:
    assert rbcl.crypto_core_ristretto255_is_valid_point(IDENTITY)
    with pytest.raises(GroupElementError, match="identity"):
        group.decode_element(IDENTITY)


@given(elements)
def test_an_element_with_bit_255_is_refused_though_libsodium_ignores_the_bit(element: Element) -> None:
    second = little(int.from_bytes(element, "little") | 1 << 255)
    assert rbcl.crypto_core_ristretto255_is_valid_point(second)
    with pytest.raises(GroupElementError, match="canonical"):
        group.decode_element(second)


def test_arithmetic_on_a_forged_element_would_pass_silently_so_decoding_must_come_first() -> None:
    forged = Element(b"\xff" * 32)
    assert group.element_add(group.scalar_base_mult(scalar_from_int(1)), forged) == IDENTITY
    with pytest.raises(GroupElementError):
        group.decode_element(forged)


@given(nonzero)
def test_a_scalar_decodes_from_its_one_encoding(scalar: Scalar) -> None:
    assert group.decode_scalar(scalar) == scalar


@given(integers)
def test_no_other_encoding_of_a_scalar_decodes(value: int) -> None:
    for other in (little(value + ORDER), little(value | 1 << 255), little(value) + b"\x00", little(value)[:-1]):
        with pytest.raises(ScalarError, match="canonical"):
            group.decode_scalar(other)


def test_zero_decodes_only_where_it_is_allowed() -> None:
    assert group.decode_scalar(ZERO, allow_zero=True) == ZERO
    with pytest.raises(ScalarError, match="zero"):
        group.decode_scalar(ZERO)


def test_the_largest_scalar_is_one_below_the_order() -> None:
    assert group.decode_scalar(little(ORDER - 1)) == scalar_from_int(-1)
    with pytest.raises(ScalarError):
        group.decode_scalar(little(ORDER), allow_zero=True)


@given(integers, integers)
def test_scalars_compute_modulo_the_order(a: int, b: int) -> None:
    x, y = scalar_from_int(a), scalar_from_int(b)
    assert group.scalar_add(x, y) == scalar_from_int(a + b)
    assert group.scalar_sub(x, y) == scalar_from_int(a - b)
    assert group.scalar_mul(x, y) == scalar_from_int(a * b)


@given(nonzero)
def test_a_scalar_times_its_inverse_is_one(scalar: Scalar) -> None:
    assert group.scalar_mul(scalar, group.scalar_invert(scalar)) == scalar_from_int(1)


def test_zero_has_no_inverse() -> None:
    with pytest.raises(UsageError):
        group.scalar_invert(ZERO)


@given(scalars, scalars, elements)
def test_multiplication_distributes_over_sums(a: Scalar, b: Scalar, p: Element) -> None:
    ap, bp = group.scalar_mult(a, p), group.scalar_mult(b, p)
    assert group.scalar_mult(group.scalar_add(a, b), p) == group.element_add(ap, bp)
    assert group.scalar_mult(group.scalar_sub(a, b), p) == group.element_add(
        ap, group.scalar_mult(scalar_from_int(-1), bp)
    )
    assert group.linear_combination([a, b], [p, p]) == group.element_add(ap, bp)


@given(scalars)
def test_base_multiplication_is_multiplication_of_the_generator(scalar: Scalar) -> None:
    generator = group.scalar_base_mult(scalar_from_int(1))
    assert group.scalar_base_mult(scalar) == group.scalar_mult(scalar, generator)


def test_zero_and_the_identity_are_ordinary_operands() -> None:
    p = group.scalar_base_mult(scalar_from_int(7))
    assert group.scalar_mult(ZERO, p) == group.scalar_base_mult(ZERO) == IDENTITY
    assert group.scalar_mult(scalar_from_int(5), IDENTITY) == IDENTITY
    assert group.element_add(p, IDENTITY) == p


def test_random_scalars_are_distinct_canonical_and_reduced_from_64_bytes() -> None:
    drawn = {group.random_scalar(secrets.token_bytes) for _ in range(50)}
    assert {group.decode_scalar(scalar) for scalar in drawn} == drawn
    assert len(drawn) == 50
    assert group.random_scalar(lambda n: b"\xff" * n) == scalar_from_int(2**512 - 1)


def test_a_random_scalar_is_never_zero() -> None:
    stream = iter([bytes(64), little(ORDER) + bytes(32), little(9) + bytes(32)])
    assert group.random_scalar(lambda _: next(stream)) == scalar_from_int(9)


@given(st.binary(max_size=64))
def test_hashing_to_the_group_gives_elements_that_decode(data: bytes) -> None:
    element = group.hash_to_group(data, b"tag")
    assert group.decode_element(element) == element


@pytest.mark.parametrize("hash_to", [group.hash_to_group, group.hash_to_scalar])
def test_hashes_differ_by_data_and_by_tag(hash_to: Callable[[bytes, bytes], bytes]) -> None:
    assert len({hash_to(b"data", b"tag"), hash_to(b"data", b"other"), hash_to(b"datat", b"ag")}) == 3


@pytest.mark.parametrize("hash_to", [group.hash_to_group, group.hash_to_scalar])
def test_a_tag_has_at_most_255_bytes(hash_to: Callable[[bytes, bytes], bytes]) -> None:
    assert len(hash_to(b"data", bytes(255))) == 32
    with pytest.raises(UsageError):
        hash_to(b"data", bytes(256))


def test_nothing_is_decoded_without_asking_libsodium(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with a libsodium that says yes to everything, forged elements get in."""
    yes = SimpleNamespace(crypto_core_ristretto255_is_valid_point=lambda _: True)
    monkeypatch.setattr(group, "rbcl", yes)
    forged = b"\xff" * 31 + b"\x7f"
    assert group.decode_element(forged) == forged
