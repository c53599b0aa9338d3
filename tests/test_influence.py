"""The engine against its oracle, its invariants, and what it must refuse."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import srel_core as sc
from srel_core.divergence import DIVERGENCES
from srel_core.engine.methods import METHODS
from tests.support import networks

VECTOR = [name for name, divergence in DIVERGENCES.items() if not divergence.scalar]
FAST = ["shared", "stacked"]
LAYERED = ["frozen", "linear", "mlp", "resnet18"]  # whose weights are all of linear layers
NOT_FOR_IT = "ignore:method=.* does not apply to this model:RuntimeWarning"
RULES = [sc.SGD(1e-2), sc.Adam(1e-3)]


def label_smoothed(prediction, target):
    """A loss of the user's own, for one sample."""
    log_p = prediction.log_softmax(0)
    return -0.9 * log_p[target] - 0.1 * log_p.mean()


def targets(loss, y):
    return nn.functional.one_hot(y, networks.N_OUTPUTS).double() if loss == "mse" else y


def relative_error(got, want):
    return max(
        float(((a - b).abs() / (b.abs() + 1e-300)).max())
        for name in want.change
        for a, b in [(got.change[name], want.change[name]), (got.own[name], want.own[name])]
    )


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", label_smoothed])
@pytest.mark.parametrize("name", LAYERED)
def test_fast_methods_equal_the_oracle(name, loss, rule, method):
    model = networks.make(name)
    x, y, probes = networks.batch(3, 4)
    arguments = dict(rule=rule, loss=loss, divergences=VECTOR)
    got = sc.influence(model, x, targets(loss, y), probes, method=method, **arguments)
    want = sc.influence(model, x, targets(loss, y), probes, method="loop", **arguments)
    assert relative_error(got, want) < 1e-9
    assert got.method == method and not got.in_float64.any()
    assert got.checked == "agrees with the definition"


@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", label_smoothed])
@pytest.mark.parametrize("name", networks.MODELS)
def test_what_is_for_all_models_equals_the_oracle(name, loss, rule, method):
    model = networks.make(name)
    x, y, probes = networks.batch(3, 4)
    arguments = dict(rule=rule, loss=loss, divergences=VECTOR)
    got = sc.influence(model, x, targets(loss, y), probes, method=method, **arguments)
    want = sc.influence(model, x, targets(loss, y), probes, method="loop", **arguments)
    assert relative_error(got, want) < 1e-9
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


def test_propagation_is_for_sgd():
    class Momentum(sc.SGD):
        """A step of one's own is more than its learning rate."""

    for rule in (Momentum(0.1), sc.Adam(0.1)):
        with pytest.raises(ValueError, match="is for SGD, not .*use method='auto'"):
            _call(rule=rule, method="low_rank")


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


class MixesItsBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x - x.mean(0))


def _call(**changes):
    generator = torch.Generator().manual_seed(0)
    arguments = dict(
        model=nn.Linear(4, 3),
        x=torch.randn(2, 4, generator=generator),
        y=torch.tensor([0, 2]),
        probes=torch.randn(5, 4, generator=generator),
        rule=sc.SGD(0.1),
    )
    arguments.update(changes)
    positional = [arguments.pop(name) for name in ("model", "x", "y", "probes")]
    return sc.influence(*positional, **arguments)


class OldRule:
    """A rule as it was before rules were handed whole tensors by name."""

    def change(self, gradient):
        return -gradient

    def optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=1)


