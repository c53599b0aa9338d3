"""Steps on many samples at once, by stacked weights: right, as few operations as promised, and
whatever lies between the layers."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import srel_core as sc
from srel_core.engine.layers.compaction import compact
from srel_core.engine.layers.operation_counts import layer_costs, multiply_adds
from srel_core.engine.setup.problem import CannotApplyError, Problem
from srel_core.engine.setup.task import Task
from srel_core.engine.stacked import StackedModel
from srel_core.experiments.networks import build_model
from tests.support import networks

# What the published measurement may take, whatever the number of samples.
MOST_CALLS, MOST_OF_FLOOR = 600, 1.25


class Calls(TorchDispatchMode):
    """Counts calls of ATen operations."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))


def published(n):
    """The published network, and n samples that are the probes too."""
    torch.manual_seed(0)
    model = build_model("resnet18", 3, seed=0).eval()
    return model, torch.randn(n, 3, 32, 32), torch.arange(n) % 3


def stacked(n):
    model, x, y = published(n)
    task = Task.make(model, x, y, x, "cross_entropy")
    problem = compact(Problem.of(task), sc.Adam(1e-4), products=False).with_precise_gradients()
    return StackedModel(problem), problem


def test_the_published_measurement_takes_few_calls_and_few_operations():
    calls = {}
    for n in (3, 12):
        model, problem = stacked(n)
        with Calls() as count, FlopCounterMode(display=False) as operations:
            model.changes(sc.Adam(1e-4), problem.x, problem.y, 2**40)
        calls[n] = sum(count.by_name.values())
    assert calls[3] == calls[12] <= MOST_CALLS
    layers = layer_costs(published(1)[0], torch.randn(1, 3, 32, 32))
    floor = 2 * sum(multiply_adds(layers, "shared", 12, 12, 3).values())
    assert operations.get_total_flops() <= MOST_OF_FLOOR * floor


def test_the_same_bits_twice_and_within_any_bound():
    model, problem = stacked(4)
    given = sc.Adam(1e-4), problem.x, problem.y
    once, again, little = (model.changes(*given, bound) for bound in (2**40, 2**40, 1))
    assert torch.equal(once, again)
    torch.testing.assert_close(little, once, rtol=1e-3, atol=1e-6)


class Decayed:
    """SGD with decay: a rule of which no more is known than its two methods."""

    def change(self, name, weight, gradient):
        return -0.01 * gradient - 0.001 * weight

    def optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=0.01, weight_decay=0.1)


RULES = [sc.SGD(1e-2), sc.Adam(1e-3), Decayed()]


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    rule=st.sampled_from(RULES),
    frozen=st.sampled_from(["", "first.weight", "second.bias", "second.weight"]),
)
def test_any_convolution_at_any_place(
    size, kernel, stride, padding, dilation, groups, bias, rule, frozen
):
    if not networks.kernel_fits(size, kernel, padding, dilation):
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential()
        model.add_module("first", nn.Conv2d(2, 4, 3, padding=1, groups=groups, bias=bias))
        model.add_module("tanh", nn.Tanh())
        conv = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias)
        model.add_module("second", conv)
        model.add_module("flat", nn.Flatten())
        with torch.no_grad():
            n = model(torch.randn(1, 2, *size)).numel()
        model.add_module("head", nn.Linear(n, 3))
        x, y, probes = torch.randn(3, 2, *size), torch.tensor([0, 2, 1]), torch.randn(2, 2, *size)
    for name, weight in model.double().named_parameters():
        weight.requires_grad_(name != frozen)
    batch = model, x.double(), y, probes.double()
    want = sc.influence(*batch, rule=rule, method="loop")
    got = sc.influence(*batch, rule=rule, method="stacked", check=False)
    assert got.method == "stacked"
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=1e-13)


class Between(nn.Module):
    """One operation between two layers."""

    def __init__(self, operation) -> None:
        super().__init__()
        self.first, self.operation = nn.Conv2d(3, 4, 3, padding=1), operation
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.operation(self.first(x)).flatten(2).mean(2))


BETWEEN = {
    "relu in place": nn.ReLU(inplace=True),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "average pool": nn.AvgPool2d(2),
    "adaptive pool": nn.AdaptiveAvgPool2d((2, 3)),
    "softmax over channels": nn.Softmax(1),
    "layer norm at rest": nn.LayerNorm((8, 8), elementwise_affine=False),
    "a shape": lambda h: h.view(h.size(0), 4, -1),
    "its own sum": lambda h: h + h.tanh(),
    "a product": lambda h: h * torch.sigmoid(h),
    "a constant": lambda h: 2 * h - 1,
    "a map of each input": lambda h: h + h.mean((2, 3), keepdim=True),
    "two of them": lambda h: torch.cat([h, -h], 2),
    "a matrix product": lambda h: h @ h.transpose(2, 3),
    "an attribute that is a shape": lambda h: h.reshape(h.shape[0], 4, -1),
    "an attribute that is a tensor": lambda h: h @ h.mT,
    "in place": lambda h: h.mul_(2).relu_(),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_any_operation_between_layers(name):
    torch.manual_seed(0)
    model, batch = Between(BETWEEN[name]).double(), networks.batch(3, 4)
    x, y, probes = batch[0].double(), batch[1], batch[2].double()
    want = sc.influence(model, x, y, probes, rule=sc.Adam(1e-3), method="loop")
    got = sc.influence(model, x, y, probes, rule=sc.Adam(1e-3), method="stacked", check=False)
    assert got.method == "stacked"
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-8, atol=1e-12)


def test_a_model_that_cannot_be_followed_is_left_to_other_ways():
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.make("mlp")

        def forward(self, x):
            return self.inner(x if x.abs().sum() > 0 else -x)

    task = Task.make(Decides(), *networks.batch(2, 2), "cross_entropy")
    with pytest.raises(CannotApplyError):
        StackedModel(Problem.of(task))
