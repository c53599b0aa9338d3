"""A function of many rows, such as times, evaluated for as many at once as a core's cache holds."""

from collections.abc import Callable

import numpy as np

from srel_core.flows._check import FloatArray

_BLOCK = 2**17  # numbers held at once, 1 MiB: about a core's own cache
_LEAST_ROWS = 128  # fewer would make the matrix products slow


def in_blocks(
    function: Callable[[FloatArray], FloatArray], rows: FloatArray, width: int
) -> FloatArray:
    """function(rows), for as many rows at once as keeps `width` numbers a row in bounds."""
    step = max(_LEAST_ROWS, _BLOCK // width)
    return np.concatenate([function(rows[i : i + step]) for i in range(0, len(rows), step)])
