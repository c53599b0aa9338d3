"""The step that one's own optimizer would take next.

With the momentum and the moments that it has by then: as the user gives it, and as a rule for the
weights of one model. A copy of the optimizer takes it, so that whatever the optimizer does is done.
"""

import copy
import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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
BY_WEIGHT = (
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
