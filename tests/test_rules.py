"""Step rules: whole tensors by name, and the step that the user's own optimizer would take."""

import copy
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import srel_core as sc

X, PROBES, Y = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 2, 1])


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-2),
    "momentum": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, nesterov=True),
    "decay": lambda p: torch.optim.SGD(p, 1e-2, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "nadam": lambda p: torch.optim.NAdam(p, 1e-3),
    "radam": lambda p: torch.optim.RAdam(p, 1e-3),
    "adamax": lambda p: torch.optim.Adamax(p, 1e-3),
    "asgd": lambda p: torch.optim.ASGD(p, 1e-2),
    "rprop": lambda p: torch.optim.Rprop(p, 1e-3),
}


def by_hand(model, optimizer, i):
    """What the next step on sample i would do, on deep copies that stay together."""
    model, optimizer = copy.deepcopy((model, optimizer))
    with torch.no_grad():
        before = model(PROBES.to(next(model.parameters()))).clone()
    optimizer.zero_grad()
    F.cross_entropy(model(X[i : i + 1].to(before)), Y[i : i + 1]).backward()
    optimizer.step()
    with torch.no_grad():
        return model(PROBES.to(before)) - before


def trained(make, steps):
    """A network and its optimizer after some steps, in two groups with rates of their own."""
    model = network()
    optimizer = make([{"params": model[0].parameters()}, {"params": model[2].parameters()}])
    optimizer.param_groups[1]["lr"] = optimizer.param_groups[0]["lr"] * 2
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X.double()), Y).backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("method", ["auto", "direct", "loop", "shared"])
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_the_step_that_would_really_be_taken_next(name, steps, method):
    model, optimizer = trained(OPTIMIZERS[name], steps)
    state = copy.deepcopy(optimizer.state_dict())
    got = sc.influence(
        model, X.double(), Y, PROBES.double(), rule=sc.OptimizerStep(optimizer), method=method
    )
    want = torch.stack([by_hand(model, optimizer, i) for i in range(3)], 1)
    torch.testing.assert_close(got.delta, want, rtol=1e-9, atol=1e-15)
    now = optimizer.state_dict()
    assert now["param_groups"] == state["param_groups"]
    for key, values in state["state"].items():
        for entry, value in values.items():
            torch.testing.assert_close(now["state"][key][entry], value, rtol=0, atol=0)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Parameter(torch.randn(4, 6, dtype=torch.complex128))
        self.head = nn.Linear(6, 3).double()

    def forward(self, x):
        return self.head((x.to(self.inner) @ self.inner).abs())


RULES = {"sgd": (sc.SGD(1e-2), torch.optim.SGD), "adam": (sc.Adam(1e-2), torch.optim.Adam)}


@pytest.mark.parametrize("method", ["auto", "loop"])
@pytest.mark.parametrize("name", [*OPTIMIZERS, *(f"rule {rule}" for rule in RULES)])
def test_complex_weights_step_as_torch_steps_them(name, method):
    """Their real and imaginary parts each by itself: Adam's divided by the modulus of both."""
    model = Complex()
    if name in OPTIMIZERS:
        optimizer = OPTIMIZERS[name](model.parameters())
        F.cross_entropy(model(X.double()), Y).backward()
        optimizer.step()
        rule = sc.OptimizerStep(optimizer)
    else:
        rule, kind = RULES[name.removeprefix("rule ")]
        optimizer = kind(model.parameters(), lr=1e-2)
    given = X.double(), Y, PROBES.double()
    got = sc.influence(model, *given, rule=rule, method=method, divergences=["l2_logits"])
    for i in range(3):
        torch.testing.assert_close(got.delta[:, i], by_hand(model, optimizer, i))


