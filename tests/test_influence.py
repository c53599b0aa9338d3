"""The engine against its oracle, and its invariants."""

import copy
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import srel_core as sc
from tests.support import networks
from tests.support.measurements import NOT_FOR_IT, VECTOR, relative_error

FAST = ["shared", "stacked"]


LAYERED = ["frozen", "linear", "mlp", "resnet18"]  # whose weights are all of linear layers


RULES = [sc.SGD(1e-2), sc.Adam(1e-3)]


def label_smoothed(prediction, target):
    """A loss of the user's own, for one sample."""
    log_p = prediction.log_softmax(0)
    return -0.9 * log_p[target] - 0.1 * log_p.mean()


def targets(loss, y):
    return nn.functional.one_hot(y, networks.N_OUTPUTS).double() if loss == "mse" else y


def measured(name, loss, rule, method):
    x, y, probes = networks.batch(3, 4)
    return sc.influence(
        networks.make(name), x, targets(loss, y), probes,
        rule=rule, loss=loss, divergences=VECTOR, method=method,
    )  # fmt: skip


@functools.cache
def oracle(name, loss, rule):
    return measured(name, loss, rule, "loop")


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", label_smoothed])
@pytest.mark.parametrize("name", LAYERED)
def test_fast_methods_equal_the_oracle(name, loss, rule, method):
    got = measured(name, loss, rule, method)
    assert relative_error(got, oracle(name, loss, rule)) < 1e-9
    assert got.method == method and not got.in_float64.any()
    assert got.checked == "agrees with the definition"


@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", label_smoothed])
@pytest.mark.parametrize("name", networks.MODELS)
def test_what_is_for_all_models_equals_the_oracle(name, loss, rule, method):
    got = measured(name, loss, rule, method)
    assert relative_error(got, oracle(name, loss, rule)) < 1e-9
    assert method == "auto" or got.method == method


@pytest.mark.parametrize("lr", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", label_smoothed])
@pytest.mark.parametrize("name", LAYERED)
def test_propagated_changes_equal_the_oracle(name, loss, lr):
    model = networks.make(name)
    x, y, probes = networks.batch(3, 4)
    arguments = dict(rule=sc.SGD(lr), loss=loss, divergences=["l2_logits"])
    got = sc.influence(model, x, targets(loss, y), probes, method="low_rank", **arguments)
    want = sc.influence(model, x, targets(loss, y), probes, method="loop", **arguments)
    # relative to the change; at the smallest rate the oracle's own subtraction is the limit
    error = (got.delta - want.delta).norm(dim=2) / want.delta.norm(dim=2)
    assert error.max() < (1e-7 if lr == 1e-6 else 1e-10)
    assert got.method == "low_rank" and not got.in_float64.any()


@pytest.mark.parametrize("lr", [1e-8, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("name", LAYERED)
def test_propagated_changes_survive_float32(name, lr):
    x, y, probes = networks.batch(3, 5, seed=3, dtype=torch.float32)
    model = networks.make(name, seed=3, dtype=torch.float32)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(lr), method="low_rank")
    exact, x, probes = copy.deepcopy(model).double(), x.double(), probes.double()
    want = sc.influence(exact, x, y, probes, rule=sc.SGD(lr), method="low_rank")
    error = (got.delta - want.delta).norm(dim=2) / want.delta.norm(dim=2)
    assert error.max() < 1e-5


def test_a_fast_way_that_does_not_apply_says_why_and_the_definition_is_taken():
    x, y, probes = networks.batch(2, 3)
    hooked = networks.make("mlp")
    hooked[1].register_forward_hook(lambda _, __, out: 2 * out)
    rule = sc.SGD(0.1)
    for model, method, reason in [
        (hooked, "low_rank", r"module '1' \(Linear\) has a hook"),
        (networks.make("vit"), "shared", "has weights in a way of its own"),
        (networks.make("tied"), "stacked", "weight 'inner.weight' stands at more than one place"),
    ]:
        with pytest.warns(RuntimeWarning, match=f"method='{method}' does not apply.*{reason}") as w:
            got = sc.influence(model, x, y, probes, rule=rule, method=method)
        assert got.method == "direct" and w[0].filename == __file__
        want = sc.influence(model, x, y, probes, rule=rule, method="loop")
        assert relative_error(got, want) < 1e-9


@pytest.mark.filterwarnings(NOT_FOR_IT)
@pytest.mark.parametrize("name", ["linear", "mlp", "resnet18", "vit"])
@pytest.mark.parametrize("rule", [sc.SGD(1e-6), sc.SGD(1e-3), sc.SGD(1e-1), sc.Adam(1e-4)], ids=str)
@pytest.mark.parametrize("method", ["auto", "shared"])
def test_float32_is_within_a_thousandth_of_float64(name, rule, method):
    x, y, probes = networks.batch(3, 5, seed=3, dtype=torch.float32)
    model = networks.make(name, seed=3, dtype=torch.float32)
    got = sc.influence(model, x, y, probes, rule=rule, divergences=VECTOR, method=method)
    model, x, probes = copy.deepcopy(model).double(), x.double(), probes.double()
    want = sc.influence(model, x, y, probes, rule=rule, divergences=VECTOR, method="loop")
    assert relative_error(got, want) < 1e-3
    if rule == sc.SGD(1e-6) and got.method == "shared":
        assert got.in_float64.all()


def test_float32_survives_a_sample_that_is_fitted_to_the_last_digit():
    x, y, probes = networks.batch(3, 5, dtype=torch.float32)
    model = networks.make("mlp", dtype=torch.float32)
    with torch.no_grad():
        model[-1].weight *= 100  # predictions so sure that float32 rounds 1 − p_y away
    y = model(x).argmax(1)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-4))
    exact = copy.deepcopy(model).double()
    want = sc.influence(exact, x.double(), y, probes.double(), rule=sc.SGD(1e-4), method="loop")
    assert (1 - model(x).softmax(1).max(1).values).min() < 1e-6
    assert relative_error(got, want) < 1e-3


