"""Convolutions of maps with zeros as padding."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.engine.layers.kinds import convolution
from srel_core.engine.layers.kinds.convolution_geometry import axes_of, padding_of
from srel_core.engine.layers.kinds.fixed_size_conv import SMALL_MAP, FixedSizeConv2d
from srel_core.engine.layers.kinds.kind import Cost, New
from srel_core.engine.layers.kinds.stacked_matrices import StackedMaps, StackedMatrices, Window


class Conv2dKind:
    """`nn.Conv2d`. Its weight is (out, in channels of a group, tap rows, tap columns), in memory
    either in this order or channels_last; patches have the order that it has in memory."""

    reads_maps = True
    weight_format = torch.channels_last

    def why_not(self, layer: nn.Conv2d) -> str | None:
        if layer.padding_mode != "zeros":
            return f"pads by {layer.padding_mode!r}"
        if isinstance(layer.padding, str):
            return f"pads by {layer.padding!r}"
        return None

    def description(self, layer: nn.Conv2d) -> str:
        return "convolution"

    def for_size(self, layer: nn.Conv2d, size: tuple[int, int], products: bool) -> nn.Module | None:
        """With live taps only; also where none is dead, if the maps are small."""
        fixed = FixedSizeConv2d(layer, size, products)
        height, width = fixed.size_out
        fewer = fixed.weight.numel() < layer.weight.numel()
        return fixed if fewer or height * width <= SMALL_MAP else None

    def patches(self, layer: nn.Conv2d, inputs: Tensor) -> Tensor:
        rows, columns = padding_of(layer)
        windows = convolution.windows_of(
            inputs, (*columns, *rows), layer.kernel_size, layer.stride, layer.dilation, layer.groups
        )
        if not _is_channels_last(layer.weight):
            windows = windows.movedim(5, 3)
        return windows.flatten(3).mT

    def output_gradients(self, layer: nn.Conv2d, gradients: Tensor) -> Tensor:
        return convolution.output_gradients_of_maps(gradients, layer.groups)

    def factors(self, patches: Tensor, output_gradients: Tensor) -> tuple[Tensor, Tensor]:
        return output_gradients, patches

    def matrices(self, layer: nn.Conv2d, weight: Tensor) -> Tensor:
        in_order = weight.permute(0, 2, 3, 1) if _is_channels_last(layer.weight) else weight
        return in_order.flatten(1).unflatten(0, (layer.groups, -1))

    def in_weight_shape(self, layer: nn.Conv2d, matrices: Tensor) -> Tensor:
        return _kernel(layer, matrices.flatten(0, 1))

    def along_outputs(self, bias: Tensor) -> Tensor:
        return bias[:, None, None]

    def apply(self, layer: nn.Conv2d, inputs: Tensor, weight: Tensor) -> Tensor:
        padding = int(layer.padding[0]), int(layer.padding[1])
        return F.conv2d(inputs, weight, None, layer.stride, padding, layer.dilation, layer.groups)

    def change_by_low_rank_steps(
        self, layer: nn.Conv2d, h: Tensor, delta: Tensor | None, a: Tensor, g: Tensor,
        with_bias: bool, new: New,
    ) -> Tensor:  # fmt: skip
        kernels = [_kernel(layer, a_i.T) for a_i in a]
        read = convolution.read_by_convolution(
            lambda at, kernel: self.apply(layer, at, kernel), kernels, h, delta
        )
        return convolution.change_of_maps(self, layer, read + with_bias, delta, g)

    def stacked(self, layer: nn.Conv2d) -> StackedMatrices:
        rows, columns = padding_of(layer)
        window = Window(layer.kernel_size, layer.stride, layer.dilation, (*columns, *rows))
        return StackedMaps(layer.weight.detach().flatten(1), window, layer.groups)

    def cost(self, layer: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> Cost:
        axes = axes_of(layer, (inputs.shape[2], inputs.shape[3]))
        channels = layer.in_channels // layer.groups
        return convolution.cost_of(axes, channels, layer.out_channels, layer.weight.numel())


def _is_channels_last(weight: Tensor) -> bool:
    """Whether a kernel lies in memory by taps, then channels, and not also the other way round."""
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def _kernel(layer: nn.Conv2d, rows: Tensor) -> Tensor:
    """A kernel for the layer from rows (out, k) in the order that its weight has in memory."""
    channels, *taps = layer.weight.shape[1:]
    if _is_channels_last(layer.weight):
        return rows.unflatten(1, (*taps, channels)).permute(0, 3, 1, 2)
    return rows.unflatten(1, (channels, *taps))
