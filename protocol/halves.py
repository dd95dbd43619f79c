"""Arithmetic modulo N² on two halves modulo N: a value is `low + high·N`.

Of a product `(a + b·N)(c + d·N) = ac + (ad + bc)·N mod N²` the half `bd` falls away, and both others are reduced by N
alone: less work than to multiply and reduce at twice the width, by a quarter. Not in constant time: exponents that are
secret do not come here.
"""

from gmpy2 import f_divmod, f_mod, mpz

_WINDOW_BITS = 6
_SHORT_BITS, _SHORT_WINDOW_BITS = 300, 3

Halves = tuple[mpz, mpz]
"""The low and the high half, each 0..N-1."""

ONE: Halves = mpz(1), mpz(0)


def split(value: int, n: mpz) -> Halves:
    """Split 0 <= value < N²."""
    high, low = f_divmod(mpz(value), n)
    return low, high


def join(halves: Halves, n: mpz) -> int:
    """Put halves together again."""
    low, high = halves
    return int(low + high * n)


def product(first: Halves, second: Halves, n: mpz) -> Halves:
    """Multiply modulo N²."""
    (a, b), (c, d) = first, second
    carry, low = f_divmod(a * c, n)
    return low, f_mod(carry + a * d + b * c, n)


def square(base: Halves, n: mpz, times: int = 1) -> Halves:
    """Square modulo N², `times` times."""
    low, high = base
    for _ in range(times):
        carry, remainder = f_divmod(low * low, n)
        high = f_mod(carry + (low * high << 1), n)
        low = remainder
    return low, high


def power(base: Halves, exponent: int, n: mpz, onto: Halves = ONE, bits: int = 0) -> Halves:
    """Return onto^(2^bits)·base^exponent modulo N², for a public exponent 0 <= exponent < 2^bits (onto 1, for any).

    By a sliding window (Handbook of Applied Cryptography, 14.85): both powers share their squarings.
    """
    size = _WINDOW_BITS if exponent.bit_length() > _SHORT_BITS else _SHORT_WINDOW_BITS
    odd, squared = [base], square(base, n)
    digits, position = f"{exponent:0{bits}b}", 0
    while position < len(digits):
        if digits[position] == "0":
            onto = square(onto, n)
            position += 1
            continue
        window = digits[position : position + size].rstrip("0")
        digit = int(window, 2) >> 1
        while len(odd) <= digit:
            odd.append(product(odd[-1], squared, n))
        onto = product(square(onto, n, len(window)), odd[digit], n)
        position += len(window)
    return onto
