"""The kinds of operations whose changes have formulas
(`srel_core.engine.propagation.finite_differences`)."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from srel_core.engine.layers.kinds.registry import is_known, kind_of
from srel_core.engine.propagation import finite_differences

RELUS = {nn.ReLU, F.relu, torch.relu, "relu", "relu_"}
LINEAR = {
    nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout,
    "flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum",
    "contiguous", torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze,
    torch.unsqueeze, torch.mean, torch.sum, operator.getitem, operator.neg,
}  # fmt: skip
POOLS = {nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d}
ELEMENTWISE: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys((nn.Tanh, F.tanh, torch.tanh, "tanh"), finite_differences.tanh_difference),
    **dict.fromkeys(
        (nn.Sigmoid, F.sigmoid, torch.sigmoid, "sigmoid"), finite_differences.sigmoid_difference
    ),
}
# In place or not, a change is never written over another: they may share memory where the values
# do not.
SUMS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), operator.add),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), operator.sub),
}
PRODUCTS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((operator.mul, torch.mul, "mul"), operator.mul),
    **dict.fromkeys((operator.matmul, torch.matmul, "matmul"), operator.matmul),
    torch.bmm: torch.bmm,
}


def calls_layer(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node calls a layer of a known kind that is computed as its kind says. One that is
    not, such as a convolution with another padding, is here where its weights are frozen."""
    layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    return layer is not None and is_known(layer) and kind_of(layer).why_not(layer) is None


def operation_of(node: fx.Node, model: nn.Module) -> Any:
    """What a node calls: a type of module, a function, or the name of a method."""
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target)))
    return node.target


def evaluate(node: fx.Node, model: nn.Module, value_of: Callable[[fx.Node], Any]) -> Any:
    """What a node calls, of a model, with these values of the nodes that it reads."""
    given: Any = fx.map_arg((node.args, node.kwargs), value_of)
    args, kwargs = given
    if node.op == "call_module":
        return model.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        # what is in another order in memory has no view
        name = "reshape" if node.target == "view" else str(node.target)
        return getattr(args[0], name)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def prepared_difference(
    node: fx.Node, operation: Any, activations: Mapping[fx.Node, Any], model: nn.Module
) -> Any:
    """The finite difference of an operation whose constants are worth keeping; None for others."""
    if operation in RELUS:
        return finite_differences.ReluDifference(activations[node.all_input_nodes[0]])
    if operation is nn.MaxPool2d:
        pool: Any = model.get_submodule(str(node.target))
        if not (pool.ceil_mode or pool.return_indices or pool.dilation != 1):
            return finite_differences.MaxPoolDifference(pool, activations[node.all_input_nodes[0]])
    return None
