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

from srel_core.divergence import find_divergences
from srel_core.engine.layers.compaction import compact, ways
from srel_core.engine.layers.per_sample_gradients import Slopes, loss_slopes, output_slopes
from srel_core.engine.methods import Changes
from srel_core.engine.setup.memory import Footprint, gradient_parts, memory_bound
from srel_core.engine.setup.problem import Loss, Problem, measuring
from srel_core.engine.setup.threads import Workers
from srel_core.measurement import Influence, summarise

# Of inputs at least these many at a time, and more as long as their activations take no more bytes;
# fewer if memory is short.
_ROWS, _BYTES = 16, 16 * 2**20

# Multiplications that a core does while it writes a number to memory and reads it.
_MEMORY = 64


def tangent_influence(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    probes: Tensor,
    *,
    loss: Loss = "cross_entropy",
    divergences: Sequence[str] = ("kl", "l2_logits"),
    max_bytes: int | None = None,
) -> Influence:
    """The limit η → 0 of `influence` under `SGD(η)`, per unit of learning rate.

    Arguments, shapes and errors as in `srel_core.influence`. `change` and `own` are the leading
    terms divided by η (norms) or η² (kl, reverse_kl), so that their ratios are the limits of
    S_rel. Linear in the gradient, hence free of cancellation in float32. The slopes of all samples
    are in memory at once, and count within `max_bytes`.
    """
    with measuring(model):
        problem = Problem.make(model, x, y, probes, loss)
        wanted = find_divergences(divergences, problem.before.shape[1])
        bound = memory_bound(max_bytes, problem.before.device)
        fast = compact(problem).with_precise_gradients()
        delta = _changes_per_lr(fast, bound)
        measures = {d.name: d.tangent for d in wanted}
        never = torch.zeros(len(x), dtype=torch.bool)
        found = Changes(problem.before.double(), delta, never, "tangent", ways(fast.model))
        return summarise(problem, found, measures)


