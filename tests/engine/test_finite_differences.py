"""Each exact finite difference against a subtraction in higher precision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srel_core.engine.propagation import finite_differences

POOLS = [
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d(2),
    nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0)),
]


FORMULAS = {
    "relu": (torch.relu, lambda h, d: finite_differences.ReluDifference(h)(d)),
    "tanh": (torch.tanh, finite_differences.tanh_difference),
    "sigmoid": (torch.sigmoid, finite_differences.sigmoid_difference),
    **{
        f"pool{i}": (pool, lambda h, d, pool=pool: finite_differences.MaxPoolDifference(pool, h)(d))
        for i, pool in enumerate(POOLS)
    },
}


@pytest.mark.parametrize("name", FORMULAS)
@given(scale=st.floats(-12, 1), size=st.floats(-1, 2), seed=st.integers(0, 2**16))
def test_a_formula_is_as_exact_for_small_changes_as_for_large_ones(name, scale, size, seed):
    function, formula = FORMULAS[name]
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(2, 3, 6, 7, generator=generator) * 10**size
    h[0, 0] = 0.0  # ties, and units at rest
    delta = torch.randn(4, 2, 3, 6, 7, generator=generator) * 10**scale
    exact, wide = h.double(), delta.double()
    want = torch.stack([function(exact + d) - function(exact) for d in wide])
    got = formula(h, delta)
    assert got.dtype == torch.float32 and got.shape == want.shape
    # relative to the changes that went in; the subtraction in float64 loses what a formula keeps
    rounding = 4e-15 * (1 + exact.abs().max())
    assert ((got - want).abs() <= 4e-7 * wide.abs().max() + rounding).all()
    if name in ("tanh", "sigmoid"):  # smooth: relative to what comes out as well
        assert ((got - want).abs() <= 1e-5 * want.abs() + rounding).all()


@pytest.mark.parametrize("h", [-1000.0, -20.0, 0.0, 1e-8, 20.0, 1000.0])
@pytest.mark.parametrize("delta", [-2000.0, -1.0, -1e-20, 0.0, 1e-20, 1.0, 2000.0])
def test_saturated_units_give_no_nonsense(h, delta):
    h, delta = torch.tensor(h, dtype=torch.float64), torch.tensor(delta, dtype=torch.float64)
    got, want = finite_differences.tanh_difference(h, delta), (h + delta).tanh() - h.tanh()
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-15)
    assert delta != 0 or got == 0
