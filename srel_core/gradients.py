"""Gradients of many samples, each by itself, from one forward and one backward pass.

A layer that is called once has, for sample i, the weight gradient δ_i a_iᵀ summed over positions,
with a_i the layer's input and δ_i the slope ∂ℓ_i/∂(its output). One batched pass yields the a and
δ of all samples; alone, each sample would have to read all the weights twice.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.compact import LiveTaps
from srel_core.problem import Problem

Gradient = dict[str, Tensor]
Layer = nn.Linear | nn.Conv2d | LiveTaps


def per_sample_gradients(
    problem: Problem, x: Tensor, y: Tensor
) -> Callable[[Problem, int], Gradient]:
    """i → ∇_w ℓ(w; x_i, y_i) by weight name, for samples x (S, ...) and targets y (S, ...).

    By layers where `loss_slopes` can, else one sample at a time. The function's first argument is
    the problem to work on, for threads that have their own.
    """
    slopes = loss_slopes(problem, x, y)
    if slopes is not None:
        return lambda _, i: slopes.gradient(i)
    return lambda one, i: one.gradient(x[i], y[i])


@dataclass(frozen=True)
class Slopes:
    """The inputs a (B, ...) of each layer, by name, and the slopes δ (B, ...) at its outputs."""

    weights: list[str]
    layers: dict[str, Layer]
    inputs: dict[str, Tensor]
    slopes: dict[str, Tensor]

    def gradient(self, i: int) -> Gradient:
        """The gradient of sample i by weight name."""
        return self._by_name(slice(i, i + 1))

    def total(self) -> Gradient:
        """The sum of all samples' gradients by weight name, without holding each."""
        return self._by_name(slice(None))

    def _by_name(self, rows: slice) -> Gradient:
        named = {}
        for name, layer in self.layers.items():
            a, slope = self.grouped(name, rows)
            weight = torch.einsum("bgkl,bgol->gok", a, slope)
            named[f"{name}.weight".lstrip(".")] = weight.reshape(layer.weight.shape)
            named[f"{name}.bias".lstrip(".")] = slope.sum((0, 3)).flatten()
        return {name: named[name] for name in self.weights}

    def grouped(self, name: str, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """For some of the samples what a layer reads, (b, groups, taps, positions), and the slopes
        there, (b, groups, channels, positions): its weight gradient is their product."""
        layer, a, slope = self.layers[name], self.inputs[name][rows], self.slopes[name][rows]
        if isinstance(layer, nn.Linear):
            a, slope = (t.reshape(len(t), 1, -1, t.shape[-1]).mT for t in (a, slope))
            return a, slope
        groups, size = layer.groups, layer.weight.shape
        patches = _patches(layer, a).view(len(a), groups, size[1] * size[2] * size[3], -1)
        return patches, slope.reshape(len(a), groups, size[0] // groups, -1)


def _patches(layer: nn.Conv2d | LiveTaps, a: Tensor) -> Tensor:
    """What each output position reads, (b, channels × taps, positions)."""
    if isinstance(layer, LiveTaps):
        a, padding = F.pad(a, layer.pads), (0, 0)
    else:
        padding = int(layer.padding[0]), int(layer.padding[1])
    return F.unfold(a, layer.weight.shape[2:], layer.dilation, padding, layer.stride)


def loss_slopes(problem: Problem, x: Tensor, y: Tensor) -> Slopes | None:
    """The slopes of each sample's loss, for samples x (S, ...) and targets y (S, ...).

    None unless every trainable weight belongs to a linear or convolution layer that is called
    once, and the sum of the samples' gradients comes out as the model's own does.
    """

    def total(predictions: Tensor) -> list[Tensor]:
        losses = [problem.loss(p, t) for p, t in zip(predictions.double(), y, strict=True)]
        return [torch.stack([loss.squeeze() for loss in losses]).sum()]

    found = _capture(problem, x, total, with_gradient=True)
    if found is None:
        return None
    ((slopes, whole),) = found
    # A weight that is also used outside its layer's own call has more gradient than its layer's.
    by_layers, tolerance = slopes.total(), 1e4 * torch.finfo(problem.before.dtype).eps
    for name, want in whole.items():
        if not (by_layers[name] - want).norm() <= tolerance * want.norm():
            return None
    return slopes


def output_slopes(problem: Problem) -> list[Slopes] | None:
    """For each output c the slopes of f_c at all of the problem's inputs; for a model whose
    `loss_slopes` are right. None as above."""
    found = _capture(problem, problem.inputs, lambda predictions: list(predictions.sum(0)))
    return None if found is None else [slopes for slopes, _ in found]


def _layers(problem: Problem) -> dict[str, Layer] | None:
    """The layers that own all trainable weights, by name; None if other modules own some."""
    owners = Counter(id(p) for _, p in problem.model.named_parameters(remove_duplicate=False))
    layers: dict[str, Layer] = {}
    for name, module in problem.model.named_modules():
        trainable = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if not trainable:
            continue
        if not isinstance(module, Layer) or type(module) not in (nn.Linear, nn.Conv2d, LiveTaps):
            return None
        if getattr(module, "padding_mode", "zeros") != "zeros":
            return None
        if isinstance(getattr(module, "padding", 0), str):
            return None
        if any(owners[id(p)] > 1 for p in trainable):
            return None
        layers[name] = module
    return layers


def _capture(
    problem: Problem,
    x: Tensor,
    totals: Callable[[Tensor], list[Tensor]],
    with_gradient: bool = False,
) -> list[tuple[Slopes, Gradient]] | None:
    """For each of the `totals` of the predictions at x (B, ...): its slopes, and if asked its
    gradient.

    All from one forward pass, in the problem's precise twin where it has one, and returned in the
    problem's own precision. None for a layer that is not called once with the batch.
    """
    layers, exact = _layers(problem), problem.precise or problem
    if layers is None:
        return None
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(name: str, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        batched = given and len(given[0]) == len(output) == len(x)
        calls[name] += 1 if batched and output.requires_grad else 2
        inputs[name] = given[0].detach().clone() if given else output.detach()
        outputs[name] = output
        return output.clone()  # so that an activation in place leaves `output` what it is

    hooks = [
        exact.model.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: keep(name, given, out)
        )
        for name in layers
    ]
    weights = {name: w.clone().requires_grad_() for name, w in exact.weights.items()}
    try:
        with torch.enable_grad():
            values = totals(exact.predict(weights, x.to(exact.inputs.dtype)))
    finally:
        for hook in hooks:
            hook.remove()
    if any(calls[name] != 1 for name in layers):
        return None
    dtype = problem.before.dtype
    own_inputs = {name: a.to(dtype) for name, a in inputs.items()}
    found = []
    places = [*outputs.values(), *(weights.values() if with_gradient else ())]
    for value in values:
        derivatives = torch.autograd.grad(
            value, places, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        own = [derivative.to(dtype) for derivative in derivatives]
        slopes = dict(zip(outputs, own[: len(outputs)], strict=True))
        gradient = dict(zip(weights, own[len(outputs) :], strict=True)) if with_gradient else {}
        found.append((Slopes(list(problem.weights), layers, own_inputs, slopes), gradient))
    return found
