"""The same convolutional predictor with less to compute: a `MapConv` wherever one pays.

That is where taps only ever see padding, so that no step moves them, and where maps are small.
"""

import dataclasses
from collections import Counter
from types import NoneType

import torch
from torch import Tensor, nn

from srel_core.engine.layers.fixed_size_conv import SMALL_MAP, MapConv
from srel_core.engine.setup.checks import rounding_of
from srel_core.engine.setup.problem import Problem, own_modules, put_weights, spread_rows
from srel_core.rules import SGD, Adam, Rule

# Inputs at which the smaller model must predict as the whole one does.
_TRIED = 8


def compact(problem: Problem, rule: Rule | None = None) -> Problem:
    """The same problem on a copy of the model, with `MapConv` in place of convolutions.

    The problem itself if the model is none of images and convolutions, or if the rule may move a
    weight without gradient, or looks at more of a tensor than each number by itself.
    """
    convolves = any(type(module) is nn.Conv2d for module in problem.model.modules())
    if problem.inputs.ndim != 4 or not convolves or type(rule) not in (SGD, Adam, NoneType):
        return problem
    model = own_modules(problem.model)
    for name, replacement in _replacements(model, problem).items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, replacement)
    # Where the channels of a pixel lie together, in maps and in kernels, pooling and convolutions
    # run faster.
    kernels = {id(m.weight): m.weight for m in model.modules() if type(m) is nn.Conv2d}
    put_weights(
        model,
        {
            key: nn.Parameter(
                kernel.detach().clone(memory_format=torch.channels_last), kernel.requires_grad
            )
            for key, kernel in kernels.items()
        },
    )
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    inputs = problem.inputs.contiguous(memory_format=torch.channels_last)
    smaller = dataclasses.replace(problem, model=model, weights=weights, inputs=inputs)
    # A model that uses a layer in some other way than by calling it shows here, by an error of any
    # kind or by other predictions at some inputs: the whole model is always right.
    some = spread_rows(inputs, _TRIED)
    try:
        with torch.no_grad():
            tried = smaller.predict(weights, inputs[some])
        difference = (tried - problem.before[some]).abs().max()
    except Exception:
        return problem
    return smaller if difference <= rounding_of(problem.before) else problem


def ways(model: nn.Module) -> dict[str, str]:
    """How each linear or convolution layer is computed, by name, in words."""
    plain = {nn.Linear: "product of matrices", nn.Conv2d: "convolution"}
    return {
        name: module.way if isinstance(module, MapConv) else plain[type(module)]
        for name, module in model.named_modules()
        if isinstance(module, MapConv) or type(module) in plain
    }


def _replacements(model: nn.Module, problem: Problem) -> dict[str, MapConv]:
    """By name, for plain convolutions of one input size with dead taps or small maps."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    convs = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Conv2d
        and name
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and uses[id(module.weight)] == 1
    }
    sizes: dict[str, set[torch.Size]] = {name: set() for name in convs}

    def note(name: str, given: tuple[Tensor, ...]) -> None:
        sizes[name].add(given[0].shape[-2:] if given else torch.Size())

    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: note(name, given))
        for name, module in convs.items()
    ]
    with torch.no_grad():
        model(problem.inputs[:1])
    for hook in hooks:
        hook.remove()
    found = {}
    for name, seen in sizes.items():
        if len(seen) != 1 or not (size := next(iter(seen))):  # no size: given by keyword
            continue
        replacement = MapConv(convs[name], (size[0], size[1]))
        height, width = replacement.size_out
        cut = replacement.weight.numel() < convs[name].weight.numel()
        if cut or height * width <= SMALL_MAP:
            found[name] = replacement
    return found
