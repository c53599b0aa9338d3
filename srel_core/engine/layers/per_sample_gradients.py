"""Gradients of many samples, each by itself, as factors; and steps along them.

A layer that is called once has, for sample i, the weight gradient g_i a_iᵀ summed over positions,
with a_i the patches that the layer reads (im2col) and g_i = ∂ℓ_i/∂(its output) the output gradient.
Both are found for all samples at once (`srel_core.engine.layers.gradient_pass`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from srel_core.engine.layers.compiled import AdamStep, blocks
from srel_core.engine.layers.kinds.registry import kind_of
from srel_core.rules import Adam, Rule, change_of, is_by_number

Gradient = dict[str, Tensor]


@dataclass(frozen=True)
class StepTarget:
    """A weight or bias of a layer, and the tensor `into` that its stepped values are written to.

    `matrices` has per group of the layer both as matrices, which are views.
    """

    name: str
    layer: str
    into: Tensor
    is_bias: bool
    matrices: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PerSampleGradients:
    """The gradients of B samples for the weights of all layers, as their factors.

    These are the layers' inputs (B, ...) and the gradients (B, ...) at their outputs, by the name
    of the layer. `weights` are those to step from, by name. `cached` has the patches and output
    gradients of all samples as `patches_and_gradients` gives them, for layers for which it has been
    asked ahead.
    """

    weights: Gradient
    layers: dict[str, nn.Module]
    inputs: dict[str, Tensor]
    output_gradients: dict[str, Tensor]
    cached: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def with_cached_patches(self) -> "PerSampleGradients":
        """The same with the patches of all samples made at once, which is faster than for one
        sample after another."""
        return replace(
            self, cached={name: self.patches_and_gradients(name) for name in self.layers}
        )

    def part(self, rows: slice) -> "PerSampleGradients":
        """Those of some of the samples."""
        inputs, gradients = (
            {name: t[rows] for name, t in of.items()} for of in (self.inputs, self.output_gradients)
        )
        cached = {name: (a[rows], g[rows]) for name, (a, g) in self.cached.items()}
        return PerSampleGradients(self.weights, self.layers, inputs, gradients, cached)

    def of_weight(self, name: str, i: int) -> Tensor:
        """The gradient of sample i for the weight of one layer, in the weight's own shape."""
        left, right = self._factors(name, i)
        layer = self.layers[name]
        return kind_of(layer).in_weight_shape(layer, left @ right.mT)

    def of_bias(self, name: str, i: int) -> Tensor:
        """The gradient of sample i for the bias of one layer."""
        return self.output_gradients_of(name, slice(i, i + 1)).sum((0, 3)).flatten()

    def _factors(self, name: str, i: int) -> tuple[Tensor, Tensor]:
        """Two matrices for each group of a layer, left and right: left @ right.mT is the gradient
        of sample i."""
        if name in self.cached:
            a, g = (t[i] for t in self.cached[name])
        else:
            a, g = (t[0] for t in self.patches_and_gradients(name, slice(i, i + 1)))
        return kind_of(self.layers[name]).factors(a, g)

    def targets(self, into: Gradient) -> list[StepTarget]:
        """The weights to step from beside those in `into`, by weight name, to be written to."""
        found = []
        for name, layer in self.layers.items():
            of_weight, of_bias = f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")
            if of_bias in into:
                w, out = (t[of_bias].view(-1, 1) for t in (self.weights, into))
                found.append(StepTarget(of_bias, name, into[of_bias], True, [(w, out)]))
            if of_weight in into:
                kind = kind_of(layer)
                by_group = (kind.matrices(layer, t[of_weight]) for t in (self.weights, into))
                matrices = list(zip(*by_group, strict=True))
                found.append(StepTarget(of_weight, name, into[of_weight], False, matrices))
        return found

    def step(self, i: int, rule: Rule, targets: list[StepTarget]) -> None:
        """Write the weights w⁺ after the step on sample i to these targets."""
        if not is_by_number(rule):
            self._step_whole(i, rule, targets)
            return
        loop = None
        if type(rule) is Adam:
            loop = AdamStep.of(rule.lr, rule.EPS, max(self.weights.values(), key=Tensor.numel))
        for target in targets:
            for (w, out), left, right in self._products(i, target):
                if loop is not None and w.is_contiguous():
                    loop.write(w, left, right, out)
                else:  # by rows, of which these rules treat each number by itself
                    for w_r, out_r, left_r in blocks(right.shape[1], w, out, left):
                        torch.add(w_r, rule.change(target.name, w_r, left_r @ right), out=out_r)

    def _step_whole(self, i: int, rule: Rule, targets: list[StepTarget]) -> None:
        """The same by a rule that is handed whole tensors, each once."""
        for target in targets:
            weight = self.weights[target.name]
            of_sample = self.of_bias if target.is_bias else self.of_weight
            change = change_of(rule, target.name, weight, of_sample(target.layer, i))
            torch.add(weight, change, out=target.into)

    def _products(
        self, i: int, target: StepTarget
    ) -> Iterable[tuple[tuple[Tensor, Tensor], Tensor, Tensor]]:
        """Per group the matrices of a target, and left (rows, k) and right (k, columns), whose
        product is the gradient of sample i there."""
        if target.is_bias:
            left = self.of_bias(target.layer, i).view(1, -1, 1)
            right = left.new_ones(1, 1, 1)
        else:
            left, right = self._factors(target.layer, i)
            right = right.mT
        return zip(target.matrices, left, right, strict=True)

    def patches_and_gradients(self, name: str, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Of some of the samples the patches that a layer reads, (b, groups, k, positions), and the
        gradients at its outputs, (b, groups, o, positions)."""
        if name in self.cached:
            a, g = self.cached[name]
            return a[rows], g[rows]
        return self.patches_of(name, rows), self.output_gradients_of(name, rows)

    def patches_of(self, name: str, rows: slice = slice(None)) -> Tensor:
        """Of some of the samples what each position of a layer reads, (b, groups, k, positions)."""
        layer = self.layers[name]
        return kind_of(layer).patches(layer, self.inputs[name][rows])

    def output_gradients_of(self, name: str, rows: slice = slice(None)) -> Tensor:
        """Of some of the samples the gradients at a layer's outputs, (b, groups, o, positions)."""
        layer = self.layers[name]
        return kind_of(layer).output_gradients(layer, self.output_gradients[name][rows])
