"""Two spiral arms that a network learns to tell apart: where S_rel can be looked at.

As on the shapes of He & Su 2020, a step on a point of one arm moves the prediction less the farther
away another point is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srel_core.experiments.networks import mlp
from srel_core.measurement import influence
from srel_core.rules import SGD


@dataclass(frozen=True)
class Spirals:
    """n points on each of two arms, the second of which is the negative of the first; targets are 1
    and −1."""

    n: int = 150
    turns: float = 1.5

    @property
    def arm(self) -> Tensor:
        """The points (n, 2) of the first arm, from the inside."""
        radius = torch.linspace(0.25, 1, self.n)
        angle = 2 * torch.pi * self.turns * radius
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)

    @property
    def along(self) -> Tensor:
        """How far along its arm each point is, (n,)."""
        lengths = (self.arm[1:] - self.arm[:-1]).norm(dim=1).cumsum(0)
        return torch.cat([torch.zeros(1), lengths])

    @property
    def points(self) -> Tensor:
        """(2n, 2), the first arm first."""
        return torch.cat([self.arm, -self.arm])

    @property
    def targets(self) -> Tensor:
        """(2n, 1)."""
        return torch.cat([torch.ones(self.n, 1), -torch.ones(self.n, 1)])

    def trained(self, seed: int, steps: int = 600) -> nn.Module:
        """A dense network with two hidden layers that has learnt the arms, by Adam on all of
        them."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = mlp(2, (128, 128), 1, activation="tanh")
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        points, targets = self.points, self.targets
        for _ in range(steps):
            optimizer.zero_grad()
            ((model(points) - targets) ** 2).mean().backward()
            optimizer.step()
        return model

    def s_rel(self, model: nn.Module, at: Tensor | None = None) -> NDArray[np.float64]:
        """S_rel at all points after a short gradient step on each point of the first arm, or on
        those of these rows: (2n, n)."""
        rows = torch.arange(self.n) if at is None else at
        found = influence(
            model, self.points[rows], self.targets[rows], self.points,
            rule=SGD(1e-4), loss="mse", divergences=("abs",),
        )  # fmt: skip
        values: NDArray[np.float64] = found.s_rel("abs").numpy()
        return values
