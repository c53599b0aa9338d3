"""What the engine needs to know of a kind of layer.

A layer reads `inputs` (B, ...) and gives `outputs` (B, ...). It gives them at one or several
positions: those of a map for a convolution, those of a sequence for a linear layer, else one. With
groups of channels (one in a linear layer), each position of a group reads a patch of k numbers and
gives o numbers, by a matrix of weights that is the same at all positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from srel_core.engine.layers.kinds.stacked_matrices import StackedMatrices

New = Callable[[Tensor, Sequence[int]], Tensor]
"""(like, shape) → an array of the dtype and device of another, of some shape, to be written to."""


@dataclass(frozen=True)
class Cost:
    """What a layer costs for one input.

    positions  n, positions at which it gives an output
    reads      k, numbers read at each, by taps that meet the input somewhere
    outputs    o, numbers given at each, of all groups together
    weights    those that meet the input, without the bias; `all_weights` with those that only ever
               meet padding
    multiply_adds  m, only those that meet the input; `dense_multiply_adds` with those on padding
    """

    positions: int
    reads: int
    outputs: int
    weights: int
    all_weights: int
    multiply_adds: int
    dense_multiply_adds: int


class LayerKind(Protocol):
    """Layers of one type, with a `weight` and perhaps a `bias`."""

    @property
    def reads_maps(self) -> bool:
        """Whether it reads maps (B, channels, height, width)."""
        ...

    @property
    def weight_format(self) -> torch.memory_format | None:
        """The layout in memory in which its weight is fastest; None for the one it has."""
        ...

    def why_not(self, layer: Any) -> str | None:
        """Why no fast way may take this layer, in words that follow its name; None if one may."""
        ...

    def description(self, layer: Any) -> str:
        """How it is computed, in words."""
        ...

    def for_size(self, layer: Any, size: tuple[int, int], products: bool) -> nn.Module | None:
        """The same layer for inputs (B, channels, *size) alone, where that has less to compute;
        None elsewhere. On a CPU it may use products of matrices, if `products`, for small maps."""
        ...

    def patches(self, layer: Any, inputs: Tensor) -> Tensor:
        """What each position reads, (B, groups, k, positions), in the order of the weight."""
        ...

    def output_gradients(self, layer: Any, gradients: Tensor) -> Tensor:
        """Gradients at the outputs (B, ...) as (B, groups, o, positions)."""
        ...

    def factors(self, patches: Tensor, output_gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The two in the order (left, right) in which left @ right.mT, summed over positions, is
        the gradient of the weight as `matrices` has it."""
        ...

    def matrices(self, layer: Any, weight: Tensor) -> Tensor:
        """A weight, or what has its shape, as a matrix per group, (groups, rows, columns): a
        view."""
        ...

    def in_weight_shape(self, layer: Any, matrices: Tensor) -> Tensor:
        """The other way round: matrices (groups, rows, columns) in the shape of the weight."""
        ...

    def along_outputs(self, bias: Tensor) -> Tensor:
        """A bias, or a change of it, in a shape that broadcasts along the outputs."""
        ...

    def apply(self, layer: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        """The outputs by another weight in the place of the layer's, without its bias."""
        ...

    def change_by_low_rank_steps(
        self,
        layer: Any,
        h: Tensor,
        delta: Tensor | None,
        a: Tensor,
        g: Tensor,
        with_bias: bool,
        new: New,
    ) -> Tensor:
        """W Δ_i + ΔW_i (h + Δ_i) [+ Δb_i], (n, I, ...), of a layer with one group.

        For the inputs h (I, ...), their changes Δ (n, I, ...), or None for no change, and n steps
        ΔW_i = g_i a_iᵀ, Δb_i = g_i, each summed over the positions of a (n, k, positions) and g (n,
        o, positions).
        """
        ...

    def stacked(self, layer: Any) -> StackedMatrices:
        """The layer with weights of its own for each of many samples."""
        ...

    def cost(self, layer: Any, inputs: Tensor, outputs: Tensor) -> Cost:
        """What it costs, by the shapes of its inputs (1, ...) and outputs (1, ...)."""
        ...


def change_by_input(kind: LayerKind, layer: Any, delta: Tensor) -> Tensor:
    """W Δ, the change of the outputs (n, I, ...) by changes Δ (n, I, ...) of the inputs alone."""
    outputs = kind.apply(layer, delta.flatten(0, 1), layer.weight.detach())
    return outputs.unflatten(0, delta.shape[:2])
