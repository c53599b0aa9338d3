"""Gradients at the outputs of all layers, of many samples, by one forward and one backward pass.

One by one, each sample would have to read all the weights twice.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from srel_core.engine.layers.kinds.registry import is_known
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.setup.problem import CannotApplyError, Problem


def loss_gradients(problem: Problem, x: Tensor, y: Tensor) -> PerSampleGradients:
    """The gradients of each sample's loss, for samples x (S, ...) and targets y (S, ...).

    CannotApplyError unless every trainable weight belongs to a linear or convolution layer that is
    called once, and is used nowhere else.
    """

    def total(predictions: Tensor) -> list[Tensor]:
        return [problem.loss.of_each(predictions, y).sum()]

    return _capture(problem, x, total)[0]


def prediction_gradients(problem: Problem, inputs: Tensor) -> list[PerSampleGradients]:
    """For each output c the gradients of f_c at inputs (B, ...). CannotApplyError as above."""
    return _capture(problem, inputs, lambda predictions: list(predictions.sum(0)))


def _layers(problem: Problem) -> dict[str, nn.Module]:
    """The layers that own all trainable weights, by name, which `conditions` has looked at."""
    return {
        name: module
        for name, module in problem.model.named_modules()
        if is_known(module) and any(p.requires_grad for p in module.parameters())
    }


class _UsesElsewhere(TorchFunctionMode):
    """Notes whether any of these weights is used while no layer is being called."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = {id(w) for w in weights.values()}
        self.inside_layer = self.found = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if not self.inside_layer:
            given = [*args, *(kwargs or {}).values()]
            flat = [t for a in given for t in (a if isinstance(a, (list, tuple)) else [a])]
            self.found |= any(id(t) in self.weights for t in flat)
        return func(*args, **(kwargs or {}))


def _capture(
    problem: Problem, x: Tensor, totals: Callable[[Tensor], list[Tensor]]
) -> list[PerSampleGradients]:
    """The gradients of each of the `totals` of the predictions at x (B, ...).

    All from one forward pass, in the problem's precise twin where it has one, and returned in the
    problem's own precision. CannotApplyError for a layer that is not called once with the batch.
    """
    layers, exact = _layers(problem), problem.precise or problem
    dtype = problem.before.dtype
    inputs: dict[str, Tensor] = {}
    shapes: dict[str, torch.Size] = {}
    gradients: dict[str, Tensor] = {}
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
        if starting or output._is_view():  # an operation in place would bypass their hooks
            output = output.clone()
        # with respect to the output as it is now, whatever an operation in place makes of it
        output.register_hook(lambda g: gradients.__setitem__(name, g.to(dtype)))
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
        gradients.clear()
        torch.autograd.grad(value, starts, retain_graph=value is not values[-1], allow_unused=True)
        own = {
            n: gradients[n] if n in gradients else inputs[n].new_zeros(shapes[n]) for n in layers
        }
        found.append(PerSampleGradients(problem.weights, layers, inputs, own))
    return found
