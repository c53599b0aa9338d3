"""Change propagation: models of every kind of operation against the oracle, and what must be
refused."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import srel_core as sc
from srel_core.engine.propagation.buffers import BufferPool
from srel_core.engine.propagation.propagate import Propagation
from tests.support import networks


class Module(nn.Module):
    """A model from layers by name and a forward function, which torch.fx can trace."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def _position(n):
    return nn.Parameter(torch.randn(1, n, 4) * 0.5)


def _attention(m, x):
    tokens = m.embed(x.reshape(x.shape[0], 3, 4)) + m.position
    weights = F.softmax(tokens @ tokens.transpose(1, 2) / 2.0, dim=-1)
    return m.head((weights @ m.value(tokens)).mean(1))


def _sequence_first(m, x):
    tokens = torch.tanh(m.body(x.view(x.size(0), 3, 4).permute(1, 0, 2)))
    return m.head(tokens.sum(0))


def _residual(m, x):
    hidden = m.body(x)
    hidden += 0.5 * m.side(x)
    hidden = F.relu(hidden)
    return m.head(torch.cat([hidden - m.side(hidden), -hidden], 1)) - 1.0


def _skips(m, x):
    hidden = m.body(x)
    hidden += 0.5 * m.side(x)
    hidden = F.relu(hidden)
    return m.head(torch.cat([hidden - x, -hidden], 1)) - 1.0


def _gate(m, x):
    return m.head(torch.sigmoid(m.body(x)) * m.side(x) * 2.0)


def _image(m, x):
    maps = m.pool(F.relu(m.conv(x.reshape(-1, 1, 3, 4)), inplace=True))
    return m.head(m.average(m.again(maps)).flatten(1))


def _linear(n=12, out=12):
    return nn.Linear(n, out)


ZOO = {
    "functional weights": lambda: Module(
        lambda m, x: F.linear(torch.tanh(m.body(x)), m.w), body=_linear(),
        w=nn.Parameter(torch.randn(3, 12)),
    ),
    "attention": lambda: Module(
        _attention, embed=_linear(4, 4), value=_linear(4, 4), position=_position(3),
        head=_linear(4, 3),
    ),
    "sequence first": lambda: Module(_sequence_first, body=_linear(4, 4), head=_linear(4, 3)),
    "residual": lambda: Module(_residual, body=_linear(), side=_linear(), head=_linear(24, 3)),
    "skips": lambda: Module(_skips, body=_linear(), side=_linear(), head=_linear(24, 3)),
    "gate": lambda: Module(_gate, body=_linear(), side=_linear(), head=_linear(12, 3)),
    "normalised": lambda: nn.Sequential(
        _linear(), nn.LayerNorm(12), nn.GELU(), nn.BatchNorm1d(12), nn.Softplus(), _linear(12, 3)
    ),
    "image": lambda: Module(
        _image, conv=nn.Conv2d(1, 6, 3, padding=1), pool=nn.MaxPool2d(2, ceil_mode=True),
        again=nn.Conv2d(6, 4, 2, groups=2, bias=False, padding_mode="zeros"),
        average=nn.AdaptiveAvgPool2d(1), head=_linear(4, 3),
    ),
    "many places": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), _linear(12, 3)
    ),
    "a root that is a layer": lambda: _linear(12, 3),
}  # fmt: skip


def _problem(kind, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ZOO[kind]()
        x, probes = torch.randn(4, 12), torch.randn(5, 12)
    y = torch.tensor([0, 1, 2, 0])
    return model.to(dtype).eval(), x.to(dtype), y, probes.to(dtype)


# With weights outside of layers, or a layer that is not called once with the batch first.
BY_DEFINITION = {
    "functional weights", "attention", "normalised", "a root that is a layer", "residual",
    "sequence first",
}  # fmt: skip


@pytest.mark.parametrize("kind", ZOO)
def test_every_kind_of_operation_equals_the_oracle(kind):
    problem = _problem(kind, torch.float64)
    got = sc.influence(*problem, rule=sc.SGD(0.3))
    assert got.method == ("direct" if kind in BY_DEFINITION else "low_rank")
    want = sc.influence(*problem, rule=sc.SGD(0.3), method="loop")
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(got.before, want.before)


@pytest.mark.parametrize("kind", ZOO)
def test_every_kind_of_operation_survives_float32(kind):
    model, x, y, probes = _problem(kind, torch.float32)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-7))
    assert got.method == ("direct" if kind in BY_DEFINITION else "low_rank")
    exact = model.double(), x.double(), y, probes.double()
    want = sc.tangent_influence(*exact, divergences=["l2_logits"]).delta * 1e-7
    error = (got.delta - want).norm(dim=2) / want.norm(dim=2)
    assert error.max() < 2e-5


def _reuses(m, x):
    hidden = m.body(x)
    hidden.mul_(2.0)
    return m.head(hidden)


def _counts(m, x):
    return m.head(x) * (m.body(x).argmax(1, keepdim=True) + 1)


def _decides(m, x):
    hidden = m.body(x)
    return m.head(hidden if (hidden < 1e9).all() else -hidden)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Module(_reuses, body=_linear(), head=_linear(12, 3)), "changed in place and then used"),
        (Module(_counts, body=_linear(), head=_linear(12, 3)), "gives Tensor, not real numbers"),
        (Module(_decides, body=_linear(), head=_linear(12, 3)), "control flow"),
    ],
)
def test_what_cannot_be_followed_is_refused_or_computed_otherwise(model, reason):
    model = model.double()
    x, y = torch.randn(3, 12).double(), torch.tensor([0, 1, 2])
    with pytest.warns(RuntimeWarning, match=f"does not apply to this model: .*{reason}"):
        sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="low_rank")
    got = sc.influence(model, x, y, x, rule=sc.SGD(0.1))
    want = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="loop")
    assert got.method != "low_rank"
    torch.testing.assert_close(got.delta, want.delta)