class Gives(nn.Module):
    """What a function makes of three outputs."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 3), function

    def forward(self, x):
        return self.function(self.layer(x))


def _nan_weight():
    model = nn.Linear(4, 3)
    nn.init.constant_(model.weight, np.nan)
    return model


def _of_inference_mode():
    with torch.inference_mode():
        return nn.Linear(4, 3)


BAD = {
    "unknown method": (dict(method="stackde"), "unknown method 'stackde'.*'stacked'"),
    "unknown loss": (dict(loss="crossentropy"), "unknown loss.*'cross_entropy'"),
    "unknown divergence": (dict(divergences=["k1"]), "unknown divergence"),
    "abs of a vector": (dict(divergences=["abs"]), "scalar prediction"),
    "chunk size": (dict(chunk_size=0), "chunk_size must be a whole number of at least 1, not 0"),
    "label too large": (dict(y=torch.tensor([0, 3])), r"labels must lie in 0\.\.2.*holds 3"),
    "label negative": (dict(y=torch.tensor([0, -1])), "holds -1"),
    "labels real": (dict(y=torch.tensor([0.0, 1.0])), "integer labels"),
    "chunk size real": (dict(chunk_size=1.5), "chunk_size must be a whole number.*not 1.5"),
    "no tensor": (dict(x=[[0.0] * 4] * 2), "x must be a torch tensor or a NumPy array, not list"),
    "words": (dict(x=np.array(["a", "b"])), "x is an array of <U1: give numbers"),
    "old rule": (dict(rule=OldRule()), r"change must take \(name, weight, gradient\)"),
    "rule's class": (dict(rule=sc.SGD), "not the class SGD itself"),
    "an optimizer": (dict(rule=torch.optim.SGD([torch.zeros(1)])), r"give OptimizerStep\("),
    "features": (
        dict(x=torch.zeros(2, 5), probes=torch.zeros(3, 5)),
        r"cannot be called with an input of shape \(1, 5\)",
    ),
    "gradients": (dict(gradients="float16"), "unknown gradients 'float16'"),
    "check": (dict(check="sometimes"), "check must be True or False"),
    "no module": (dict(model=torch.sin), "model must be a torch.nn.Module"),
    "inference": (dict(model=_of_inference_mode()), "made in inference mode and takes no gradient"),
    "lazy": (dict(model=nn.LazyLinear(3)), "has no shape yet: call the model once before"),
    "meta": (dict(model=nn.Linear(4, 3, device="meta")), "on the device 'meta', without values"),
    "output": (dict(model=Gives(lambda f: {"a": f, "b": f})), "name it by output="),
    "labels too many": (dict(y=torch.tensor([0, 1, 2])), "2 samples but y 3 targets"),
    "mse target": (dict(y=torch.zeros(2, 2), loss="mse"), "target of 3 numbers"),
    "loss shape": (dict(loss=lambda p, t: p), r"loss of sample 0 has shape \(3,\)"),
    "loss value": (dict(loss=lambda p, t: p.sum() * np.inf), "loss of sample 0 is"),
    "probes empty": (dict(probes=torch.zeros(0, 4)), "probes is empty"),
    "samples empty": (dict(x=torch.zeros(0, 4), y=torch.zeros(0).long()), "x is empty"),
    "probes shape": (dict(probes=torch.zeros(5, 3)), r"shape \(4,\) but probes \(3,\)"),
    "NaN input": (dict(x=torch.full((2, 4), np.nan)), "x: 8 of 8 values are NaN"),
    "Inf probe": (dict(probes=torch.full((5, 4), np.inf)), "probes: 20 of 20"),
    "NaN weight": (dict(model=_nan_weight()), "weight 'weight'.*NaN"),
    "no weight": (dict(model=nn.Flatten()), "no trainable parameter"),
    "output shape": (dict(model=Gives(lambda f: f.sum(1))), r"must be \(batch, ..., outputs\)"),
    "positions": (
        dict(model=nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1)))),
        "y must hold a target for each position",
    ),
    "batch norm": (
        dict(model=nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))),
        r"'1' \(BatchNorm1d\).*call model.eval\(\)",
    ),
    "dropout": (
        dict(model=nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))),
        r"'0' \(Dropout\).*call model.eval\(\)",
    ),
    "own mixing": (dict(model=MixesItsBatch()), "changes with the rest of its batch"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_clear_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        _call(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lr", [0, -1.0, float("nan"), float("inf"), "x", None, True])
@pytest.mark.parametrize("rule", [sc.SGD, sc.Adam])
def test_a_learning_rate_must_be_positive(rule, lr):
    with pytest.raises(ValueError, match="lr must be a positive"):
        rule(lr)


class Hinge(nn.Module):
    """Zero, with zero gradient, where the target's output leads by a margin of one."""

    def forward(self, prediction, target):
        return (1 + prediction - prediction[target]).relu().sum() - 1


class UsesAWeightTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)) @ self.a.weight)


class FoldsTokensIntoTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 5), nn.Linear(10, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.reshape(-1, 2))).reshape(len(x), 10))


class HasAnUnusedHead(UsesAWeightTwice):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(4, 2)

    def forward(self, x):
        self.unused(x)
        return self.b(torch.tanh(self.a(x)))


class CallsByKeyword(UsesAWeightTwice):
    def forward(self, x):
        return self.b(input=torch.tanh(self.a(input=x)))


