"""What the two kinds of convolution have in common. Maps are (B, channels, height, width)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srel_core.engine.layers.kinds import low_rank
from srel_core.engine.layers.kinds.convolution_geometry import Axis
from srel_core.engine.layers.kinds.kind import Cost, LayerKind, change_by_input


def windows_of(
    maps: Tensor,
    pads: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """What each position reads, (B, groups, positions, tap rows, tap columns, channels of a group):
    a view of the padded maps. `pads` in the order of `F.pad`."""
    windows = F.pad(maps, pads).permute(0, 2, 3, 1)
    for axis, taps, step, apart in zip((1, 2), kernel, stride, dilation, strict=True):
        windows = windows.unfold(axis, apart * (taps - 1) + 1, step)[..., ::apart]
    # (B, output rows, output columns, channels, tap rows, tap columns)
    return windows.flatten(1, 2).unflatten(2, (groups, -1)).permute(0, 2, 1, 4, 5, 3)


def output_gradients_of_maps(gradients: Tensor, groups: int) -> Tensor:
    """(B, channels, height, width) → (B, groups, channels of a group, positions)."""
    return gradients.flatten(2).unflatten(1, (groups, -1))


def read_by_convolution(
    apply: Callable[[Tensor, Tensor], Tensor],
    kernels: Sequence[Tensor],
    h: Tensor,
    delta: Tensor | None,
) -> Tensor:
    """a_i·(h + Δ_i) at each output pixel, (n, I, height, width, positions): for each step a
    convolution by a kernel of its a_i, whose outputs are the positions."""
    by_step = []
    for i, kernel in enumerate(kernels):
        at = h if delta is None else h + delta[i]
        by_step.append(apply(at, kernel).permute(0, 2, 3, 1))
    return torch.stack(by_step)


def change_of_maps(
    kind: LayerKind, layer: Any, read: Tensor, delta: Tensor | None, g: Tensor
) -> Tensor:
    """W Δ_i + read_i g_iᵀ, (n, I, channels, height, width), for read (n, I, height, width,
    positions)."""
    by_pixel = read.flatten(1, 3)
    if delta is None:
        out = low_rank.product(by_pixel, g)
    else:
        out = change_by_input(kind, layer, delta).permute(0, 1, 3, 4, 2)
        out = low_rank.add_product(out.reshape(*by_pixel.shape[:2], -1), by_pixel, g)
    return out.unflatten(1, read.shape[1:4]).permute(0, 1, 4, 2, 3)


def cost_of(axes: tuple[Axis, Axis], channels: int, outputs: int, all_weights: int) -> Cost:
    """Of a convolution with so many channels per group, outputs and weights."""
    rows, columns = axes
    positions = len(rows.reads) * len(columns.reads)
    reads = rows.n_live * columns.n_live * channels
    return Cost(
        positions=positions, reads=reads, outputs=outputs,
        weights=reads * outputs, all_weights=all_weights,
        multiply_adds=rows.n_met * columns.n_met * channels * outputs,
        dense_multiply_adds=all_weights * positions,
    )  # fmt: skip
