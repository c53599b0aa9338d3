"""From a request to its measurement: which way is taken, and whether it is right.

    loop      the definition: the model itself steps by a real optimizer, each input by itself
    direct    the same with inputs in batches: right for whatever trains
    shared, stacked, low_rank, kernel   fast ways for layers whose formulas are known

A fast way is taken where its conditions hold and the network is small enough for it to gain, and
held to the definition at a few samples. Where it does not agree, the measurement is made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from srel_core.choices import check_known, warn_user
from srel_core.divergence import Divergence, find_divergences
from srel_core.engine.checking import disagreement
from srel_core.engine.collected import KEEP_WITHIN, Collected, Positions
from srel_core.engine.conditions import why_not
from srel_core.engine.direct import measure_limit, measure_steps
from srel_core.engine.fast import measure_fast
from srel_core.engine.setup import checks
from srel_core.engine.setup.inputs import Given
from srel_core.engine.setup.losses import Loss
from srel_core.engine.setup.memory import (
    TooLittleMemoryError,
    gains_from_stacking,
    memory_bound,
    require_one_at_a_time,
    rows_within,
)
from srel_core.engine.setup.outputs import Pick
from srel_core.engine.setup.task import CHEAP, LARGE, Task, measuring
from srel_core.engine.stepping import can_be_wide
from srel_core.engine.tangent_kernel import kernel_changes
from srel_core.optimizer_step import OptimizerStep
from srel_core.rules import SGD, Rule, may_couple

METHODS = ("auto", "loop", "direct", "shared", "stacked", "low_rank")
LIMIT_METHODS = ("auto", "direct", "kernel")
GRADIENTS = ("auto", "float64", "model")


@dataclass(frozen=True)
class Options:
    """How to measure, as `srel_core.influence` has it; checked."""

    method: str = "auto"
    chunk_size: int | None = None
    max_bytes: int | None = None
    check: bool = True
    gradients: str = "auto"
    keep_delta: bool | None = None
    by_position: bool = False
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        check_known("gradients", self.gradients, GRADIENTS)
        for name in ("chunk_size", "max_bytes"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and value >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not isinstance(self.check, bool):
            raise ValueError(f"check must be True or False, not {self.check!r}")


@dataclass(frozen=True)
class Measured:
    """A finished measurement: what was collected, the predictions before (I, ..., C) in float64,
    the way that was taken and how each layer was computed, how it was checked, and what spoke
    against a fast way."""

    task: Task
    collected: Collected
    before: Tensor
    method: str
    checked: str
    gradients: str
    layers: Mapping[str, str] = field(default_factory=dict)
    cause: str = ""


def measure(
    model: nn.Module,
    x: Given,
    y: Any,
    probes: Given,
    rule: Rule | OptimizerStep | None,
    loss: Loss,
    divergences: Sequence[str],
    output: Pick | None,
    options: Options,
) -> Measured:
    """One measurement, of steps by a rule or, without one, of the limit of SGD."""
    check_known("method", options.method, METHODS if rule is not None else LIMIT_METHODS)
    if options.method == "low_rank" and type(rule) is not SGD:
        raise ValueError(f"method='low_rank' is for SGD, not {rule!r}: use method='auto'")
    wanted = find_divergences(divergences)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    with measuring(model):
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        checks.require_float64(device)
        bound = memory_bound(options.max_bytes, device)
        task = Task.make(
            model, x, y, probes, loss, output,
            rows_within=lambda cost: rows_within(cost, bound),
        )  # fmt: skip
        if isinstance(rule, OptimizerStep):
            rule = rule.bound(task.weights)
        for divergence in wanted:
            divergence.check(task.before.shape[-1])
        return _Measurement(task, rule, wanted, options, bound).made()


@dataclass(frozen=True)
class _Measurement:
    task: Task
    rule: Rule | None
    divergences: Sequence[Divergence]
    options: Options
    bound: int

    def made(self) -> Measured:
        method, cause = self._way()
        if method not in ("loop", "direct"):
            try:
                found = self._fast(method)
            except TooLittleMemoryError as error:
                if self.options.max_bytes is not None:
                    raise
                method, cause = "direct", str(error)
            except Exception as error:  # of a fast way that this model was not made for
                method, cause = "direct", checks.in_one_line(error)
            else:
                return found or self._again(method)
        if cause and self.options.method not in ("auto", "loop", "direct"):
            warn_user(f"method={self.options.method!r} does not apply to this model: {cause}")
        return replace(self._directly(method), cause=cause or "")

    def _way(self) -> tuple[str, str | None]:
        """The way to take, and what speaks against a fast one."""
        asked, task = self.options.method, self.task
        if asked in ("loop", "direct"):
            return asked, None
        cause = why_not(task)
        if cause is None and may_couple(self.rule):
            cause = f"{type(self.rule.of).__name__} may step a weight by the gradient of another"
        if cause is None and asked == "auto" and self.options.gradients == "model":
            cause = "the fast ways take gradients in float64"
        if cause is None and asked == "auto" and task.cost.operations > LARGE:
            cause = "it is large"
        if cause is not None:
            return "direct", cause
        if asked != "auto":
            return asked, None
        if self.rule is None:
            return "kernel", None
        if type(self.rule) is SGD and task.device.type == "cpu":
            return "low_rank", None
        stacks = gains_from_stacking(task, self.options.chunk_size, self.bound)
        return ("stacked" if stacks else "shared"), None

    def _again(self, method: str) -> Measured:
        """By the definition, since a fast way does not agree with it."""
        warn_user(
            f"method={method!r} does not give what the definition gives for this model: measured "
            "again by the definition"
        )
        return self._directly("direct", checked="made again: the fast way did not agree")

    def _fast(self, method: str) -> Measured | None:
        """By a fast way; None if it does not agree with the definition."""
        task, rule, collected = self.task, self.rule, self._collected()
        if rule is None:
            before = task.before.double()
            delta, layers = kernel_changes(task, self.bound)
            drowned = torch.zeros(len(task.x), dtype=torch.bool)
        else:
            found = measure_fast(task, rule, method, self.options.chunk_size, self.bound)
            before, delta, layers = found.before, found.delta, found.layers
            collected.in_float64, drowned = found.in_float64, found.drowned
        collected.fill(before, delta)
        if rule is not None and bool(drowned.any()):
            again = drowned.nonzero().flatten().tolist()
            measure_steps(task, rule, collected, self._wide(force=True), self._rows, again)
        checked = "not checked"
        if self.options.check:
            apart = disagreement(task, rule, delta, drowned, self._wide())
            if not apart <= 1:
                return None
            checked = "agrees with the definition"
        return Measured(task, collected, before, self._name(method), checked, "float64", layers)

    def _directly(self, method: str, checked: str = "is the definition") -> Measured:
        task, collected = self.task, self._collected()
        wide = self._wide(force=method == "loop")
        if self.rule is None:
            before, way = measure_limit(task, collected, wide, self._rows)
            method = f"{self._name(method)}, {way}"
        else:
            one_by_one = method == "loop"
            before = measure_steps(
                task, self.rule, collected, wide, self._rows, one_by_one=one_by_one
            )
        if task.eps <= torch.finfo(torch.float64).eps:
            wide = torch.float64  # as it is
        gradients = "model" if wide is None else str(wide).removeprefix("torch.")
        return Measured(task, collected, before, method, checked, gradients)

    def _name(self, method: str) -> str:
        return method if self.rule is not None else "tangent"

    @property
    def _rows(self) -> int:
        if self.options.max_bytes is not None:
            require_one_at_a_time(self.task.cost, self.bound)
        return rows_within(self.task.cost, self.bound)

    def _wide(self, force: bool = False) -> torch.dtype | None:
        """In which precision the direct way computes, if not in the model's own: float64 where that
        is cheap or asked for, and float32 for what is in half precision, of which a small step
        would be lost in rounding."""
        asked = self.options.gradients
        if asked == "model":
            return None
        cheap = force or asked == "float64" or self.task.cost.operations <= CHEAP
        if cheap and self._can_be_in_float64:
            return torch.float64
        if can_be_wide(self.task, self.rule, torch.float32):
            return torch.float32
        if self.task.in_half_precision:
            warn_user(
                "this model computes in half precision, and cannot be computed in float32: what is "
                "measured is off by some percent"
            )
        return None

    @cached_property
    def _can_be_in_float64(self) -> bool:
        return can_be_wide(self.task, self.rule, torch.float64)

    def _collected(self) -> Collected:
        task, options = self.task, self.options
        size = 8 * len(task.x) * task.n_probes * task.before[0].numel()
        keep = size <= KEEP_WITHIN if options.keep_delta is None else options.keep_delta
        positions = Positions(options.weights, options.by_position).checked(task)
        return Collected(task, self.divergences, self.rule is None, positions, keep)
