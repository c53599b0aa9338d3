"""How a layer's output changes with its input and, by one-sample SGD steps, with its weight.

Changes are (n, I, ...), by n steps at the inputs h (I, ...), as in
`srel_core.engine.propagation.elementwise`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.engine.layers.fixed_size_conv import MapConv, shaped

New = Callable[[Tensor, Sequence[int]], Tensor]
"""An array of the kind of another, of some shape, to be written to."""

# A layer with so many times fewer outputs than rows that it reads is bound by the reading: its
# weight and its step are then applied together.
_FEW_OUTPUTS = 8


def of_low_rank(
    layer: nn.Linear | nn.Conv2d | MapConv,
    h: Tensor,
    delta: Tensor | None,
    a: Tensor,
    slope: Tensor,
    with_bias: bool,
    new: New = Tensor.new_empty,
) -> Tensor:
    """W Δ_i + ΔW_i (h + Δ_i) [+ Δb_i], (n, I, ...), for n steps ΔW_i = δ_i a_iᵀ, Δb_i = δ_i, each
    summed over the places of a (n, k, places) and δ (n, o, places). Δ is None for the layer that
    reads the inputs."""
    if isinstance(layer, nn.Linear):
        return _of_linear(layer, h, delta, a, slope, with_bias, new)
    small = isinstance(layer, MapConv) and layer.is_small
    reads = _reads_of_whole_maps if small else _reads_by_convolution
    return _of_maps(reads, layer, h, delta, a, slope, with_bias)


def _of_linear(
    layer: nn.Linear, h: Tensor, delta: Tensor | None, a: Tensor, slope: Tensor, with_bias: bool,
    new: New,
) -> Tensor:  # fmt: skip
    n, o, shape, weight = len(a), layer.out_features, h.shape[:-1], layer.weight.detach()
    rows = h.reshape(-1, h.shape[-1])
    moved = None if delta is None else delta.reshape(n, *rows.shape)
    if moved is not None and _FEW_OUTPUTS * o <= len(rows):
        both = torch.cat([weight.expand(n, -1, -1), a.mT], 1)
        out, read = (both @ moved.mT).mT.split([o, a.shape[2]], 2)
        read = read + (_read(rows, None, a) + with_bias)
        return (out + read @ slope.mT).view(n, *shape, o)
    read = _read(rows, moved, a) + with_bias
    out = new(h, (n, len(rows), o))
    if moved is None:
        return _of_step(read, slope, out).view(n, *shape, o)
    torch.mm(moved.flatten(0, 1), weight.T, out=out.flatten(0, 1))
    return _added(out, read, slope).view(n, *shape, o)


def _of_maps(
    reads: Callable[[Any, Tensor, Tensor | None, Tensor], Tensor],
    layer: nn.Conv2d | MapConv,
    h: Tensor,
    delta: Tensor | None,
    a: Tensor,
    slope: Tensor,
    with_bias: bool,
) -> Tensor:
    """`reads` gives a_i·(h + Δ_i) at each pixel of the output, (n, I, height, width, places)."""
    read = reads(layer, h, delta, a) + with_bias
    by_pixel = read.flatten(1, 3)
    if delta is None:
        out = _of_step(by_pixel, slope)
    else:
        out = through(layer, delta).permute(0, 1, 3, 4, 2).reshape(*by_pixel.shape[:2], -1)
        out = _added(out, by_pixel, slope)
    return out.unflatten(1, read.shape[1:4]).permute(0, 1, 4, 2, 3)


def _reads_of_whole_maps(layer: MapConv, h: Tensor, delta: Tensor | None, a: Tensor) -> Tensor:
    """By one product with whole maps for all of their output pixels."""
    whole = h.permute(0, 2, 3, 1).flatten(1)
    moved = None if delta is None else delta.permute(0, 1, 3, 4, 2).flatten(2)
    return _read(whole, moved, layer.spread(a)).unflatten(2, (*layer.size_out, a.shape[2]))


def _reads_by_convolution(
    layer: nn.Conv2d | MapConv, h: Tensor, delta: Tensor | None, a: Tensor
) -> Tensor:
    """By a convolution for each step, whose outputs are the places of a_i."""
    by_step = []
    for i in range(len(a)):
        at = h if delta is None else h + delta[i]
        if isinstance(layer, MapConv):
            kernel = a[i].reshape(*layer.weight.shape[:3], -1)
        else:
            kernel = shaped(layer, a[i].T)
        by_step.append(convolve(layer, at, kernel).permute(0, 2, 3, 1))
    return torch.stack(by_step)


def _read(h: Tensor, delta: Tensor | None, a: Tensor) -> Tensor:
    """(h + Δ_i) a_i: (R, k), (n, R, k) and (n, k, m) → (n, R, m). Products are faster with their
    many rows last; that of h is one for all steps."""
    of_h = (a.mT.flatten(0, 1) @ h.T).unflatten(0, (len(a), -1))
    return (of_h if delta is None else torch.baddbmm(of_h, a.mT, delta.mT)).mT


def _added(out: Tensor, read: Tensor, slope: Tensor) -> Tensor:
    """out_i + read_i δ_iᵀ: (n, R, o), which is overwritten, (n, R, places) and (n, o, places)."""
    if read.shape[2] == 1:  # a column and a row
        return out.addcmul_(read, slope.mT)
    return out.baddbmm_(read, slope.mT)


def _of_step(read: Tensor, slope: Tensor, out: Tensor | None = None) -> Tensor:
    """read_i δ_iᵀ."""
    if read.shape[2] == 1:
        return torch.mul(read, slope.mT, out=out)
    return torch.bmm(read, slope.mT, out=out)


def of_written_out(layer: Any, h: Tensor, delta: Tensor | None, steps: list[Tensor]) -> Tensor:
    """(W + ΔW_i) Δ_i + ΔW_i h, (n, I, ...), for n steps ΔW_i in the weight's own shape."""
    if delta is None:
        return together([apply(layer, h, step)[None] for step in steps])
    weight, out = layer.weight.detach(), None
    for i, step in enumerate(steps):
        of_input, of_weight = apply(layer, delta[i], weight + step), apply(layer, h, step)
        out = _room(len(steps), of_input) if out is None else out
        torch.add(of_input, of_weight, out=out[i])
    assert out is not None
    return out


