"""The tangent kernel by layers: all products of gradients from one pass over samples and inputs.

With J(x) = ∂f_w(x)/∂w and Θ(x', x) = J(x') J(x)ᵀ, a vanishing SGD step of learning rate η on (x, y)
changes the prediction at x' by −η Θ(x', x) r(x), r = ∂ℓ/∂f at x: layer by layer the product of the
gradients of f_c(x') and of ℓ(x, y).
"""

import torch
from torch import Tensor

from srel_core.engine.layers.compaction import compact, descriptions
from srel_core.engine.layers.gradient_pass import loss_gradients, prediction_gradients
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.setup.memory import Footprint, gradient_parts
from srel_core.engine.setup.problem import Problem
from srel_core.engine.setup.task import Task, plain_attention
from srel_core.engine.setup.threads import Workers

# Of inputs at least these many at a time, and more as long as their activations take no more bytes;
# fewer if memory is short.
_ROWS, _BYTES = 16, 16 * 2**20

# Multiplications that a core does while it writes a number to memory and reads it.
_MEMORY = 64


def kernel_changes(task: Task, max_bytes: int) -> tuple[Tensor, dict[str, str]]:
    """−Θ(x', x_i) r(x_i) for all samples x_i and inputs x', (S, I, C) in float64, and how each
    layer was computed. CannotApplyError where the layers cannot be taken apart."""
    with plain_attention():
        problem = compact(Problem.of(task)).with_precise_gradients()
        return _by_layers(problem, max_bytes), descriptions(problem.model)


def _by_layers(problem: Problem, max_bytes: int) -> Tensor:
    size, n_outputs = Footprint.of(problem), problem.before.shape[1]
    on_cpu = problem.before.device.type == "cpu"
    wanted = max(_ROWS, _BYTES // size.activations) if on_cpu else len(problem.inputs)
    n_rows = size.rows_within(max_bytes, len(problem.x), n_outputs, wanted)
    with Workers(problem, lambda own: own) as workers:
        at_samples = workers.map(
            lambda own, rows: loss_gradients(own, own.x[rows], own.y[rows]),
            gradient_parts(len(problem.x), n_rows, problem),
        )
        some = problem.inputs.split(n_rows)
        return torch.cat([_at_some_inputs(workers, at_samples, inputs) for inputs in some], 1)


def _at_some_inputs(
    workers: Workers[Problem], at_samples: list[PerSampleGradients], inputs: Tensor
) -> Tensor:
    """Σ over layers of −⟨∇ f_c(x'), ∇ ℓ(x_i)⟩, (S, I, C) in float64, by one pass at the inputs."""
    parts = gradient_parts(len(inputs), len(inputs), workers.problem)
    at_inputs = workers.map(lambda own, rows: prediction_gradients(own, inputs[rows]), parts)
    layers = list(at_samples[0].layers)
    of_layers = workers.map(lambda _, name: _of_layer(name, at_samples, at_inputs), layers)
    return -torch.stack(of_layers).sum(0).double()


def _of_layer(
    name: str, at_samples: list[PerSampleGradients], at_inputs: list[list[PerSampleGradients]]
) -> Tensor:
    """⟨∇ f_c(x'), ∇ ℓ(x_i)⟩ by the weights of one layer, (S, I, C), for parts of the samples and
    parts of the inputs, which have gradients of each output c.

    With a the patches that a layer reads and g the gradients at its outputs, l and l' its
    positions, its weight contributes

        ⟨Σ_l g_l a_lᵀ, Σ_l' g'_l' a'_l'ᵀ⟩ = Σ_{l, l'} (g_l·g'_l') (a_l·a'_l'),

    on the left by way of the weight gradients themselves, on the right by Gram matrices over
    positions, whichever is less work; its bias contributes the product of the summed output
    gradients.
    """
    moved = {w for w, p in at_samples[0].layers[name].named_parameters() if p.requires_grad}
    b = torch.cat([of_outputs[0].patches_of(name).mT for of_outputs in at_inputs]).mT
    others = [
        torch.cat([gradients.output_gradients_of(name) for gradients in of_output])
        for of_output in zip(*at_inputs, strict=True)
    ]
    by_samples = []
    for gradients in at_samples:
        a, g = gradients.patches_and_gradients(name)
        total = torch.zeros(len(a), len(b), len(others), dtype=a.dtype, device=a.device)
        if "bias" in moved:
            total += _dot(g.sum(3), torch.stack([other.sum(3) for other in others]))
        if "weight" in moved:
            total += _contracted(a, g, b, others)
        by_samples.append(total)
    return torch.cat(by_samples)


def _contracted(a: Tensor, g: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """The products of the gradients of a weight, (S, I, C), in the way with fewer multiplications,
    as `srel_core.engine.layers.operation_counts` counts them. Writing a number of a gradient or of
    a Gram matrix to memory and reading it again takes as long as `_MEMORY` of them."""
    outputs, reads, positions = g.shape[2], a.shape[2], a.shape[3]
    by_gram = positions**2 * (reads + len(others) * (outputs + _MEMORY))
    formed = 1 / len(b) + len(others) / len(a)
    by_gradient = outputs * reads * (len(others) + formed * (positions + _MEMORY))
    return (_gram if by_gram < by_gradient else _product)(a, g, b, others)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """⟨a_s, b_ci⟩ over all that follows, (S, …), (C, I, …) → (S, I, C)."""
    return (a.flatten(1) @ b.flatten(2).mT).permute(1, 2, 0)


def _gram(a: Tensor, g: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """Σ_{l, m} (g_l·g'_m)(a_l·b_m), (S, I, C), of a, g (S, groups, ·, positions), b (I, …) and for
    each prediction g' (I, …)."""
    of_patches = torch.einsum("sgkl,igkm->sigml", a, b)
    by_output = [torch.einsum("sgol,igom->sigml", g, other) for other in others]
    return torch.stack([(of_patches * of_g).sum((2, 3, 4)) for of_g in by_output], 2)


def _product(a: Tensor, g: Tensor, b: Tensor, others: list[Tensor]) -> Tensor:
    """The same by way of the gradients."""
    of_outputs = b.new_empty(len(others), *others[0].shape[:3], b.shape[2])
    for other, gradients in zip(others, of_outputs, strict=True):
        torch.matmul(other, b.mT, out=gradients)
    return _dot(g @ a.mT, of_outputs)
