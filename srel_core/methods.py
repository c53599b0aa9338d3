"""The ways to compute what a step on each sample does to the predictions: one is the definition.

`loop` does what the definition says, one (input, sample) pair at a time, and is the oracle of the
tests. The others compute each sample's step once and share it among all inputs: `shared` a sample
at a time (on a CPU, one on each thread) over weights that it overwrites, `vmap` several samples at
once with stacked weights, and `low_rank`, for SGD, by pushing the change itself through the
network (`srel_core.propagation`). All leave out weights that no step can move and compute small
maps by products (`srel_core.compact`).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import vmap

from srel_core.chunking import Footprint
from srel_core.compact import compact
from srel_core.gradients import loss_slopes
from srel_core.graph import CannotPropagateError, trace
from srel_core.problem import Problem
from srel_core.propagation import Propagation
from srel_core.rules import SGD, Rule
from srel_core.steps import Steps
from srel_core.workers import Workers

METHODS = ("auto", "loop", "shared", "vmap", "low_rank")

# A float32 prediction's change is trusted where it is this many times the rounding error measured
# on the model itself: 1e-3 of KL, which is of second order, asks for 5e-4 of the change; the
# rounding of the stepped weights adds to that of the predictions, hence the 4.
_ROUNDING_MARGIN = 4 / 5e-4


@dataclass(frozen=True)
class Changes:
    """Predictions before (I, C) and their changes delta (S, I, C), float64; which samples had to
    be computed in float64, (S,); and the method that ran."""

    before: Tensor
    delta: Tensor
    in_float64: Tensor
    method: str


def measure(
    problem: Problem, rule: Rule, method: str, chunk_size: int | None, max_bytes: int
) -> Changes:
    """The changes by the method of this name; the arguments are those of `influence`."""
    never = torch.zeros(len(problem.x), dtype=torch.bool)
    if method == "loop":
        return Changes(problem.before.double(), _loop(problem, rule), never, "loop")
    fast = compact(problem, rule).with_precise_gradients()
    plan = Plan.make(fast, rule, method, chunk_size, max_bytes)
    if plan.method == "low_rank":
        try:
            return Changes(*_by_propagation(fast, rule, plan), never, "low_rank")
        except CannotPropagateError as error:
            if method == "low_rank":
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"changes cannot be pushed through this model ({reason}): use method='shared'"
                ) from error
            plan = Plan.make(fast, rule, "shared", chunk_size, max_bytes)
    try:
        delta = _changes(fast, rule, plan, fast.x, fast.y)
    except RuntimeError as error:
        if plan.method != "vmap":
            raise
        if method == "vmap":
            raise ValueError(
                "this model cannot be run with stacked weights "
                f"({str(error).splitlines()[0]}): use method='shared'"
            ) from error
        plan = Plan.make(fast, rule, "shared", chunk_size, max_bytes)
        delta = _changes(fast, rule, plan, fast.x, fast.y)
    if fast.precise is None:
        return Changes(problem.before.double(), delta, never, plan.method)
    drowned = _drowned(delta, fast.rounding())
    if not drowned.any():
        return Changes(problem.before.double(), delta, drowned, plan.method)
    exact = fast.precise.with_own_predictions()
    plan, redo = (
        Plan.make(exact, rule, plan.method, chunk_size, max_bytes),
        drowned.to(delta.device),
    )
    delta[redo] = _changes(exact, rule, plan, exact.x[redo], exact.y[redo])
    return Changes(exact.before, delta, drowned, plan.method)


def _loop(problem: Problem, rule: Rule) -> Tensor:
    """The definition, one (input, sample) pair at a time: copy, step, predict, subtract."""
    delta = torch.zeros_like(problem.before, dtype=torch.float64).repeat(len(problem.x), 1, 1)
    model = copy.deepcopy(problem.model)
    for i, (x_i, y_i) in enumerate(zip(problem.x, problem.y, strict=True)):
        stepped = copy.deepcopy(problem.model)
        optimizer = rule.optimizer([p for p in stepped.parameters() if p.requires_grad])
        optimizer.zero_grad()
        problem.loss(stepped(x_i[None])[0], y_i).backward()
        optimizer.step()
        with torch.no_grad():
            for j, probe in enumerate(problem.inputs):
                delta[i, j] = (stepped(probe[None]) - model(probe[None]))[0]
    return delta


@dataclass(frozen=True)
class Plan:
    """How the changes are computed: the method, samples at a time, inputs at a time."""

    method: str
    samples: int
    inputs: int

    @classmethod
    def make(
        cls, problem: Problem, rule: Rule, method: str, chunk_size: int | None, max_bytes: int
    ) -> "Plan":
        size = Footprint.of(problem)
        inputs = size.inputs_within(max_bytes, len(problem.inputs))
        stacked = chunk_size or size.stacked_within(max_bytes, inputs)
        on_cpu = problem.before.device.type == "cpu"
        if method == "auto" and type(rule) is SGD and on_cpu:
            method = "low_rank"
        elif method == "auto":
            method = "vmap" if size.gains_from_stacking(problem, stacked) else "shared"
        elif method == "low_rank" and type(rule) is not SGD:
            raise ValueError(f"method='low_rank' is for SGD, not {rule!r}: use method='shared'")
        samples = stacked if method == "vmap" else size.samples_within(max_bytes)
        return cls(method, samples, inputs)


def _changes(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """f_{w⁺(x_i)} − f_w at all inputs, (S, I, C) in float64, each step computed once."""
    if plan.method == "vmap":
        return vmap(partial(_stacked, problem, rule, plan), chunk_size=plan.samples)(x, y)
    return _side_by_side(problem, rule, plan, x, y)


def _parts(n: int, at_most: int) -> list[slice]:
    """n rows in parts of nearly equal size, which share out well among threads."""
    n_parts = -(-n // at_most)
    ends = [n * k // n_parts for k in range(n_parts + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def _in_parts(predict: Callable[[Tensor], Tensor], problem: Problem, plan: Plan) -> Tensor:
    """Predictions at all inputs, (I, C) in float64, as many inputs at a time as the plan says."""
    with torch.no_grad():
        return torch.cat([predict(part) for part in problem.inputs.split(plan.inputs)]).double()


def _stacked(problem: Problem, rule: Rule, plan: Plan, x_i: Tensor, y_i: Tensor) -> Tensor:
    """The change (I, C) after the step on one sample; to be mapped over samples by `vmap`."""
    stepped = problem.stepped(rule, problem.gradient(x_i, y_i))
    moved = torch.stack([(stepped[n] != w).any() for n, w in problem.weights.items()]).any()
    after = _in_parts(partial(problem.predict, stepped), problem, plan)
    # Stacked weights take other kernels, with other rounding: without a step the change is 0.
    return (after - problem.before.double()) * moved


class _Stepped:
    """The problem's model with weights of its own, for one step after another to overwrite."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = copy.deepcopy(problem.model).requires_grad_(False)
        own = dict(self.model.named_parameters())
        # Contiguous, whatever the layout of the model's: steps are written through views.
        self.weights = {
            name: w.clone(memory_format=torch.contiguous_format)
            for name, w in problem.weights.items()
        }
        for name, weight in self.weights.items():
            own[name].data = weight

    def predict(self, inputs: Tensor) -> Tensor:
        for name, buffer in self.model.named_buffers():  # which a model may write to in passing
            buffer.copy_(self.problem.buffers[name])
        return self.model(inputs)

    def before(self, plan: Plan) -> Tensor:
        """The predictions (I, C) without a step, made as those after one, so that what does not
        move changes by exactly 0."""
        for name, weight in self.weights.items():
            weight.copy_(self.problem.weights[name])
        return _in_parts(self.predict, self.problem, plan)

    def after_steps(self, rule: Rule, x: Tensor, y: Tensor, plan: Plan) -> list[Tensor]:
        """The predictions (I, C) after a step on each of some samples x (n, ...), y (n, ...)."""
        slopes, predictions = loss_slopes(self.problem, x, y), []
        for i in range(len(x)):
            if slopes is not None:
                slopes.step(i, rule, self.weights)
            else:
                stepped = self.problem.stepped(rule, self.problem.gradient(x[i], y[i]))
                for name, weight in self.weights.items():
                    weight.copy_(stepped[name])
            predictions.append(_in_parts(self.predict, self.problem, plan))
        return predictions


