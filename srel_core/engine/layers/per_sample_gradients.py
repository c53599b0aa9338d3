"""Gradients of many samples, each by itself, from one forward and one backward pass.

A layer that is called once has, for sample i, the weight gradient δ_i a_iᵀ summed over positions,
with a_i the layer's input and δ_i the slope ∂ℓ_i/∂(its output). One batched pass yields the a and
δ of all samples; alone, each sample would have to read all the weights twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from srel_core.engine.layers.compiled import AdamStep, blocks
from srel_core.engine.layers.fixed_size_conv import MapConv, shaped, taps_first
from srel_core.engine.setup.problem import CannotApplyError, Problem
from srel_core.rules import SGD, Adam, Rule

Gradient = dict[str, Tensor]
Layer = nn.Linear | nn.Conv2d | MapConv


@dataclass(frozen=True)
class Place:
    """A weight or bias of a layer and where steps from it are written, `into`; and, per group of
    the layer, both as matrices, which are views."""

    name: str
    layer: str
    into: Tensor
    is_bias: bool
    matrices: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Slopes:
    """The inputs a (B, ...) of each layer, by name, and the slopes δ (B, ...) at its outputs.

    `weights` are those to step from, by name. `kept` has what `grouped` gives for all samples, of
    layers for which it has been asked ahead.
    """

    weights: Gradient
    layers: dict[str, Layer]
    inputs: dict[str, Tensor]
    slopes: dict[str, Tensor]
    kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def laid_out(self) -> "Slopes":
        """The same with the patches that the layers read laid out for all samples at once, which
        is faster than for one after another."""
        return replace(self, kept={name: self.grouped(name) for name in self.layers})

    def part(self, rows: slice) -> "Slopes":
        """Those of some of the samples."""
        inputs, slopes = (
            {name: t[rows] for name, t in of.items()} for of in (self.inputs, self.slopes)
        )
        kept = {name: (a[rows], slope[rows]) for name, (a, slope) in self.kept.items()}
        return Slopes(self.weights, self.layers, inputs, slopes, kept)

    def of_weight(self, name: str, i: int) -> Tensor:
        """The gradient of sample i for the weight of one layer, in the weight's own shape."""
        layer = self.layers[name]
        left, right = self._factors(name, i)
        matrices = left @ right.mT
        if isinstance(layer, MapConv):
            return matrices.transpose(0, 1).reshape(layer.weight.shape)
        if isinstance(layer, nn.Conv2d):
            return shaped(layer, matrices.flatten(0, 1))
        return matrices.reshape(layer.weight.shape)

    def _factors(self, name: str, i: int) -> tuple[Tensor, Tensor]:
        """Two matrices for each group of a layer, whose product is the gradient of sample i."""
        if name in self.kept:
            a, slope = (t[i] for t in self.kept[name])
        else:
            a, slope = (t[0] for t in self.grouped(name, slice(i, i + 1)))
        # a MapConv's weight has the outputs last, the others' have them first
        return (a, slope) if isinstance(self.layers[name], MapConv) else (slope, a)

    def places(self, into: Gradient) -> list[Place]:
        """The weights to step from beside their places in `into`, by weight name."""
        found = []
        for name, layer in self.layers.items():
            of_weight, of_bias = f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")
            if of_bias in into:
                of_both = [t[of_bias].view(-1, 1) for t in (self.weights, into)]
                found.append(Place(of_bias, name, into[of_bias], True, [(of_both[0], of_both[1])]))
            if of_weight in into:
                of_groups = (_matrices(t[of_weight], layer) for t in (self.weights, into))
                found.append(
                    Place(
                        of_weight, name, into[of_weight], False, list(zip(*of_groups, strict=True))
                    )
                )
        return found

    def step(self, i: int, rule: Rule, places: list[Place]) -> None:
        """Write the weights w⁺ after the step on sample i over those at these places."""
        if type(rule) not in (SGD, Adam):
            self._step_whole(i, rule, places)
            return
        loop = None
        if type(rule) is Adam:
            loop = AdamStep.of(rule.lr, rule.EPS, max(self.weights.values(), key=Tensor.numel))
        for place in places:
            for (w, out), left, right in self._products(i, place):
                if loop is not None and w.is_contiguous():
                    loop.write(w, left, right, out)
                else:  # by rows, of which these rules treat each number by itself
                    for w_r, out_r, left_r in blocks(right.shape[1], w, out, left):
                        torch.add(w_r, rule.change(place.name, w_r, left_r @ right), out=out_r)

    def _step_whole(self, i: int, rule: Rule, places: list[Place]) -> None:
        """The same by a rule that is handed whole tensors, each once."""
        for place in places:
            weight = self.weights[place.name]
            if place.is_bias:
                rows = slice(i, i + 1)
                gradient = self.slopes_of(place.layer, rows).sum((0, 3)).view_as(weight)
            else:
                gradient = self.of_weight(place.layer, i)
            torch.add(weight, rule.change(place.name, weight, gradient), out=place.into)

    def _products(
        self, i: int, place: Place
    ) -> Iterable[tuple[tuple[Tensor, Tensor], Tensor, Tensor]]:
        """For each group the matrices of a place, and left (rows, k) and right (k, columns), whose
        product is the gradient of sample i there."""
        if place.is_bias:
            left = self.slopes_of(place.layer, slice(i, i + 1)).sum((0, 3)).view(1, -1, 1)
            right = left.new_ones(1, 1, 1)
        else:
            left, right = self._factors(place.layer, i)
            right = right.mT
        return zip(place.matrices, left, right, strict=True)

    def grouped(self, name: str, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """For some of the samples what a layer reads, (b, groups, taps, positions), and the slopes
        there, (b, groups, channels, positions): its weight gradient is their product."""
        if name in self.kept:
            reads, slopes = self.kept[name]
            return reads[rows], slopes[rows]
        return self.reads(name, rows), self.slopes_of(name, rows)

    def reads(self, name: str, rows: slice = slice(None)) -> Tensor:
        """The first of the two."""
        layer, a = self.layers[name], self.inputs[name][rows]
        if isinstance(layer, nn.Linear):
            return _rows_of_linear(a)
        return _patches(layer, a)

    def slopes_of(self, name: str, rows: slice = slice(None)) -> Tensor:
        """The second."""
        layer, slope = self.layers[name], self.slopes[name][rows]
        if isinstance(layer, nn.Linear):
            return _rows_of_linear(slope)
        return slope.flatten(2).unflatten(1, (layer.groups, -1))


def _rows_of_linear(values: Tensor) -> Tensor:
    """(b, ..., features) → (b, 1, features, positions)."""
    return values.reshape(len(values), 1, -1, values.shape[-1]).mT


def _patches(layer: nn.Conv2d | MapConv, a: Tensor) -> Tensor:
    """What each output position reads, (b, groups, what the weight multiplies, positions), in the
    order of the weight; in memory what a position reads lies together."""
    if isinstance(layer, MapConv):
        kernel, pads = layer.weight.shape[:2], layer.pads
    else:
        kernel = layer.weight.shape[2:]
        down, across = (int(n) for n in layer.padding)
        pads = (across, across, down, down)
    windows = F.pad(a, pads).permute(0, 2, 3, 1)
    for axis, taps, step, apart in zip((1, 2), kernel, layer.stride, layer.dilation, strict=True):
        windows = windows.unfold(axis, apart * (taps - 1) + 1, step)[..., ::apart]
    # (b, output rows, output columns, channels, tap rows, tap columns)
    by_group = windows.flatten(1, 2).unflatten(2, (layer.groups, -1)).permute(0, 2, 1, 4, 5, 3)
    if not taps_first(layer):
        by_group = by_group.movedim(5, 3)
    return by_group.flatten(3).mT


def _matrices(weight: Tensor, layer: Layer) -> Tensor:
    """A weight as the products of `grouped` make it: (groups, rows, columns), a view."""
    if isinstance(layer, nn.Linear):
        return weight[None]
    if isinstance(layer, MapConv):
        return weight.flatten(0, 2).unflatten(1, (layer.groups, -1)).transpose(0, 1)
    in_order = weight.permute(0, 2, 3, 1) if taps_first(layer) else weight
    return in_order.flatten(1).unflatten(0, (layer.groups, -1))


def loss_slopes(problem: Problem, x: Tensor, y: Tensor) -> Slopes:
    """The slopes of each sample's loss, for samples x (S, ...) and targets y (S, ...).

    CannotApplyError unless every trainable weight belongs to a linear or convolution layer that is
    called once, and is used nowhere else.
    """

    def total(predictions: Tensor) -> list[Tensor]:
        return [problem.loss.of_each(predictions, y).sum()]

    return _capture(problem, x, total)[0]


def output_slopes(problem: Problem, inputs: Tensor) -> list[Slopes]:
    """For each output c the slopes of f_c at inputs (B, ...). CannotApplyError as above."""
    return _capture(problem, inputs, lambda predictions: list(predictions.sum(0)))


def _layers(problem: Problem) -> dict[str, Layer]:
    """The layers that own all trainable weights, by name, which `conditions` has looked at."""
    return {
        name: module
        for name, module in problem.model.named_modules()
        if isinstance(module, Layer) and any(p.requires_grad for p in module.parameters())
    }


class _UsesElsewhere(TorchFunctionMode):
    """Notes whether any of these weights is used while no layer is being called."""

    def __init__(self, weights: Gradient) -> None:
        super().__init__()
        self.weights = {id(w) for w in weights.values()}
        self.inside_layer = self.found = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if not self.inside_layer:
            given = [*args, *(kwargs or {}).values()]
            flat = [t for a in given for t in (a if isinstance(a, (list, tuple)) else [a])]
            self.found |= any(id(t) in self.weights for t in flat)
        return func(*args, **(kwargs or {}))


def _capture(problem: Problem, x: Tensor, totals: Callable[[Tensor], list[Tensor]]) -> list[Slopes]:
    """The slopes of each of the `totals` of the predictions at x (B, ...).

    All from one forward pass, in the problem's precise twin where it has one, and returned in the
    problem's own precision. CannotApplyError for a layer that is not called once with the batch.
    """
    layers, exact = _layers(problem), problem.precise or problem
    dtype = problem.before.dtype
    inputs: dict[str, Tensor] = {}
    shapes: dict[str, torch.Size] = {}
    slopes: dict[str, Tensor] = {}
    starts: list[Tensor] = []  # whatever else requires a gradient depends on one of these
    calls: Counter[str] = Counter()
    elsewhere = _UsesElsewhere(exact.weights)

    def enter(given: tuple[Tensor, ...]) -> None:
        elsewhere.inside_layer = True

    def leave(name: str, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        batched = given and len(given[0]) == len(output) == len(x)
        calls[name] += 1 if batched else 2
        with torch.no_grad():  # a copy, since an operation in place may come next
            inputs[name] = (given[0] if given else output).to(dtype, copy=True)
        shapes[name] = output.shape
        starting = not output.requires_grad
        if starting:
            starts.append(output.requires_grad_())
        if starting or output._is_view():  # neither of which keeps a hook through what is in place
            output = output.clone()
        # with respect to the output as it is now, whatever an operation in place makes of it
        output.register_hook(lambda slope: slopes.__setitem__(name, slope.to(dtype)))
        elsewhere.inside_layer = False
        return output

    hooks = []
    for name in layers:
        module = exact.model.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(lambda _, given: enter(given)))
        hooks.append(
            module.register_forward_hook(lambda _, given, out, name=name: leave(name, given, out))
        )
    try:
        with torch.enable_grad(), elsewhere:
            values = totals(exact.predict(exact.weights, x.to(exact.inputs.dtype)))
    finally:
        for hook in hooks:
            hook.remove()
    if elsewhere.found:
        raise CannotApplyError("a weight is used outside of its layer")
    if wrong := [name for name in layers if calls[name] != 1]:
        raise CannotApplyError(f"layer {wrong[0]!r} is not called once with the batch")
    found = []
    for value in values:
        slopes.clear()
        torch.autograd.grad(value, starts, retain_graph=value is not values[-1], allow_unused=True)
        own = {n: slopes[n] if n in slopes else inputs[n].new_zeros(shapes[n]) for n in layers}
        found.append(Slopes(problem.weights, layers, inputs, own))
    return found
