"""The parts of the fast methods, each against what it replaces."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import grad
from torch.nn import functional as F

import srel_core as sc
from srel_core.engine.layers.compaction import compact
from srel_core.engine.layers.gradient_pass import loss_gradients
from srel_core.engine.layers.kinds.fixed_size_conv import FixedSizeConv2d
from srel_core.engine.setup.memory import gradient_parts
from srel_core.engine.setup.problem import CannotApplyError, Problem
from srel_core.engine.setup.task import Task
from srel_core.engine.setup.threads import Workers
from srel_core.engine.tangent_kernel import _at_some_inputs, _gram, _product
from srel_core.experiments.networks import build_model
from tests.support import networks


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_a_fixed_size_convolution_computes_the_same(
    size, kernel, stride, padding, dilation, groups, bias
):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias).double()
        x = torch.randn(2, 4, *size).double()
    if not networks.kernel_fits(size, kernel, padding, dilation):
        return
    want = conv(x)
    fixed = FixedSizeConv2d(conv, size)
    assert fixed.size_out == want.shape[2:]
    torch.testing.assert_close(fixed(x), want)
    if groups == 1:
        torch.testing.assert_close(fixed._by_products(x, fixed.weight, fixed.bias), want)
    gradient = torch.autograd.grad(want.square().sum(), conv.weight)[0]
    rows, columns = fixed.rows, fixed.columns
    live = torch.zeros_like(gradient, dtype=torch.bool)
    live[:, :, rows.first : rows.end, columns.first : columns.end] = True
    assert (gradient[~live] == 0).all()
    total = fixed(x).square().sum() + 0 * fixed.weight.sum()  # which padding alone has nothing of
    got = torch.autograd.grad(total, fixed.weight)[0]
    torch.testing.assert_close(
        got.permute(3, 2, 0, 1), gradient[live].view(*gradient.shape[:2], *got.shape[:2])
    )


def _problem(name="resnet18", n=3):
    return _of(networks.make(name), *networks.batch(n, 4))


def _of(model, x, y, probes):
    return Problem.of(Task.make(model, x, y, probes, "cross_entropy"))


def test_most_weights_of_the_published_network_never_move():
    model = build_model("resnet18", 3, seed=0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    problem = _of(model, images, torch.tensor([0, 1]), images)
    live, total = (sum(w.numel() for w in p.weights.values()) for p in (compact(problem), problem))
    assert 0.37 < live / total < 0.39


class UsesItsKernelTwice(nn.Module):
    """Also outside the layer's own call, where all taps count."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        small = self.conv(F.adaptive_avg_pool2d(x, 1))
        return self.head(F.conv2d(x, self.conv.weight, padding=1).mean((2, 3)) + small[..., 0, 0])


class MovesEverything(sc.SGD):
    def change(self, name, weight, gradient):
        return super().change(name, weight, gradient) - 1e-3


def test_what_must_not_be_cut_is_left_whole():
    problem = _problem()
    assert compact(problem).weights["layer4.1.conv2.weight"].shape[:2] == (1, 1)
    assert compact(problem, sc.SGD(1.0)) is not problem
    assert compact(problem, MovesEverything(1.0)) is problem
    x, y, probes = networks.batch(3, 4)
    twice = _of(UsesItsKernelTwice().double(), x, y, probes)
    assert compact(twice) is twice
    mlp = _problem("mlp")
    assert compact(mlp) is mlp


def _by_hand(problem, i):
    """∇_w ℓ(w; x_i, y_i) by weight name."""

    def loss_at(weights):
        prediction = problem.predict(weights, problem.x[i : i + 1])[0]
        return problem.loss(prediction, problem.y[i])

    return grad(loss_at)(problem.weights)


def _gradient(gradients, i):
    """That of sample i by weight name: where a unit step of SGD from 0 leads, turned round."""
    zero = {name: torch.zeros_like(w) for name, w in gradients.weights.items()}
    from_zero = dataclasses.replace(gradients, weights=zero)
    stepped = {name: torch.empty_like(w) for name, w in zero.items()}
    from_zero.step(i, sc.SGD(1.0), from_zero.targets(stepped))
    return {name: -w for name, w in stepped.items()}


@pytest.mark.parametrize("name", ["frozen", "linear", "mlp", "resnet18"])
def test_gradients_by_layers_equal_one_at_a_time(name):
    problem = compact(_problem(name))
    gradients = loss_gradients(problem, problem.x, problem.y)
    stepped = {key: torch.empty_like(w) for key, w in problem.weights.items()}
    for i in range(len(problem.x)):
        want = _by_hand(problem, i)
        for key, value in _gradient(gradients, i).items():
            torch.testing.assert_close(value, want[key], rtol=1e-9, atol=1e-12)
        gradients.step(i, sc.Adam(1e-3), gradients.targets(stepped))
        for key, weight in problem.weights.items():
            value = weight + sc.Adam(1e-3).change(key, weight, want[key])
            torch.testing.assert_close(stepped[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method, rule",
    [("shared", sc.Adam(1e-3)), ("stacked", sc.Adam(1e-3)), ("low_rank", sc.SGD(1e-2))],
)
def test_weights_with_channels_last_give_the_same(method, rule):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(4 * 36, 3),
        ).double()  # fmt: skip
        x, y = torch.randn(4, 3, 6, 6).double(), torch.tensor([0, 1, 2, 0])
    model = model.to(memory_format=torch.channels_last)
    want = sc.influence(model, x, y, x, rule=rule, method="loop").delta
    got = sc.influence(model, x, y, x, rule=rule, method=method).delta
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_a_weight_used_outside_its_layer_is_noticed():
    x, y, probes = networks.batch(3, 4)
    problem = _of(UsesItsKernelTwice().double(), x, y, probes)
    with pytest.raises(CannotApplyError, match="used outside of its layer"):
        loss_gradients(problem, problem.x, problem.y)


