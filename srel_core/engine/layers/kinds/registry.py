"""The kinds of layers by exact type: a subclass may compute anything else."""

from torch import nn

from srel_core.engine.layers.kinds.conv2d import Conv2dKind
from srel_core.engine.layers.kinds.fixed_size_conv import FixedSizeConv2d, FixedSizeConv2dKind
from srel_core.engine.layers.kinds.kind import LayerKind
from srel_core.engine.layers.kinds.linear import LinearKind

KINDS: dict[type[nn.Module], LayerKind] = {
    nn.Linear: LinearKind(),
    nn.Conv2d: Conv2dKind(),
    FixedSizeConv2d: FixedSizeConv2dKind(),
}


def is_known(layer: nn.Module) -> bool:
    """Whether the type of a layer is one of the registered."""
    return type(layer) in KINDS


def kind_of(layer: nn.Module) -> LayerKind:
    """What is known of layers of this type; KeyError if it is not registered."""
    return KINDS[type(layer)]
