"""Layers whose weights are stacked, one for each sample, as one batched product of matrices.

With S samples and I inputs a layer gives, for all of them at once, (S, outputs, reads) times
(S, reads, columns), where a column holds what one output position of one input reads. The columns
are one strided view of the activations, copied once; the product needs no copy to be the next
layer's input. Where all samples share the inputs, as at the first layer, the product is a single
one of (S · outputs, reads) by (reads, columns).

On maps of few pixels a kernel reads mostly padding. There the product is with whole maps, by the
kernels written out as Toeplitz matrices, which leave the padding out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from srel_core.engine.layers.kinds.convolution_geometry import n_outputs


class StackedMatrices(Protocol):
    """A layer in this form: its weight is `weight` (outputs, reads), and S of them, or their
    gradients, are (S, outputs, reads). Activations are (s, I, ...), s being 1 where all samples
    share them."""

    weight: Tensor

    def write_gradient(self, a: Tensor, at_output: Tensor, out: Tensor) -> None:
        """Of each sample's loss with respect to the weight, to `out` (S, outputs, reads), from what
        the layer reads (S, ...) and the gradient with respect to its output (S, ...)."""

    def bias_gradient(self, at_output: Tensor) -> Tensor:
        """The same with respect to the bias, (S, outputs)."""

    def output(self, weights: Tensor, biases: Tensor | None, a: Tensor) -> Tensor:
        """(S, I, ...), by weights (S, outputs, reads) and biases (S, outputs)."""

    def columns_of(self, shape: Sequence[int]) -> int:
        """How many numbers are in the columns of one input of this shape."""


class StackedRows:
    """Of a linear layer, which reads rows (..., features)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def write_gradient(self, a: Tensor, at_output: Tensor, out: Tensor) -> None:
        rows, columns = (t.reshape(len(t), -1, t.shape[-1]) for t in (at_output, a))
        torch.bmm(rows.mT, columns, out=out)

    def bias_gradient(self, at_output: Tensor) -> Tensor:
        return at_output.reshape(len(at_output), -1, at_output.shape[-1]).sum(1)

    def output(self, weights: Tensor, biases: Tensor | None, a: Tensor) -> Tensor:
        columns = a.reshape(len(a), -1, a.shape[-1]).mT
        return _product(weights, biases, columns).mT.unflatten(1, a.shape[1:-1])

    def columns_of(self, shape: Sequence[int]) -> int:
        return math.prod(shape)


@dataclass(frozen=True)
class Window:
    """What an output pixel of a convolution reads; `pads` in the order of `F.pad`."""

    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]

    def size_out(self, shape: Sequence[int]) -> list[int]:
        """Height and width of the output for maps (..., height, width)."""
        left, right, top, bottom = self.pads
        padded = (shape[-2] + top + bottom, shape[-1] + left + right)
        return [
            n_outputs(*of_axis)
            for of_axis in zip(padded, self.taps, self.stride, self.dilation, strict=True)
        ]

    def of(self, a: Tensor) -> Tensor:
        """Of maps (s, I, C, height, width), or (s, C, height, width), a view (s, C, tap rows, tap
        columns, I, height, width) with what each tap reads for each output pixel."""
        padded = F.pad(a, self.pads) if any(self.pads) else a
        of_sample, *of_inputs, of_channel, down, across = padded.stride()
        n_inputs, of_input = (a.shape[1], *of_inputs) if of_inputs else (1, 0)
        return padded.as_strided(
            (len(a), a.shape[-3], *self.taps, n_inputs, *self.size_out(a.shape)),
            (
                of_sample, of_channel, down * self.dilation[0], across * self.dilation[1],
                of_input, down * self.stride[0], across * self.stride[1],
            ),
        )  # fmt: skip


