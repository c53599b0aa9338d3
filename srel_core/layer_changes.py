"""How a layer's output changes with its input and, by one-sample SGD steps, with its weight.

Changes are (n, I, ...), by n steps at the inputs h (I, ...), as in `srel_core.changes`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.map_conv import MapConv, shaped


def of_low_rank(
    layer: nn.Linear | nn.Conv2d | MapConv,
    out: Tensor | None,
    h: Tensor,
    delta: Tensor | None,
    a: Tensor,
    slope: Tensor,
    with_bias: bool,
) -> Tensor:
    """W Δ_i + ΔW_i (h + Δ_i) [+ Δb_i], (n, I, ...), for n steps ΔW_i = δ_i a_iᵀ, Δb_i = δ_i, each
    summed over the places of a (n, k, places) and δ (n, o, places). `out` is W Δ, which is
    overwritten; None, like Δ, for the layer that reads the inputs."""
    if isinstance(layer, nn.Linear):
        rows = h.reshape(-1, h.shape[-1])
        read = rows @ a
        if delta is not None:
            read.baddbmm_(delta.reshape(len(a), *rows.shape), a)
        read += with_bias
        if out is None:
            return (read @ slope.mT).view(len(a), *h.shape[:-1], -1)
        flat = out.view(len(a), len(rows), -1)
        if a.shape[2] == 1:  # a column and a row
            flat.addcmul_(read, slope.mT)
        else:
            flat.baddbmm_(read, slope.mT)
        return out
    by_step = []
    for i in range(len(a)):
        at = h if delta is None else h + delta[i]
        if isinstance(layer, MapConv):
            kernel = a[i].reshape(*layer.weight.shape[:3], -1)
        else:
            kernel = shaped(layer, a[i].T)
        rows = (convolve(layer, at, kernel) + with_bias).permute(0, 2, 3, 1)
        if out is None:
            by_step.append((rows @ slope[i].T).permute(0, 3, 1, 2))
            continue
        into = out[i].permute(0, 2, 3, 1)
        if into.is_contiguous():
            into.view(-1, into.shape[3]).addmm_(rows.reshape(-1, rows.shape[3]), slope[i].T)
        else:
            into += rows @ slope[i].T
    return together(by_step) if out is None else out


def together(of_steps: list[Tensor]) -> Tensor:
    """The changes by several steps, (n, I, ...); one alone is not copied."""
    return torch.stack(of_steps) if len(of_steps) > 1 else of_steps[0][None]


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
