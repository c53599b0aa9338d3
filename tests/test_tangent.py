"""The limit of a vanishing step: against explicit Jacobians, and as a limit."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

import srel_core as sc
from tests.support import networks

NORMS = ("l2_logits", "l1_probs")


def _explicit(model, x, y, probes):
    """(S, P, C): −Θ(x', x) r(x) from full Jacobians, one pair at a time."""
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def jacobian(one):
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel cannot be batched
            blocks = jacrev(lambda w: functional_call(model, w, (one[None],))[0])(weights)
        return torch.cat([block.flatten(1) for block in blocks.values()], 1)

    changes = []
    for x_i, y_i in zip(x, y, strict=True):
        residual = model(x_i[None])[0].softmax(0)
        residual = residual - torch.nn.functional.one_hot(y_i, len(residual))
        changes.append(
            torch.stack([-jacobian(probe) @ jacobian(x_i).T @ residual for probe in probes])
        )
    return torch.stack(changes).detach()


@pytest.mark.parametrize("name", ["linear", "mlp", "vit", "batchnorm"])
def test_agrees_with_explicit_jacobians(name):
    model = networks.make(name)
    x, y, probes = networks.batch(2, 3)
    got = sc.tangent_influence(model, x, y, probes)
    changes = _explicit(model, x, y, probes)
    torch.testing.assert_close(got.change["l2_logits"], changes.norm(dim=2).T)
    torch.testing.assert_close(got.delta, changes.transpose(0, 1))
    torch.testing.assert_close(got.own_delta[-1], got.delta[0, -1])  # x[-1] is probes[0]
    p = model(probes).softmax(1).detach()
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    quadratic = 0.5 * torch.einsum("spc,pcd,spd->ps", changes, fisher, changes)
    torch.testing.assert_close(got.change["kl"], quadratic)


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_a_finite_step_converges_to_it_at_first_order(name):
    model = networks.make(name)
    x, y, probes = networks.batch(3, 4)
    limit = sc.tangent_influence(model, x, y, probes)
    for divergence in ("kl", "l2_logits"):
        errors = []
        for lr in (1e-3, 1e-4, 1e-5):
            finite = sc.influence(model, x, y, probes, rule=sc.SGD(lr))
            errors.append(float((finite.s_rel(divergence) - limit.s_rel(divergence)).abs().max()))
        assert errors[0] > 1e-9
        for coarse, fine in pairwise(errors):
            assert fine == pytest.approx(coarse / 10, rel=0.3)


def test_scalar_regression_is_the_tangent_kernel_ratio():
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    model = model.double()
    generator = torch.Generator().manual_seed(0)
    x, probes = (torch.randn(n, 4, generator=generator).double() for n in (2, 3))
    y = torch.randn(2, generator=generator).double()
    got = sc.tangent_influence(model, x, y, probes, loss="mse", divergences=["abs"])
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def gradient(one):
        blocks = jacrev(lambda w: functional_call(model, w, (one[None],))[0, 0])(weights)
        return torch.cat([block.flatten() for block in blocks.values()])

    at_x = torch.stack([gradient(one) for one in x])
    at_probes = torch.stack([gradient(one) for one in probes])
    kernel = (at_probes @ at_x.T).abs() / (at_x * at_x).sum(1)
    torch.testing.assert_close(got.s_rel("abs"), kernel)


def test_float32_is_within_a_thousandth_of_float64():
    x, y, probes = networks.batch(3, 4)
    exact = sc.tangent_influence(networks.make("resnet18"), x, y, probes)
    x, probes = x.float(), probes.float()
    single = sc.tangent_influence(networks.make("resnet18").float(), x, y, probes)
    torch.testing.assert_close(single.change["kl"], exact.change["kl"], rtol=1e-3, atol=0)


def test_a_model_without_layers_of_its_own_on_several_threads():
    """Forward derivatives cannot be taken side by side."""
    model, (x, y, probes) = networks.make("vit"), networks.batch(8, 4)
    want = sc.tangent_influence(model, x, y, probes)
    torch.set_num_threads(3)
    try:
        for _ in range(3):
            got = sc.tangent_influence(model, x, y, probes)
            torch.testing.assert_close(got.delta, want.delta)
    finally:
        torch.set_num_threads(1)


class LastState(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell(3, 5, num_layers=2, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_are_followed_forward_in_either_precision(cell):
    """Two backward passes through a fused kernel took ten times as long."""
    torch.manual_seed(0)
    model, x, probes = LastState(cell), torch.randn(2, 6, 3), torch.randn(3, 6, 3)
    given = (x, torch.tensor([1, 3]), probes)
    got = sc.tangent_influence(model, *given, divergences=["l2_logits"], gradients="model")
    assert got.method == "tangent, forward derivative"
    assert torch.backends.mkldnn.enabled and torch.backends.cudnn.enabled
    wide = LastState(cell).double()
    wide.load_state_dict(model.state_dict())
    small = sc.influence(
        wide, x.double(), given[1], probes.double(), rule=sc.SGD(1e-7), divergences=["l2_logits"],
        method="loop",
    )  # fmt: skip
    torch.testing.assert_close(
        got.change["l2_logits"], small.change["l2_logits"] / 1e-7, rtol=1e-4, atol=0
    )