class KeepsFloat32(torch.optim.SGD):
    """Whose average of gradients is in float32 whatever they are in: `lerp_` wants both alike."""

    def __init__(self, parameters):
        super().__init__(parameters, 1e-2)
        (group,) = self.param_groups
        group["averages"] = [torch.zeros_like(p) for p in group["params"]]

    @torch.no_grad()
    def step(self, closure=None):
        (group,) = self.param_groups
        for average, p in zip(group["averages"], group["params"], strict=True):
            p.sub_(average.lerp_(p.grad, 0.5), alpha=1e-2)


BETAS = torch.tensor(0.5), torch.tensor(0.99)
IN_FLOAT32 = {
    "casts to bfloat16": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], 1e-2),
    "rates that are tensors": lambda p: torch.optim.Adam(p, torch.tensor(1e-3), BETAS),
    "state of another shape": lambda p: torch.optim.Adafactor(p, 1e-2),
    "cannot step in float64": KeepsFloat32,
}


@pytest.mark.parametrize("method", ["auto", "loop"])
@pytest.mark.parametrize("name", IN_FLOAT32)
def test_an_optimizer_of_float32_weights_steps_as_it_is_written(name, method):
    """Though the model computes in float64 where that is exact. (Of tensors that were copied one
    was taken for another, in one measurement out of six.)"""
    model = network().float()
    optimizer = IN_FLOAT32[name](model.parameters())
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()
    want = torch.stack([by_hand(model, optimizer, i) for i in range(3)], 1).double()
    for _ in range(20 if "rates" in name else 1):
        got = sc.influence(model, X, Y, PROBES, rule=sc.OptimizerStep(optimizer), method=method)
        assert (got.delta - want).abs().max() < 2e-3 * want.abs().max()
        assert got.gradients == ("model" if "cannot" in name else "float64")


def test_schedulers_and_hooks_of_the_optimizer_do_not_run():
    model, optimizer = trained(OPTIMIZERS["adam"], 2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    optimizer.step()
    n, counted = len(calls), optimizer._opt_called
    rule = sc.OptimizerStep(optimizer)
    got = sc.influence(model, X.double(), Y, PROBES.double(), rule=rule)
    assert len(calls) == n and optimizer._opt_called == counted
    scheduler.step()
    halved = sc.influence(model, X.double(), Y, PROBES.double(), rule=rule)
    ratio = halved.change["l2_logits"] / got.change["l2_logits"]
    assert ((ratio > 0.45) & (ratio < 0.55)).all()


def test_weights_that_the_optimizer_does_not_hold_stay():
    model = network()
    optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
    got = sc.influence(model, X.double(), Y, PROBES.double(), rule=sc.OptimizerStep(optimizer))
    model[0].requires_grad_(False)
    want = sc.influence(model, X.double(), Y, PROBES.double(), rule=sc.SGD(0.1))
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=1e-15)


def test_what_is_no_optimizer_of_this_model_is_refused():
    other = torch.optim.SGD(network().parameters(), 0.1)
    with pytest.raises(ValueError, match="holds none of the weights of this model"):
        sc.influence(network(), X.double(), Y, PROBES.double(), rule=sc.OptimizerStep(other))
    with pytest.raises(ValueError, match="takes a torch.optim optimizer, not"):
        sc.OptimizerStep(sc.SGD(0.1))
    with pytest.raises(ValueError, match="LBFGS evaluates the loss within its step"):
        sc.OptimizerStep(torch.optim.LBFGS(network().parameters()))


class FlatMomentum(torch.optim.Optimizer):
    """With a list of its weights, one buffer for all of them and a count, as attributes; clips by
    the norm of all gradients within its step."""

    def __init__(self, parameters, lr=1e-2, most=1.0):
        super().__init__(parameters, {"lr": lr, "seen": []})
        self.most, self.count = most, 0
        self.weights = [p for group in self.param_groups for p in group["params"]]
        self.buffer = torch.zeros(sum(p.numel() for p in self.weights)).to(self.weights[0])

    @torch.no_grad()
    def step(self, closure=None):
        gradient = torch.cat([p.grad.flatten() for p in self.weights])
        self.count += 1
        self.param_groups[0]["seen"].append(float(gradient.norm()))
        self.buffer.mul_(0.9).add_(gradient * min(1, self.most / float(gradient.norm())))
        parts = self.buffer.split([p.numel() for p in self.weights])
        for weight, part in zip(self.weights, parts, strict=True):
            weight.sub_(part.view_as(weight), alpha=self.param_groups[0]["lr"])


