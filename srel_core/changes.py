"""How the change of a layer's input becomes the change of its output, without a subtraction.

For an operation f, its input h (I, ...) before a step and the changes Δ (n, I, ...) that n steps
make there, each function below gives f(h + Δ) − f(h), of shape (n, I, ...), such that a small
result is as exact as a large one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from srel_core.map_conv import MapConv


def of_linear_map(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ): for what is linear in its input, such as sums, means and changes of shape."""
    return vmap(f)(delta)


def of_batched_map(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ) for a linear map that treats each input of a batch (B, ...) by itself."""
    return f(delta.flatten(0, 1)).unflatten(0, delta.shape[:2])


class OfRelu:
    """max(h + Δ, 0) − max(h, 0) = max(Δ + min(h, 0), −max(h, 0))."""

    def __init__(self, h: Tensor) -> None:
        self.below, self.floor = h.clamp_max(0), -h.clamp_min(0)

    def __call__(self, delta: Tensor) -> Tensor:
        moved = delta + self.below
        return torch.maximum(moved, self.floor, out=moved)


class OfMaxPool:
    """max_k (h_k + Δ_k) − m = max_k ((h_k − m) + Δ_k), m = max_k h_k, over a window's places k."""

    def __init__(self, pool: nn.MaxPool2d, h: Tensor) -> None:
        kernel, stride, padding = (
            (s, s) if isinstance(s, int) else s
            for s in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.pads = (padding[1], padding[1], padding[0], padding[0])
        highest, padded = pool(h), F.pad(h, self.pads, value=-torch.inf)
        height, width = highest.shape[-2:]
        places = [
            (
                ...,
                slice(row, row + stride[0] * (height - 1) + 1, stride[0]),
                slice(column, column + stride[1] * (width - 1) + 1, stride[1]),
            )
            for row in range(kernel[0])
            for column in range(kernel[1])
        ]
        self.gaps = [(place, padded[place] - highest) for place in places]

    def __call__(self, delta: Tensor) -> Tensor:
        padded = F.pad(delta, self.pads) if any(self.pads) else delta
        (first, gap), *others = self.gaps
        change = padded[first] + gap
        for place, gap in others:
            torch.maximum(change, padded[place] + gap, out=change)
        return change


def of_tanh(h: Tensor, delta: Tensor) -> Tensor:
    """tanh(h + Δ) − tanh(h) = sinh Δ / (cosh h · cosh(h + Δ))."""
    a, d = h.double(), delta.double()
    # Beyond these bounds cosh overflows, and a tanh is ±1 to the last digit.
    within = d.clamp(-700, 700)
    exact = within.sinh() / (a.cosh() * (a + within).cosh())
    return torch.where(a.abs() < 340, exact, (a + d).tanh() - a.tanh()).to(delta.dtype)


def of_sigmoid(h: Tensor, delta: Tensor) -> Tensor:
    """σ(z) = (1 + tanh(z/2)) / 2."""
    return of_tanh(h / 2, delta / 2) / 2


def of_sum(
    f: Callable[[Tensor, Tensor], Tensor], of_a: Tensor | None, of_b: Tensor | None
) -> Tensor:
    """f(Δa, Δb) for f a sum or a difference; None is no change. Not yet broadcast."""
    if of_a is not None and of_b is not None:
        return vmap(f)(of_a, of_b)
    if of_a is not None:
        return of_a
    assert of_b is not None
    return f(of_b.new_zeros(()), of_b)


def of_product(
    f: Callable[[Any, Any], Tensor], a: Any, b: Any, of_a: Tensor | None, of_b: Tensor | None
) -> Tensor:
    """f(a + Δa, b + Δb) − f(a, b) = f(Δa, b) + f(a + Δa, Δb) for bilinear f; None is no change."""
    if of_b is None:
        return vmap(lambda d: f(d, b))(of_a)
    if of_a is None:
        return vmap(lambda d: f(a, d))(of_b)
    return vmap(lambda d, e: f(d, b) + f(a + d, e))(of_a, of_b)


def add_low_rank(
    layer: nn.Linear | nn.Conv2d | MapConv,
    out: Tensor,
    h: Tensor,
    delta: Tensor | None,
    a: Tensor,
    slope: Tensor,
    with_bias: bool,
) -> Tensor:
    """out + ΔW_i (h + Δ_i) [+ Δb_i], (n, I, ...), for n steps ΔW_i = δ_i a_iᵀ, Δb_i = δ_i, each
    summed over the places of a (n, k, places) and δ (n, o, places). `out` is overwritten."""
    if isinstance(layer, nn.Linear):
        rows = h.reshape(-1, h.shape[-1])
        read = rows @ a
        if delta is not None:
            read.baddbmm_(delta.reshape(len(a), *rows.shape), a)
        read += with_bias
        flat = out.view(len(a), len(rows), -1)
        if a.shape[2] == 1:  # a column and a row
            flat.addcmul_(read, slope.mT)
        else:
            flat.baddbmm_(read, slope.mT)
        return out
    size = layer.weight.shape
    for i in range(len(a)):
        at = h if delta is None else h + delta[i]
        if isinstance(layer, MapConv):
            kernel = a[i].reshape(*size[:3], -1)
        else:
            kernel = a[i].T.reshape(-1, *size[1:])
        read = convolve(layer, at, kernel) + with_bias
        out[i] += (read.movedim(1, -1) @ slope[i].T).movedim(-1, 1)
    return out


def convolve(layer: nn.Conv2d | MapConv, x: Tensor, kernel: Tensor) -> Tensor:
    """x (B, ...) by another kernel in the place of the layer's, without its bias."""
    if isinstance(layer, MapConv):
        return layer.convolve(x, kernel, None)
    padding = int(layer.padding[0]), int(layer.padding[1])
    return F.conv2d(x, kernel, None, layer.stride, padding, layer.dilation, layer.groups)
