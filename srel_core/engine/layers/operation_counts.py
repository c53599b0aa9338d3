"""What a measurement costs in multiply-adds, layer by layer, from shapes alone.

Counted are the multiply-adds of linear and convolution layers that meet the input: a tap that
multiplies padding does no work (`srel_core.engine.layers.kinds.convolution_geometry`).
Activations, pooling and sums are left out, so that a count is a lower bound; in the published
network they add about a hundredth.

With m the multiply-adds of one layer for one input, S samples and I inputs at which predictions
are compared, one measurement takes at least

    shared    S (2m) for the output gradients, S m for the steps, S I m for the predictions
    low_rank  S (2m) for the output gradients, S I m to push the change through the layer, and for
              the step in it S I n (m/o + n o) by its factors of rank n, or S m + S I m by the step
              in full
    tangent   S (2m) and I (1 + C) m for the gradients at its outputs of the losses and of C
              predictions, and S I C times the product of two weight gradients, by themselves or by
              Gram matrices over positions

where a layer reads k numbers at each of n positions and gives o, and a backward pass through it is
not needed (one m less) where nothing that moves lies before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srel_core.choices import check_known
from srel_core.engine.layers.kinds.kind import Cost
from srel_core.engine.layers.kinds.registry import is_known, kind_of

METHODS = ("shared", "low_rank", "tangent")


@dataclass(frozen=True)
class LayerCost(Cost):
    """One layer of a model, for one input.

    moved      whether a step moves its weight
    changes_before  whether a step moves anything that its input depends on
    """

    name: str
    moved: bool
    changes_before: bool


def layer_costs(model: nn.Module, example: Tensor) -> list[LayerCost]:
    """The layers of a model in the order in which an input (1, ...) of this shape meets them.

    Model and example may be on the `meta` device, where nothing is allocated or computed. A layer
    that is called twice counts twice. ValueError for a module with weights that is neither linear
    nor a convolution of maps: its operations are not known here.
    """
    found: list[LayerCost] = []
    hooks = []
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if is_known(module):
            hooks.append(
                module.register_forward_hook(
                    lambda layer, given, out, name=name: found.append(
                        _layer_cost(name, layer, given[0], out)
                    )
                )
            )
        elif own:
            raise ValueError(
                f"module {name or 'model'!r} ({type(module).__name__}) has weights, and only the "
                "operations of Linear and Conv2d are counted"
            )
    try:
        with torch.enable_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _layer_cost(name: str, layer: nn.Module, given: Tensor, out: Tensor) -> LayerCost:
    cost = kind_of(layer).cost(layer, given, out)
    moved = any(p.requires_grad for p in layer.parameters(recurse=False))
    return LayerCost(**vars(cost), name=name, moved=moved, changes_before=given.requires_grad)


def multiply_adds(
    layers: Sequence[LayerCost], method: str, n_samples: int, n_inputs: int, n_outputs: int
) -> dict[str, int]:
    """Multiply-adds of one measurement by phase: "output gradients", "steps" and "predictions".

    n_inputs   probes and those samples that are not among them
    n_outputs  C, which counts for "tangent" only

    Under "tangent" the last phase is the products of gradients. ValueError for an unknown method.
    """
    by_layer = [phases_of(layer, method, n_samples, n_inputs, n_outputs) for layer in layers]
    return {phase: sum(of[phase] for of in by_layer) for phase in by_layer[0]}


def phases_of(
    layer: LayerCost, method: str, n_samples: int, n_inputs: int, n_outputs: int
) -> dict[str, int]:
    """The same for one layer alone."""
    check_known("method", method, METHODS)
    m, n, k, o = layer.multiply_adds, layer.positions, layer.reads, layer.outputs
    back = m if layer.changes_before else 0
    pairs = n_samples * n_inputs
    passes = n_samples * (m + back)
    steps = n_samples * m if layer.moved else 0
    if method == "shared":
        return _phases(passes, steps, pairs * m)
    if method == "low_rank":
        by_factors = pairs * n * (m // o + n * o)
        steps = min(by_factors, steps + pairs * m) if layer.moved else 0
        return _phases(passes, steps, pairs * back)
    passes += n_inputs * (m + n_outputs * back)
    by_gram = pairs * n**2 * (k + n_outputs * o)
    by_gradient = pairs * n_outputs * layer.weights + (n_samples + n_outputs * n_inputs) * m
    return _phases(passes, 0, min(by_gram, by_gradient) if layer.moved else 0)


def _phases(output_gradients: int, steps: int, predictions: int) -> dict[str, int]:
    return {"output gradients": output_gradients, "steps": steps, "predictions": predictions}
