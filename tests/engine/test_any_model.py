"""Models as people build them, drawn from a grammar, against a step by hand."""

import copy
import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import srel_core as sc
from tests.support import by_hand, grammar

N_MODELS = int(os.environ.get("SREL_RANDOM_MODELS", "100"))
RULES = {
    "sgd": (sc.SGD(1e-2), lambda p: torch.optim.SGD(p, 1e-2)),
    "adam": (sc.Adam(1e-4), lambda p: torch.optim.Adam(p, 1e-4)),
}
# A norm that computes in float32 does so in the step by hand too, in the library in float64.
ALLOWED = {"float32 norm": 5e-3}


def state_of(model):
    """What must be the same objects, and what must hold the same numbers, after a measurement."""
    objects = [
        (m, name, value) for m in model.modules() for name, value in vars(m).items()
        if not isinstance(value, dict)
    ]  # fmt: skip
    registered = [
        (registry, name, value)
        for m in model.modules()
        for registry in (m._parameters, m._buffers, m._modules)
        for name, value in registry.items()
    ]
    return objects, registered, {k: v.clone() for k, v in model.state_dict().items()}


def assert_unchanged(model, state):
    objects, registered, values = state
    for module, name, value in objects:
        assert vars(module)[name] is value, f"{type(module).__name__}.{name}"
    assert sum(len(vars(m)) for m in model.modules()) == len(objects) + sum(
        isinstance(value, dict) for m in model.modules() for value in vars(m).values()
    )
    assert all(registry[name] is value for registry, name, value in registered)
    for key, value in model.state_dict().items():
        assert torch.equal(value, values[key]) and value.dtype == values[key].dtype, key
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("number", range(N_MODELS))
def test_a_random_model_gives_what_a_step_by_hand_gives(number):
    what, model = grammar.draw_model(number)
    x, y, probes = grammar.draw_batch(number)
    state = state_of(model)
    for name, (rule, optimizer) in RULES.items():
        got = sc.influence(model, x, y, probes, rule=rule).delta
        want = by_hand.changes(lambda: grammar.draw_model(number)[1], x, y, probes, optimizer)
        allowed = max([ALLOWED.get(part, 2e-3) for part in ALLOWED if part in what], default=2e-3)
        error = (got - want).norm(dim=2).max() / want.norm(dim=2).max()
        assert error < allowed, f"{what}, {name}: off by {error:.1e}"
        assert_unchanged(model, state)
    limit = sc.tangent_influence(model, x, y, probes, divergences=["l2_logits"])
    small = by_hand.changes(
        lambda: grammar.draw_model(number)[1], x, y, probes, lambda p: torch.optim.SGD(p, 1e-6)
    )
    error = (limit.delta - small / 1e-6).norm(dim=2).max() / (small / 1e-6).norm(dim=2).max()
    loose = 0.2 if "float32 norm" in what else 5e-3
    assert error < loose, f"{what}, limit: off by {error:.1e}"
    assert_unchanged(model, state)


class Fails(nn.Module):
    """Raises at the n-th of its calls, forward or backward."""

    def __init__(self, error):
        super().__init__()
        self.seen, self.error = SimpleNamespace(calls=0, at=0), error

    def forward(self, x):
        self._count()
        if x.requires_grad:
            x.register_hook(lambda gradient: self._count())
        return x

    def _count(self):
        self.seen.calls += 1
        if self.seen.calls == self.seen.at:
            raise self.error("at this call")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("method", ["direct", "loop", "auto", "tangent"])
def test_an_error_at_any_call_leaves_the_model_as_it_was(method, error):
    x, y, probes = torch.randn(2, 4), torch.tensor([0, 1]), torch.randn(3, 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), Fails(error), nn.Linear(5, 3))
    seen, generator = model[1].seen, torch.random.get_rng_state()

    def run():
        if method == "tangent":
            sc.tangent_influence(model, x, y, probes)
        else:
            sc.influence(model, x, y, probes, rule=sc.SGD(0.1), method=method)

    run()
    calls = seen.calls
    assert calls > 5
    raised = 0
    for at in range(1, calls + 1):
        seen.calls, seen.at = 0, at
        before = state_of(model)
        try:
            run()
        except (error, ValueError):
            raised += 1
        seen.at = 0
        assert_unchanged(model, before)
    # others than an interrupt are answered in another way where there is one
    assert raised == calls or (error is ZeroDivisionError and raised > 0)
    assert torch.equal(torch.random.get_rng_state(), generator)


@pytest.mark.parametrize("number", [3, 8, 21, 33])
def test_training_with_a_recorder_ends_in_the_same_bits(number):
    x, y, probes = grammar.draw_batch(number)

    def trained(recorded):
        model = grammar.draw_model(number)[1]
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
        recorder = sc.SrelRecorder(
            model, x, y, probes, rules={"sgd": sc.SGD(1e-3), "limit": sc.Tangent()},
            optimizer=optimizer,
        )  # fmt: skip
        for step in range(4):
            if recorded:
                recorder.measure(step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(by_hand.picked(model(x)), y).backward()
            optimizer.step()
        return model.state_dict(), copy.deepcopy(optimizer.state_dict())

    (plain, _), (recorded, _) = trained(False), trained(True)
    for key, value in plain.items():
        assert torch.equal(value, recorded[key]), key
