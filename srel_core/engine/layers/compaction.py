"""The same convolutional predictor with less to compute: layers for one input size where they pay.

That is where taps of a kernel only ever meet padding, so that no step moves them, and where maps
are small (`srel_core.engine.layers.kinds.fixed_size_conv`).
"""

import dataclasses
from collections import Counter

import torch
from torch import Tensor, nn

from srel_core.engine.layers.kinds.registry import is_known, kind_of
from srel_core.engine.setup.checks import rounding_of
from srel_core.engine.setup.problem import Problem, evenly_spaced_rows, own_modules, put_weights
from srel_core.rules import Rule, is_by_number

# Inputs at which the smaller model must predict as the whole one does.
_TRIED = 8


def compact(problem: Problem, rule: Rule | None = None, products: bool = True) -> Problem:
    """The same problem on a copy of the model, with layers for one input size in place of others.

    The problem itself if the model is none of images and convolutions, or if the rule may move a
    weight without gradient, or looks at more of a tensor than each number by itself. Without
    `products` small maps are convolved on a CPU too, which takes few operations of torch.
    """
    of_maps = any(_reads_maps(module) for module in problem.model.modules())
    if problem.inputs.ndim != 4 or not of_maps or not (rule is None or is_by_number(rule)):
        return problem
    model = own_modules(problem.model)
    for name, replacement in _replacements(model, problem, products).items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, replacement)
    # Pooling and convolutions are faster where maps and kernels are channels_last.
    put_weights(model, _in_faster_format(model))
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    inputs = problem.inputs.contiguous(memory_format=torch.channels_last)
    smaller = dataclasses.replace(problem, model=model, weights=weights, inputs=inputs)
    # A model that uses a layer in some other way than by calling it shows here, by an error of any
    # kind or by other predictions at some inputs: the whole model is always right.
    some = evenly_spaced_rows(inputs, _TRIED)
    try:
        with torch.no_grad():
            tried = smaller.predict(weights, inputs[some])
        difference = (tried - problem.before[some]).abs().max()
    except Exception:
        return problem
    return smaller if difference <= rounding_of(problem.before) else problem


def descriptions(model: nn.Module) -> dict[str, str]:
    """How each layer of a known kind is computed, by name, in words."""
    known = ((name, module) for name, module in model.named_modules() if is_known(module))
    return {name: kind_of(module).description(module) for name, module in known}


def _reads_maps(module: nn.Module) -> bool:
    return is_known(module) and kind_of(module).reads_maps


def _in_faster_format(model: nn.Module) -> dict[int, nn.Parameter]:
    """Copies of weights in the layout in memory that is fastest, by the id of the weight."""
    found = {}
    for module in model.modules():
        layout = kind_of(module).weight_format if is_known(module) else None
        if layout is not None:
            weight = module.get_parameter("weight")
            found[id(weight)] = nn.Parameter(
                weight.detach().clone(memory_format=layout), weight.requires_grad
            )
    return found


def _replacements(model: nn.Module, problem: Problem, products: bool) -> dict[str, nn.Module]:
    """By name, for layers of maps that meet one input size and have less to compute for it."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    layers = {
        name: module
        for name, module in model.named_modules()
        if name
        and _reads_maps(module)
        and kind_of(module).why_not(module) is None
        and uses[id(module.weight)] == 1
    }
    sizes: dict[str, set[torch.Size]] = {name: set() for name in layers}

    def note(name: str, given: tuple[Tensor, ...]) -> None:
        sizes[name].add(given[0].shape[-2:] if given else torch.Size())

    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: note(name, given))
        for name, module in layers.items()
    ]
    with torch.no_grad():
        model(problem.inputs[:1])
    for hook in hooks:
        hook.remove()
    found = {}
    for name, seen in sizes.items():
        if len(seen) != 1 or not (size := next(iter(seen))):  # no size: given by keyword
            continue
        layer = layers[name]
        replacement = kind_of(layer).for_size(layer, (size[0], size[1]), products)
        if replacement is not None:
            found[name] = replacement
    return found
