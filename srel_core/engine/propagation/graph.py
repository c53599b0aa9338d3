"""A model as a graph of operations, and what each of them gives at some inputs."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from srel_core.engine.layers.kinds.registry import is_known
from srel_core.engine.setup.problem import CannotApplyError


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_known(m) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """The operations of a model, in order. CannotApplyError if they depend on values, or
    cannot be followed for another reason."""
    if any(p is not None for p in model._parameters.values()):
        raise CannotApplyError("its own forward uses weights, outside of any layer")
    try:
        return _Tracer().trace(model)
    except Exception as error:  # whatever a model does with what stands for its input
        raise CannotApplyError(str(error)) from error


class ActivationRecorder(fx.Interpreter):
    """Runs a graph and keeps what each operation gives, real numbers in `dtype`."""

    def __init__(self, model: nn.Module, graph: fx.Graph, dtype: torch.dtype) -> None:
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.dtype = dtype
        self.activations: dict[fx.Node, Any] = {}
        self.versions: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        for used in n.all_input_nodes:
            if used in self.versions and self.env[used]._version != self.versions[used]:
                now = self.env[used].to(self.activations[used].dtype)
                if not torch.equal(now, self.activations[used]):
                    raise CannotApplyError(f"{used} is changed in place and then used again")
        value = super().run_node(n)
        real = isinstance(value, Tensor) and value.is_floating_point()
        # a copy: an operation in place may come next
        self.activations[n] = value.to(self.dtype, copy=True) if real else value
        if isinstance(value, Tensor):
            self.versions[n] = value._version  # how often it was written to so far
        return value