def _changes_per_lr(problem: Problem, max_bytes: int) -> Tensor:
    """−Θ(x', x_i) r(x_i) for all samples x_i and inputs x', (S, I, C) in float64."""
    size, n_outputs = Footprint.of(problem), problem.before.shape[1]
    wanted = max(_ROWS, _BYTES // size.activations)
    n_rows = size.rows_within(max_bytes, len(problem.x), n_outputs, wanted)
    n_inputs = size.inputs_within(max_bytes, len(problem.inputs))
    with Workers(problem, lambda own: own) as workers:
        found = workers.map(
            lambda own, rows: loss_slopes(own, own.x[rows], own.y[rows]),
            gradient_parts(len(problem.x), n_rows, size.activations),
        )
        at_samples = [slopes for slopes in found if slopes is not None]
        if len(at_samples) == len(found):
            some = problem.inputs.split(n_rows)
            return torch.cat([_at_some_inputs(workers, at_samples, inputs) for inputs in some], 1)
    # Forward derivatives have one state for the whole process, so not side by side.
    gradients = (problem.gradient(x, y) for x, y in zip(problem.x, problem.y, strict=True))
    return torch.stack([_by_directional_derivative(problem, g, n_inputs) for g in gradients])


def _at_some_inputs(workers: Workers[Problem], at_samples: list[Slopes], inputs: Tensor) -> Tensor:
    """Σ over layers of −⟨∇ f_c(x'), ∇ ℓ(x_i)⟩, (S, I, C) in float64: no further passes."""

    def slopes(own: Problem, rows: slice) -> list[Slopes]:
        found = output_slopes(own, inputs[rows])
        assert found is not None  # the samples went through the same layers
        return found

    parts = gradient_parts(len(inputs), len(inputs), workers.problem.activation_bytes)
    at_inputs = workers.map(slopes, parts)
    layers = list(at_samples[0].layers)
    of_layers = workers.map(lambda _, name: _of_layer(name, at_samples, at_inputs), layers)
    return -torch.stack(of_layers).sum(0).double()


def _of_layer(name: str, at_samples: list[Slopes], at_inputs: list[list[Slopes]]) -> Tensor:
    """⟨∇ f_c(x'), ∇ ℓ(x_i)⟩ by the weights of one layer, (S, I, C), for parts of the samples and
    parts of the inputs, which have slopes for each output.

    With a the patches that a layer reads and δ the slopes at its outputs, l and l' its positions,
    its weight contributes

        ⟨Σ_l δ_l a_lᵀ, Σ_l' δ'_l' a'_l'ᵀ⟩ = Σ_{l, l'} (δ_l·δ'_l') (a_l·a'_l'),

    on the left by way of the gradients themselves, on the right by Gram matrices over positions,
    whichever is less work; its bias contributes the product of the summed slopes.
    """
    moved = {w for w, p in at_samples[0].layers[name].named_parameters() if p.requires_grad}
    b = torch.cat([of_outputs[0].reads(name).mT for of_outputs in at_inputs]).mT
    others = [
        torch.cat([slopes.slopes_of(name) for slopes in of_output])
        for of_output in zip(*at_inputs, strict=True)
    ]
    by_samples = []
    for slopes in at_samples:
        a, slope = slopes.grouped(name)
        total = torch.zeros(len(a), len(b), len(others), dtype=a.dtype, device=a.device)
        if "bias" in moved:
            total += _dot(slope.sum(3), torch.stack([other.sum(3) for other in others]))
        if "weight" in moved:
            total += _contracted(a, slope, b, others)
        by_samples.append(total)
    return torch.cat(by_samples)


def _contracted(a: Tensor, slope: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """The product of the gradients of a weight, (S, I, C), in the way with fewer multiplications,
    as `srel_core.engine.layers.operation_counts` counts them; to write a number of a gradient or of
    a Gram matrix and read it again takes as long as some of them."""
    n_slopes, n_patches, positions = slope.shape[2], a.shape[2], a.shape[3]
    by_gram = positions**2 * (n_patches + len(others) * (n_slopes + _MEMORY))
    formed = 1 / len(b) + len(others) / len(a)
    by_gradient = n_slopes * n_patches * (len(others) + formed * (positions + _MEMORY))
    return (_gram if by_gram < by_gradient else _product)(a, slope, b, others)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """⟨a_s, b_ci⟩ over all that follows, (S, …), (C, I, …) → (S, I, C)."""
    return (a.flatten(1) @ b.flatten(2).mT).permute(1, 2, 0)


def _gram(a: Tensor, slope: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """Σ_{l, m} (δ_l·δ'_m)(a_l·b_m), (S, I, C), of a, δ (S, groups, ·, positions), b (I, …) and for
    each output δ' (I, …)."""
    of_patches = torch.einsum("sgkl,igkm->sigml", a, b)
    by_output = [torch.einsum("sgol,igom->sigml", slope, other) for other in others]
    return torch.stack([(of_patches * of_slopes).sum((2, 3, 4)) for of_slopes in by_output], 2)


def _product(a: Tensor, slope: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """The same by way of the gradients."""
    of_outputs = b.new_empty(len(others), *others[0].shape[:3], b.shape[2])
    for other, gradients in zip(others, of_outputs, strict=True):
        torch.matmul(other, b.mT, out=gradients)
    return _dot(slope @ a.mT, of_outputs)


def _by_directional_derivative(
    problem: Problem, gradient: dict[str, Tensor], n_inputs: int
) -> Tensor:
    """−Θ(x', x) r(x) at all inputs x', (I, C) in float64: forward-mode derivatives, at n_inputs
    inputs each."""
    down = {name: -g for name, g in gradient.items()}
    with torch.no_grad(), warnings.catch_warnings():
        # Forward mode loads torch's own scripted decompositions, which torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        slopes = [
            jvp(lambda w, at=part: problem.predict(w, at), (problem.weights,), (down,))[1]
            for part in problem.inputs.split(n_inputs)
        ]
    return torch.cat(slopes).double()
