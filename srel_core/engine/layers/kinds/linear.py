"""Linear layers: one group; each row of the inputs is a position, and what it reads."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.engine.layers.kinds import low_rank
from srel_core.engine.layers.kinds.kind import Cost, New
from srel_core.engine.layers.kinds.stacked_matrices import StackedMatrices, StackedRows

# A layer with so many times fewer outputs than rows that it reads is bound by the reading: its
# weight and its step are then applied together.
_FEW_OUTPUTS = 8


class LinearKind:
    """`nn.Linear`, of inputs (B, ..., features)."""

    reads_maps = False
    weight_format = None

    def why_not(self, layer: nn.Linear) -> str | None:
        return None

    def description(self, layer: nn.Linear) -> str:
        return "product of matrices"

    def for_size(self, layer: nn.Linear, size: tuple[int, int], products: bool) -> nn.Module | None:
        return None

    def patches(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        return _features_by_position(inputs)

    def output_gradients(self, layer: nn.Linear, gradients: Tensor) -> Tensor:
        return _features_by_position(gradients)

    def factors(self, patches: Tensor, output_gradients: Tensor) -> tuple[Tensor, Tensor]:
        return output_gradients, patches

    def matrices(self, layer: nn.Linear, weight: Tensor) -> Tensor:
        return weight[None]

    def in_weight_shape(self, layer: nn.Linear, matrices: Tensor) -> Tensor:
        return matrices.reshape(layer.weight.shape)

    def along_outputs(self, bias: Tensor) -> Tensor:
        return bias

    def apply(self, layer: nn.Linear, inputs: Tensor, weight: Tensor) -> Tensor:
        return F.linear(inputs, weight)

    def change_by_low_rank_steps(
        self, layer: nn.Linear, h: Tensor, delta: Tensor | None, a: Tensor, g: Tensor,
        with_bias: bool, new: New,
    ) -> Tensor:  # fmt: skip
        n, o, shape, weight = len(a), layer.out_features, h.shape[:-1], layer.weight.detach()
        rows = h.reshape(-1, h.shape[-1])
        moved = None if delta is None else delta.reshape(n, *rows.shape)
        if moved is not None and _FEW_OUTPUTS * o <= len(rows):
            both = torch.cat([weight.expand(n, -1, -1), a.mT], 1)
            out, read = (both @ moved.mT).mT.split([o, a.shape[2]], 2)
            read = read + (low_rank.read(rows, None, a) + with_bias)
            return (out + read @ g.mT).view(n, *shape, o)
        read = low_rank.read(rows, moved, a) + with_bias
        out = new(h, (n, len(rows), o))
        if moved is None:
            return low_rank.product(read, g, out).view(n, *shape, o)
        torch.mm(moved.flatten(0, 1), weight.T, out=out.flatten(0, 1))
        return low_rank.add_product(out, read, g).view(n, *shape, o)

    def stacked(self, layer: nn.Linear) -> StackedMatrices:
        return StackedRows(layer.weight.detach())

    def cost(self, layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> Cost:
        positions, weights = outputs[0, ..., 0].numel(), layer.weight.numel()
        return Cost(
            positions=positions, reads=layer.in_features, outputs=layer.out_features,
            weights=weights, all_weights=weights,
            multiply_adds=weights * positions, dense_multiply_adds=weights * positions,
        )  # fmt: skip


def _features_by_position(values: Tensor) -> Tensor:
    """(B, ..., features) → (B, 1, features, positions)."""
    return values.reshape(len(values), 1, -1, values.shape[-1]).mT