class StackedMaps:
    """Of a convolution, by its columns."""

    def __init__(self, weight: Tensor, window: Window, groups: int) -> None:
        self.weight, self.window, self.groups = weight, window, groups

    def write_gradient(self, a: Tensor, at_output: Tensor, out: Tensor) -> None:
        columns = self._columns(a)
        rows = at_output.reshape(len(columns), -1, columns.shape[2])
        if self.groups == 1:
            torch.bmm(rows, columns.mT, out=out)
        else:
            out.copy_(torch.bmm(rows, columns.mT).view_as(out))

    def bias_gradient(self, at_output: Tensor) -> Tensor:
        return at_output.sum((2, 3))

    def output(self, weights: Tensor, biases: Tensor | None, a: Tensor) -> Tensor:
        out = _product(weights, biases, self._columns(a), self.groups)
        size = self.window.size_out(a.shape)
        return out.view(len(weights), -1, a.shape[1], *size).transpose(1, 2)

    def columns_of(self, shape: Sequence[int]) -> int:
        return self.groups * self.weight.shape[1] * math.prod(self.window.size_out(shape))

    def _columns(self, a: Tensor) -> Tensor:
        """Maps (s, I, C, height, width), or (s, C, height, width), as columns (s · groups, reads,
        I · output positions)."""
        return self.window.of(a).reshape(len(a) * self.groups, self.weight.shape[1], -1)


class StackedSmallMaps:
    """Of a convolution of small maps, by their Toeplitz matrices. What a weight reads is in the
    order of taps, then channels; `met` (output pixels, input pixels) has the taps by which they are
    read, one past the last for none."""

    def __init__(self, weight: Tensor, window: Window, met: Tensor) -> None:
        self.weight, self.window, n_taps = weight, window, math.prod(window.taps)
        self.channels, self.pixels = weight.shape[1] // n_taps, met.shape[1]
        self.met = met.clamp_max(n_taps - 1).flatten()
        unread = met.flatten() == n_taps
        self.unread = unread if bool(unread.any()) else None

    def write_gradient(self, a: Tensor, at_output: Tensor, out: Tensor) -> None:
        windows = self.window.of(a).permute(0, 2, 3, 1, 4, 5, 6)
        columns = windows.reshape(len(a), self.weight.shape[1], -1)
        torch.bmm(at_output.reshape(len(a), -1, columns.shape[2]), columns.mT, out=out)

    def bias_gradient(self, at_output: Tensor) -> Tensor:
        return at_output.sum((2, 3))

    def output(self, weights: Tensor, biases: Tensor | None, a: Tensor) -> Tensor:
        size, whole = self.window.size_out(a.shape), a.permute(0, 3, 4, 2, 1).flatten(1, 3)
        if biases is not None:
            biases = biases.repeat_interleave(math.prod(size), 1)
        out = _product(self._toeplitz(weights), biases, whole)
        return out.view(len(out), -1, *size, a.shape[1]).permute(0, 4, 1, 2, 3)

    def columns_of(self, shape: Sequence[int]) -> int:
        return math.prod(shape)

    def _toeplitz(self, weights: Tensor) -> Tensor:
        """(S, outputs · output pixels, input pixels · channels)."""
        if len(self.met) == weights.shape[2] // self.channels == 1:
            return weights
        by_tap = weights.view(*weights.shape[:2], -1, self.channels)
        met = by_tap.index_select(2, self.met)
        if self.unread is not None:
            met[:, :, self.unread] = 0
        return met.view(len(weights), -1, self.pixels * self.channels)


def _product(weights: Tensor, biases: Tensor | None, columns: Tensor, groups: int = 1) -> Tensor:
    """(S · groups, outputs of a group, columns), from weights (S, outputs, reads), biases
    (S, outputs) and columns (s · groups, reads, columns)."""
    n, outputs, reads = weights.shape
    if groups == len(columns) == 1:  # what all samples share
        rows = weights.reshape(n * outputs, reads)
        if biases is None:
            return (rows @ columns[0]).view(n, outputs, -1)
        return torch.addmm(biases.reshape(-1, 1), rows, columns[0]).view(n, outputs, -1)
    if groups > 1:
        weights = weights.reshape(n * groups, -1, reads)
    if len(columns) < len(weights):
        columns = columns.repeat(n, 1, 1)
    if biases is None:
        return torch.bmm(weights, columns)
    return torch.baddbmm(biases.reshape(*weights.shape[:2], 1), weights, columns)
