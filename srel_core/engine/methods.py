"""The ways to compute what a step on each sample does to the predictions: one is the definition.

`loop` does what the definition says, one (input, sample) pair at a time, and is the oracle of the
tests. The others compute each sample's step once and share it among all inputs: `shared` a sample
at a time (on a CPU, one on each thread) over weights that it overwrites, `vmap` several samples at
once with stacked weights, and `low_rank`, for SGD, by pushing the change itself through the network
(`srel_core.engine.propagation.propagate`). All leave out weights that no step can move and compute
small maps by products (`srel_core.engine.layers.compaction`).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import vmap

from srel_core.engine.layers.compaction import compact, ways
from srel_core.engine.layers.per_sample_gradients import Place, Slopes, loss_slopes
from srel_core.engine.layers.sgd_steps import Steps
from srel_core.engine.propagation.graph import CannotPropagateError, trace
from srel_core.engine.propagation.propagate import Propagation
from srel_core.engine.setup.memory import Footprint, gradient_parts
from srel_core.engine.setup.problem import Problem, put_weights
from srel_core.engine.setup.threads import Workers
from srel_core.rules import SGD, Rule

METHODS = ("auto", "loop", "shared", "vmap", "low_rank")

# A float32 prediction's change is trusted where it is this many times the rounding error measured
# on the model itself: 1e-3 of KL, which is of second order, asks for 5e-4 of the change; the
# rounding of the stepped weights adds to that of the predictions, hence the 4.
_ROUNDING_MARGIN = 4 / 5e-4


@dataclass(frozen=True)
class Changes:
    """Predictions before (I, C) and their changes delta (S, I, C), float64; which samples had to
    be computed in float64, (S,); the method that ran, and in which way each layer."""

    before: Tensor
    delta: Tensor
    in_float64: Tensor
    method: str
    layers: dict[str, str] = field(default_factory=dict)


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
            return _by_propagation(fast, rule, plan)
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
    layers = ways(fast.model)
    if fast.precise is None:
        return Changes(problem.before.double(), delta, never, plan.method, layers)
    drowned = _drowned(delta, fast.rounding())
    if not drowned.any():
        return Changes(problem.before.double(), delta, drowned, plan.method, layers)
    exact = fast.precise.with_own_predictions()
    plan = Plan.make(exact, rule, plan.method, chunk_size, max_bytes)
    redo = drowned.to(delta.device)
    delta[redo] = _changes(exact, rule, plan, exact.x[redo], exact.y[redo])
    return Changes(exact.before, delta, drowned, plan.method, layers)


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


def _rounds(problem: Problem, n: int, at_most: int, threads: int) -> list[list[slice]]:
    """n samples in parts, for so many parts at a time as fit on all threads."""
    parts = gradient_parts(n, at_most, problem.activation_bytes)
    at_once = threads * (at_most // max(part.stop - part.start for part in parts))
    return [parts[k : k + at_once] for k in range(0, len(parts), at_once)]


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


def _own_copy(weight: Tensor) -> Tensor:
    """A copy in one of the two layouts through views of which steps are written."""
    by_pixel = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if by_pixel else torch.contiguous_format
    return weight.clone(memory_format=layout)


@dataclass(frozen=True)
class _Step:
    """One sample, and the slopes of some samples of which it is one, at `row`, if there are any."""

    x_i: Tensor
    y_i: Tensor
    slopes: Slopes | None
    row: int


class _Stepped:
    """A problem whose model, all its own, has weights for one step after another to overwrite."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = problem.model
        self.weights = {name: _own_copy(w) for name, w in problem.weights.items()}
        named = dict(self.model.named_parameters())
        own = {id(named[name]): nn.Parameter(w) for name, w in self.weights.items()}
        put_weights(self.model, own)
        self.places: list[Place] = []  # of these weights, once a step is to be written there

    def predict(self, inputs: Tensor) -> Tensor:
        for name, buffer in self.model.named_buffers():  # which a model may write to in passing
            buffer.copy_(self.problem.buffers[name])
        return self.model(inputs)

    def slopes(self, x: Tensor, y: Tensor) -> Slopes | None:
        """Those of some samples x (n, ...), y (n, ...), if the model's layers have them."""
        slopes = loss_slopes(self.problem, x, y)
        return slopes and slopes.laid_out()

    def after(self, step: _Step | None, rule: Rule, plan: Plan) -> Tensor:
        """The predictions (I, C) after a step on one sample; without one, made in the same way, so
        that what does not move changes by exactly 0."""
        if step is not None and step.slopes is not None:
            self.places = self.places or step.slopes.places(self.weights)
            step.slopes.step(step.row, rule, self.places)
        else:
            to = self.problem.weights
            if step is not None:
                to = self.problem.stepped(rule, self.problem.gradient(step.x_i, step.y_i))
            for name, weight in self.weights.items():
                weight.copy_(to[name])
        return _in_parts(self.predict, self.problem, plan)


def _side_by_side(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """The changes (S, I, C) after a step on each sample, some samples on each thread of a CPU."""
    predictions: list[Tensor] = []
    with Workers(problem, _Stepped) as workers:
        for parts in _rounds(problem, len(x), plan.samples, workers.threads):
            found = workers.map(lambda own, rows: own.slopes(x[rows], y[rows]), parts)
            steps = [
                _Step(x[i], y[i], slopes, i - rows.start)
                for slopes, rows in zip(found, parts, strict=True)
                for i in range(rows.start, rows.stop)
            ]
            # None is no step, for the predictions before.
            some = [None, *steps] if not predictions else steps
            predictions += workers.map(lambda own, step: own.after(step, rule, plan), some)
    before, *after = predictions
    return torch.stack(after) - before


def _drowned(delta: Tensor, rounding: Tensor) -> Tensor:
    """(S,): samples with a change, at any input, too small for its prediction's rounding (I,)."""
    # A shift common to all outputs changes no probability: it must not hide a drowned change.
    seen = delta - delta.mean(2, keepdim=True) if delta.shape[2] > 1 else delta
    return (seen.abs().amax(2) < _ROUNDING_MARGIN * rounding).any(1).cpu()


def _by_propagation(problem: Problem, rule: Rule, plan: Plan) -> Changes:
    """By pushing changes through the network, some samples on each thread of a CPU."""
    assert isinstance(rule, SGD)
    graph, layers = trace(problem.model), ways(problem.model)
    before, deltas, of_steps = [], [], {}
    for inputs in problem.inputs.split(plan.inputs):
        # before the workers, each of which has one thread: this pass is one large piece
        flow, of_inputs = Propagation(problem, graph, inputs), []
        with Workers(problem, lambda own: own) as workers:
            for parts in _rounds(problem, len(problem.x), plan.samples, workers.threads):
                found = workers.map(
                    lambda own, rows: Steps.of(own, rule, own.x[rows], own.y[rows]), parts
                )
                some = [step for steps in found for step in steps.split(max(flow.at_a_time))]
                of_inputs += workers.map(flow.changes, some)
        deltas.append(torch.cat(of_inputs))
        before.append(flow.before)
        of_steps = flow.ways
    layers |= {name: f"{layers[name]}; {way}" for name, way in of_steps.items()}
    never = torch.zeros(len(problem.x), dtype=torch.bool)
    return Changes(torch.cat(before).double(), torch.cat(deltas, 1), never, "low_rank", layers)
