"""Gradients of many samples, each by itself, from one forward and one backward pass.

A layer that is called once has, for sample i, the weight gradient δ_i a_iᵀ summed over positions,
with a_i the layer's input and δ_i = ∂ℓ_i/∂(its output). One batched pass yields the a and δ of
all samples; alone, each sample would have to read all the weights twice.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.compact import LiveTaps
from srel_core.problem import Problem

Gradient = dict[str, Tensor]
_LAYERS = (nn.Linear, nn.Conv2d, LiveTaps)


def per_sample_gradients(
    problem: Problem, x: Tensor, y: Tensor
) -> Callable[[Problem, int], Gradient]:
    """i → ∇_w ℓ(w; x_i, y_i) by weight name, for samples x (S, ...) and targets y (S, ...).

    The function's first argument is the problem to work on, for threads that have their own.

    By layers if every trainable weight belongs to a linear or convolution layer that is called
    once; else, and if the first sample's gradient comes out differently, one sample at a time.
    """

    def one_at_a_time(one: Problem, i: int) -> Gradient:
        return one.gradient(x[i], y[i])

    layers = _layers(problem)
    captured = layers and _capture(problem.precise or problem, list(layers), x, y)
    if not layers or not captured:
        return one_at_a_time
    inputs, slopes = ({n: t.to(problem.before.dtype) for n, t in part.items()} for part in captured)

    def by_layers(_: Problem, i: int) -> Gradient:
        gradient = {}
        for name, layer in layers.items():
            weight, bias = _layer_gradient(layer, inputs[name][i], slopes[name][i])
            gradient[f"{name}.weight".lstrip(".")] = weight
            gradient[f"{name}.bias".lstrip(".")] = bias
        return {name: gradient[name] for name in problem.weights}

    # A weight that is also used outside its layer's own call has more gradient than this.
    check, first = one_at_a_time(problem, 0), by_layers(problem, 0)
    tolerance = 1e4 * torch.finfo(problem.before.dtype).eps
    for name, want in check.items():
        if (first[name] - want).norm() > tolerance * want.norm():
            return one_at_a_time
    return by_layers


def _layers(problem: Problem) -> dict[str, nn.Module] | None:
    """The layers that own all trainable weights, by name; None if other modules own some."""
    owners = Counter(id(p) for _, p in problem.model.named_parameters(remove_duplicate=False))
    layers = {}
    for name, module in problem.model.named_modules():
        trainable = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if not trainable:
            continue
        plain = type(module) in _LAYERS and getattr(module, "padding_mode", "zeros") == "zeros"
        if not plain or isinstance(getattr(module, "padding", 0), str):
            return None
        if any(owners[id(p)] > 1 for p in trainable):
            return None
        layers[name] = module
    return layers


def _capture(
    problem: Problem, names: list[str], x: Tensor, y: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Each layer's inputs (S, ...) and loss slopes at its outputs (S, ...); None if a layer is not
    called exactly once."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(name: str, given: Tensor, output: Tensor) -> Tensor:
        calls[name] += 1
        inputs[name] = given.detach().clone()
        outputs[name] = output
        return output.clone()  # so that an activation in place leaves `output` what it is

    hooks = [
        problem.model.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: keep(name, given[0], out)
        )
        for name in names
    ]
    weights = {name: w.clone().requires_grad_() for name, w in problem.weights.items()}
    try:
        with torch.enable_grad():
            predictions = problem.predict(weights, x.to(problem.inputs.dtype)).double()
            losses = [problem.loss(p, t) for p, t in zip(predictions, y, strict=True)]
            total = torch.stack([loss.squeeze() for loss in losses]).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if any(calls[name] != 1 for name in names):
        return None
    slopes = torch.autograd.grad(total, list(outputs.values()))
    return inputs, dict(zip(outputs, slopes, strict=True))


def _layer_gradient(layer: nn.Module, a: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a layer's weight and bias from one sample's input a and output slope."""
    if isinstance(layer, nn.Linear):
        a, slope = a.reshape(-1, a.shape[-1]), slope.reshape(-1, slope.shape[-1])
        return slope.T @ a, slope.sum(0)
    assert isinstance(layer, (nn.Conv2d, LiveTaps))
    weight, groups = layer.weight, layer.groups
    patches = _patches(layer, a).view(groups, weight[0].numel(), -1)
    per_group = slope.reshape(groups, len(weight) // groups, -1)
    return (per_group @ patches.mT).view_as(weight), slope.flatten(1).sum(1)


def _patches(layer: nn.Conv2d | LiveTaps, a: Tensor) -> Tensor:
    """What each output position reads, (channels × taps, positions)."""
    if isinstance(layer, LiveTaps):
        a, padding = F.pad(a, layer.pads), (0, 0)
    else:
        padding = int(layer.padding[0]), int(layer.padding[1])
    return F.unfold(
        a[None], layer.weight.shape[2:], layer.dilation, padding, layer.stride
    )[0]  # fmt: skip
