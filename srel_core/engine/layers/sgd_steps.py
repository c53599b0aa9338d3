"""The changes of a model's weights by SGD steps, each on one sample: in full, or as factors."""

from dataclasses import dataclass

from torch import Tensor

from srel_core.engine.layers.gradient_pass import loss_gradients
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.setup.problem import Problem
from srel_core.rules import SGD


@dataclass(frozen=True)
class SGDSteps:
    """The changes of the weights by one SGD step on each of n samples."""

    lr: float
    gradients: PerSampleGradients
    n: int

    @classmethod
    def of(cls, problem: Problem, rule: SGD, x: Tensor, y: Tensor) -> "SGDSteps":
        """Of the samples x (n, ...) with targets y (n, ...)."""
        gradients = loss_gradients(problem, x, y).with_cached_patches()
        return cls(rule.lr, gradients, len(x))

    def split(self, n: int) -> list["SGDSteps"]:
        """The same steps, at most n at a time."""
        parts = [slice(i, min(i + n, self.n)) for i in range(0, self.n, n)]
        return [
            SGDSteps(self.lr, self.gradients.part(rows), rows.stop - rows.start) for rows in parts
        ]

    def factors(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """a (n, k, positions) and −η g (n, o, positions), whose products are the steps of the
        layer's weight; None for a layer of several groups."""
        a, g = self.gradients.patches_and_gradients(layer)
        return None if a.shape[1] > 1 else (a[:, 0], -self.lr * g[:, 0])

    def of_weight(self, name: str, i: int) -> Tensor:
        """The change of one weight by the step on sample i, in the weight's own shape."""
        layer, _, which = name.rpartition(".")
        if which == "bias":
            return -self.lr * self.gradients.of_bias(layer, i)
        return -self.lr * self.gradients.of_weight(layer, i)