def _room(n: int, like: Tensor) -> Tensor:
    """Memory for (n, I, ...), laid out as (I, ...) is."""
    by_pixel = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if by_pixel else torch.contiguous_format
    shape = (n * len(like), *like.shape[1:])
    room = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
    return room.unflatten(0, (n, len(like)))


def together(parts: list[Tensor]) -> Tensor:
    """Changes (n, I, ...) by some steps and by others, as one; what lies together in memory in a
    map of I inputs still does, for which `torch.cat` knows maps (B, C, H, W) only."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim < 2:
        return torch.cat(parts)
    n_inputs = parts[0].shape[1]
    return torch.cat([part.flatten(0, 1) for part in parts]).unflatten(0, (-1, n_inputs))


def through(layer: Any, delta: Tensor) -> Tensor:
    """W Δ, (n, I, ...)."""
    whole = apply(layer, delta.flatten(0, 1), layer.weight.detach())
    return whole.unflatten(0, delta.shape[:2])


def apply(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    """x (B, ...) by another weight in the place of the layer's, without its bias."""
    return F.linear(x, weight) if isinstance(layer, nn.Linear) else convolve(layer, x, weight)


def convolve(layer: nn.Conv2d | MapConv, x: Tensor, kernel: Tensor) -> Tensor:
    """x (B, ...) by another kernel in the place of the layer's, without its bias."""
    if isinstance(layer, MapConv):
        return layer.convolve(x, kernel, None)
    padding = int(layer.padding[0]), int(layer.padding[1])
    return F.conv2d(x, kernel, None, layer.stride, padding, layer.dilation, layer.groups)
