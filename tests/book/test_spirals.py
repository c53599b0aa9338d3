"""Two spiral arms: their shape, and a step on one of their points."""

import numpy as np
import pytest
import torch

import srel_core as sc
from srel_core.book.spirals import Spirals


def test_an_arm_is_as_long_as_its_pieces():
    spirals = Spirals(400)
    t = np.linspace(0.25, 1, 100_001)
    # |d/dt t e^{iat}| = √(1 + a² t²)
    length = np.trapezoid(np.sqrt(1 + (3 * np.pi * t) ** 2), t)
    np.testing.assert_allclose(float(spirals.along[-1]), length, rtol=1e-3)
    assert spirals.arm.shape == (400, 2) and (spirals.along.diff() > 0).all()
    torch.testing.assert_close(spirals.points[400:], -spirals.arm)


def test_a_network_learns_the_arms_and_a_step_moves_its_own_point_by_one(untouched_global_rng):
    spirals = Spirals(60)
    model = spirals.trained(seed=3, steps=400)
    with torch.no_grad():
        assert (model(spirals.points).sign() == spirals.targets).float().mean() > 0.95
    values = spirals.s_rel(model, torch.tensor([7, 30]))
    assert values.shape == (120, 2)
    assert [values[7, 0], values[30, 1]] == pytest.approx([1, 1])
    by_definition = sc.influence(
        model, spirals.points[[30]], spirals.targets[[30]], spirals.points,
        rule=sc.SGD(1e-4), loss="mse", divergences=("abs",), method="loop",
    )  # fmt: skip
    np.testing.assert_allclose(values[:, 1:], by_definition.s_rel("abs"), rtol=1e-3, atol=1e-5)
