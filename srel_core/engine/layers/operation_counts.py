"""What a measurement costs in multiply-adds, layer by layer, from shapes alone.

Counted are the multiply-adds of linear and convolution layers that meet the input: a tap that
multiplies padding does no work (`srel_core.engine.layers.fixed_size_conv`). Activations, pooling
and sums are left out, so that a count is a lower bound; in the published network they add about a
hundredth.

With m the multiply-adds of one layer for one input, S samples and I inputs at which predictions
are compared, one measurement takes at least

    shared    S (2m) for the slopes, S m for the gradients, S I m for the predictions
    low_rank  S (2m) for the slopes, S I m to push the change through the layer, and for the step
              in it S I n (k/n' + o) by its factors of rank n, or S I m by the step written out
    tangent   S (2m) and I (1 + C) m for the slopes of the losses and of C outputs, and S I C times
              the product of two gradients, by the gradients or by Gram matrices over positions

where a layer reads k numbers at each of n positions and gives o, and a slope is not needed (one m
less) where nothing that moves lies before the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srel_core.choices import check_known

METHODS = ("shared", "low_rank", "tangent")


@dataclass(frozen=True)
class LayerCost:
    """One linear or convolution layer, for one input.

    positions  n, places at which it gives an output
    reads      k, numbers read at each, by taps that meet the input somewhere
    outputs    o, numbers given at each
    weights    live ones, without the bias; `all_weights` with those that only ever see padding
    multiply_adds  m, only those that meet the input; `dense_multiply_adds` with those on padding
    moved      whether a step moves its weight
    changes_before  whether a step moves anything that its input depends on
    """

    name: str
    positions: int
    reads: int
    outputs: int
    weights: int
    all_weights: int
    multiply_adds: int
    dense_multiply_adds: int
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
        if type(module) is nn.Conv2d or type(module) is nn.Linear:
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
    moved = any(p.requires_grad for p in layer.parameters(recurse=False))
    if isinstance(layer, nn.Linear):
        positions, weights = out[0, ..., 0].numel(), layer.weight.numel()
        sizes = (positions, layer.in_features, layer.out_features, weights, weights)
        return LayerCost(
            name, *sizes, weights * positions, weights * positions, moved, given.requires_grad
        )
    assert isinstance(layer, nn.Conv2d)
    channels, outputs = layer.in_channels // layer.groups, layer.out_channels
    met, live = zip(
        *(_taps(layer, i, given.shape[2 + i], out.shape[2 + i]) for i in (0, 1)), strict=True
    )
    positions, reads = out.shape[2] * out.shape[3], live[0] * live[1] * channels
    return LayerCost(
        name, positions, reads, outputs, reads * outputs, layer.weight.numel(),
        met[0] * met[1] * channels * outputs, layer.weight.numel() * positions,
        moved, given.requires_grad,
    )  # fmt: skip


def _taps(layer: nn.Conv2d, axis: int, n_in: int, n_out: int) -> tuple[int, int]:
    """Along one axis, how often a tap meets the input, and how many taps ever do."""
    taps, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    if layer.padding == "same":
        before = dilation * (taps - 1) // 2
    else:
        before = 0 if isinstance(layer.padding, str) else int(layer.padding[axis])
    met = [
        t
        for o in range(n_out)
        for t in range(taps)
        if 0 <= stride * o + dilation * t - before < n_in
    ]
    return len(met), len(set(met))


def multiply_adds(
    layers: Sequence[LayerCost], method: str, n_samples: int, n_inputs: int, n_outputs: int
) -> dict[str, int]:
    """Multiply-adds of one measurement by phase: "slopes", "steps" and "predictions".

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
    slopes = n_samples * (m + back)
    gradients = n_samples * m if layer.moved else 0
    if method == "shared":
        return {"slopes": slopes, "steps": gradients, "predictions": pairs * m}
    if method == "low_rank":
        by_factors = pairs * n * (m // o + n * o)
        step = min(by_factors, gradients + pairs * m) if layer.moved else 0
        return {"slopes": slopes, "steps": step, "predictions": pairs * back}
    slopes += n_inputs * (m + n_outputs * back)
    by_gram = pairs * n**2 * (k + n_outputs * o)
    by_gradient = pairs * n_outputs * layer.weights + (n_samples + n_outputs * n_inputs) * m
    step = min(by_gram, by_gradient) if layer.moved else 0
    return {"slopes": slopes, "steps": 0, "predictions": step}
