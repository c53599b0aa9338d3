"""Where the fast ways apply: when copies of a model's layers may stand for the model.

They take gradients and predictions apart layer by layer, on copies of the modules around the user's
weights. That is the same function only where every weight is used by one call of a layer whose
formula is known, nothing else acts on the way, and nothing holds a part of the model that a copy
would not have. What fails here is measured by the definition instead; what passes is compared with
it.
"""

import functools
import types
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from srel_core.engine.layers.kinds.registry import is_known, kind_of
from srel_core.engine.setup.task import Task

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
_GLOBAL_HOOKS = tuple(name for name in vars(torch_module) if name.startswith("_global_")
                      and name.endswith("hooks"))  # fmt: skip
_REGISTRIES = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"}
_VISITS = 100_000  # objects to look into, at most


def why_not(task: Task) -> str | None:
    """Why no fast way applies, in words that complete "because"; None if one may."""
    reasons = (_of_inputs, _of_modules, _of_weights, _of_references)
    return next((found for reason in reasons if (found := reason(task))), None)


def _of_inputs(task: Task) -> str | None:
    if len(task.x.tensors) > 1 or task.x.names is not None:
        return "it takes more than one tensor"
    if not task.gives_tensor or task.before.ndim != 2:
        return "its output is not one tensor (batch, outputs)"
    if task.in_half_precision:
        return "it computes in half precision"
    if any(getattr(torch_module, name) for name in _GLOBAL_HOOKS):
        return "a hook for all modules is registered"
    return None


def _of_modules(task: Task) -> str | None:
    for name, module in task.model.named_modules():
        what = f"module {name or 'model'!r} ({type(module).__name__})"
        if isinstance(module, (torch.jit.ScriptModule, nn.DataParallel, DistributedDataParallel)):
            return f"{what} runs code of its own"
        if any(getattr(module, hooks, None) for hooks in _HOOKS):
            return f"{what} has a hook"
        if "forward" in vars(module) or type(module).__call__ is not nn.Module.__call__:
            return f"the forward of {what} was replaced"
        if parametrize.is_parametrized(module):
            return f"{what} is parametrised"
        trained = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if trained and (reason := _of_layer(module)):
            return f"{what} {reason}"
    return None


def _of_layer(layer: nn.Module) -> str | None:
    if not is_known(layer):
        return "has weights in a way of its own"
    if reason := kind_of(layer).why_not(layer):
        return reason
    if set(dict(layer.named_parameters(recurse=False))) - {"weight", "bias"}:
        return "has further weights"
    return None


def _of_weights(task: Task) -> str | None:
    model = task.model
    floating = [t for t in (*model.parameters(), *model.buffers()) if t.dtype.is_floating_point]
    dtypes = {t.dtype for t in floating} | {p.dtype for p in model.parameters()}
    if len(dtypes) > 1 or dtypes - {torch.float32, torch.float64}:
        return "its weights are not all in float32, or all in float64"
    names = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    memory = Counter(p.untyped_storage().data_ptr() for p in model.parameters() if p.numel())
    for name, p in task.weights.items():
        if names[id(p)] > 1 or memory[p.untyped_storage().data_ptr()] > 1:
            return f"weight {name!r} stands at more than one place"
        if p._backward_hooks:
            return f"weight {name!r} has a hook"
        if type(p) is not nn.Parameter:
            return f"weight {name!r} is a {type(p).__name__}"
    return None


def _of_references(task: Task) -> str | None:
    """What a copy of the modules would not have: parts of the model that are reached in another way
    than by its registries, from an attribute, a closure or a global name."""
    parts = {id(part) for part in (*task.model.modules(), *task.model.parameters())}
    memory = {p.untyped_storage().data_ptr() for p in task.model.parameters() if p.numel()}

    def is_part(thing: object) -> bool:
        if id(thing) in parts:
            return True
        return isinstance(thing, Tensor) and thing.layout == torch.strided and (
            thing.numel() > 0 and thing.untyped_storage().data_ptr() in memory
        )  # fmt: skip

    roots: list[Any] = [task.loss.function]
    for module in task.model.modules():
        roots += [v for k, v in vars(module).items() if k not in _REGISTRIES]
        if not type(module).__module__.startswith("torch."):
            roots += [v for v in vars(type(module)).values() if not isinstance(v, property)]
    if any(is_part(thing) for thing in _reachable(roots)):
        return "a part of it is also held by an attribute, a closure or a global name"
    return None


def _reachable(roots: Iterable[Any]) -> Iterator[Any]:
    """Roots and what they refer to, as far as Python's own containers, functions and plain objects
    go; not into modules of Python, classes, or modules of the model."""
    waiting, seen = deque(roots), set[int]()
    while waiting and len(seen) < _VISITS:
        thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        waiting.extend(_referents(thing))


def _referents(thing: Any) -> Iterable[Any]:
    if isinstance(thing, (nn.Module, Tensor, type, types.ModuleType, str, bytes, int, float)):
        return ()
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset, deque)):
        return list(thing)
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, (staticmethod, classmethod)):
        return [thing.__func__]
    if isinstance(thing, types.FunctionType):
        return [*_of_cells(thing), *(thing.__defaults__ or ()), *_of_globals(thing)]
    return list(getattr(thing, "__dict__", {}).values())


def _of_cells(function: types.FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return found


def _of_globals(function: types.FunctionType) -> list[Any]:
    """Tensors and modules that a function reaches by a global name."""
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    return [value for value in named if isinstance(value, (nn.Module, Tensor, list, dict))]