def norms(model):
    """Of the gradient of each sample's loss."""
    losses = [F.cross_entropy(model(x[None].double()), y[None]) for x, y in zip(X, Y, strict=True)]
    each = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
    return [float(torch.cat([g.flatten() for g in gradient]).norm()) for gradient in each]


@pytest.mark.parametrize("lr", [1e-2, 1e-9])
def test_an_optimizer_of_ones_own_steps_with_all_that_it_holds(lr):
    """A fast way would step each weight by itself, with what it holds for all of them."""
    model = network()
    optimizer = FlatMomentum(model.parameters(), lr)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(X.double()), Y).backward()
        optimizer.step()
    buffer, weights = optimizer.buffer.clone(), copy.deepcopy(model.state_dict())
    optimizer.most = sorted(norms(model))[1]  # one of three is clipped
    rule = sc.OptimizerStep(optimizer)
    got = sc.influence(model, X.double(), Y, PROBES.double(), rule=rule, method="auto")
    assert got.method == "direct" and "FlatMomentum may step a weight by the gradient" in got.cause
    for i in range(3):
        twin = copy.deepcopy(model)
        own = FlatMomentum(twin.parameters(), lr, optimizer.most)
        own.buffer.copy_(buffer)
        F.cross_entropy(twin(X[i : i + 1].double()), Y[i : i + 1]).backward()
        own.step()
        with torch.no_grad():
            want = twin(PROBES.double()) - model(PROBES.double())
        torch.testing.assert_close(got.delta[:, i], want, rtol=1e-5, atol=1e-15)
    assert optimizer.count == 3 and len(optimizer.param_groups[0]["seen"]) == 3
    assert torch.equal(optimizer.buffer, buffer)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


