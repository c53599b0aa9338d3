"""Numbers as a power of two times numbers near 1: exact, so that units do not matter."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def scaled(x: Array, axis: int | tuple[int, ...] | None = None) -> tuple[Array, NDArray[np.int32]]:
    """y and whole e with x = y 2^e, the largest |y| along `axis` (None: of all) in [1/2, 1).

    e keeps the axes, with length 1. Squares and products of y neither over- nor underflow by the
    unit of x. Exact, but for entries of less than 1e-308 of the largest. NaN and infinite entries
    stay as they are and do not count; e = 0 where nothing else is, or all is zero.
    """
    size = np.abs(x)
    largest = np.max(size, axis=axis, keepdims=True, initial=0.0, where=np.isfinite(size))
    exponent = np.frexp(largest)[1]
    return np.ldexp(x, -exponent), exponent


def unscaled(y: Array, exponent: NDArray[np.int32] | int) -> Array:
    """y 2^exponent, infinite without a word where that is beyond float64, 0 where it is below."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(y, exponent)


def mean(x: Array, axis: int) -> Array:
    """The mean along an axis, which does not overflow where the sum does."""
    y, exponent = scaled(x, axis)
    return unscaled(y.mean(axis), exponent.squeeze(axis))
