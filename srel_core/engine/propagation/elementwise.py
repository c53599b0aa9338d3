"""How the change of a layer's input becomes the change of its output, without a subtraction.

For an operation f, its input h (I, ...) before a step and the changes Δ (n, I, ...) that n steps
make there, each function below gives f(h + Δ) − f(h), of shape (n, I, ...), such that a small
result is as exact as a large one.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from srel_core.engine.layers import compiled


def of_linear_map(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ): for what is linear in its input, such as sums, means and changes of shape."""
    return vmap(f)(delta)


def of_batched_map(f: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """f(Δ) for a linear map that treats each input of a batch (B, ...) by itself."""
    return f(delta.flatten(0, 1)).unflatten(0, delta.shape[:2])


class OfRelu:
    """max(h + Δ, 0) − max(h, 0) = max(Δ + min(h, 0), −max(h, 0))."""

    def __init__(self, h: Tensor) -> None:
        self.h, self.loop = h, compiled.relu_change(h)

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


class OfMaxPool:
    """max_k (h_k + Δ_k) − m = max_k ((h_k − m) + Δ_k), m = max_k h_k, over a window's places k."""

    def __init__(self, pool: nn.MaxPool2d, h: Tensor) -> None:
        self.h, self.highest = h, pool(h)
        self.kernel, self.stride, self.padding = (
            (s, s) if isinstance(s, int) else (s[0], s[1])
            for s in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.pads = (self.padding[1], self.padding[1], self.padding[0], self.padding[0])
        self.loop = compiled.max_pool_change(
            h, self.highest, self.kernel, self.stride, self.padding
        )

    def __call__(self, delta: Tensor, overwrite: bool = False) -> Tensor:
        """The change of the output."""
        change = None if self.loop is None else self.loop(delta)
        return self._by_places(delta) if change is None else change

    @cached_property
    def gaps(self) -> list[tuple[Any, Tensor]]:
        """Where each place of the windows lies in a padded map, and h_k − m there."""
        padded = F.pad(self.h, self.pads, value=-torch.inf)
        height, width = self.highest.shape[-2:]
        down, across = self.stride
        places = [
            (
                ...,
                slice(row, row + down * (height - 1) + 1, down),
                slice(column, column + across * (width - 1) + 1, across),
            )
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]
        return [(place, padded[place] - self.highest) for place in places]

    def _by_places(self, delta: Tensor) -> Tensor:
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
        return f(of_a, of_b) if of_a.shape == of_b.shape else vmap(f)(of_a, of_b)
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