class HasAFixedBody(UsesAWeightTwice):
    def forward(self, x):
        with torch.no_grad():
            hidden = self.a(x)
        return self.b(torch.tanh(hidden))


class Decides(UsesAWeightTwice):
    """Control flow on values: it cannot run with stacked weights."""

    def forward(self, x):
        hidden = self.a(x)
        return self.b(torch.tanh(hidden) if (hidden.detach().sum() < 1e9).item() else hidden)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x.reshape(len(x), 2, 2))[0][:, -1])


ODD = [UsesAWeightTwice, FoldsTokensIntoTheBatch, HasAnUnusedHead, CallsByKeyword, HasAFixedBody,
       Decides, Recurrent]  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", Hinge()], ids=["cross_entropy", "hinge"])
@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_models_equal_the_oracle(kind, method, loss):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().double()
        x, probes = torch.randn(4, 4).double(), torch.randn(5, 4).double()
        with torch.no_grad():
            model.b.weight.mul_(5) if hasattr(model, "b") else None
            y = model(x).argmax(1)  # fitted: a hinge's first gradients are zero
        y[2:] = (y[2:] + 1) % 3
    want = sc.influence(model, x, y, probes, rule=sc.SGD(0.1), loss=loss, method="loop")
    got = sc.influence(model, x, y, probes, rule=sc.SGD(0.1), loss=loss, method=method)
    for name in want.change:
        torch.testing.assert_close(got.change[name], want.change[name], rtol=1e-8, atol=1e-20)
    assert got.undefined("kl") == want.undefined("kl")
    tangent = sc.tangent_influence(model, x, y, probes, loss=loss)
    small = sc.influence(model, x, y, probes, rule=sc.SGD(1e-7), loss=loss, method="loop")
    torch.testing.assert_close(
        tangent.change["l2_logits"], small.change["l2_logits"] / 1e-7, rtol=1e-4, atol=1e-7
    )


def test_a_model_that_cannot_run_with_stacked_weights_says_so():
    with pytest.warns(RuntimeWarning, match="method='stacked' does not apply") as caught:
        got = _call(model=Decides(), method="stacked")
    assert got.method == "direct" and "\n" not in str(caught[0].message)


def test_a_model_that_draws_random_numbers_is_refused():
    class Draws(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (torch.rand(len(x), 1) > 1e-9)

    with pytest.raises(ValueError, match=r"draws random numbers.*call model.eval\(\)"):
        _call(model=Draws(4, 3))


def test_a_step_that_is_no_number_names_its_sample():
    with pytest.raises(ValueError, match="gradient of sample 0's loss for weight '.*' is NaN"):
        _call(loss=lambda p, _: (p - p.detach()).square().sum().sqrt())  # slope 0/0
    with pytest.raises(ValueError, match="the step on sample 0 ends in NaN or infinite"):
        _call(rule=sc.SGD(1e300), loss=lambda p, _: 1e20 * p.sum())


def test_what_is_no_rule_or_loss_is_refused():
    with pytest.raises(ValueError, match=r"rule must be a step.*use tangent_influence"):
        _call(rule=sc.Tangent())
    with pytest.raises(ValueError, match="rule must be a step such as"):
        _call(rule="sgd:1e-4")
    with pytest.raises(ValueError, match="loss must be cross_entropy or mse, or a callable"):
        _call(loss=None)


def test_a_loss_module_with_tensors_of_its_own():
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    assert (_call(loss=weighted).own["kl"] > 0).all()


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")],
    ids=["no_grad", "inference_mode", "autocast"],
)  # fmt: skip
@pytest.mark.filterwarnings(NOT_FOR_IT)
@pytest.mark.parametrize("method", METHODS)
def test_the_callers_modes_do_not_count(method, context):
    model = nn.Linear(4, 3)
    want = _call(method=method, model=model)
    torch.set_num_threads(2)
    try:
        with context():
            got = _call(method=method, model=model)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(got.change, want.change, rtol=1e-3, atol=0)


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


def test_token_ids_are_inputs_too():
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 3))
    generator = torch.Generator().manual_seed(0)
    x, probes = (torch.randint(7, (n, 4), generator=generator) for n in (3, 5))
    y = torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-3))
    exact = copy.deepcopy(model).double()
    assert (
        relative_error(got, sc.influence(exact, x, y, probes, rule=sc.SGD(1e-3), method="loop"))
        < 1e-3
    )


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
