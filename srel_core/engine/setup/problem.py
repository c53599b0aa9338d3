"""What the fast ways work on: copies of the modules around the user's weights, and plain
tensors."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from srel_core.engine.setup.inputs import to_model
from srel_core.engine.setup.losses import SampleLoss
from srel_core.engine.setup.task import Task


class CannotApplyError(Exception):
    """A fast way does not apply to this model: what it is, in a line."""


def own_modules(model: nn.Module) -> nn.Module:
    """A copy of a model, buffers and all, around the same weights."""
    known: dict[int, Any] = {id(weight): weight for weight in model.parameters()}
    for module in model.modules():  # most of the time went into copying empty registries of hooks
        empty = (v for v in vars(module).values() if type(v) in (dict, OrderedDict) and not v)
        known |= {id(registry): type(registry)() for registry in empty}
    return copy.deepcopy(model, known)


def put_weights(model: nn.Module, in_place_of: Mapping[int, nn.Parameter]) -> None:
    """Give a model other weights in the place of those of these ids, under each of their names."""
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(p) in in_place_of:
                setattr(module, name, in_place_of[id(p)])


def predict(
    model: nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor
) -> Tensor:
    """The model's predictions (B, C) at inputs (B, ...) with these weights in place of its own."""
    # Copies, for a model that writes to its buffers in passing (a counter of calls, say).
    copies = {name: buffer.clone() for name, buffer in buffers.items()}
    return functional_call(model, {**weights, **copies}, (inputs,))


@dataclass(frozen=True)
class Problem:
    """A task on copies of the model's modules, which the ways may change, around its weights.

    `x` (S, ...), `inputs` (I, ...) and `before` (I, C) are those of the task, and
    `activation_bytes` what the operations on the way to one prediction give. `precise` is the same
    problem in float64, if gradients are to be taken there.
    """

    model: nn.Module
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    x: Tensor
    y: Tensor
    inputs: Tensor
    loss: SampleLoss
    before: Tensor
    activation_bytes: int
    precise: "Problem | None" = None

    @classmethod
    def of(cls, task: Task) -> "Problem":
        """CannotApplyError if the modules cannot be copied."""
        try:
            model = own_modules(task.model)
        except Exception as error:  # whatever a module holds that has no copy
            raise CannotApplyError(f"its modules cannot be copied ({error})") from error
        weights = {name: p.detach() for name, p in task.weights.items()}
        buffers = {name: b.detach() for name, b in model.named_buffers()}
        (x,), (inputs,) = task.x.tensors, task.inputs.tensors
        places = (x, task.y, inputs, task.loss, task.before, task.cost.activations)
        return cls(model, weights, buffers, *places)

    def in_float64(self) -> "Problem":
        """The same problem in double precision; `before` keeps the values it has."""
        like = self.before.double()
        # Widened on the way: a deep copy first would copy them all once more.
        wide = {
            id(p): nn.Parameter(p.detach().to(like.dtype), p.requires_grad)
            for p in self.model.parameters()
            if p.is_floating_point()
        }
        model = copy.deepcopy(self.model, wide).double()
        weights = {n: p.detach() for n, p in model.named_parameters() if n in self.weights}
        buffers = {n: to_model(b, like) for n, b in self.buffers.items()}
        x, y, inputs = (to_model(t, like) for t in (self.x, self.y, self.inputs))
        return replace(
            self, model=model, weights=weights, buffers=buffers, x=x, y=y, inputs=inputs,
            before=like, activation_bytes=2 * self.activation_bytes, precise=None,
        )  # fmt: skip

    def with_precise_gradients(self) -> "Problem":
        """The same problem with gradients taken in float64.

        A gradient is discontinuous where a ReLU is at rest: rounding can put a unit on the wrong
        side, and then much of the gradient is wrong, not only its last digits.
        """
        if self.before.dtype == torch.float64:
            return self
        return replace(self, precise=self.in_float64())

    def with_own_predictions(self) -> "Problem":
        """The same problem with `before` computed anew, in its present precision."""
        with torch.no_grad():
            return replace(self, before=self.predict(self.weights, self.inputs))

    def prediction_rounding(self) -> Tensor:
        """How large the rounding errors of `before` may be, (I,).

        The largest relative error against float64 at a few inputs, spread over all and with the
        largest among them, times the size of each prediction, and no less than a unit of its last
        place: those of a last layer that begins with zeros are exact, but not after a step. In
        float64 itself, a bound in such units.
        """
        eps = torch.finfo(self.before.dtype).eps
        scale = self.before.abs().amax(1)
        scale = scale.maximum(scale.median()).double()
        if self.precise is None:
            return 16 * eps * scale
        some = torch.cat([evenly_spaced_rows(scale, 7), scale.argmax()[None]])
        with torch.no_grad():
            exact = self.precise.predict(self.precise.weights, self.precise.inputs[some])
        relative = (self.before[some] - exact).abs().amax(1) / scale[some].clamp_min(1e-300)
        return relative.max().clamp_min(eps) * scale

    def predict(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """f_w at a batch of inputs: (B, ...) → (B, C)."""
        return predict(self.model, weights, self.buffers, inputs)


def evenly_spaced_rows(values: Tensor, at_most: int) -> Tensor:
    """Evenly spaced rows of values (n, ...): at most so many indices, on their device."""
    last, n = len(values) - 1, min(at_most, len(values))
    return torch.linspace(0, last, n).long().to(values.device)
