"""Models that are trained by several processes, measured by one."""

import sys
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def require_whole(model: nn.Module) -> None:
    """ValueError, naming it, for a weight of which this process may hold a part alone."""
    for name, module in model.named_modules():
        if _is_one_of(module, "torch.distributed.fsdp", "FullyShardedDataParallel"):
            _refuse(f"module {name or 'model'!r}", module)
    for name, parameter in model.named_parameters():
        if _is_one_of(parameter, "torch.distributed.tensor", "DTensor"):
            _refuse(f"weight {name!r}", parameter)


def _refuse(what: str, thing: Any) -> None:
    raise ValueError(
        f"{what} ({type(thing).__name__}) is spread over processes, and a step needs every weight "
        "whole: measure the model without it, with the full state dict loaded"
    )


def _is_one_of(thing: object, module: str, name: str) -> bool:
    """Without importing what takes long: where it was not imported, there is none."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)


def trains_with_others() -> bool:
    """Whether processes train together, as far as torch knows.

    Then their wrappers have hooks at the nodes that add to each weight's `.grad`, and torch drops
    such a node for good where a weight is given data of another dtype: the processes would go on
    without a word, each with its own gradients.
    """
    return dist.is_available() and dist.is_initialized()


def without_others(model: nn.Module) -> None:
    """Let each `DistributedDataParallel` be the module that it wraps, until its attributes are put
    back.

    Or a backward pass would average the gradient of this process's sample with those that the
    others take, and wait for them for ever if they take none.
    """
    for module in model.modules():
        if isinstance(module, DistributedDataParallel):
            vars(module)["forward"] = module.module.__call__
