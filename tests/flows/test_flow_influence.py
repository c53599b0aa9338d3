"""S_rel of each flow by two independent roads: the closed forms, and `srel_core` on a module."""

import numpy as np
import pytest
import torch
from torch import nn

import srel_core as sc
from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow

TIMES = np.array([0.0, 0.3, 1.0, 4.0])
N_PAIRS = 6


class Ridge(nn.Module):
    """Predicts Wᵀh, and one number more, for a loss that has to see the weights.

    That number is always 0, so that no step changes it; its gradient is that of ½Σ‖w_l‖².
    """

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, h):
        penalty = 0.5 * (self.w**2).sum()
        nothing = (penalty - penalty.detach()).expand(len(h), 1)
        return torch.cat([h @ self.w, nothing], dim=1)


class Gate(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x):
        return torch.relu(x @ self.w)[:, None]


class Power(Gate):
    def __init__(self, w, degree):
        super().__init__(w)
        self.degree = degree

    def forward(self, x):
        return (x @ self.w**self.degree)[:, None]


class Radial(Power):
    def forward(self, x):
        return (x @ self.w)[:, None] * torch.linalg.vector_norm(self.w) ** (self.degree - 1)


def pairs(rng, p):
    return rng.standard_normal((N_PAIRS, p)), rng.standard_normal((N_PAIRS, p))


def tangent_s_rel(model, probe, sample):
    """(m,): S_rel of a vanishing step, for probe j and sample j."""
    target = torch.full((len(sample), 1), 7.0, dtype=torch.float64)  # no sample is fitted
    result = sc.tangent_influence(
        model, torch.tensor(sample), target, torch.tensor(probe), loss="mse", divergences=("abs",)
    )
    return np.diag(result.s_rel("abs").numpy())


def check(flow, model, probe, sample):
    """At each time, the flow's S_rel against that of the module with the flow's weights."""
    exact = flow.s_rel(TIMES, probe, sample)
    for i, w in enumerate(flow.weights(TIMES)):
        measured = tangent_s_rel(model(w), probe, sample)
        np.testing.assert_allclose(exact[i], measured, rtol=1e-9, atol=1e-12)
    return exact


@pytest.mark.parametrize("method", ["loop", "direct", "auto"])
@pytest.mark.parametrize("penalty", [0.0, 0.5, 20.0])
def test_ridge_step_of_finite_size(penalty, method):
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((30, 5)), np.arange(30) % 3
    flow = RidgeFlow(features, labels, penalty, rng.standard_normal((5, 3)))
    probe, sample, classes = features[:N_PAIRS], features[-N_PAIRS:], labels[-N_PAIRS:]

    def loss(prediction, target):
        error = prediction[:3] - (torch.arange(3) == target).double()
        return 0.5 * (error**2).sum() + penalty / 3 * prediction[3]

    exact = flow.s_rel(TIMES, probe, sample, classes)
    for i, w in enumerate(flow.weights(TIMES)):
        result = sc.influence(
            Ridge(w), torch.tensor(sample), torch.tensor(classes), torch.tensor(probe),
            rule=sc.SGD(0.1), loss=loss, divergences=("l2_logits",), method=method,
        )  # fmt: skip
        measured = np.diag(result.s_rel("l2_logits").numpy())
        np.testing.assert_allclose(exact[i], measured, rtol=1e-9)
    moved = np.abs(exact[-1] / exact[0] - 1).max()
    assert moved > 0.01 if penalty else moved < 1e-9


@pytest.mark.parametrize("flow", ["glm_tron", "gradient"])
def test_relu_gate(flow):
    rng = np.random.default_rng(1)
    gate = ReluGateFlow(rng.standard_normal(4), rng.standard_normal(4), flow=flow)
    exact = check(gate, Gate, *pairs(rng, 4))
    assert np.isnan(exact).any() and (exact == 0).any() and (exact > 0).any()


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_power_flow(degree):
    rng = np.random.default_rng(2)
    start = rng.uniform(0.1, 1.5, 4) * (1 if degree % 2 == 0 else np.array([1, -1, 1, -1]))
    flow = PowerFlow(rng.standard_normal(4), start, degree)
    check(flow, lambda w: Power(w, degree), *pairs(rng, 4))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_radial_flow(degree):
    rng = np.random.default_rng(3)
    flow = RadialFlow(rng.standard_normal(4), rng.standard_normal(4), degree)
    check(flow, lambda w: Radial(w, degree), *pairs(rng, 4))