@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_of_grouped_and_dilated_convolutions(groups):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, dilation=2, groups=groups), nn.ReLU(True),
            nn.Flatten(), nn.Linear(54, 3),
        ).double()  # fmt: skip
    x, y, probes = networks.batch(3, 4)
    problem = _of(model, x, y, probes)
    gradients = loss_gradients(problem, x, y)
    for key, value in _gradient(gradients, 2).items():
        torch.testing.assert_close(value, _by_hand(problem, 2)[key])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    model, (x, y, probes) = networks.make("resnet18"), networks.batch(5, 4)
    one = sc.influence(model, x, y, probes, rule=sc.Adam(1e-3), method="shared")
    torch.set_num_threads(threads)
    try:
        several = sc.influence(model, x, y, probes, rule=sc.Adam(1e-3), method="shared")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one.change["kl"], several.change["kl"])


def test_an_error_in_a_worker_comes_out_and_restores_the_threads():
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), Workers(_problem("mlp"), lambda own: own) as workers:
            workers.map(lambda _, item: 1 / item, [1, 0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@given(n=st.integers(1, 500), at_most=st.integers(1, 600), activations=st.integers(1, 2**22))
def test_parts_are_all_rows_once_and_no_larger_than_allowed(n, at_most, activations):
    on_cpu, elsewhere = (
        SimpleNamespace(activation_bytes=activations, before=torch.zeros(1, device=device))
        for device in ("cpu", "meta")
    )
    for problem in (on_cpu, elsewhere):
        parts = gradient_parts(n, at_most, problem)
        assert [row for part in parts for row in range(n)[part]] == list(range(n))
        sizes = [part.stop - part.start for part in parts]
        assert min(sizes) >= 1 and max(sizes) <= min(at_most, min(sizes) + 1)
        if problem is elsewhere:
            assert len(parts) == math.ceil(n / at_most)
        else:
            assert len(parts) == 1 or len(parts) == n or len(parts) % 4 == 0


@given(sizes=st.lists(st.integers(1, 5), min_size=7, max_size=7), seed=st.integers(0, 2**16))
def test_gradients_and_gram_matrices_give_the_same_products(sizes, seed):
    s, i, outputs, groups, o, k, positions = sizes
    torch.manual_seed(seed)
    a, g = torch.randn(s, groups, k, positions), torch.randn(s, groups, o, positions)
    b = torch.randn(i, groups, k, positions).double()
    others = [torch.randn(i, groups, o, positions).double() for _ in range(outputs)]
    factors = (a.double(), g.double(), b, others)
    by_hand = torch.einsum("sgkl,sgol,igkm,cigom->sic", *factors[:3], torch.stack(others))
    for way in (_gram, _product):
        torch.testing.assert_close(way(*factors), by_hand)


@pytest.mark.parametrize("name", ["resnet18", "mlp", "frozen", "linear"])
def test_the_tangent_by_layers_equals_directional_derivatives(name):
    problem = compact(_problem(name))
    n = len(problem.x)
    at_samples = [
        loss_gradients(problem, problem.x[rows], problem.y[rows])
        for rows in (slice(0, 2), slice(2, n))
    ]
    with Workers(problem, lambda own: own) as workers:
        by_layers = _at_some_inputs(workers, at_samples, problem.inputs)
    model, batch = networks.make(name), networks.batch(n, 4)
    want = sc.tangent_influence(model, *batch, method="direct")
    torch.testing.assert_close(by_layers[:, :4].transpose(0, 1), want.delta, rtol=1e-9, atol=1e-12)


def test_a_result_says_how_each_layer_was_computed():
    model, (x, y, probes) = networks.make("resnet18"), networks.batch(2, 3)
    by_rule = {
        method: sc.influence(model, x, y, probes, rule=rule, method=method).layers
        for method, rule in [
            ("shared", sc.Adam(1e-3)), ("low_rank", sc.SGD(1e-3)), ("loop", sc.SGD(1e-3))
        ]
    }  # fmt: skip
    shared, low_rank = by_rule["shared"], by_rule["low_rank"]
    layers = {n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert set(shared) == set(low_rank) == layers and not by_rule["loop"]
    assert shared["layer4.1.conv2"] == "products of matrices, 1 of 9 taps"
    assert low_rank["layer4.1.conv2"] == shared["layer4.1.conv2"] + "; step of rank 1"
    assert low_rank["conv1"].endswith("; step of rank 16")  # 4×4 positions
    assert set(sc.tangent_influence(model, x, y, probes).layers) == layers
