"""Numbers for a script in a page: three significant digits in two bytes each."""

import base64
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MANTISSAS = 900  # 1.00 to 9.99
_DECADES = (2**16 - 2) // _MANTISSAS


class Packed(TypedDict):
    """Codes as base64, two bytes each, the lower first: 0 is NaN, 1 is zero, and
    2 + 900·k + m is (100 + m)·10^(lowest + k)."""

    lowest: int
    codes: str


def pack(values: ArrayLike) -> Packed:
    """`values` ≥ 0 in row-major order, rounded to three significant digits, NaN as it is.

    ValueError for other values, and where the smallest positive one and the largest lie more than
    72 decades apart.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    if np.isinf(given).any() or (given < 0).any():
        raise ValueError("values must be finite and not negative, or NaN where there is none")
    positive = given > 0  # not NaN either
    mantissa, exponent = _rounded(given[positive])
    lowest = int(exponent.min()) if exponent.size else 0
    if exponent.size and exponent.max() - lowest >= _DECADES:
        raise ValueError(
            f"values must lie within {_DECADES} decades, not from {given[positive].min():.0e} to "
            f"{given[positive].max():.0e}: leave out the smallest"
        )
    codes = np.where(np.isnan(given), 0, 1)
    codes[positive] = 2 + _MANTISSAS * (exponent - lowest) + mantissa - 100
    return {"lowest": lowest, "codes": base64.b64encode(codes.astype("<u2").tobytes()).decode()}


def _rounded(positive: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(mantissas 100 to 999, exponents of ten), by the decimal rounding of Python."""
    texts = [f"{value:.2e}".split("e") for value in positive.tolist()]
    mantissas = [int(digits.replace(".", "")) for digits, _ in texts]
    return np.array(mantissas, int), np.array([int(exponent) - 2 for _, exponent in texts], int)
