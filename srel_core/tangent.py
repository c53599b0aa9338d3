"""The infinitesimal limit of one-sample updates: the tangent kernel.

With J(x) = ∂f_w(x)/∂w and Θ(x', x) = J(x') J(x)ᵀ, a vanishing SGD step of learning rate η on
(x, y) changes the prediction at x' by −η Θ(x', x) r(x), r = ∂ℓ/∂f at x. So S_rel has a limit as
η → 0: for a scalar prediction |Θ(x', x)| / Θ(x, x), and under KL

    [δ'ᵀ F(x') δ'] / [δᵀ F(x) δ],   δ' = Θ(x', x) r(x),  δ = Θ(x, x) r(x),  F = diag(p) − p pᵀ.

(Adam has none: its first step is η·sign(g) whatever the size of g.)
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import jvp

from srel_core.compact import compact
from srel_core.divergence import find_divergences
from srel_core.gradients import per_sample_gradients
from srel_core.influence import Influence, summarise
from srel_core.problem import Loss, Problem, measuring


def tangent_influence(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    probes: Tensor,
    *,
    loss: Loss = "cross_entropy",
    divergences: Sequence[str] = ("kl", "l2_logits"),
) -> Influence:
    """The limit η → 0 of `influence` under `SGD(η)`, per unit of learning rate.

    Arguments, shapes and errors as in `srel_core.influence`. `change` and `own` are the leading
    terms divided by η (norms) or η² (kl, reverse_kl), so that their ratios are the limits of
    S_rel. Linear in the gradient, hence free of cancellation in float32.
    """
    with measuring(model):
        problem = Problem.make(model, x, y, probes, loss)
        wanted = find_divergences(divergences, problem.before.shape[1])
        fast = compact(problem).with_precise_gradients()
        gradient = per_sample_gradients(fast, fast.x, fast.y)
        delta = torch.stack([_slope(fast, gradient(fast, i)) for i in range(len(x))])
        measures = {d.name: d.tangent for d in wanted}
        in_float64 = torch.zeros(len(x), dtype=torch.bool)
        return summarise(problem, problem.before.double(), delta, measures, in_float64, "jvp")


def _slope(problem: Problem, gradient: dict[str, Tensor]) -> Tensor:
    """−Θ(x', x) r(x) at all inputs x', (I, C) in float64: one Jacobian-vector product."""
    down = {name: -g for name, g in gradient.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # Forward mode loads torch's own scripted decompositions, which torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        slope = jvp(lambda w: problem.predict(w, problem.inputs), (problem.weights,), (down,))[1]
    return slope.double()
