"""The way that is right for whatever trains: each sample's step on the user's own model.

A change that rounding would drown is not subtracted from two predictions but computed as such: with
Δ the step,

    f_{w+Δ}(x') − f_w(x') = ∫₀¹ J_{w+tΔ}(x') Δ dt ≈ J_{w+Δ/2}(x') Δ,

whose error is of third order in a step that is tiny where this is used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from srel_core.engine.collected import Collected
from srel_core.engine.directional import Derivatives
from srel_core.engine.setup.inputs import Inputs
from srel_core.engine.setup.task import LARGE, Task
from srel_core.engine.stepping import Step, Stepping, moves, signs, stepping
from srel_core.optimizer_step import BoundStep
from srel_core.rules import Rule

# A change is trusted where it is this many times the rounding error of a prediction: 1e-3 of KL,
# which is of second order, asks for 5e-4 of the change, and two predictions round.
ROUNDING_MARGIN = 2 / 5e-4

# Rounding errors that a subtraction may be off by, with room: each is an estimate.
_EXPLAINED = 64

# Units of rounding: that a prediction seldom is off by, and by which weights are moved to see why;
# and how many times as far as one unit does they then move it at least, where it rounds.
_MUCH, _MANY, _FARTHER = 1e4, 1e3, 30


@dataclass(frozen=True)
class Seen:
    """Where one sample's step is looked at: the probes and, if it is none of them, the sample."""

    inputs: Inputs
    rows: Tensor
    own: int

    @classmethod
    def of(cls, own: Stepping, sample: int) -> "Seen":
        task, row = own.task, int(own.task.own_row[sample])
        rows = torch.arange(task.n_probes)
        if row >= task.n_probes:
            rows = torch.cat([rows, torch.tensor([row])])
        at = row if row < task.n_probes else task.n_probes
        return cls(own.inputs[rows.to(task.device)], rows, at)

    def keep_own(self, before: Tensor, prediction: Tensor) -> None:
        """The prediction at the sample, if those before the step (I, ..., C) lack it."""
        row = self.rows[self.own]
        if bool(before[row].isnan().any()):
            before[row] = prediction

    def add(self, collected: Collected, sample: int, before: Tensor, delta: Tensor) -> None:
        """Hand on predictions (I, ..., C) and their changes at these inputs."""
        collected.add(sample, before[self.rows.to(before.device)], delta, self.own)


def measure_steps(
    task: Task,
    rule: Rule,
    collected: Collected,
    wide: torch.dtype | None,
    at_a_time: int,
    samples: Iterable[int] | None = None,
    one_by_one: bool = False,
) -> Tensor:
    """Fill in what the step on each sample, or on some, changes; the predictions before (I, ..., C)
    in float64.

    With `one_by_one` as the definition reads: the step by the rule's own optimizer, and each input
    predicted by itself. A rule that may step one weight by another's gradient steps by its
    optimizer here too.
    """
    with stepping(task, wide) as own:
        own.require_gradients()
        predict = partial(own.predict, at_a_time=1 if one_by_one else at_a_time)
        before = predict(own.inputs) if one_by_one else own.before(at_a_time)
        rounding = rounding_of(own, own.inputs, before)
        before = _for_all_inputs(before, task)
        derivatives = Derivatives(own, at_a_time)
        for sample in range(len(task.x)) if samples is None else samples:
            seen = Seen.of(own, sample)
            gradient, prediction = own.gradient(sample)
            seen.keep_own(before, prediction)
            if one_by_one or not own.steps_by_weight(rule):
                own.take_by_optimizer(rule, gradient)
                # An optimizer may have stepped one weight by the gradient of another.
                taken = isinstance(rule, BoundStep)
                step = own.taken() if taken else own.step_of(rule, gradient)
            else:
                step = own.step_of(rule, gradient)
                own.take(step)
            rests = not moves(step) and own.at_start
            delta = predict(seen.inputs) - before[seen.rows.to(before.device)]
            own.go_back()
            if rests:
                delta = torch.zeros_like(delta)
            else:
                at = rounding.of(before[seen.rows.to(before.device)])
                found = instead_of_drowned(own, derivatives, step, seen.inputs, delta, at)
                collected.by_derivative[sample] = found
            collected.in_float64[sample] = wide is torch.float64
            seen.add(collected, sample, before, delta)
    return before


