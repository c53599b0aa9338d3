"""The loss of one sample, and its gradient with respect to the prediction.

For cross-entropy with p = softmax(f) that gradient is p − e_y, whose entry at the label is a
difference of numbers close to 1 where the sample is well fitted: from 1 − p_y of 1e-16 on nothing
is left of it, even in float64. It is taken as −Σ_{c≠y} p_c instead, which is exact at any size.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.choices import unknown
from srel_core.engine.setup import checks
from srel_core.engine.setup.precision import Widening

Loss = str | Callable[[Tensor, Tensor], Tensor]
"""A name from `LOSSES`, or (prediction (..., C), target) → scalar for one sample."""

IGNORED = -100
"""The label of a position that does not count, as in torch."""


class _CrossEntropies(torch.autograd.Function):
    """−log softmax(z)[label] of each row, (n, C), (n,) → (n,), with an exact gradient."""

    @staticmethod
    def forward(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        logits, labels = ctx.saved_tensors
        counted = (labels != IGNORED)[:, None]
        at_label = torch.arange(logits.shape[1], device=labels.device) == labels[:, None]
        others = torch.where(at_label, 0, logits.softmax(1))
        gradient = torch.where(at_label, -others.sum(1, keepdim=True), others)
        return upstream[:, None] * gradient * counted, None


def cross_entropies(predictions: Tensor, labels: Tensor) -> Tensor:
    """−log softmax(prediction)[label], in nats, at each position: (n, C), (n,) → (n,); 0 where the
    label is `IGNORED`."""
    found: Tensor = _CrossEntropies.apply(predictions, labels)
    return found


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Of one sample the mean of −log softmax(prediction)[target], in nats, over its positions,
    without those whose label is `IGNORED`: (..., C), (...) → ()."""
    labels = target.reshape(-1)
    at_each = cross_entropies(prediction.reshape(-1, prediction.shape[-1]), labels)
    return at_each.sum() / (labels != IGNORED).sum()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of (prediction − target)², of one sample: (..., C), as many numbers →
    ()."""
    return F.mse_loss(prediction, target.reshape(prediction.shape).to(prediction.dtype))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
}


@dataclass(frozen=True)
class SampleLoss:
    """The loss of one sample as a function of its prediction, which it takes in float64.

    A callable is computed in float64 too, class weights in a closure included, where that can be.
    """

    function: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, loss: Loss) -> "SampleLoss":
        """ValueError for an unknown name, or what is neither a name nor a callable."""
        if isinstance(loss, str) and loss not in LOSSES:
            raise ValueError(unknown("loss", loss, LOSSES) + "; or give a callable")
        if not isinstance(loss, str) and not callable(loss):
            raise ValueError(f"loss must be {' or '.join(LOSSES)}, or a callable, not {loss!r}")
        function = LOSSES[loss] if isinstance(loss, str) else loss
        if isinstance(function, nn.Module):
            function = copy.deepcopy(function).double()
        if isinstance(function, nn.KLDivLoss) and function.reduction == "batchmean":
            function.reduction = "sum"  # the batch is one sample, whose outputs it would count
        return cls(function)

    @property
    def is_named(self) -> bool:
        """Whether it is one of `LOSSES`, of which more is known than of a callable."""
        return self.function in LOSSES.values()

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(..., C) and one target → a number, of shape ()."""
        with Widening(torch.float64):
            value = self.function(prediction.double(), target)
        return value.squeeze()

    def of_each(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample: (S, ..., C), (S, ...) → (S,)."""
        if self.function is cross_entropy and predictions.ndim == 2:
            return cross_entropies(predictions.double(), targets)
        by_sample = [self(p, t) for p, t in zip(predictions, targets, strict=True)]
        checks.require_numbers(by_sample)
        return torch.stack(by_sample)

    def checked_targets(self, y: Tensor, predictions: Tensor, its_own: bool = True) -> Tensor:
        """The targets y (S, ...) as the loss takes them, tried on every sample's prediction
        (S, ..., C), or, unless they are `its_own`, on others. ValueError, naming the sample, where
        one has no loss."""
        if self.function is cross_entropy:
            y = checks.labels(y, predictions.shape, IGNORED)
        if self.function is mse and y[0].numel() != predictions[0].numel():
            raise ValueError(
                f"mse needs a target of {predictions[0].numel()} numbers per sample, as the model "
                f"predicts, but y has shape {tuple(y.shape)}"
            )
        try:
            values = self.of_each(predictions, y)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(
                f"loss(prediction, target) of one sample, of shapes {tuple(predictions.shape[1:])} "
                f"and {tuple(y.shape[1:])}, ends in {checks.in_one_line(error)}"
            ) from error
        if its_own:
            checks.require_losses(values)
        return y
