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
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.engine.layers.fixed_size_conv import MapConv


class AsMatrices(Protocol):
    """A layer in matrix form: its weight is `weight` (outputs, reads), and S of them, or their
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


def as_matrices(layer: nn.Module) -> AsMatrices:
    """The matrix form of a linear or convolution layer."""
    if isinstance(layer, nn.Linear):
        return _Dense(layer)
    assert isinstance(layer, (nn.Conv2d, MapConv))
    if isinstance(layer, MapConv) and _reads_mostly_padding(layer):
        return _SmallMaps(layer)
    return _Maps(layer)


def _reads_mostly_padding(layer: MapConv) -> bool:
    n_pixels, n_taps = math.prod(layer.size_in), math.prod(layer.weight.shape[:2])
    return layer.groups == 1 and n_pixels <= n_taps


class _Dense:
    def __init__(self, layer: nn.Linear) -> None:
        self.weight = layer.weight.detach()

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


class _Maps:
    def __init__(self, layer: nn.Conv2d | MapConv) -> None:
        self.groups, self.stride, self.dilation = layer.groups, layer.stride, layer.dilation
        if isinstance(layer, MapConv):
            kernel, self.pads = layer.weight.detach().permute(3, 2, 0, 1), layer.pads
        else:
            down, across = (int(n) for n in layer.padding)
            kernel, self.pads = layer.weight.detach(), (across, across, down, down)
        self.taps, self.weight = tuple(kernel.shape[2:]), kernel.flatten(1)

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
        size = self._size_out(a.shape)
        return out.view(len(weights), -1, a.shape[1], *size).transpose(1, 2)

    def columns_of(self, shape: Sequence[int]) -> int:
        return self.groups * self.weight.shape[1] * math.prod(self._size_out(shape))

    def _columns(self, a: Tensor) -> Tensor:
        """Maps (s, I, C, height, width), or (s, C, height, width), as columns (s · groups, reads,
        I · output positions)."""
        return self._windows(a).reshape(len(a) * self.groups, self.weight.shape[1], -1)

    def _windows(self, a: Tensor) -> Tensor:
        """A view (s, C, tap rows, tap columns, I, height, width) of the padded maps: what each tap
        reads for each output position."""
        padded = F.pad(a, self.pads) if any(self.pads) else a
        of_sample, *of_inputs, of_channel, down, across = padded.stride()
        n_inputs, of_input = (a.shape[1], *of_inputs) if of_inputs else (1, 0)
        return padded.as_strided(
            (len(a), a.shape[-3], *self.taps, n_inputs, *self._size_out(a.shape)),
            (
                of_sample, of_channel, down * self.dilation[0], across * self.dilation[1],
                of_input, down * self.stride[0], across * self.stride[1],
            ),
        )  # fmt: skip

    def _size_out(self, shape: Sequence[int]) -> list[int]:
        left, right, top, bottom = self.pads
        padded = (shape[-2] + top + bottom, shape[-1] + left + right)
        return [
            (n - dilation * (taps - 1) - 1) // stride + 1
            for n, taps, stride, dilation in zip(
                padded, self.taps, self.stride, self.dilation, strict=True
            )
        ]


class _SmallMaps(_Maps):
    """What a weight reads is in the order of taps, then channels."""

    def __init__(self, layer: MapConv) -> None:
        super().__init__(layer)
        self.channels, n_taps = layer.weight.shape[2], math.prod(self.taps)
        self.weight = layer.weight.detach().permute(3, 0, 1, 2).flatten(1)
        # the tap by which an output pixel reads an input pixel, (outputs, inputs)
        met = layer._met.T.to(self.weight.device)
        self.met, self.pixels = met.clamp_max(n_taps - 1).flatten(), met.shape[1]
        on_padding = met.flatten() == n_taps
        self.on_padding = on_padding if bool(on_padding.any()) else None

    def write_gradient(self, a: Tensor, at_output: Tensor, out: Tensor) -> None:
        windows = self._windows(a).permute(0, 2, 3, 1, 4, 5, 6)
        columns = windows.reshape(len(a), self.weight.shape[1], -1)
        torch.bmm(at_output.reshape(len(a), -1, columns.shape[2]), columns.mT, out=out)

    def output(self, weights: Tensor, biases: Tensor | None, a: Tensor) -> Tensor:
        size, whole = self._size_out(a.shape), a.permute(0, 3, 4, 2, 1).flatten(1, 3)
        if biases is not None:
            biases = biases.repeat_interleave(math.prod(size), 1)
        out = _product(self._toeplitz(weights), biases, whole)
        return out.view(len(out), -1, *size, a.shape[1]).permute(0, 4, 1, 2, 3)

    def _toeplitz(self, weights: Tensor) -> Tensor:
        """(S, outputs · output pixels, input pixels · channels)."""
        if len(self.met) == weights.shape[2] // self.channels == 1:
            return weights
        by_tap = weights.view(*weights.shape[:2], -1, self.channels)
        met = by_tap.index_select(2, self.met)
        if self.on_padding is not None:
            met[:, :, self.on_padding] = 0
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
