"""How a layer's outputs change by one-sample SGD steps, each step a tensor of the weight's shape.

Changes are (n, I, ...), by n steps at the inputs h (I, ...), as in
`srel_core.engine.propagation.finite_differences`. Steps as low-rank factors are for each kind of
layer to apply (`srel_core.engine.layers.kinds.kind`).
"""

from typing import Any

import torch
from torch import Tensor

from srel_core.engine.layers.kinds.registry import kind_of


def change_by_full_steps(
    layer: Any, h: Tensor, delta: Tensor | None, steps: list[Tensor]
) -> Tensor:
    """(W + ΔW_i) Δ_i + ΔW_i h, (n, I, ...), for n steps ΔW_i in the weight's own shape."""
    kind, weight, out = kind_of(layer), layer.weight.detach(), None
    if delta is None:
        return concatenated([kind.apply(layer, h, step)[None] for step in steps])
    for i, step in enumerate(steps):
        of_input = kind.apply(layer, delta[i], weight + step)
        of_weight = kind.apply(layer, h, step)
        out = _empty(len(steps), of_input) if out is None else out
        torch.add(of_input, of_weight, out=out[i])
    assert out is not None
    return out


def _empty(n: int, like: Tensor) -> Tensor:
    """Memory for (n, I, ...), channels_last if the maps `like` (I, ...) are."""
    is_channels_last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    shape = (n * len(like), *like.shape[1:])
    memory = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
    return memory.unflatten(0, (n, len(like)))


def concatenated(parts: list[Tensor]) -> Tensor:
    """Changes (n, I, ...) by some steps and by others, as one. Maps that are channels_last stay so:
    `torch.cat` keeps the layout of (B, C, H, W) only."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim < 2:
        return torch.cat(parts)
    n_inputs = parts[0].shape[1]
    return torch.cat([part.flatten(0, 1) for part in parts]).unflatten(0, (-1, n_inputs))