class BuiltAround(torch.optim.Optimizer):
    """As accelerate and others build one: what it holds is the other's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    state = property(lambda self: self.optimizer.state)
    param_groups = property(lambda self: self.optimizer.param_groups)


def test_one_that_steps_by_another_is_refused():
    """A copy of it would share the other, and change what training steps by."""
    inner = torch.optim.Adam(network().parameters())
    several = FlatMomentum(network().parameters())
    several.others = {"first": inner}
    for outer, name in ((BuiltAround(inner), "optimizer"), (several, "others")):
        with pytest.raises(ValueError, match=f"steps by another optimizer, its .{name}: give that"):
            sc.OptimizerStep(outer)


def test_a_step_that_cannot_be_tried_is_refused():
    model = network()
    optimizer = FlatMomentum(model.parameters())
    given = model, X.double(), Y, PROBES.double()
    optimizer.buffer = optimizer.buffer[1:]  # too short by one
    with pytest.raises(ValueError, match="the step of FlatMomentum ends in RuntimeError: "):
        sc.influence(*given, rule=sc.OptimizerStep(optimizer))
    optimizer.lock = threading.Lock()
    with pytest.raises(
        ValueError, match="a copy of the optimizer takes the step, and its lock cannot be copied"
    ):
        sc.influence(*given, rule=sc.OptimizerStep(optimizer))


def test_the_recorder_measures_the_optimizers_step():
    model, optimizer = trained(OPTIMIZERS["momentum"], 1)
    recorder = sc.SrelRecorder(model, X.double(), Y, PROBES.double(), optimizer=optimizer)
    got = recorder.measure(0)["optimizer"]
    want = torch.stack([by_hand(model, optimizer, i) for i in range(3)], 1)
    torch.testing.assert_close(got.delta, want, rtol=1e-9, atol=1e-15)
    assert recorder.to_xarray()["rule"].values.tolist() == ["optimizer"]
    with pytest.raises(ValueError, match="names 'optimizer'"):
        sc.SrelRecorder(model, X, Y, PROBES, rules={"optimizer": sc.SGD(0.1)}, optimizer=optimizer)


class Stepper(torch.optim.Optimizer):
    def __init__(self, parameters, change):
        super().__init__(parameters, {})
        self.change = change

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p.add_(self.change("", p, p.grad.clone()))


@dataclass(frozen=True)
class Normalised:
    """Each tensor moves by lr, whatever the size of its gradient."""

    lr: float

    def change(self, name, weight, gradient):
        return gradient * (-self.lr / (gradient.norm() + 1e-12))

    def optimizer(self, parameters):
        return Stepper(parameters, self.change)


@dataclass(frozen=True)
class Centralised(Normalised):
    """Gradients of kernels are centred over all but the output channels."""

    def change(self, name, weight, gradient):
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(tuple(range(1, gradient.ndim)), keepdim=True)
        return -self.lr * gradient


NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(48, 30), nn.ReLU(), nn.Linear(30, 3)), (48,)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 3),
        ),
        (4, 3, 3),
    ),
    "groups": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)
        ),
        (4, 3, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", [Normalised(1e-2), Centralised(1e-2)], ids=str)
@pytest.mark.parametrize("method", ["auto", "shared", "stacked", "direct"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rule_is_handed_whole_tensors_by_name(name, method, rule):
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, probes = make().double(), torch.randn(2, *shape), torch.randn(3, *shape)
    given = (model, x.double(), Y[:2], probes.double())
    want = sc.influence(*given, rule=rule, method="loop")
    got = sc.influence(*given, rule=rule, method=method)
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-8, atol=1e-14)
    assert method == "auto" or got.method == method


@dataclass(frozen=True)
class Careless(sc.SGD):
    """Works out the stepped weight in the place of the weight that it is handed."""

    def change(self, name, weight, gradient):
        before = weight.clone()
        return weight.add_(gradient, alpha=-self.lr) - before


@pytest.mark.parametrize("method", ["auto", "shared", "stacked", "direct", "loop"])
def test_a_rule_that_writes_to_its_weight_leaves_the_model_alone(method):
    model = network()
    start = copy.deepcopy(model.state_dict())
    given = (model, X.double(), Y, PROBES.double())
    got = sc.influence(*given, rule=Careless(1e-2), method=method)
    assert all(torch.equal(values, start[name]) for name, values in model.state_dict().items())
    want = sc.influence(*given, rule=sc.SGD(1e-2), method="loop")
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("method", ["shared", "stacked", "direct"])
def test_a_rule_that_moves_nothing_does_not_hide_what_its_optimizer_moves(method):
    class Whole(sc.SGD):
        def change(self, name, weight, gradient):
            return torch.zeros_like(weight)

    given = (network(), X.double(), Y, PROBES.double())
    want = sc.influence(*given, rule=sc.SGD(1e-2), method="loop")
    got = sc.influence(*given, rule=Whole(1e-2), method=method)
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-8, atol=1e-14)


def test_a_rule_sees_each_weight_once_under_its_own_name():
    seen = []

    @dataclass(frozen=True)
    class Watching(sc.SGD):
        def change(self, name, weight, gradient):
            seen.append((name, tuple(weight.shape), tuple(gradient.shape)))
            return super().change(name, weight, gradient)

    model = network()
    sc.influence(model, X[:1].double(), Y[:1], PROBES.double(), rule=Watching(0.1), method="direct")
    want = [(n, tuple(p.shape), tuple(p.shape)) for n, p in model.named_parameters()]
    assert seen == want


@pytest.mark.parametrize("lr", [np.float32(1e-3), np.float64(1e-3), np.int64(1)])
def test_a_rate_may_be_any_real_number(lr):
    assert sc.SGD(lr).lr == float(lr) and type(sc.Adam(lr).lr) is float
