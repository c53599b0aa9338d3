"""Models that compute in half precision, which rounds by more than a small step changes.

They are measured as the function that they are but for its rounding: in float64, or, where that
would take long, in float32.
"""

import pytest
import torch
from torch import nn

import srel_core as sc
from tests.support import by_hand

BFLOAT, HALF = torch.bfloat16, torch.float16


class Net(nn.Module):
    """A network, the same at each time, which others call in a precision of theirs."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
            )

    def forward(self, x):
        return self.net(x)


class Autocast(Net):
    def forward(self, x):
        with torch.autocast("cpu", dtype=BFLOAT):
            return self.net(x).to(x.dtype)


class Decorated(Net):
    @torch.autocast("cpu", dtype=BFLOAT)
    def forward(self, x):
        return self.net(x)


class ByHand(Net):
    """Casts weights and activations itself, in each of the ways to write that."""

    def forward(self, x):
        first, _, second, _, last = self.net
        h = torch.relu(x.bfloat16() @ first.weight.to(BFLOAT).T + first.bias.type(BFLOAT))
        h = nn.functional.linear(h, second.weight.bfloat16(), second.bias.to(dtype=BFLOAT))
        return last(h.tanh().to(last.weight.dtype))


class Kept(Net):
    """Keeps what it computes of an input in half precision."""

    def forward(self, x):
        for layer in self.net:
            x = layer(x).half().float()
        return x


def patched():
    """As accelerate prepares a model."""
    model = Net()
    inner = torch.autocast("cpu", dtype=BFLOAT)(model.forward)
    model.forward = lambda x: inner(x).to(x.dtype)
    return model


WAYS = {
    "autocast": Autocast, "decorated": Decorated, "by hand": ByHand, "patched": patched,
    "kept": Kept,
    "bfloat16": lambda: Net().to(BFLOAT), "half": lambda: Net().to(HALF),
}  # fmt: skip
RULES = {
    "sgd": (sc.SGD(1e-4), lambda p: torch.optim.SGD(p, 1e-4)),
    "large sgd": (sc.SGD(0.5), lambda p: torch.optim.SGD(p, 0.5)),
    "adam": (sc.Adam(1e-4), lambda p: torch.optim.Adam(p, 1e-4)),
    "momentum": (None, lambda p: torch.optim.SGD(p, 1e-4, momentum=0.9)),
}


def batch(dtype):
    draw = torch.Generator().manual_seed(1)
    x, probes = (torch.randn(3, 6, generator=draw).to(dtype) for _ in range(2))
    return x, torch.tensor([0, 3, 1]), probes


def dtype_of(model):
    return next(model.parameters()).dtype


@pytest.fixture(params=["float64", "float32"])
def measured_in(request, monkeypatch):
    """In which precision: models count as cheap, or none does."""
    if request.param == "float32":
        monkeypatch.setattr("srel_core.engine.methods.CHEAP", 0)
    return request.param


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", WAYS)
def test_changes_are_those_of_a_step_by_hand(way, rule, measured_in):
    model = WAYS[way]().eval()
    x, y, probes = batch(dtype_of(model))
    ours, optimizer = RULES[rule]
    ours = ours or sc.OptimizerStep(optimizer(model.parameters()))
    got = sc.influence(model, x, y, probes, rule=ours)

    def fresh():
        plain = Net()
        plain.load_state_dict(model.state_dict())
        return plain.to(dtype_of(model)).double()

    want = by_hand.changes(fresh, x, y, probes, optimizer)
    assert got.gradients == measured_in and got.method == "direct"
    assert not got.by_derivative.any() or measured_in == "float32"
    error = (got.delta - want).norm(dim=2) / want.norm(dim=2)
    assert error.max() < {"float64": 1e-9, "float32": 2e-3}[measured_in]


@pytest.mark.parametrize("way", WAYS)
def test_the_limit_is_that_of_the_network_in_float64(way, measured_in):
    model = WAYS[way]().eval()
    x, y, probes = batch(dtype_of(model))
    got = sc.tangent_influence(model, x, y, probes)
    same = Net().to(dtype_of(model)).double()
    want = sc.tangent_influence(same, x.double(), y, probes.double())
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lr", [1e-4, 0.05])
@pytest.mark.parametrize("way", WAYS)
def test_in_its_own_precision_changes_are_off_by_percents(way, lr):
    model = WAYS[way]().eval()
    x, y, probes = batch(dtype_of(model))
    got = sc.influence(model, x, y, probes, rule=sc.SGD(lr), gradients="model")
    assert got.gradients == "model"
    want = sc.influence(model, x, y, probes, rule=sc.SGD(lr))
    assert (got.delta - want.delta).norm() / want.delta.norm() < 0.05
    got = sc.tangent_influence(model, x, y, probes, gradients="model")
    want = sc.tangent_influence(model, x, y, probes)
    assert (got.delta - want.delta).norm() / want.delta.norm() < 0.05


@pytest.mark.parametrize("way", ["autocast", "patched"])
def test_a_step_is_seen_within_a_block_of_autocast(way):
    """Which keeps rounded weights until its end."""
    model = WAYS[way]().eval()
    given = batch(torch.float32)
    want = sc.influence(model, *given, rule=sc.SGD(0.05), gradients="model").delta
    with torch.autocast("cpu", dtype=BFLOAT):
        model(given[0])
        got = sc.influence(model, *given, rule=sc.SGD(0.05), gradients="model").delta
    assert torch.equal(got, want) and (want != 0).any((1, 2)).all()


def test_what_cannot_be_computed_in_more_is_said():
    class Own(Net):
        """Casts where nothing that widens sees it."""

        def forward(self, x):
            with torch._C.DisableTorchFunction():
                return self.net(x.to(BFLOAT)).to(torch.float32)

    model = Own().to(BFLOAT).eval()
    x, y, probes = batch(torch.float32)
    with pytest.warns(RuntimeWarning, match="half precision.*cannot be computed in float32"):
        got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-4))
    assert got.gradients == "model"


def test_a_model_in_float64_with_products_in_float32_is_computed_in_float64():
    class Narrow(Net):
        def forward(self, x):
            first, *rest = self.net
            h = x.float() @ first.weight.float().T + first.bias.float()
            return nn.Sequential(*rest)(h.double())

    x, y, probes = batch(torch.float64)
    got = sc.influence(Narrow().double(), x, y, probes, rule=sc.SGD(1e-6))
    want = sc.influence(Net().double(), x, y, probes, rule=sc.SGD(1e-6))
    assert got.gradients == "float64"
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=0)