def measure_limit(
    task: Task, collected: Collected, wide: torch.dtype | None, at_a_time: int
) -> tuple[Tensor, str]:
    """Fill in the limit of a vanishing SGD step, per unit of its learning rate; the predictions
    before (I, ..., C) in float64, and in which way the derivatives were taken."""
    with stepping(task, wide) as own:
        own.require_gradients()
        before = _for_all_inputs(own.before(at_a_time), task)
        derivatives = Derivatives(own, at_a_time)
        for sample in range(len(task.x)):
            seen = Seen.of(own, sample)
            gradient, prediction = own.gradient(sample)
            seen.keep_own(before, prediction)
            own.drop_gradients()
            collected.in_float64[sample] = wide is torch.float64
            seen.add(collected, sample, before, -derivatives.along(gradient, seen.inputs))
    return before, derivatives.way


def _for_all_inputs(before: Tensor, task: Task) -> Tensor:
    """Predictions (n, ..., C) at the first inputs with NaN for those at the others."""
    rest = before.new_full((len(task.inputs) - len(before), *before.shape[1:]), torch.nan)
    return torch.cat([before, rest]) if len(rest) else before


@dataclass(frozen=True)
class Rounding:
    """How large the rounding errors of predictions may be: an error relative to their size, or to
    that of the `typical` prediction where it is larger."""

    relative: Tensor
    typical: Tensor

    def of(self, predictions: Tensor) -> Tensor:
        """Of predictions (B, ..., C), (B,)."""
        return self.relative * predictions.abs().flatten(1).amax(1).maximum(self.typical)


def rounding_of(own: Stepping, inputs: Inputs, before: Tensor) -> Rounding:
    """Of the model's predictions `before` (n, ..., C) at the first n inputs.

    What rounding every weight does at an input or two: each is moved by half a unit in its last
    place, up or down. No less than a few roundings of the predictions themselves.
    """
    n = min(len(before), 2 if own.task.cost.operations <= LARGE else 1)
    some = torch.linspace(0, len(before) - 1, n).long().to(before.device)
    size = before.abs().flatten(1).amax(1)

    def moved_by(units: float) -> Tensor:
        """How far the predictions move with the weights, relative to their size."""
        half = units * own.rounding_unit
        own.take({name: half * signs(w) * w.abs() for name, w in own.start.items()})
        moved = own.predict(inputs[some], len(some))
        own.go_back()
        apart = (moved - before[some]).abs().flatten(1).amax(1) / size[some].clamp_min(1e-300)
        return apart.max()

    apart = moved_by(1)
    # What rounds moves on with the weights. A model that jumps where a weight is, as one does that
    # truncates it, moves as far by one unit as by many, and that is a change and no rounding.
    if apart > _MUCH * own.rounding_unit and moved_by(_MANY) < _FARTHER * apart:
        apart = torch.zeros_like(apart)
    return Rounding(2 * apart + 4 * own.rounding_unit, size.median())


def instead_of_drowned(
    own: Stepping, derivatives: Derivatives, step: Step, inputs: Inputs, delta: Tensor,
    rounding: Tensor,
) -> bool:  # fmt: skip
    """Put derivatives along a step in the place of those of its changes (B, ..., C) that rounding
    (B,) drowns; whether there were any.

    Not where a derivative is farther from the subtraction than rounding explains: then the step is
    a large one, at whose middle a unit may work that is at rest at both of its ends.
    """
    lost = drowned(delta, rounding)
    if not lost.any():
        return False
    own.take(step, 0.5)
    found = derivatives.along(step, inputs[lost])
    own.go_back()
    apart = (found - delta[lost]).abs().flatten(1).amax(1)
    explained = apart <= _EXPLAINED * rounding[lost]
    delta[lost] = torch.where(explained.view(-1, *[1] * (delta.ndim - 1)), found, delta[lost])
    return bool(explained.any())


def drowned(delta: Tensor, rounding: Tensor) -> Tensor:
    """(B,): where a change (B, ..., C) is too small for the rounding (B,) of its prediction."""
    # A shift common to all outputs changes no probability: it must not hide a drowned change.
    seen = delta - delta.mean(-1, keepdim=True) if delta.shape[-1] > 1 else delta
    return seen.abs().flatten(1).amax(1) < ROUNDING_MARGIN * rounding


def drowned_samples(delta: Tensor, rounding: Tensor) -> Tensor:
    """(S,), on the CPU: samples with such a change (S, I, C) at any input, for predictions whose
    rounding (I,) does not yet count that of the stepped weights."""
    lost = drowned(delta.flatten(0, 1), 2 * rounding.repeat(len(delta)))
    return lost.view(delta.shape[:2]).any(1).cpu()
