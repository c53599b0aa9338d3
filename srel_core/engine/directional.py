"""Directional derivatives of a model's predictions along a change of its weights, J(x') v.

On the model itself: its own parameters carry the direction, so that whatever uses them in whatever
way is followed. Three ways, in this order: forward derivatives; two backward passes, for operations
that have none (d/du of uᵀJ v is J v); and, for what knows neither, a central difference quotient,
with the next term of its error extrapolated away.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from srel_core.engine.setup.float32 import holding, mkldnn
from srel_core.engine.setup.inputs import Inputs
from srel_core.engine.setup.task import LARGE, plain_attention
from srel_core.engine.stepping import Step, Stepping, moves

# By how much predictions change within the quotient, relative to their size: what rounds is then a
# small part of it (1e-16, 1e-7 and 1e-3 or 1e-2 of the size), and what is not smooth, such as a
# ReLU at rest, is seldom met.
_RELATIVE_CHANGE = {torch.float64: 1e-6, torch.float32: 3e-3, torch.bfloat16: 0.2}

# How far a derivative may be from the quotient at the first inputs it is asked for: one that misses
# a part of the model is off by more, a quotient across a kink by less.
_AGREES = {torch.float64: 0.02, torch.float32: 0.02, torch.bfloat16: 0.25}


class Derivatives:
    """J(x') v at some inputs, in the first of the ways that this model knows.

    A way may also fail without a word, as forward derivatives do at a custom function that has
    none. So it is held to the difference quotient when first asked for.
    """

    def __init__(self, own: Stepping, at_a_time: int) -> None:
        self.own, self.at_a_time, self.way = own, at_a_time, ""
        self._tried = False

    def along(self, direction: Step, inputs: Inputs) -> Tensor:
        """(B, ..., C) in float64, at the weights as they are now."""
        if not moves(direction):
            return torch.zeros_like(self.own.predict(inputs, self.at_a_time))
        if not self._tried:
            self._choose(direction, inputs[: self._n_tried])
        way = _WAYS[self.way]
        return torch.cat([way(self.own, direction, part) for part in inputs.split(self.at_a_time)])

    @property
    def _n_tried(self) -> int:
        """Few inputs where each takes long; where it does not, enough that what is missed shows."""
        return 16 if self.own.task.cost.operations <= LARGE else 1

    def _choose(self, direction: Step, some: Inputs) -> None:
        followed = _forward_follows(self.own, some)
        for way, derivative in _WAYS.items():
            if derivative is _forward and not followed:
                continue
            self.way = way
            if derivative is _quotient:  # the last, and what the others are held to
                break
            try:
                found = derivative(self.own, direction, some)
                if _agrees(self.own, direction, some, found):
                    break
            except (RuntimeError, ValueError, NotImplementedError):
                continue
        self._tried = True


def derivative_along(own: Stepping, direction: Step, inputs: Inputs) -> Tensor:
    """J(x') v at a few inputs, (B, ..., C), by forward derivatives where nothing speaks against
    them, without another way beside it."""
    try:
        if _forward_follows(own, inputs):
            return _forward(own, direction, inputs)
    except (RuntimeError, ValueError, NotImplementedError):
        pass
    return Derivatives(own, len(inputs)).along(direction, inputs)


def _forward_follows(own: Stepping, some: Inputs) -> bool:
    """Whether the predictions come without a custom function that has no forward derivative: what
    it computes from weights of its own, as a checkpoint does, would be missed."""
    with torch.enable_grad():
        waiting, seen = [own.predictions(some).grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        kind = getattr(type(node), "_forward_cls", None)
        if kind is not None and kind.jvp is torch.autograd.Function.jvp:
            return False
        waiting += [before for before, _ in node.next_functions]
    return True


@contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Within it attention and recurrent layers run in plain operations: the fused ones have no
    forward derivative. (Recurrent layers never run in those of cuDNN: `exact_float32`.)"""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with plain_attention(), holding(mkldnn, enabled=mkldnn.enabled and not recurrent):
        yield


def _forward(own: Stepping, direction: Step, inputs: Inputs) -> Tensor:
    weights = own.task.weights
    with (
        torch.no_grad(), plain_kernels(own.task.model), warnings.catch_warnings(),
        forward_ad.dual_level(),
        torch.autograd._unsafe_preserve_version_counter(tuple(weights.values())),
    ):  # fmt: skip
        # Forward mode loads torch's own scripted decompositions, which torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        for name, change in direction.items():
            values = weights[name].detach()
            weights[name].copy_(forward_ad.make_dual(values, change.to(values.dtype)))
        predictions = own.predictions(inputs)
        tangent = forward_ad.unpack_dual(predictions).tangent
    found = torch.zeros_like(predictions) if tangent is None else tangent
    return found.detach().double()


def _twice_backward(own: Stepping, direction: Step, inputs: Inputs) -> Tensor:
    weights = [own.task.weights[name] for name in direction]
    with torch.enable_grad(), plain_attention():
        predictions = own.predictions(inputs)
        u = torch.zeros_like(predictions, requires_grad=True)
        pulled = torch.autograd.grad(
            predictions, weights, u, create_graph=True, allow_unused=True
        )  # fmt: skip
        terms = [
            (g * change).sum()
            for g, change in zip(pulled, direction.values(), strict=True)
            if g is not None
        ]
        if not terms:
            raise RuntimeError("no weight is reached by a backward pass")
        (found,) = torch.autograd.grad(torch.stack(terms).sum(), u)
    return found.detach().double()


def _agrees(own: Stepping, direction: Step, inputs: Inputs, found: Tensor) -> bool:
    """Whether a derivative (B, ..., C) is that of the predictions: of as long a step as changes
    them, by this derivative, as much as is wanted, the difference quotient is the same."""
    size, found_size = _wanted(own, own.predict(inputs, len(inputs))), float(found.norm())
    if not found_size < math.inf:
        return False
    if found_size > 0:
        length = size / found_size
        ends = [_after(own, direction, inputs, end) for end in (length, -length)]
        quotient = (ends[0] - ends[1]) / (2 * length)
    else:
        quotient = _quotient(own, direction, inputs)
    return float((found - quotient).norm()) <= _AGREES[own.precision] * float(quotient.norm())


def _wanted(own: Stepping, before: Tensor) -> float:
    """How far predictions (B, ..., C) should change within a quotient."""
    return _RELATIVE_CHANGE[own.precision] * (float(before.norm()) or 1.0)


def _after(own: Stepping, direction: Step, inputs: Inputs, length: float) -> Tensor:
    """Predictions (B, ..., C) a step of this length from the weights as they are now."""
    kept = {name: own.task.weights[name].data.clone() for name in direction}
    try:
        own.take(direction, length)
        return own.predict(inputs, len(inputs))
    finally:
        for name, values in kept.items():
            own.task.weights[name].data.copy_(values)


def _quotient(own: Stepping, direction: Step, inputs: Inputs) -> Tensor:
    before = own.predict(inputs, len(inputs))
    wanted = _wanted(own, before)

    def to(length: float) -> Tensor:
        return _after(own, direction, inputs, length)

    # From a small relative change of the weights on, to where predictions change as wanted.
    largest = max(float(change.abs().max()) for change in direction.values())
    scale = max(float(w.abs().max()) for w in own.start.values()) or 1.0
    length = _RELATIVE_CHANGE[own.precision] * scale / largest
    for _ in range(4):
        ahead = to(length)
        change = float((ahead - before).norm())
        if 0.1 * wanted <= change <= 10 * wanted:
            break
        length *= min(1e3, max(1e-6, wanted / change)) if change > 0 else 1e3
    else:
        ahead = to(length)
    one = (ahead - to(-length)) / (2 * length)
    half = (to(length / 2) - to(-length / 2)) / length
    return (4 * half - one) / 3


_WAYS = {
    "forward derivative": _forward,
    "two backward passes": _twice_backward,
    "difference quotient": _quotient,
}
