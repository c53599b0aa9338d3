"""The oracle of oracles: a step by hand, in plain PyTorch, on a model that is then thrown away.

It shares nothing with the library: a fresh model in float64, a real optimizer, predictions
subtracted.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def picked(out: object) -> Tensor:
    if isinstance(out, Mapping):
        out = out["logits"]
    return out[0] if isinstance(out, tuple) else out


def changes(
    fresh: Callable[[], nn.Module],
    x: Tensor,
    y: Tensor,
    probes: Tensor,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> Tensor:
    """f after the step on each sample less f before, (P, S, C) in float64."""
    wide = [t.double() if t.is_floating_point() else t for t in (x, probes)]
    found = []
    for i in range(len(x)):
        model = fresh().double()
        with torch.no_grad():
            before = picked(model(wide[1])).clone()
        steps = optimizer([p for p in model.parameters() if p.requires_grad])
        steps.zero_grad()
        F.cross_entropy(picked(model(wide[0][i : i + 1])), y[i : i + 1]).backward()
        steps.step()
        with torch.no_grad():
            found.append(picked(model(wide[1])) - before)
    return torch.stack(found, 1)
