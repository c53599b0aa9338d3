"""What `influence` must refuse, each in one clear line."""

import numpy as np
import pytest
import torch
from torch import nn

import srel_core as sc
from srel_core.engine.setup import checks
from tests.support.measurements import call


def test_propagation_is_for_sgd():
    class Momentum(sc.SGD):
        """A step of one's own is more than its learning rate."""

    for rule in (Momentum(0.1), sc.Adam(0.1)):
        with pytest.raises(ValueError, match="is for SGD, not .*use method='auto'"):
            call(rule=rule, method="low_rank")


class MixesItsBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x - x.mean(0))


class OldRule:
    """A rule as it was before rules were handed whole tensors by name."""

    def change(self, gradient):
        return -gradient

    def optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=1)


class GivesANumber(OldRule):
    def change(self, name, weight, gradient):
        return float(gradient.sum())


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


def _steps_in_its_backward_pass():
    """Each weight by an optimizer of its own as soon as its gradient is there, to save memory."""
    model = nn.Linear(4, 3)
    for weight in model.parameters():
        optimizer = torch.optim.SGD([weight], lr=1, momentum=0.9)
        weight.register_post_accumulate_grad_hook(lambda _, optimizer=optimizer: optimizer.step())
    return model


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
    "a rule's number": (
        dict(rule=GivesANumber()),
        r"GivesANumber.change must return .* a tensor of its shape \(3, 4\), not float",
    ),
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
    "stepping": (dict(model=_steps_in_its_backward_pass()), "'weight' has a hook .* take it off"),
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
        call(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lr", [0, -1.0, float("nan"), float("inf"), "x", None, True])
@pytest.mark.parametrize("rule", [sc.SGD, sc.Adam])
def test_a_learning_rate_must_be_positive(rule, lr):
    with pytest.raises(ValueError, match="lr must be a positive"):
        rule(lr)


def test_a_model_that_draws_random_numbers_is_refused():
    class Draws(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (torch.rand(len(x), 1) > 1e-9)

    with pytest.raises(ValueError, match=r"draws random numbers.*call model.eval\(\)"):
        call(model=Draws(4, 3))


def test_a_step_that_is_no_number_names_its_sample():
    with pytest.raises(ValueError, match="gradient of sample 0's loss for weight '.*' is NaN"):
        call(loss=lambda p, _: (p - p.detach()).square().sum().sqrt())  # gradient 0/0
    with pytest.raises(ValueError, match="the step on sample 0 ends in NaN or infinite"):
        call(rule=sc.SGD(1e300), loss=lambda p, _: 1e20 * p.sum())


class ByItsData(nn.Linear):
    def forward(self, x):
        return x @ self.weight.data.T + self.bias.data


WITHOUT_GRADIENT = {
    "detached": dict(model=Gives(torch.detach)),
    "in NumPy": dict(model=Gives(lambda f: torch.from_numpy(f.detach().numpy()))),
    "a decision": dict(model=Gives(lambda f: nn.functional.one_hot(f.argmax(1), 3).to(f.dtype))),
    "without gradients": dict(model=Gives(torch.no_grad()(lambda f: f * 1))),
    "data": dict(model=ByItsData(4, 3)),
    "a loss of decisions": dict(loss=lambda p, t: (p.argmax() != t).double()),
}


@pytest.mark.parametrize("changes", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT.keys())
def test_what_moves_no_weight_is_refused(changes):
    """As a backward pass would; else every change would be 0, without a word."""
    for rule, method in ((sc.SGD(0.1), "loop"), (sc.SGD(0.1), "auto"), (sc.Adam(0.1), "auto")):
        with pytest.raises(ValueError, match="no sample's loss has a gradient: .* as by detach"):
            call(**changes, rule=rule, method=method)
    given = {"model": nn.Linear(4, 3), **changes}
    x, y = torch.eye(4)[:2], torch.tensor([0, 2])
    with pytest.raises(ValueError, match="no sample's loss has a gradient"):
        sc.tangent_influence(given.pop("model"), x, y, x, **given)


def test_a_sample_without_a_gradient_rests_while_others_step():
    def loss(prediction, target):
        chosen = prediction[target]
        return chosen if target else chosen.detach()

    model = nn.Linear(4, 3)
    found, alone = call(model=model, loss=loss), call(model=model, loss=lambda p, t: p[t])
    for name, own in found.own.items():
        assert float(own[0]) == 0 and not found.change[name][:, 0].any()
        assert torch.allclose(own[1], alone.own[name][1], rtol=1e-12, atol=0) and own[1] > 0


def test_what_is_no_rule_or_loss_is_refused():
    with pytest.raises(ValueError, match=r"rule must be a step.*use tangent_influence"):
        call(rule=sc.Tangent())
    with pytest.raises(ValueError, match="rule must be a step such as"):
        call(rule="sgd:1e-4")
    with pytest.raises(ValueError, match="loss must be cross_entropy or mse, or a callable"):
        call(loss=None)


def test_a_device_without_float64_is_refused():
    """Apple's has none; on other machines there is no such device."""
    with pytest.raises(ValueError, match="the device 'mps' has no float64, in which changes"):
        checks.require_float64(torch.device("mps"))
