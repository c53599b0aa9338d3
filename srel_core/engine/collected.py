"""What a measurement keeps: divergences at once, and the changes they come from if there is
room."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from srel_core.divergence import Divergence
from srel_core.engine.setup import checks
from srel_core.engine.setup.inputs import as_tensor
from srel_core.engine.setup.losses import IGNORED
from srel_core.engine.setup.task import Task

# Bytes of changes to keep without being asked.
KEEP_WITHIN = 2**30


@dataclass(frozen=True)
class Positions:
    """How predictions of several positions become one number: their mean, or each by itself.

    at_probes   (P, ...) weights of the positions of each probe; None: all alike
    kept        whether positions stay apart
    """

    at_probes: Tensor | None = None
    kept: bool = False

    def checked(self, task: Task) -> "Positions":
        """The same with weights as the task's predictions have positions; ValueError otherwise."""
        positions = tuple(task.before.shape[1:-1])
        if self.kept and not positions:
            raise ValueError("by_position is for predictions (batch, ..., outputs) of positions")
        if self.at_probes is None:
            return self
        weights, shape = as_tensor("weights", self.at_probes), (task.n_probes, *positions)
        if tuple(weights.shape) != shape or not positions:
            raise ValueError(
                f"weights must have shape {shape}, one number per position of each probe, not "
                f"{tuple(weights.shape)}"
            )
        checks.require_finite("weights", weights)
        weights = weights.double()
        if bool((weights < 0).any()) or bool((weights.flatten(1).sum(1) <= 0).any()):
            raise ValueError("weights must not be negative, and not all zero for any probe")
        return replace(self, at_probes=weights.to(task.device))


@dataclass
class Collected:
    """Divergences of every sample's step, filled sample by sample.

    change[D] (P, S, ...), own[D] (S, ...) in float64, with the positions if they are kept; delta
    (P, S, ..., C), own_delta (S, ..., C) if they are kept; `in_float64`, `by_derivative` (S,).
    """

    task: Task
    divergences: Sequence[Divergence]
    tangent: bool
    positions: Positions
    keep_delta: bool
    change: dict[str, Tensor] = field(init=False)
    own: dict[str, Tensor] = field(init=False)
    delta: Tensor | None = field(init=False)
    own_delta: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        n_probes, n = self.task.n_probes, len(self.task.x)
        shape = self.task.before.shape[1:]
        at = tuple(shape[:-1]) if self.positions.kept else ()
        names = [d.name for d in self.divergences]
        self.change = {name: torch.full((n_probes, n, *at), torch.nan).double() for name in names}
        self.own = {name: torch.full((n, *at), torch.nan).double() for name in names}
        self.delta = torch.zeros(n_probes, n, *shape).double() if self.keep_delta else None
        self.own_delta = torch.zeros(n, *shape).double() if self.keep_delta else None
        self.in_float64 = torch.zeros(n, dtype=torch.bool)
        self.by_derivative = torch.zeros(n, dtype=torch.bool)

    def add(self, sample: int, before: Tensor, delta: Tensor, own: int) -> None:
        """For one sample the predictions and their changes (B, ..., C) at the probes, and then, if
        it is none of them, at the sample itself, which is at row `own`."""
        checks.require_step(delta, sample)
        n, at_own = self.task.n_probes, slice(own, own + 1)
        probe_weights = self._weights(self.positions.at_probes, delta[:n])
        own_weights = self._weights(self._counted(sample), delta[at_own])
        for divergence in self.divergences:
            measured = divergence.tangent if self.tangent else divergence.finite
            values = measured(before, delta)
            found = self._over_positions(values[:n], probe_weights)
            self.change[divergence.name][:, sample] = found.cpu()
            found = self._over_positions(values[at_own], own_weights)
            self.own[divergence.name][sample] = found[0].cpu()
        if self.delta is not None and self.own_delta is not None:
            delta = delta.cpu()
            self.delta[:, sample], self.own_delta[sample] = delta[:n], delta[own]

    def fill(self, before: Tensor, delta: Tensor) -> None:
        """All samples at once, from predictions (I, C) and their changes (S, I, C)."""
        n, rows = self.task.n_probes, self.task.own_row
        samples = torch.arange(len(delta))
        finite = torch.isfinite(delta).flatten(1).all(1)
        if not bool(finite.all()):
            checks.require_step(delta[~finite], int((~finite).nonzero()[0]))
        for divergence in self.divergences:
            measured = divergence.tangent if self.tangent else divergence.finite
            values = measured(before, delta).cpu()  # (S, I)
            self.change[divergence.name] = values[:, :n].T.contiguous()
            self.own[divergence.name] = values[samples, rows]
        if self.keep_delta:
            delta = delta.cpu()
            self.delta = delta[:, :n].transpose(0, 1).contiguous()
            self.own_delta = delta[samples, rows]

    def _counted(self, sample: int) -> Tensor | None:
        """The positions of a sample that its loss counts."""
        target = self.task.y[sample]
        if target.is_floating_point() or target.shape != self.task.before.shape[1:-1]:
            return None
        return (target != IGNORED)[None] if target.ndim else None

    def _weights(self, weights: Tensor | None, delta: Tensor) -> Tensor:
        like = delta[..., 0]
        return torch.ones_like(like) if weights is None else weights.to(like).expand_as(like)

    def _over_positions(self, values: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean over positions, (B, ...) → (B,), or what is left out as NaN."""
        if self.positions.kept:
            return values.where(weights > 0, torch.nan)
        if values.ndim == 1:
            return values
        return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)
