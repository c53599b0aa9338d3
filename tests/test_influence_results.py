"""What a result holds, and what a measurement leaves alone: the model and the caller's modes."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

import srel_core as sc
from srel_core.divergence import DIVERGENCES
from srel_core.engine.methods import METHODS
from tests.support import networks
from tests.support.measurements import NOT_FOR_IT, VECTOR, call


def _count_call(module, _):
    module.calls.add_(1)


@pytest.mark.filterwarnings(NOT_FOR_IT)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["batchnorm", "resnet18"])
def test_the_model_and_the_rng_are_left_as_they_were(name, method, untouched_global_rng):
    model = networks.make(name)
    model.register_buffer("calls", torch.zeros(()))
    if name == "batchnorm":  # the other is measured by the fast ways
        model.register_forward_pre_hook(_count_call)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    x, y, probes = networks.batch(2, 3)
    sc.influence(model, x, y, probes, rule=sc.SGD(0.1), method=method)
    sc.tangent_influence(model, x, y, probes)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert modes == [module.training for module in model.modules()]
    assert all((p.grad == 1).all() and p.requires_grad for p in model.parameters())


def test_an_unmoved_sample_has_no_s_rel():
    """A dead network does not move: own = 0, S_rel is NaN, and it is counted."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    nn.init.constant_(model[0].bias, -100.0)
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    got = sc.influence(model, x, torch.tensor([0, 1, 0]), x, rule=sc.SGD(0.1))
    assert got.undefined("kl") == 3 and got.s_rel("kl").isnan().all()
    assert (got.change["kl"] == 0).all()


def test_by_class_and_auc_leave_out_the_sample_itself():
    model = networks.make("mlp")
    x, _, _ = networks.batch(6, 6)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    got = sc.influence(model, x, labels, x, rule=sc.SGD(0.1))
    matrix = got.by_class("kl", labels, labels, reduce="mean")
    ratio = got.s_rel("kl")
    assert float(matrix[0, 0]) == pytest.approx(float((ratio[0, 1] + ratio[1, 0]) / 2))
    assert float(matrix[1, 0]) == pytest.approx(float(ratio[2:4, 0:2].mean()))
    assert got.same_class_auc("kl", labels, labels).shape == (6,)
    with pytest.raises(ValueError, match="'l1_probs'.*out of kl, l2_logits"):
        got.by_class("l1_probs", labels, labels)


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")],
    ids=["no_grad", "inference_mode", "autocast"],
)  # fmt: skip
@pytest.mark.filterwarnings(NOT_FOR_IT)
@pytest.mark.parametrize("method", METHODS)
def test_the_callers_modes_do_not_count(method, context):
    model = nn.Linear(4, 3)
    want = call(method=method, model=model)
    torch.set_num_threads(2)
    try:
        with context():
            got = call(method=method, model=model)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(got.change, want.change, rtol=1e-3, atol=0)


@pytest.mark.parametrize("gradients", ["auto", "model"])
def test_weights_that_torch_keeps_computed_are_computed_anew(gradients):
    model = networks.make("mlp").requires_grad_()
    weight_norm(next(m for m in model.modules() if isinstance(m, nn.Linear)))
    given = networks.batch(4, 3)
    want = sc.influence(model, *given, rule=sc.SGD(0.1), gradients=gradients)
    with parametrize.cached():
        model(given[0])
        got = sc.influence(model, *given, rule=sc.SGD(0.1), gradients=gradients)
    assert torch.equal(got.delta, want.delta) and (want.own["kl"] > 0).all()


def test_threads_that_measure_at_once_get_what_each_would_alone():
    """And leave torch's settings, which are of the whole process, as they were."""

    def settings():
        cudnn, attention = torch.backends.cudnn, torch.backends.mha.get_fastpath_enabled()
        return cudnn.deterministic, cudnn.allow_tf32, attention

    def measured(model):
        return sc.influence(model, *given, rule=sc.Adam(1e-3))

    # Made beforehand: the seed of torch, too, is of the whole process.
    models = [networks.make("mlp", seed=seed, dtype=torch.float32) for seed in range(8)]
    given = networks.batch(4, 3, dtype=torch.float32)
    before, alone = settings(), list(map(measured, models))
    for _ in range(3):
        with ThreadPoolExecutor(len(models)) as pool:
            for got, want in zip(pool.map(measured, models), alone, strict=True):
                assert got.method == want.method
                assert torch.equal(got.change["kl"], want.change["kl"])
        assert settings() == before


@pytest.mark.parametrize("method", METHODS)
def test_the_predictions_are_kept_and_give_every_divergence_again(method):
    model = networks.make("mlp")
    x, y, probes = networks.batch(3, 4)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-2), divergences=VECTOR, method=method)
    stepped = copy.deepcopy(model)
    nn.functional.cross_entropy(stepped(x[1:2]), y[1:2]).backward()
    torch.optim.SGD(stepped.parameters(), lr=1e-2).step()
    with torch.no_grad():
        torch.testing.assert_close(got.before, model(probes))
        torch.testing.assert_close(got.own_before, model(x))
        torch.testing.assert_close(got.delta[:, 1], stepped(probes) - model(probes))
        torch.testing.assert_close(got.own_delta[1], (stepped(x) - model(x))[1])
    for name in VECTOR:
        measure = DIVERGENCES[name].finite
        again = measure(got.before[:, None], got.delta), measure(got.own_before, got.own_delta)
        torch.testing.assert_close(again, (got.change[name], got.own[name]), rtol=1e-12, atol=0)


def test_float32_predictions_are_kept_in_float64_with_what_they_gave():
    """At a rate that sends some samples to float64, and some not."""
    x, y, probes = networks.batch(6, 5, seed=3, dtype=torch.float32)
    model = networks.make("mlp", seed=3, dtype=torch.float32)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(2e-4), divergences=VECTOR, method="shared")
    assert got.in_float64.any() and got.method == "shared"
    assert {t.dtype for t in (got.before, got.own_before, got.delta, got.own_delta)} == {
        torch.float64
    }
    again = DIVERGENCES["kl"].finite(got.before[:, None], got.delta)
    torch.testing.assert_close(again, got.change["kl"], rtol=1e-12, atol=0)


def test_what_is_kept_does_not_follow_the_weights():
    """A model whose prediction is a view of its own parameter."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

        def forward(self, x):
            return self.value.expand(len(x), 3)

    model, x = Constant(), torch.zeros(2, 1, dtype=torch.float64)
    got = sc.influence(model, x, torch.tensor([0, 1]), x, rule=sc.SGD(0.1))
    with torch.no_grad():
        model.value += 1
    assert got.before.tolist() == got.own_before.tolist() == [[1, 2, 3]] * 2
