"""The step that Adam would take next, for all pairs of stacked networks at once.

As `srel_core.OptimizerStep`, which takes a sample at a time: each of P samples of R networks has a
step of its own, from the moments that the network's training has come to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NextStep:
    """In place of a step rule: what the training's own optimizer would do next if its batch were
    the sample alone."""


@dataclass(frozen=True, eq=False)
class NextOfAdam:
    """The next step of an Adam that trains stacked networks, as t counts it with this one:

    m = β₁ m + (1 − β₁) g,  v = β₂ v + (1 − β₂) g²,  Δw = −η m̂ / (√v̂ + ε),  m̂ = m/(1 − β₁ᵗ), and v̂
    alike (Kingma & Ba 2015, Algorithm 1). Its moments are left as they are.
    """

    of: torch.optim.Adam

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        """Δw (R, P, ...) of a weight (R, ...) that the optimizer holds, from the gradients
        (R, P, ...) of P samples for each network."""
        (group,), state = self.of.param_groups, self.of.state.get(weight, {})
        beta1, beta2 = group["betas"]
        t = 1 + int(state.get("step", 0))
        mean, square = (1 - beta1) * gradient, (1 - beta2) * gradient**2
        if state:
            mean += beta1 * state["exp_avg"][:, None]
            square += beta2 * state["exp_avg_sq"][:, None]
        size = (square / (1 - beta2**t)).sqrt() + group["eps"]
        return -group["lr"] / (1 - beta1**t) * mean / size