def test_the_answer_on_paper_for_one_linear_layer():
    """f = Wx + b, mse/2 slope r = 2(f − y)/C: δz(x') = −η r (x·x' + 1), whatever the size of η."""
    model = nn.Linear(5, 2).double()
    generator = torch.Generator().manual_seed(0)
    x, probes, y = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in [(4, 5), (6, 5), (4, 2)]
    )
    got = sc.influence(model, x, y, probes, rule=sc.SGD(0.3), loss="mse", divergences=["l2_logits"])
    slope = (model(x) - y).detach()  # 2 (f − y) / C with C = 2
    kernel = probes @ x.T + 1
    torch.testing.assert_close(got.change["l2_logits"], 0.3 * slope.norm(dim=1) * kernel.abs())
    own = (x**2).sum(1) + 1
    torch.testing.assert_close(got.s_rel("l2_logits"), kernel.abs() / own)


@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**16),
    chunk=st.integers(1, 7),
    rule=st.sampled_from(RULES),
)
def test_invariants_on_random_shapes(sizes, seed, chunk, rule):
    n_features, n_samples, n_probes = sizes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(n_features, 7), nn.Tanh(), nn.Linear(7, 3)).double()
        x, probes = (torch.randn(n, n_features).double() for n in (n_samples, n_probes))
        y = torch.randint(3, (n_samples,))
        order, order_probes = torch.randperm(n_samples), torch.randperm(n_probes)
    whole = sc.influence(model, x, y, probes, rule=rule, divergences=VECTOR, method="shared")
    chunked = sc.influence(
        model, x, y, probes, rule=rule, divergences=VECTOR, method="stacked", chunk_size=chunk
    )
    starved = sc.influence(
        model, x, y, probes, rule=rule, divergences=VECTOR, method="shared", max_bytes=4000
    )
    permuted = sc.influence(
        model, x[order], y[order], probes[order_probes], rule=rule, divergences=VECTOR,
        method="shared",
    )  # fmt: skip
    at_samples = sc.influence(model, x, y, x, rule=rule, divergences=VECTOR)
    for name in VECTOR:
        close = dict(rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(chunked.change[name], whole.change[name], **close)
        torch.testing.assert_close(starved.change[name], whole.change[name], **close)
        torch.testing.assert_close(
            permuted.change[name], whole.change[name][order_probes][:, order], **close
        )
        torch.testing.assert_close(permuted.own[name], whole.own[name][order], **close)
        assert (whole.change[name] >= 0).all()
        assert (at_samples.s_rel(name).diagonal() == 1).all()  # to the bit: S_rel(x, x) = 1
    assert at_samples.same_input.diagonal().all()


def test_one_large_input_does_not_hide_the_rounding_of_its_prediction():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3))
        x, probes = torch.randn(3, 4), torch.randn(40, 4)
    model[0].weight.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    linear = nn.Sequential(nn.Linear(4, 3))
    linear[0].weight.requires_grad_(False)
    probes[1] *= 1e4
    y = torch.tensor([0, 1, 2])
    for one in (model, linear):
        got = sc.influence(one, x, y, probes, rule=sc.SGD(1e-2))
        exact = copy.deepcopy(one).double()
        want = sc.influence(exact, x.double(), y, probes.double(), rule=sc.SGD(1e-2), method="loop")
        error = got.change["l2_logits"] / want.change["l2_logits"] - 1
        assert error.abs().max() < 1e-3
