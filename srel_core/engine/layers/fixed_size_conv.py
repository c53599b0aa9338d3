"""A convolution on maps of one known size: live taps only, and small maps as matrix products.

At tap t of a kernel, output o reads the input at stride·o + dilation·t − padding. Where that lies
outside the input for every o, the tap multiplies zeros: its gradient is exactly zero and a step
that leaves unmoved what has no gradient leaves it alone. In the last stage of a ResNet-18 on
32×32 images, where maps are 1×1, eight of nine taps are of this kind: 62 % of all its weights.

On maps of a few pixels most of what is left still reads padding for most outputs, and a
convolution kernel, which is laid out along a row of pixels, has no row to run along. There each
output pixel is computed by itself, by matrix products over the pixels that it does read.
"""

import dataclasses
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Output pixels up to which matrix products are faster on a CPU, measured on the published network.
SMALL_MAP = 4


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a convolution of inputs of one size.

    Of the kernel's taps those from `first` to `end` − 1 are live. `pads` is what to add to the
    input's two ends for them; negative numbers cut. `reads` has for each output the live taps that
    meet the input, counted from `first`, and where in the input they do: (taps, places).
    """

    first: int
    end: int
    pads: tuple[int, int]
    reads: tuple[tuple[slice, slice], ...]

    @classmethod
    def of(cls, n_in: int, taps: int, stride: int, padding: int, dilation: int) -> "Axis":
        n_out = (n_in + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        place = [[stride * o + dilation * t - padding for t in range(taps)] for o in range(n_out)]
        met = [[t for t in range(taps) if 0 <= row[t] < n_in] for row in place]
        live = sorted(set().union(*met)) or list(range(taps))
        first, last = live[0], live[-1]
        reads = tuple(
            (
                slice(of_o[0] - first, of_o[-1] + 1 - first),
                slice(row[of_o[0]], row[of_o[-1]] + 1, dilation),
            )
            if of_o
            else (slice(0), slice(0))
            for row, of_o in zip(place, met, strict=True)
        )
        pads = (-place[0][first], place[-1][last] - (n_in - 1))
        return cls(first, last + 1, pads, reads)


def taps_first(layer: "nn.Conv2d | MapConv") -> bool:
    """Whether what a weight multiplies lies in the order of taps, then channels, in memory."""
    if isinstance(layer, MapConv):
        return True
    weight = layer.weight
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def shaped(conv: nn.Conv2d, rows: Tensor) -> Tensor:
    """A kernel for `conv` from (out, what its weight multiplies, in its order in memory)."""
    channels, *taps = conv.weight.shape[1:]
    if taps_first(conv):
        return rows.unflatten(1, (*taps, channels)).permute(0, 3, 1, 2)
    return rows.unflatten(1, (channels, *taps))


class MapConv(nn.Module):
    """`conv` for inputs of one size (height, width).

    Its `weight` is (tap rows, tap columns, in channels of a group, out channels): what an output
    pixel reads in one row of the input lies together, as do the taps that it meets there.
    """

    def __init__(self, conv: nn.Conv2d, size: tuple[int, int]) -> None:
        super().__init__()
        self.rows, self.columns = (
            Axis.of(
                size[i], conv.kernel_size[i], conv.stride[i], int(conv.padding[i]), conv.dilation[i]
            )
            for i in (0, 1)
        )
        rows, columns = (slice(axis.first, axis.end) for axis in (self.rows, self.columns))
        weight = conv.weight.detach()[:, :, rows, columns].permute(2, 3, 1, 0)
        self.weight = nn.Parameter(
            weight.clone(memory_format=torch.contiguous_format), conv.weight.requires_grad
        )
        self.size_in, self.may_use_products = size, True
        self.bias, self.all_taps = conv.bias, conv.kernel_size[0] * conv.kernel_size[1]
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.pads = (*self.columns.pads, *self.rows.pads)  # in the order of F.pad

    @property
    def size_out(self) -> tuple[int, int]:
        """Height and width of the output."""
        return len(self.rows.reads), len(self.columns.reads)

    @property
    def way(self) -> str:
        """How it is computed, in words."""
        taps = self.weight.shape[0] * self.weight.shape[1]
        kind = "products of matrices" if self.is_small else "convolution"
        return f"{kind}, {taps} of {self.all_taps} taps"

    @property
    def is_small(self) -> bool:
        """Whether it is computed as products of matrices."""
        on_cpu = self.may_use_products and self.weight.device.type == "cpu"
        return on_cpu and self.size_out[0] * self.size_out[1] <= SMALL_MAP and self.groups == 1

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same convolution by another kernel, laid out in the same way."""
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

    def spread(self, kernels: Tensor) -> Tensor:
        """Kernels as matrices to multiply whole maps by, a map being a row of pixels of channels:
        (n, taps and channels, r) → (n, pixels and channels, output pixels and r)."""
        taps = self.weight.shape[0] * self.weight.shape[1]
        by_tap = F.pad(kernels.unflatten(1, (taps, -1)), (0, 0, 0, 0, 0, 1))
        return by_tap[:, self._met].permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)

    @cached_property
    def _met(self) -> Tensor:
        """The tap by which an output pixel reads an input pixel, (inputs, outputs); one past the
        last tap where it does not."""
        n_rows, n_columns, height, width = *self.weight.shape[:2], *self.size_in
        met = torch.full((height, width, *self.size_out), n_rows * n_columns)
        of_taps = torch.arange(n_rows * n_columns).view(n_rows, n_columns)
        for i, (tap_rows, at_rows) in enumerate(self.rows.reads):
            for j, (tap_columns, at_columns) in enumerate(self.columns.reads):
                met[at_rows, at_columns, i, j] = of_taps[tap_rows, tap_columns]
        return met.flatten(2).flatten(0, 1)