def _side_by_side(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """The changes (S, I, C) after a step on each sample, some samples on each thread of a CPU."""

    def of_some(own: _Stepped, rows: slice | None) -> list[Tensor]:
        if rows is None:
            return [own.before(plan)]
        return own.after_steps(rule, x[rows], y[rows], plan)

    with Workers(problem, _Stepped) as workers:
        (before,), *after = workers.map(of_some, [None, *_parts(len(x), plan.samples)])
    return torch.stack([row for part in after for row in part]) - before


def _drowned(delta: Tensor, rounding: Tensor) -> Tensor:
    """(S,): samples with a change, at any input, too small for its prediction's rounding (I,)."""
    # A shift common to all outputs changes no probability: it must not hide a drowned change.
    seen = delta - delta.mean(2, keepdim=True) if delta.shape[2] > 1 else delta
    return (seen.abs().amax(2) < _ROUNDING_MARGIN * rounding).any(1).cpu()


def _by_propagation(problem: Problem, rule: Rule, plan: Plan) -> tuple[Tensor, Tensor]:
    """Predictions before (I, C) and changes (S, I, C), some samples on each thread of a CPU."""
    assert isinstance(rule, SGD)
    graph = trace(problem.model)
    before, deltas = [], []
    with Workers(problem, lambda own: own) as workers:
        for inputs in problem.inputs.split(plan.inputs):
            (flow,) = workers.map(lambda own, some: Propagation(own, graph, some), [inputs])

            def of_some(own: Problem, rows: slice, flow: Propagation = flow) -> Tensor:
                return flow.changes(own, Steps.of(own, rule, own.x[rows], own.y[rows]))

            deltas.append(torch.cat(workers.map(of_some, _parts(len(problem.x), plan.samples))))
            before.append(flow.before)
    return torch.cat(before).double(), torch.cat(deltas, 1)
