"""Step rules U: how one sample's gradient moves the weights, from fresh or, with the momentum and
moments of a real optimizer, as `OptimizerStep`.

A rule is anything with the two methods below: `change`, which is handed each weight tensor whole
and once, and `optimizer`, the `torch.optim` object that the definition steps with. They must agree,
and every measurement tries whether they do.
"""

import copy
import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from srel_core.choices import check_known


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
    return is_by_number(rule) or (type(rule) is BoundStep and type(rule.of) in _BY_WEIGHT)


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


@dataclass(frozen=True, eq=False)
class OptimizerStep:
    """The step that an optimizer would take next if the batch were one sample.

    With all that it has when the measurement is made: momentum and moment estimates, their counts
    of steps, weight decay, the learning rate of each group. Optimizer and state are left as they
    are. Weights that it does not hold stay, and so does one that the sample's gradient does not
    reach, decay and momentum included, as in torch. What training does to a gradient before the
    optimizer has it, as clipping, is no part of the step.

    of  a `torch.optim` optimizer of the model that is measured; not one that evaluates the loss
        within its step, as LBFGS does, nor one that steps by another, as accelerate's does by its
        `.optimizer`
    """

    of: torch.optim.Optimizer

    def __post_init__(self) -> None:
        if not isinstance(self.of, torch.optim.Optimizer):
            raise ValueError(f"OptimizerStep takes a torch.optim optimizer, not {self.of!r}")
        closure = inspect.signature(type(self.of).step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise ValueError(
                f"{type(self.of).__name__} evaluates the loss within its step: S_rel is of steps "
                "from one gradient"
            )
        inner = [name for name, value in vars(self.of).items() if _holds_optimizer(value)]
        if inner:
            raise ValueError(
                f"{type(self.of).__name__} steps by another optimizer, its .{inner[0]}: give that "
                "one, if its step is all that is taken"
            )

    def bound(self, weights: Mapping[str, nn.Parameter]) -> "BoundStep":
        """The rule for these weights; ValueError if the optimizer holds none of them."""
        names = {id(p): name for name, p in weights.items()}
        held = {
            names[id(p)]: (group, self.of.state.get(p, {}))
            for group in self.of.param_groups
            for p in group["params"]
            if id(p) in names
        }
        if not held:
            raise ValueError("the optimizer holds none of the weights of this model that can move")
        return BoundStep(self.of, names, held)


def _holds_optimizer(value: Any) -> bool:
    held = value.values() if isinstance(value, dict) else value
    several = isinstance(value, (dict, list, tuple))
    return any(isinstance(v, torch.optim.Optimizer) for v in (held if several else [value]))


# Those of torch that step each weight by itself.
_BY_WEIGHT = (
    torch.optim.ASGD, torch.optim.Adadelta, torch.optim.Adagrad, torch.optim.Adam,
    torch.optim.AdamW, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam,
    torch.optim.RMSprop, torch.optim.Rprop, torch.optim.SGD,
    *(kind for name in ("Adafactor", "Muon") if (kind := getattr(torch.optim, name, None))),
)  # fmt: skip

# Those whose fused step on a CPU is faster than their plain one.
_PASS_ONCE = (torch.optim.Adam, torch.optim.AdamW)


@dataclass(frozen=True, eq=False)
class BoundStep:
    """An `OptimizerStep` for the weights of one model: a `Rule`.

    `names` of the weights by id; `held` has the group and the state of those that are stepped.
    """

    of: torch.optim.Optimizer
    names: Mapping[int, str]
    held: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]

    def change(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        """By stepping a copy of this weight alone."""
        if name not in self.held:
            return torch.zeros_like(gradient)
        stepped = nn.Parameter(weight.clone())
        stepped.grad = gradient
        twin = self._stepping([(name, stepped)])
        if type(twin) in _PASS_ONCE and weight.device.type == "cpu" and not weight.is_complex():
            # Most of the time goes into reading and writing: one pass for some ten.
            for group in twin.param_groups:
                group["fused"] = not group["differentiable"]
        twin.step()
        return stepped.detach().sub_(weight)

    def optimizer(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Another optimizer of the same kind and state, of the model's own weights."""
        named = [(self.names[id(p)], p) for p in parameters]
        return self._stepping([(name, p) for name, p in named if name in self.held])

    def _stepping(self, named: list[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        """A copy of the optimizer for these tensors alone, without hooks or what a scheduler has
        put around its step; states in the precision of the tensors."""
        twin: torch.optim.Optimizer = object.__new__(type(self.of))
        tensors = dict(named)
        instead = {of: tensors[name] for of, name in self.names.items() if name in tensors}
        for key, value in vars(self.of).items():
            if key.endswith("_hooks"):
                vars(twin)[key] = OrderedDict()
            elif key not in ("step", "state", "param_groups"):
                vars(twin)[key] = _copied(key, value, instead)
        groups: dict[int, dict[str, Any]] = {}
        twin.state = defaultdict(dict)
        for name, tensor in named:
            group, state = self.held[name]
            if id(group) not in groups:
                rest = {key: value for key, value in group.items() if key != "params"}
                rest |= {key: None for key in ("foreach", "fused") if key in rest}  # torch chooses
                groups[id(group)] = {**_copied("param_groups", rest, instead), "params": []}
            groups[id(group)]["params"].append(tensor)
            twin.state[tensor] = {key: _like(tensor, value) for key, value in state.items()}
        twin.param_groups = list(groups.values())
        return twin


def _copied(name: str, value: Any, instead: Mapping[int, Tensor]) -> Any:
    """A copy of what an optimizer holds, with other tensors in the place of those of these ids."""
    try:
        return copy.deepcopy(value, dict(instead))
    except Exception as error:  # whatever it holds that has no copy
        raise ValueError(
            f"a copy of the optimizer takes the step, and its {name} cannot be copied: {error}"
        ) from error


def _like(weight: Tensor, value: Any) -> Any:
    """A copy of a value of an optimizer's state, in the precision of a weight if it is more than a
    number, such as a count."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    value = value.detach().clone()
    if not value.ndim or not (value.is_floating_point() or value.is_complex()):
        return value
    dtype = weight.dtype
    return value.to(dtype.to_complex() if value.is_complex() else dtype.to_real())


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
