"""Changes that rounding would drown, against arithmetic with fifty digits.

For f = Wx + b a step on (x, y) has the gradients r xᵀ and r, r = p − e_y, and moves f(x') by
ΔW x' + Δb: so the answer is known exactly, however sure the prediction and small the step.
"""

import copy

import mpmath
import pytest
import torch
from torch import nn

import srel_core as sc
from tests.support import by_hand

FITTED = [1e-2, 1e-6, 1e-13, 2e-18, 5e-22]  # 1 − p of the sample's class
RULES = [sc.SGD(1e-4), sc.SGD(1e-13), sc.SGD(1.0), sc.Adam(1e-4), sc.Adam(1e-9)]


def _network(missing, dtype):
    """A linear layer whose prediction at the sample is off by this much, the sample, probes."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Linear(4, 3).to(dtype)
    x, probes = torch.randn(1, 4, generator=generator), torch.randn(3, 4, generator=generator)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 4, generator=generator))
        z = model(x.to(dtype))[0]
        z[0] -= z[1:].logsumexp(0) + float(mpmath.log(missing))
        model.bias.copy_(z - model.weight @ x[0].to(dtype))
    return model, x.to(dtype), torch.tensor([0]), probes.to(dtype)


def _exactly(model, x, probes, rule):
    """KL(new‖old) at the probes and, last, at the sample."""
    with mpmath.workdps(60):
        w = mpmath.matrix(model.weight.tolist())
        b, a = mpmath.matrix(model.bias.tolist()), mpmath.matrix(x[0].tolist())
        z = w * a + b
        p = [mpmath.exp(v - max(z)) for v in z]
        r = [v / sum(p) for v in p]
        r[0] = -(r[1] + r[2])

        def step(g):
            if isinstance(rule, sc.SGD):
                return -mpmath.mpf(rule.lr) * g
            return -mpmath.mpf(rule.lr) * g / (abs(g) + mpmath.mpf(rule.EPS))

        found = []
        for probe in [*probes.tolist(), x[0].tolist()]:
            at = mpmath.matrix(probe)
            old = w * at + b
            delta = [
                sum(step(r[c] * a[k]) * at[k] for k in range(4)) + step(r[c]) for c in range(3)
            ]
            new = [old[c] + delta[c] for c in range(3)]
            log_old, log_new = ([v - mpmath.log(sum(map(mpmath.exp, of))) for v in of]
                                for of in (old, new))  # fmt: skip
            terms = [mpmath.exp(n) * (n - o) for n, o in zip(log_new, log_old, strict=True)]
            found.append(float(sum(terms)))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["auto", "direct", "loop", "shared"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_change_of_any_size_is_exact(rule, method, dtype):
    for missing in FITTED:
        model, x, y, probes = _network(missing, dtype)
        got = sc.influence(model, x, y, probes, rule=rule, method=method, divergences=["kl"])
        *want, own = _exactly(model, x, probes, rule)
        if own < 1e-290:
            continue  # the square of such a change leaves the range of float64
        assert float(got.own["kl"]) == pytest.approx(own, rel=2e-3), missing
        assert got.change["kl"][:, 0].tolist() == pytest.approx(want, rel=2e-3), missing
        assert got.undefined("kl") == 0


@pytest.mark.parametrize("lr", [1e-20, 1e-60, 1e-150])
@pytest.mark.parametrize("method", ["auto", "direct", "low_rank", "shared"])
def test_a_float32_model_survives_a_rate_that_float32_does_not_know(lr, method):
    layer, x, y, probes = _network(1e-2, torch.float32)
    model = nn.Sequential(layer)
    arguments = dict(rule=sc.SGD(lr), method=method, divergences=["l2_logits"])
    got = sc.influence(model, x, y, probes, **arguments)
    limit = sc.tangent_influence(model, x, y, probes, divergences=["l2_logits"])
    torch.testing.assert_close(
        got.change["l2_logits"] / lr, limit.change["l2_logits"], rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("last", ["zero", "at rest"])
@pytest.mark.parametrize("rule", [sc.Adam(1e-6), sc.Adam(1e-9), sc.SGD(1e-6)], ids=str)
def test_predictions_that_do_not_round_do_so_after_a_step(rule, last):
    generator = torch.Generator().manual_seed(3)
    x, probes = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():  # all that reaches the outputs is their bias, which is exact
        model[2].bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
        model[2].weight.zero_() if last == "zero" else model[0].bias.fill_(-50)
    y = torch.tensor([0, 1, 2])
    wide = copy.deepcopy(model).double()
    want = sc.influence(wide, x, y, probes, rule=rule, method="direct").delta
    for method in ("auto", "stacked", "shared"):
        got = sc.influence(model, x, y, probes, rule=rule, method=method)
        assert got.method != "direct"  # nor by the definition, after a warning
        torch.testing.assert_close(got.delta, want, rtol=1e-3, atol=0)


class _Jumping(nn.Module):
    """Predictions that jump where a weight is, which rounding makes them do as far as a step."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))
        self.kind = kind
        if kind == "quantised, at ties":
            self.first.weight.data = (self.first.weight.data * 4).round() / 4 + 0.125
        if kind == "orthogonal":  # keeps signs in its diagonal, and truncates what is there
            nn.utils.parametrizations.orthogonal(self.first, orthogonal_map="householder")

    def forward(self, x):
        weight = self.first.weight
        if self.kind == "quantised, at ties":
            weight = weight + ((weight * 4).round() / 4 - weight).detach()
        h = torch.tanh(nn.functional.linear(x, weight, self.first.bias))
        return self.last(
            h * self.scale * self.scale.detach().floor() if self.kind == "floor" else h
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["floor", "quantised, at ties", "orthogonal"])
@pytest.mark.parametrize("rule", [sc.SGD(1e-1), sc.SGD(1e-3), sc.Adam(1e-3)], ids=str)
def test_a_jump_is_a_change_and_no_rounding(rule, kind, dtype):
    def fresh():
        torch.manual_seed(0)
        return _Jumping(kind).to(dtype)

    generator = torch.Generator().manual_seed(2)
    x, probes = (torch.randn(3, 4, generator=generator, dtype=dtype) for _ in range(2))
    y = torch.tensor([0, 1, 2])
    with torch.random.fork_rng():
        want = by_hand.changes(fresh, x, y, probes, rule.optimizer)
        got = sc.influence(fresh(), x, y, probes, rule=rule).delta
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6 * float(want.abs().max()))


def test_what_is_no_number_is_counted_as_undefined():
    model, x, y, probes = _network(1e-2, torch.float64)
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-200), divergences=["kl", "l1_logits"])
    assert got.undefined("kl") == 1 and got.s_rel("kl").isnan().all()  # its square is below 1e-308
    assert got.undefined("l1_logits") == 0 and got.s_rel("l1_logits").isfinite().all()


def test_a_recurrent_network_that_is_sure_of_itself():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.cell(x[:, None])[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, probes = Recurrent(), torch.randn(2, 4), torch.randn(3, 4)
    with torch.no_grad():
        model.head.bias[1] += 29  # 1 − p is about 1e-12
    y = torch.tensor([1, 1])
    limit = sc.tangent_influence(model, x, y, probes, divergences=["kl"])
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-4), divergences=["kl"])
    assert got.by_derivative.all()
    torch.testing.assert_close(got.change["kl"] / 1e-8, limit.change["kl"], rtol=1e-3, atol=0)
