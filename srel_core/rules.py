"""Step rules U: how one sample's gradient moves the weights.

From fresh; with the momentum and the moments of a real optimizer: `srel_core.optimizer_step`.

A rule is anything with the two methods below: `change`, which is handed each weight tensor whole
and once, and `optimizer`, the `torch.optim` object that the definition steps with. They must agree,
and every measurement tries whether they do.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from srel_core.choices import check_known
from srel_core.optimizer_step import BY_WEIGHT, BoundStep, OptimizerStep


@runtime_checkable
class Rule(Protocol):
    """One step on one sample, from the weights as they are."""

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        """What the step adds to the weight of this name: a tensor of its shape, which may use the
        memory of the gradient, but not that of the weight."""
        ...

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The same step as a `torch.optim` optimizer."""
        ...


def require_rule(rule: object) -> None:
    """ValueError, saying what to give instead, unless this is a rule whose `change` takes whole
    tensors by name."""
    if isinstance(rule, OptimizerStep):
        return
    if isinstance(rule, type):
        raise ValueError(
            f"rule must be a step such as SGD(lr=1e-4), not the class {rule.__name__} itself"
        )
    if isinstance(rule, torch.optim.Optimizer):
        raise ValueError(
            "rule must be a step: give OptimizerStep(optimizer) for the one that this optimizer "
            "would take next"
        )
    if not isinstance(rule, Rule):
        raise ValueError(
            f"rule must be a step such as SGD(lr=1e-4), not {rule!r}; for the limit of a vanishing "
            "step use tangent_influence"
        )
    try:
        inspect.signature(rule.change).bind("name", None, None)
    except TypeError:
        raise ValueError(
            f"{type(rule).__name__}.change must take (name, weight, gradient), each weight tensor "
            "whole: change(self, gradient), as it was before, becomes "
            "change(self, name, weight, gradient)"
        ) from None


def is_by_number(rule: object) -> "TypeGuard[SGD | Adam]":
    """Whether a rule is known to treat each number of a weight by itself, and to leave one without
    a gradient where it is: then it may be handed any part of a tensor."""
    return type(rule) in (SGD, Adam)


def is_by_weight(rule: object) -> bool:
    """Whether a rule is known to step each weight as if it were the only one."""
    return is_by_number(rule) or (type(rule) is BoundStep and type(rule.of) in BY_WEIGHT)


def may_couple(rule: object) -> "TypeGuard[BoundStep]":
    """Whether a rule is an optimizer that may step one weight by the gradient of another: its step
    is then more than what it does to each weight by itself."""
    return isinstance(rule, BoundStep) and not is_by_weight(rule)


def change_of(rule: Rule, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
    """What the step of any rule adds to a weight, which it leaves as it is: one that is not of this
    package is handed a copy, which it may write to. ValueError unless it gives a tensor of the
    weight's shape."""
    if is_by_number(rule) or type(rule) is BoundStep:
        return rule.change(name, weight, gradient)
    change = rule.change(name, weight.detach().clone(), gradient)
    if not isinstance(change, Tensor) or change.shape != weight.shape:
        got = tuple(change.shape) if isinstance(change, Tensor) else type(change).__name__
        raise ValueError(
            f"{type(rule).__name__}.change must return what the step adds to the weight {name!r}, "
            f"a tensor of its shape {tuple(weight.shape)}, not {got}"
        )
    return change.detach()


def _check_lr(rule: str, lr: object) -> float:
    number = float(lr) if isinstance(lr, Real) and not isinstance(lr, bool) else 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"{rule}: lr must be a positive, finite number, not {lr!r}")
    return number


@dataclass(frozen=True)
class SGD:
    """w⁺ = w − η ∇ℓ(w; x, y), with learning rate η = `lr` > 0."""

    lr: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", _check_lr("SGD", self.lr))

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        return self.changes([gradient])[0]

    def changes(self, gradients: list[Tensor]) -> list[Tensor]:
        """What the step along each of these adds, in their memory: on a GPU, in one operation."""
        torch._foreach_mul_(gradients, -self.lr)
        return gradients

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.lr)


@dataclass(frozen=True)
class Adam:
    """The first step of a fresh Adam: w⁺ = w − η g / (|g| + ε), g = ∇ℓ(w; x, y), ε = 1e-8.

    Bias correction makes both moment estimates exact on the first step, so every weight with
    |g| ≫ ε moves by η whatever the size of its gradient (Kingma & Ba 2015, Algorithm 1, t = 1).
    Of a complex weight the real and the imaginary part move so, each by itself, as in torch.
    """

    lr: float
    EPS = 1e-8

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", _check_lr("Adam", self.lr))

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        return self.changes([gradient])[0]

    def changes(self, gradients: list[Tensor]) -> list[Tensor]:
        """What the step along each of these adds, in their memory: on a GPU, in four operations."""
        gradients = [gradient.resolve_conj() for gradient in gradients]
        numbers = [torch.view_as_real(g) if g.is_complex() else g for g in gradients]
        sizes = torch._foreach_abs(numbers)
        torch._foreach_add_(sizes, self.EPS)
        torch._foreach_div_(numbers, sizes)
        torch._foreach_mul_(numbers, -self.lr)
        return gradients

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr, eps=self.EPS)


@dataclass(frozen=True)
class Tangent:
    """In place of a step rule: the limit of SGD as its learning rate vanishes."""


OPTIMIZER = "optimizer"
"""Where rules are named: the step that the training's own optimizer would take next."""


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
    by_name: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}
    return by_name[name](lr)
