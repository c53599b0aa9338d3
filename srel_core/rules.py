"""Step rules U: how one sample's gradient moves the weights.

A rule is anything with the two methods below: `change`, which the fast methods use on each
weight tensor, and `optimizer`, the `torch.optim` object that the oracle steps with. They
must agree; `tests/test_influence.py` holds every rule here to that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from srel_core.choices import check_known


@runtime_checkable
class Rule(Protocol):
    """One step from fresh: no momentum or second moment from before."""

    def change(self, gradient: Tensor) -> Tensor:
        """The change of a weight tensor, of the gradient's shape; it may use its memory."""
        ...

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The same step as a `torch.optim` optimizer that has taken none yet."""
        ...


def _check_lr(rule: str, lr: float) -> None:
    number = isinstance(lr, (int, float)) and not isinstance(lr, bool)
    if not number or not 0 < lr < float("inf"):
        raise ValueError(f"{rule}: lr must be a positive, finite number, not {lr!r}")


@dataclass(frozen=True)
class SGD:
    """w⁺ = w − η ∇ℓ(w; x, y), with learning rate η = `lr` > 0."""

    lr: float

    def __post_init__(self) -> None:
        _check_lr("SGD", self.lr)

    def change(self, gradient: Tensor) -> Tensor:
        return gradient.mul_(-self.lr)

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.lr)


@dataclass(frozen=True)
class Adam:
    """The first step of a fresh Adam: w⁺ = w − η g / (|g| + ε), g = ∇ℓ(w; x, y), ε = 1e-8.

    Bias correction makes both moment estimates exact on the first step, so every weight with
    |g| ≫ ε moves by η whatever the size of its gradient (Kingma & Ba 2015, Algorithm 1, t = 1).
    """

    lr: float
    EPS = 1e-8

    def __post_init__(self) -> None:
        _check_lr("Adam", self.lr)

    def change(self, gradient: Tensor) -> Tensor:
        return gradient.div_(gradient.abs().add_(self.EPS)).mul_(-self.lr)

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, eps=self.EPS)


@dataclass(frozen=True)
class Tangent:
    """In place of a step rule: the limit of SGD as its learning rate vanishes."""


def parse_rule(text: str) -> Rule | Tangent:
    """ "sgd:1e-4" → SGD(lr=1e-4), "adam:1e-4" → Adam(lr=1e-4), "tangent" → Tangent()."""
    name, colon, number = text.partition(":")
    check_known("rule", name, ("sgd", "adam", "tangent"))
    if name == "tangent":
        if colon:
            raise ValueError(f"rule {text!r}: the tangent limit takes no learning rate")
        return Tangent()
    try:
        lr = float(number)
    except ValueError:
        raise ValueError(
            f"rule {text!r}: expected {name}:LEARNING_RATE, such as {name}:1e-4"
        ) from None
    return SGD(lr) if name == "sgd" else Adam(lr)
