"""Exact finite differences f(h + Δ) − f(h) of operations f, without a subtraction.

h (I, ...) is the input of the operation before a step, and Δ (n, I, ...) are the changes that n
steps make there. Each function or class below gives the difference of one kind of operation, of
shape (n, I, ...), such that a small one is as exact, relative to its size, as a large one.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from srel_core.engine.layers import compiled


def linear_difference(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ), for f linear in its input, such as sums, means and changes of shape."""
    return vmap(f)(delta)


def batched_linear_difference(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ), for f linear in each input of a batch (B, ...) by itself: all in one batch."""
    return f(delta.flatten(0, 1)).unflatten(0, delta.shape[:2])


class ReluDifference:
    """Of ReLU: max(h + Δ, 0) − max(h, 0) = max(Δ + min(h, 0), −max(h, 0))."""

    def __init__(self, h: Tensor) -> None:
        self.h, self.loop = h, compiled.relu_difference(h)

    def __call__(self, delta: Tensor, overwrite: bool = False) -> Tensor:
        """The change of the output; with `overwrite` it may take the memory of Δ."""
        if self.loop is not None and overwrite and self.loop(delta):
            return delta
        moved = delta + self.below
        return torch.maximum(moved, self.floor, out=moved)

    @cached_property
    def below(self) -> Tensor:
        """min(h, 0)."""
        return self.h.clamp_max(0)

    @cached_property
    def floor(self) -> Tensor:
        """−max(h, 0)."""
        return -self.h.clamp_min(0)


class MaxPoolDifference:
    """Of max-pooling: max_k (h_k + Δ_k) − m = max_k ((h_k − m) + Δ_k), with m = max_k h_k over the
    pixels k of a window."""

    def __init__(self, pool: nn.MaxPool2d, h: Tensor) -> None:
        self.h, self.highest = h, pool(h)
        self.kernel, self.stride, self.padding = (
            (s, s) if isinstance(s, int) else (s[0], s[1])
            for s in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.pads = (self.padding[1], self.padding[1], self.padding[0], self.padding[0])
        self.loop = compiled.max_pool_difference(
            h, self.highest, self.kernel, self.stride, self.padding
        )

    def __call__(self, delta: Tensor, overwrite: bool = False) -> Tensor:
        """The change of the output."""
        change = None if self.loop is None else self.loop(delta)
        return self._by_pixels(delta) if change is None else change

    @cached_property
    def gaps(self) -> list[tuple[Any, Tensor]]:
        """For the pixel k of all windows, where it lies in the padded maps, and h_k − m there."""
        padded = F.pad(self.h, self.pads, value=-torch.inf)
        height, width = self.highest.shape[-2:]
        down, across = self.stride
        pixels = [
            (
                ...,
                slice(row, row + down * (height - 1) + 1, down),
                slice(column, column + across * (width - 1) + 1, across),
            )
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]
        return [(pixel, padded[pixel] - self.highest) for pixel in pixels]

    def _by_pixels(self, delta: Tensor) -> Tensor:
        padded = F.pad(delta, self.pads) if any(self.pads) else delta
        (first, gap), *others = self.gaps
        change = padded[first] + gap
        for pixel, gap in others:
            torch.maximum(change, padded[pixel] + gap, out=change)
        return change


def tanh_difference(h: Tensor, delta: Tensor) -> Tensor:
    """tanh(h + Δ) − tanh(h) = sinh Δ / (cosh h · cosh(h + Δ))."""
    a, d = h.double(), delta.double()
    # Beyond these bounds cosh overflows, and a tanh is ±1 to the last digit.
    within = d.clamp(-700, 700)
    exact = within.sinh() / (a.cosh() * (a + within).cosh())
    return torch.where(a.abs() < 340, exact, (a + d).tanh() - a.tanh()).to(delta.dtype)


def sigmoid_difference(h: Tensor, delta: Tensor) -> Tensor:
    """σ(h + Δ) − σ(h), by σ(z) = (1 + tanh(z/2)) / 2."""
    return tanh_difference(h / 2, delta / 2) / 2


def sum_difference(
    f: Callable[[Tensor, Tensor], Tensor], delta_a: Tensor | None, delta_b: Tensor | None
) -> Tensor:
    """f(Δa, Δb), for f(a, b) = a + b or a − b; None is no change. Not broadcast to the shape of
    f(a, b) yet."""
    if delta_a is not None and delta_b is not None:
        return f(delta_a, delta_b) if delta_a.shape == delta_b.shape else vmap(f)(delta_a, delta_b)
    if delta_a is not None:
        return delta_a
    assert delta_b is not None
    return f(delta_b.new_zeros(()), delta_b)


def product_difference(
    f: Callable[[Any, Any], Tensor], a: Any, b: Any, delta_a: Tensor | None, delta_b: Tensor | None
) -> Tensor:
    """f(a + Δa, b + Δb) − f(a, b) = f(Δa, b) + f(a + Δa, Δb), for bilinear f; None is no change."""
    if delta_b is None:
        return vmap(lambda d: f(d, b))(delta_a)
    if delta_a is None:
        return vmap(lambda d: f(a, d))(delta_b)
    return vmap(lambda d, e: f(d, b) + f(a + d, e))(delta_a, delta_b)
