"""Convolutions of maps of one known size: live taps only, and small maps as matrix products.

A dead tap of the kernel only ever multiplies padding
(`srel_core.engine.layers.kinds.convolution_geometry`): its gradient is exactly zero, and a step
that leaves unmoved what has no gradient leaves it alone. In the last stage of a ResNet-18 on 32×32
images, where maps are 1×1, eight of nine taps are of this kind: 62 % of all its weights.

On maps of a few pixels most of what is left still reads padding for most outputs, and a
convolution, which runs along rows of pixels, has no row to run along. There each output pixel is
computed by itself, by matrix products over the pixels that it does read.
"""

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.engine.layers.kinds import convolution, low_rank
from srel_core.engine.layers.kinds.convolution_geometry import axes_of
from srel_core.engine.layers.kinds.kind import Cost, New
from srel_core.engine.layers.kinds.stacked_matrices import (
    StackedMaps,
    StackedMatrices,
    StackedSmallMaps,
    Window,
)

# Output pixels up to which matrix products are faster on a CPU, measured on the published network.
SMALL_MAP = 4


class FixedSizeConv2d(nn.Module):
    """`conv` for inputs of one size (height, width).

    Its `weight` is (tap rows, tap columns, in channels of a group, out channels): what an output
    pixel reads in one row of the input is contiguous, as are the taps that it meets there. With
    `products` small maps are products of matrices on a CPU.
    """

    def __init__(self, conv: nn.Conv2d, size: tuple[int, int], products: bool = True) -> None:
        super().__init__()
        self.axes = self.rows, self.columns = axes_of(conv, size)
        rows, columns = (slice(axis.first, axis.end) for axis in self.axes)
        weight = conv.weight.detach()[:, :, rows, columns].permute(2, 3, 1, 0)
        self.weight = nn.Parameter(
            weight.clone(memory_format=torch.contiguous_format), conv.weight.requires_grad
        )
        self.size_in, self.products = size, products
        self.bias, self.all_taps = conv.bias, conv.kernel_size[0] * conv.kernel_size[1]
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.pads = (*self.columns.pads, *self.rows.pads)  # in the order of F.pad

    @property
    def size_out(self) -> tuple[int, int]:
        """Height and width of the output."""
        return len(self.rows.reads), len(self.columns.reads)

    @property
    def is_small(self) -> bool:
        """Whether it is computed as products of matrices."""
        on_cpu = self.products and self.weight.device.type == "cpu"
        return on_cpu and self.size_out[0] * self.size_out[1] <= SMALL_MAP and self.groups == 1

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same convolution by another kernel in the same order of dimensions."""
        if self.is_small:
            return self._by_products(x, weight, bias)
        padded = F.pad(x, self.pads) if any(self.pads) else x
        kernel = weight.permute(3, 2, 0, 1)
        return F.conv2d(padded, kernel, bias, self.stride, 0, self.dilation, self.groups)

    def _by_products(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pixels = x.permute(0, 2, 3, 1).unbind(1)  # by rows of the input, each (B, width, channels)
        kernels = weight.unbind(0)
        outputs = []
        for tap_rows, at_rows in self.rows.reads:
            rows = list(zip(kernels[tap_rows], pixels[at_rows], strict=True))
            for taps, at in self.columns.reads:
                total = bias
                for kernel, row in rows:
                    read, of_taps = row[:, at].flatten(1), kernel[taps].flatten(0, 1)
                    total = read @ of_taps if total is None else torch.addmm(total, read, of_taps)
                if not rows:  # it reads nothing but padding
                    total = x.new_zeros(len(x), weight.shape[3])
                    total = total if bias is None else total + bias
                assert total is not None
                outputs.append(total)
        if len(outputs) == 1:
            return outputs[0][:, :, None, None]
        return torch.stack(outputs, 1).unflatten(1, self.size_out).permute(0, 3, 1, 2)

    def toeplitz_matrices(self, kernels: Tensor) -> Tensor:
        """Kernels as the matrices by which whole maps are multiplied, a map being a row of pixels
        of channels: (n, taps and channels, r) → (n, pixels and channels, output pixels and r)."""
        taps = self.weight.shape[0] * self.weight.shape[1]
        by_tap = F.pad(kernels.unflatten(1, (taps, -1)), (0, 0, 0, 0, 0, 1))
        return by_tap[:, self.taps_met].permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)

    @cached_property
    def taps_met(self) -> Tensor:
        """The tap by which an output pixel reads an input pixel, (inputs, outputs); one past the
        last tap where it does not."""
        n_rows, n_columns, height, width = *self.weight.shape[:2], *self.size_in
        met = np.full((height, width, *self.size_out), n_rows * n_columns)
        of_taps = np.arange(n_rows * n_columns).reshape(n_rows, n_columns)
        for i, (tap_rows, at_rows) in enumerate(self.rows.reads):
            for j, (tap_columns, at_columns) in enumerate(self.columns.reads):
                met[at_rows, at_columns, i, j] = of_taps[tap_rows, tap_columns]
        return torch.from_numpy(met.reshape(height * width, -1))


class FixedSizeConv2dKind:
    """`FixedSizeConv2d`, which only the engine itself puts into a model."""

    reads_maps = True
    weight_format = None

    def why_not(self, layer: FixedSizeConv2d) -> str | None:
        return None

    def description(self, layer: FixedSizeConv2d) -> str:
        taps = layer.weight.shape[0] * layer.weight.shape[1]
        way = "products of matrices" if layer.is_small else "convolution"
        return f"{way}, {taps} of {layer.all_taps} taps"

    def for_size(
        self, layer: FixedSizeConv2d, size: tuple[int, int], products: bool
    ) -> nn.Module | None:
        return None

    def patches(self, layer: FixedSizeConv2d, inputs: Tensor) -> Tensor:
        kernel = layer.weight.shape[:2]
        windows = convolution.windows_of(
            inputs, layer.pads, kernel, layer.stride, layer.dilation, layer.groups
        )
        return windows.flatten(3).mT

    def output_gradients(self, layer: FixedSizeConv2d, gradients: Tensor) -> Tensor:
        return convolution.output_gradients_of_maps(gradients, layer.groups)

    def factors(self, patches: Tensor, output_gradients: Tensor) -> tuple[Tensor, Tensor]:
        return patches, output_gradients

    def matrices(self, layer: FixedSizeConv2d, weight: Tensor) -> Tensor:
        return weight.flatten(0, 2).unflatten(1, (layer.groups, -1)).transpose(0, 1)

    def in_weight_shape(self, layer: FixedSizeConv2d, matrices: Tensor) -> Tensor:
        return matrices.transpose(0, 1).reshape(layer.weight.shape)

    def along_outputs(self, bias: Tensor) -> Tensor:
        return bias[:, None, None]

    def apply(self, layer: FixedSizeConv2d, inputs: Tensor, weight: Tensor) -> Tensor:
        return layer.convolve(inputs, weight, None)

    def change_by_low_rank_steps(
        self, layer: FixedSizeConv2d, h: Tensor, delta: Tensor | None, a: Tensor, g: Tensor,
        with_bias: bool, new: New,
    ) -> Tensor:  # fmt: skip
        read = (read_whole_maps if layer.is_small else read_by_kernels)(layer, h, delta, a)
        return convolution.change_of_maps(self, layer, read + with_bias, delta, g)

    def stacked(self, layer: FixedSizeConv2d) -> StackedMatrices:
        kernel = layer.weight.detach()
        taps = (kernel.shape[0], kernel.shape[1])
        window = Window(taps, layer.stride, layer.dilation, layer.pads)
        if layer.groups == 1 and math.prod(layer.size_in) <= math.prod(taps):
            by_taps = kernel.permute(3, 0, 1, 2).flatten(1)
            return StackedSmallMaps(by_taps, window, layer.taps_met.T.to(kernel.device))
        return StackedMaps(kernel.permute(3, 2, 0, 1).flatten(1), window, layer.groups)

    def cost(self, layer: FixedSizeConv2d, inputs: Tensor, outputs: Tensor) -> Cost:
        *_, channels, out = layer.weight.shape
        return convolution.cost_of(layer.axes, channels, out, layer.all_taps * channels * out)


def read_whole_maps(layer: FixedSizeConv2d, h: Tensor, delta: Tensor | None, a: Tensor) -> Tensor:
    """a_i·(h + Δ_i) at each output pixel, (n, I, height, width, positions), by one product with
    whole maps for all of them."""
    whole = h.permute(0, 2, 3, 1).flatten(1)
    moved = None if delta is None else delta.permute(0, 1, 3, 4, 2).flatten(2)
    read = low_rank.read(whole, moved, layer.toeplitz_matrices(a))
    return read.unflatten(2, (*layer.size_out, a.shape[2]))


def read_by_kernels(layer: FixedSizeConv2d, h: Tensor, delta: Tensor | None, a: Tensor) -> Tensor:
    """The same by a convolution for each step."""
    kernels = [a_i.reshape(*layer.weight.shape[:3], -1) for a_i in a]

    def apply(at: Tensor, kernel: Tensor) -> Tensor:
        return layer.convolve(at, kernel, None)

    return convolution.read_by_convolution(apply, kernels, h, delta)
