"""The training of all seeds of a regression setting together, measured on the way."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srel_core.experiments.regression.network_stack import Stack, Step
from srel_core.experiments.regression.next_step import NextOfAdam, NextStep
from srel_core.experiments.regression.problems import RegressionData
from srel_core.experiments.training import stream
from srel_core.rules import Tangent, parse_rule

if TYPE_CHECKING:
    from srel_core.experiments.regression.experiment import RegressionExperiment

_CPU = torch.device("cpu")
BATCH_SIZE = 16  # of "sgd" and "adam"; "gd" takes all points at every step


def train(
    setting: "RegressionExperiment", data: list[RegressionData], device: torch.device = _CPU
) -> dict[str, NDArray[np.float64]]:
    """Train all seeds, measuring on the way: (rule, seed, step, pair) and (seed, step)."""
    network, steps = setting.networks().to(device), set(setting.measured_steps.tolist())
    x, y, x_held, y_held, sample, probe, y_sample, batches, each = (
        t.to(device)
        for t in (
            _stacked([d.x for d in data]), _stacked([d.y for d in data]),
            _stacked([d.x_held for d in data]), _stacked([d.y_held for d in data]),
            *pairs_of(data), _stacked([d.y_held[d.sample] for d in data]),
            _batches(setting), torch.arange(len(data))[:, None],
        )
    )  # fmt: skip
    rule = parse_rule(f"{'adam' if setting.training == 'adam' else 'sgd'}:{setting.lr!r}")
    assert not isinstance(rule, Tangent)
    optimizer = rule.optimizer(network.parameters())
    measured = [_bound(rule, optimizer) for rule in setting.rules.values()]
    s_rel, train_loss, held_loss = [], [], []
    for step in range(setting.n_steps + 1):
        if step in steps:
            train_loss.append(_loss(network, x, y))
            held_loss.append(_loss(network, x_held, y_held))
            if not train_loss[-1].isfinite().all():
                raise ValueError(
                    f"training has diverged by step {step}: take a smaller lr than {setting.lr:g}"
                )
            pairs = [network.pair_changes(sample, y_sample, probe, by) for by in measured]
            s_rel.append(torch.stack([ratio(*changes) for changes in pairs]))
        if step < setting.n_steps:
            at = slice(None) if setting.training == "gd" else (each, batches[:, step])
            gradients = network.gradients(x[at], y[at])
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    return {
        "s_rel": torch.stack(s_rel, 2).cpu().numpy(),
        "train_loss": torch.stack(train_loss, 1).cpu().numpy(),
        "held_loss": torch.stack(held_loss, 1).cpu().numpy(),
    }


def _bound(rule: Step | Tangent | NextStep, optimizer: torch.optim.Optimizer) -> Step | Tangent:
    """A rule as the stack measures it: the next step is that of this optimizer."""
    if not isinstance(rule, NextStep):
        return rule
    assert isinstance(optimizer, torch.optim.Adam)
    return NextOfAdam(optimizer)


def _batches(setting: "RegressionExperiment") -> Tensor:
    """The rows of each seed's batches, (R, steps, 16), whatever seeds are beside it."""
    shape = (setting.n_steps, BATCH_SIZE)
    return torch.stack([
        torch.randint(
            setting.n_train, shape,
            generator=torch.Generator().manual_seed(stream(seed, "batches")),
        )
        for seed in setting.seeds
    ])  # fmt: skip


def _stacked(arrays: list[NDArray[np.float64]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def pairs_of(data: list[RegressionData]) -> tuple[Tensor, Tensor]:
    """The samples and probes of all seeds, (R, P, 10) each."""
    sample = _stacked([d.x_held[d.sample] for d in data])
    return sample, _stacked([d.x_held[d.probe] for d in data])


def _loss(network: Stack, x: Tensor, y: Tensor) -> Tensor:
    return 0.5 * ((network.forward(x).output - y) ** 2).mean(1)


def ratio(change: Tensor, own: Tensor) -> Tensor:
    return torch.where(own > 0, change / own, torch.nan)
