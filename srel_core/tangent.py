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
from srel_core.gradients import Slopes, loss_slopes, output_slopes
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
    gradients = (problem.gradient(x, y) for x, y in zip(problem.x, problem.y, strict=True))
    return torch.stack([_by_directional_derivative(problem, g) for g in gradients])


def _by_layers(problem: Problem, at_samples: Slopes, at_inputs: list[Slopes]) -> Tensor:
    """Σ over layers of −⟨∇ f_c(x'), ∇ ℓ(x_i)⟩: products of matrices, no further passes.

    With a the patches that a layer reads and δ the slopes at its outputs, l and l' its positions,
    the weights of one layer contribute

        ⟨Σ_l δ_l a_lᵀ, Σ_l' δ'_l' a'_l'ᵀ⟩ = Σ_{l, l'} (δ_l·δ'_l') (a_l·a'_l'),

    on the left by way of the gradients themselves, on the right by Gram matrices over positions,
    whichever is less work; its biases contribute the product of the summed slopes.
    """
    delta = problem.before.new_zeros(len(problem.x), len(problem.inputs), len(at_inputs))
    for name, layer in at_samples.layers.items():
        moved = {which for which, p in layer.named_parameters() if p.requires_grad}
        patches, slopes = at_samples.grouped(name)
        for c, at_input in enumerate(at_inputs):
            others, other_slopes = at_input.grouped(name)
            if "bias" in moved:
                delta[:, :, c] -= slopes.sum(3).flatten(1) @ other_slopes.sum(3).flatten(1).T
            if "weight" not in moved:
                continue
            size, positions = slopes.shape[2] * patches.shape[2], patches.shape[3]
            by_gram = len(slopes) * positions**2 * (slopes.shape[2] + patches.shape[2])
            by_gradient = size * (positions + len(slopes))
            contract = _gram if by_gram < by_gradient else _product
            delta[:, :, c] -= contract(patches, slopes, others, other_slopes)
    return delta.double()


def _gram(a: Tensor, slope: Tensor, b: Tensor, other: Tensor) -> Tensor:
    """Σ_{l, l'} (δ_l·δ'_l')(a_l·a'_l'), (S, I), of arrays (S or I, groups, ·, positions)."""
    of_patches = torch.einsum("sgkl,igkm->sigml", a, b)
    of_slopes = torch.einsum("sgol,igom->sigml", slope, other)
    return (of_patches * of_slopes).sum((2, 3, 4))


def _product(a: Tensor, slope: Tensor, b: Tensor, other: Tensor) -> Tensor:
    """The same by way of the gradients, those of some of the inputs at a time."""
    steps = (slope @ a.mT).flatten(1)
    parts = zip(b.split(_ROWS), other.split(_ROWS), strict=True)
    return torch.cat([steps @ (o @ p.mT).flatten(1).T for p, o in parts], 1)


def _by_directional_derivative(problem: Problem, gradient: dict[str, Tensor]) -> Tensor:
    """−Θ(x', x) r(x) at all inputs x', (I, C) in float64: one forward-mode derivative."""
    down = {name: -g for name, g in gradient.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # Forward mode loads torch's own scripted decompositions, which torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        slope = jvp(lambda w: problem.predict(w, problem.inputs), (problem.weights,), (down,))[1]
    return slope.double()
