"""The changes of a model's weights by SGD steps, each on one sample: written out, or as factors."""

from dataclasses import dataclass

from torch import Tensor

from srel_core.engine.layers.per_sample_gradients import Slopes, loss_slopes
from srel_core.engine.setup.problem import Problem
from srel_core.rules import SGD


@dataclass(frozen=True)
class Steps:
    """The changes of the weights by one SGD step on each of n samples."""

    lr: float
    slopes: Slopes
    n: int

    @classmethod
    def of(cls, problem: Problem, rule: SGD, x: Tensor, y: Tensor) -> "Steps":
        """Of the samples x (n, ...) with targets y (n, ...)."""
        return cls(rule.lr, loss_slopes(problem, x, y).laid_out(), len(x))

    def split(self, n: int) -> list["Steps"]:
        """The same steps, at most n at a time."""
        parts = [slice(i, min(i + n, self.n)) for i in range(0, self.n, n)]
        return [Steps(self.lr, self.slopes.part(rows), rows.stop - rows.start) for rows in parts]

    def factors(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """a (n, k, places) and −η δ (n, o, places), whose products are the steps of the layer's
        weight; None where only the products themselves are to be had."""
        a, slope = self.slopes.grouped(layer)
        return None if a.shape[1] > 1 else (a[:, 0], -self.lr * slope[:, 0])

    def of_weight(self, name: str, i: int) -> Tensor:
        """The change of one weight by the step on sample i, in the weight's own shape."""
        layer, _, which = name.rpartition(".")
        if which == "bias":
            return -self.lr * self.slopes.slopes_of(layer, slice(i, i + 1)).sum((0, 3)).flatten()
        return -self.lr * self.slopes.of_weight(layer, i)
