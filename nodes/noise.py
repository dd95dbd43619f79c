"""Discrete noise for public figures, by OpenDP: counts go in, what may leave the agency comes out.

OpenDP is an extra (`figures`), 275 MB large, and imported only when a quarter is counted: whoever never contributes
needs neither its place nor its time.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

from protocol.errors import ConcordatError
from protocol.figures import SENSITIVITY, noise_scale

_ROUNDING = 1e-6

Noise = Callable[[Sequence[int]], list[int]]


class NoiseError(ConcordatError):
    """There is no noise to be had: OpenDP is not installed, or would not give what was promised."""


def laplace(size: int, epsilon: int) -> Noise:
    """Return what adds discrete Laplace noise to `size` counts, worth ε (in thousandths) for one listing.

    The draws are OpenDP's own, exact and from its cryptographic random source (Canonne, Kamath, Steinke 2020); its
    privacy map says itself what they are worth, and is believed rather than our formula.

    Raises:
        NoiseError: OpenDP is not installed, or says that the noise is worth less.
    """
    try:
        dp = import_module("opendp.prelude")
    except ImportError as error:
        raise NoiseError("public figures need the extra `figures`") from error
    dp.enable_features("contrib")
    counts = dp.vector_domain(dp.atom_domain(T="i64"), size=size)
    mechanism = dp.m.make_laplace(counts, dp.l1_distance(T="i64"), noise_scale(epsilon))
    if mechanism.map(SENSITIVITY) > epsilon / 1000 * (1 + _ROUNDING):
        raise NoiseError("the noise is worth less than was promised")

    def add(numbers: Sequence[int]) -> list[int]:
        return [int(number) for number in mechanism(list(numbers))]

    return add
