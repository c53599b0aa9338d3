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
from srel_core.gradients import Slopes, loss_slopes, output_slopes, per_sample_gradients
from srel_core.influence import Influence, summarise
from srel_core.problem import Loss, Problem, measuring

# Inputs whose gradients are held at a time: of the published network's largest layer, 150 MB.
_ROWS = 64


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
        delta = _changes_per_lr(compact(problem).with_precise_gradients())
        measures = {d.name: d.tangent for d in wanted}
        in_float64 = torch.zeros(len(x), dtype=torch.bool)
        return summarise(problem, problem.before.double(), delta, measures, in_float64, "tangent")


def _changes_per_lr(problem: Problem) -> Tensor:
    """−Θ(x', x_i) r(x_i) for all samples x_i and inputs x', (S, I, C) in float64."""
    at_samples = loss_slopes(problem, problem.x, problem.y)
    at_inputs = output_slopes(problem) if at_samples else None
    if at_samples and at_inputs:
        return _by_layers(problem, at_samples, at_inputs)
    gradients = per_sample_gradients(problem, problem.x, problem.y)
    each = [
        _by_directional_derivative(problem, gradients(problem, i)) for i in range(len(problem.x))
    ]
    return torch.stack(each)


def _by_layers(problem: Problem, at_samples: Slopes, at_inputs: list[Slopes]) -> Tensor:
    """Σ over layers of −⟨∇ f_c(x'), ∇ ℓ(x_i)⟩: products of matrices, no further passes."""
    n_samples, n_inputs = len(problem.x), len(problem.inputs)
    delta = problem.before.new_zeros(n_samples, n_inputs, len(at_inputs))
    for name, layer in at_samples.layers.items():
        moved = [which for which, p in layer.named_parameters() if p.requires_grad]

        def flat(slopes: Slopes, rows: slice, name: str = name, moved: list[str] = moved) -> Tensor:
            gradients = dict(zip(("weight", "bias"), slopes.of_layer(name, rows), strict=True))
            return torch.cat([gradients[which].flatten(1) for which in moved], 1)

        steps = flat(at_samples, slice(0, n_samples))
        for c, slopes in enumerate(at_inputs):
            for start in range(0, n_inputs, _ROWS):
                rows = slice(start, start + _ROWS)
                delta[:, rows, c] -= steps @ flat(slopes, rows).T
    return delta.double()


def _by_directional_derivative(problem: Problem, gradient: dict[str, Tensor]) -> Tensor:
    """−Θ(x', x) r(x) at all inputs x', (I, C) in float64: one forward-mode derivative."""
    down = {name: -g for name, g in gradient.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # Forward mode loads torch's own scripted decompositions, which torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        slope = jvp(lambda w: problem.predict(w, problem.inputs), (problem.weights,), (down,))[1]
    return slope.double()
