"""The kinds of operations whose changes have formulas
(`srel_core.engine.propagation.elementwise`)."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from srel_core.engine.layers.fixed_size_conv import MapConv
from srel_core.engine.propagation import elementwise

RELUS = {nn.ReLU, F.relu, torch.relu, "relu", "relu_"}
LAYERS = {nn.Linear, nn.Conv2d, MapConv}
LINEAR = {
    nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout,
    "flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum",
    "contiguous", torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze,
    torch.unsqueeze, torch.mean, torch.sum, operator.getitem, operator.neg,
}  # fmt: skip
POOLS = {nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d}
ELEMENTWISE: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys((nn.Tanh, F.tanh, torch.tanh, "tanh"), elementwise.of_tanh),
    **dict.fromkeys((nn.Sigmoid, F.sigmoid, torch.sigmoid, "sigmoid"), elementwise.of_sigmoid),
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


def kind_of(node: fx.Node, model: nn.Module) -> Any:
    """What an operation does: a type of module, a function, or the name of a method."""
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target)))
    return node.target


def prepared(node: fx.Node, kind: Any, base: Mapping[fx.Node, Any], model: nn.Module) -> Any:
    """The formula of an operation whose constants are worth keeping; None for others."""
    if kind in RELUS:
        return elementwise.OfRelu(base[node.all_input_nodes[0]])
    if kind is nn.MaxPool2d:
        pool: Any = model.get_submodule(str(node.target))
        if not (pool.ceil_mode or pool.return_indices or pool.dilation != 1):
            return elementwise.OfMaxPool(pool, base[node.all_input_nodes[0]])
    return None
