"""Compiled loops for what torch does on a CPU in several passes over memory.

Adam's step is five torch operations on a block of weights, which make three arrays on the way, and
the change of a maximum over a window of nine pixels is 18; as one loop each is bound by the
reading of its inputs and the writing of its result. Each rounds as the torch operations do, one
after another, so that the numbers are the same to the last bit (a gradient that is a sum of a few
products adds them up in their order, which a product of matrices need not). A loop is compiled when
first needed, in a fraction of a second; for small arrays the functions here give None, and the
caller uses torch.
"""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

# From so many numbers in an array on, a measurement gains more time than the compilation takes.
WORTH_COMPILING = 2**16

# Rank of a gradient up to which Adam's loop forms it from its factors itself: so few terms take no
# longer than one, since the division takes longer.
_LOW_RANK = 4

# Numbers of a gradient to work on at a time: half a MiB of float32, which a core's cache holds.
_BLOCK = 2**17


def blocks(columns: int, *matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matrices in blocks of the same rows, so few at a time that a gradient of so many columns
    stays in the cache."""
    rows = max(1, _BLOCK // columns)
    return zip(*(matrix.split(rows) for matrix in matrices), strict=True)


class AdamStep:
    """w⁺ = w − η g / (|g| + ε), the gradient g being a product of two matrices."""

    def __init__(self, lr: float, eps: float, dtype: torch.dtype) -> None:
        self.rate, self.eps = _NUMBERS[dtype](-lr), _NUMBERS[dtype](eps)

    @classmethod
    def of(cls, lr: float, eps: float, largest: Tensor) -> "AdamStep | None":
        """None where compiling would not pay; `largest` is the largest of the weights."""
        return cls(lr, eps, largest.dtype) if _worth(largest) else None

    def write(self, w: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
        """w⁺ (rows, columns) to `out` with g = left (rows, k) @ right (k, columns)."""
        if left.shape[1] <= _LOW_RANK:
            loop = _compiled(_adam_step_of_low_rank)
            arrays = (w, left.T.contiguous(), right.contiguous(), out)
            loop(*(t.numpy() for t in arrays), self.rate, self.eps)
            return
        loop = _compiled(_adam_step)
        for w_r, left_r, out_r in blocks(w.shape[1], w, left, out):
            loop(*(t.numpy() for t in (w_r, left_r @ right, out_r)), self.rate, self.eps)


def relu_difference(h: Tensor) -> Callable[[Tensor], bool] | None:
    """Δ (n, ...) → whether it has written max(h + Δ, 0) − max(h, 0) over Δ; it has not if Δ has
    another layout in memory than h."""
    if not _worth(h) or not _dense(h):
        return None
    loop, size, stride = _compiled(_relu_difference), h.numel(), h.stride()
    at = h.as_strided((size,), (1,)).numpy()

    def change(delta: Tensor) -> bool:
        if delta[0].stride() != stride or (len(delta) > 1 and delta.stride(0) != size):
            return False
        loop(delta.as_strided((len(delta), size), (size, 1)).numpy(), at)
        return True

    return change


def max_pool_difference(
    h: Tensor, highest: Tensor, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int],
) -> Callable[[Tensor], Tensor | None] | None:  # fmt: skip
    """Δ (n, I, C, H, W) → max_k (h_k + Δ_k) − m over the pixels k of a window, `highest` being
    m = max_k h_k; None unless h is channels_last."""
    if not _worth(h) or not all(_is_channels_last(t) for t in (h, highest)):
        return None
    loop = _compiled(_max_pool_difference)
    at, most = (t.permute(0, 2, 3, 1).numpy() for t in (h, highest))

    def change(delta: Tensor) -> Tensor | None:
        if not _is_channels_last(delta.flatten(0, 1)):
            return None
        out = delta.new_empty(len(delta), *most.shape)
        loop(delta.permute(0, 1, 3, 4, 2).numpy(), at, most, out.numpy(), kernel, stride, padding)
        return out.permute(0, 1, 4, 2, 3)

    return change


_NUMBERS = {torch.float32: np.float32, torch.float64: np.float64}


def _worth(array: Tensor) -> bool:
    on_cpu = array.device.type == "cpu" and array.dtype in _NUMBERS
    return on_cpu and array.numel() >= WORTH_COMPILING


def _is_channels_last(maps: Tensor) -> bool:
    return maps.ndim == 4 and maps.is_contiguous(memory_format=torch.channels_last)


def _dense(array: Tensor) -> bool:
    return array.is_contiguous() or _is_channels_last(array)


_COMPILED: dict[Callable[..., None], Any] = {}
_ONE_AT_A_TIME = Lock()


def _compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """The loop as machine code that holds no lock of Python's, the same for all threads."""
    with _ONE_AT_A_TIME:
        if loop not in _COMPILED:
            import numba  # takes a third of a second, which small measurements need not

            # As in numpy, a division by zero is no exception, whose check would forbid vector
            # instructions.
            _COMPILED[loop] = numba.njit(nogil=True, error_model="numpy")(loop)
        return _COMPILED[loop]


def _adam_step(w: Any, g: Any, out: Any, rate: Any, eps: Any) -> None:
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            out[i, j] = w[i, j] + (g[i, j] / (abs(g[i, j]) + eps)) * rate


def _adam_step_of_low_rank(w: Any, left: Any, right: Any, out: Any, rate: Any, eps: Any) -> None:
    rank, nothing = len(left), np.zeros(1, w.dtype)[0]
    r0, r1 = right[0], right[min(1, rank - 1)]
    r2, r3 = right[min(2, rank - 1)], right[min(3, rank - 1)]
    for i in range(w.shape[0]):
        l0, l1 = left[0, i], left[1, i] if rank > 1 else nothing
        l2, l3 = left[2, i] if rank > 2 else nothing, left[3, i] if rank > 3 else nothing
        for j in range(w.shape[1]):
            g = ((l0 * r0[j] + l1 * r1[j]) + l2 * r2[j]) + l3 * r3[j]
            out[i, j] = w[i, j] + (g / (abs(g) + eps)) * rate


def _relu_difference(delta: Any, h: Any) -> None:
    nothing = np.zeros(1, h.dtype)[0]
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            below, floor = (nothing, -h[j]) if h[j] > 0 else (h[j], nothing)
            moved = delta[i, j] + below
            delta[i, j] = floor if moved < floor else moved  # NaN goes through


def _max_pool_difference(
    delta: Any, h: Any, highest: Any, out: Any, kernel: Any, stride: Any, padding: Any
) -> None:
    n, inputs, height, width, channels = delta.shape
    for s in range(n):
        for i in range(inputs):
            for row in range(highest.shape[1]):
                for column in range(highest.shape[2]):
                    out[s, i, row, column, :] = -np.inf
                    for y in range(row * stride[0] - padding[0],
                                   row * stride[0] - padding[0] + kernel[0]):  # fmt: skip
                        for x in range(column * stride[1] - padding[1],
                                       column * stride[1] - padding[1] + kernel[1]):  # fmt: skip
                            if 0 <= y < height and 0 <= x < width:
                                for c in range(channels):
                                    gap = h[i, y, x, c] - highest[i, row, column, c]
                                    moved = gap + delta[s, i, y, x, c]
                                    if moved > out[s, i, row, column, c] or moved != moved:
                                        out[s, i, row, column, c] = moved