def test_a_sum_in_place_leaves_the_change_of_what_it_was_made_of():
    def shared(m, x):
        hidden = m.body(x)
        more = hidden + 1.0  # another value, of the same change
        more = more.add_(m.side(hidden))
        return m.head(more.sub_(m.other(x))) + m.end(hidden)

    layers = {
        "body": _linear(), "side": _linear(), "other": _linear(), "head": _linear(12, 3),
        "end": _linear(12, 3),
    }  # fmt: skip
    model = Module(shared, **layers).double()
    x, y = torch.randn(3, 12).double(), torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="low_rank")
    want = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="loop")
    torch.testing.assert_close(got.delta, want.delta)


def test_what_is_written_to_but_not_changed_may_be_used_again():
    def twice(m, x):
        hidden = m.body(x)
        again = hidden.add_(0.0)
        return m.head(again) + m.side(hidden)

    model = Module(twice, body=_linear(), head=_linear(12, 3), side=_linear(12, 3)).double()
    x, y = torch.randn(3, 12).double(), torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="low_rank")
    want = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="loop")
    torch.testing.assert_close(got.delta, want.delta)


def test_memory_of_a_change_is_not_written_to_while_a_view_of_it_is_wanted():
    def viewed(m, x):
        view = m.body(x).view(-1, 2, 6)  # the change of what it is a view of is not wanted again
        return m.head(m.side(m.other(x)) + view.flatten(1))

    layers = {"body": _linear(), "side": _linear(), "other": _linear(), "head": _linear(12, 3)}
    model = Module(viewed, **layers).double()
    x, y = torch.randn(3, 12).double(), torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="low_rank")
    want = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="loop")
    torch.testing.assert_close(got.delta, want.delta)


@pytest.mark.parametrize(
    "padding", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_a_frozen_convolution_may_pad_as_it_likes(padding):
    model = nn.Sequential(
        _linear(12, 32), nn.Tanh(), nn.Unflatten(1, (2, 4, 4)),
        nn.Conv2d(2, 3, 3, **padding).requires_grad_(False), nn.ReLU(), nn.Flatten(),
        _linear(48, 3),
    ).double()  # fmt: skip
    x, y = torch.randn(3, 12).double(), torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="low_rank")
    assert got.method == "low_rank" and got.checked == "agrees with the definition"
    want = sc.influence(model, x, y, x, rule=sc.SGD(0.1), method="loop")
    torch.testing.assert_close(got.delta, want.delta)


def test_memory_of_spent_changes_is_used_again(monkeypatch):
    model = nn.Sequential(*(_linear() for _ in range(4)), _linear(12, 3))
    x, probes = torch.randn(64, 12), torch.randn(8, 12)
    made = []
    new = BufferPool.new

    def watched(pool, like, shape):
        array = new(pool, like, shape)
        made.append(array.data_ptr())
        return array

    monkeypatch.setattr(BufferPool, "new", watched)
    sc.influence(model, x, torch.arange(64) % 3, probes, rule=sc.SGD(0.1), method="low_rank")
    assert len(made) == 4 * 64 / 8 and len(set(made)) == 2


@pytest.mark.parametrize("cache", [1, 2**12, 2**14, 2**16, 2**40])
def test_early_layers_take_fewer_steps_at_a_time_than_late_ones(monkeypatch, cache):
    model, (x, y, probes) = networks.make("resnet18"), networks.batch(11, 4)
    rule = sc.SGD(0.1)
    want = sc.influence(model, x, y, probes, rule=rule, method="shared")
    at_a_time = []
    after = Propagation._after

    def watched(propagation, end, own, steps):
        at_a_time.append((steps.n, propagation.at_a_time))
        return after(propagation, end, own, steps)

    monkeypatch.setattr(Propagation, "_after", watched)
    monkeypatch.setattr("srel_core.engine.propagation.propagate.CACHE", cache)
    got = sc.influence(model, x, y, probes, rule=rule, method="low_rank")
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=1e-12)
    together, fit = {n for n, _ in at_a_time}, at_a_time[0][1]
    assert fit == sorted(fit) and max(together) <= fit[-1]
    assert (together == {1}) == (cache == 1)
    if cache == 2**14:
        assert fit[0] < fit[-1] and len(together) > 1


def test_at_any_number_of_inputs_and_steps_at_a_time(monkeypatch):
    problem = _problem("image", torch.float64)
    whole = sc.influence(*problem, rule=sc.SGD(0.1), method="low_rank")
    monkeypatch.setattr("srel_core.engine.propagation.propagate.CACHE", 1)
    one_step = sc.influence(*problem, rule=sc.SGD(0.1), method="low_rank")
    with pytest.raises(ValueError, match="too low: one sample and one input") as caught:
        sc.influence(*problem, rule=sc.SGD(0.1), method="low_rank", max_bytes=1)
    least = int(re.search(r"need about (\d+) bytes", str(caught.value))[1])
    one_input = sc.influence(*problem, rule=sc.SGD(0.1), method="low_rank", max_bytes=least)
    for other in (one_step, one_input):
        torch.testing.assert_close(other.delta, whole.delta, rtol=1e-12, atol=1e-14)
