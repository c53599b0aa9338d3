"""The fast ways to take a step on each sample: each step once, shared among all inputs.

`shared` takes a sample at a time (on a CPU, one on each thread) over weights that it overwrites,
`stacked` several samples at once with stacked weights, and `low_rank`, for SGD, pushes the change
itself through the network (`srel_core.engine.propagation.propagate`). All leave out weights that no
step can move and compute small maps by products (`srel_core.engine.layers.compaction`). They apply
where `srel_core.engine.conditions` has nothing against it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from srel_core.engine.direct import drowned_samples
from srel_core.engine.layers.compaction import compact, descriptions
from srel_core.engine.layers.gradient_pass import loss_gradients
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients, StepTarget
from srel_core.engine.layers.sgd_steps import SGDSteps
from srel_core.engine.propagation.graph import trace
from srel_core.engine.propagation.propagate import Propagation
from srel_core.engine.setup.memory import Footprint, gradient_parts
from srel_core.engine.setup.problem import CannotApplyError, Problem, put_weights
from srel_core.engine.setup.task import Task, plain_attention
from srel_core.engine.setup.threads import Workers
from srel_core.engine.stacked import StackedModel
from srel_core.rules import SGD, Rule

# Below this learning rate products with it leave the range of float32.
_TINY_LR = 1e-12


@dataclass(frozen=True)
class Changes:
    """Predictions before (I, C) and their changes delta (S, I, C), float64; which samples had to
    be computed in float64, (S,), and which float64 drowns too, (S,); how each layer was
    computed."""

    before: Tensor
    delta: Tensor
    in_float64: Tensor
    drowned: Tensor
    layers: dict[str, str] = field(default_factory=dict)


def measure_fast(
    task: Task, rule: Rule, method: str, chunk_size: int | None, max_bytes: int
) -> Changes:
    """The changes by the fast way of this name. CannotApplyError where it does not apply."""
    with plain_attention():
        problem = compact(Problem.of(task), rule, products=method != "stacked")
        problem = problem.with_precise_gradients()
        narrow = problem.precise is not None
        if problem.precise is not None and _is_lost_in_float32(rule, method):
            problem = problem.precise.with_own_predictions()
        plan = Plan.make(problem, method, chunk_size, max_bytes)
        in_float64 = torch.full((len(problem.x),), narrow and problem.precise is None)
        if method == "low_rank":
            assert isinstance(rule, SGD)
            return _by_propagation(problem, rule, plan, in_float64)
        try:
            return _by_steps(problem, rule, plan, in_float64)
        except RuntimeError as error:
            if method != "stacked":
                raise
            reason = str(error).splitlines()[0]
            raise CannotApplyError(f"it cannot run with stacked weights ({reason})") from error


def _is_lost_in_float32(rule: Rule, method: str) -> bool:
    """Whether to compute in float64 from the start: products with a tiny learning rate leave the
    range of float32, and stacked weights would nearly always be taken there in the end, since SGD
    changes predictions by less than they round."""
    return isinstance(rule, SGD) and (rule.lr < _TINY_LR or method == "stacked")


@dataclass(frozen=True)
class Plan:
    """How the changes are computed: the method, samples at a time, inputs at a time (of `stacked`,
    as many as fit beside that many samples)."""

    method: str
    samples: int
    inputs: int
    max_bytes: int

    @classmethod
    def make(cls, problem: Problem, method: str, chunk_size: int | None, max_bytes: int) -> "Plan":
        size = Footprint.of(problem)
        inputs = size.inputs_within(max_bytes, len(problem.inputs))
        stacked = chunk_size or size.stacked_within(max_bytes)
        samples = stacked if method == "stacked" else size.samples_within(max_bytes)
        return cls(method, samples, inputs, max_bytes)


def _by_steps(problem: Problem, rule: Rule, plan: Plan, in_float64: Tensor) -> Changes:
    """By subtracting predictions; again in float64 where float32 drowns the change."""
    delta, layers = _changes(problem, rule, plan, problem.x, problem.y), descriptions(problem.model)
    drowned = drowned_samples(delta, problem.prediction_rounding())
    if problem.precise is None:
        return Changes(problem.before.double(), delta, in_float64, drowned, layers)
    if not drowned.any():
        return Changes(problem.before.double(), delta, drowned, drowned, layers)
    exact = problem.precise.with_own_predictions()
    redo = drowned.to(delta.device)
    delta[redo] = _changes(exact, rule, plan, exact.x[redo], exact.y[redo])
    still = drowned & drowned_samples(delta, exact.prediction_rounding())
    return Changes(exact.before, delta, drowned, still, layers)


def _changes(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """f_{w⁺(x_i)} − f_w at all inputs, (S, I, C) in float64, each step computed once."""
    if plan.method == "stacked":
        model = StackedModel(problem)
        parts = zip(x.split(plan.samples), y.split(plan.samples), strict=True)
        return torch.cat([model.changes(rule, *part, plan.max_bytes) for part in parts])
    return _side_by_side(problem, rule, plan, x, y)


def _rounds(problem: Problem, n: int, at_most: int, threads: int) -> list[list[slice]]:
    """n samples in parts, for so many parts at a time as fit on all threads."""
    parts = gradient_parts(n, at_most, problem)
    at_once = threads * (at_most // max(part.stop - part.start for part in parts))
    return [parts[k : k + at_once] for k in range(0, len(parts), at_once)]


def _in_parts(predict: Callable[[Tensor], Tensor], problem: Problem, plan: Plan) -> Tensor:
    """Predictions at all inputs, (I, C) in float64, as many inputs at a time as the plan says."""
    with torch.no_grad():
        return torch.cat([predict(part) for part in problem.inputs.split(plan.inputs)]).double()


def _own_copy(weight: Tensor) -> Tensor:
    """A copy in one of the two layouts through views of which steps are written."""
    by_pixel = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if by_pixel else torch.contiguous_format
    return weight.clone(memory_format=layout)


class _Stepped:
    """A problem whose model, all its own, has weights for one step after another to overwrite."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = problem.model
        self.weights = {name: _own_copy(w) for name, w in problem.weights.items()}
        named = dict(self.model.named_parameters())
        own = {id(named[name]): nn.Parameter(w) for name, w in self.weights.items()}
        put_weights(self.model, own)
        self.targets: list[StepTarget] = []  # of these weights, once a step is to be written

    def predict(self, inputs: Tensor) -> Tensor:
        for name, buffer in self.model.named_buffers():  # which a model may write to in passing
            buffer.copy_(self.problem.buffers[name])
        return self.model(inputs)

    def after(self, step: tuple[PerSampleGradients, int] | None, rule: Rule, plan: Plan) -> Tensor:
        """The predictions (I, C) after a step on one sample, given as the gradients of some and
        which of them it is; without one, made in the same way, so that what does not move changes
        by exactly 0."""
        if step is None:
            for name, weight in self.weights.items():
                weight.copy_(self.problem.weights[name])
        else:
            gradients, row = step
            self.targets = self.targets or gradients.targets(self.weights)
            gradients.step(row, rule, self.targets)
        return _in_parts(self.predict, self.problem, plan)


def _side_by_side(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """The changes (S, I, C) after a step on each sample, some samples on each thread of a CPU."""
    predictions: list[Tensor] = []
    with Workers(problem, _Stepped) as workers:
        for parts in _rounds(problem, len(x), plan.samples, workers.threads):
            found = workers.map(
                lambda own, rows: loss_gradients(
                    own.problem, x[rows], y[rows]
                ).with_cached_patches(),
                parts,
            )
            steps = [
                (gradients, row)
                for gradients, rows in zip(found, parts, strict=True)
                for row in range(rows.stop - rows.start)
            ]
            # None is no step, for the predictions before.
            some = [None, *steps] if not predictions else steps
            predictions += workers.map(lambda own, step: own.after(step, rule, plan), some)
    before, *after = predictions
    return torch.stack(after) - before


def _by_propagation(problem: Problem, rule: SGD, plan: Plan, in_float64: Tensor) -> Changes:
    """By pushing changes through the network, some samples on each thread of a CPU."""
    graph, layers = trace(problem.model), descriptions(problem.model)
    before, deltas, of_steps = [], [], {}
    for inputs in problem.inputs.split(plan.inputs):
        # before the workers, each of which has one thread: this pass is one large piece
        flow, of_inputs = Propagation(problem, graph, inputs), []
        with Workers(problem, lambda own: own) as workers:
            for parts in _rounds(problem, len(problem.x), plan.samples, workers.threads):
                found = workers.map(
                    lambda own, rows: SGDSteps.of(own, rule, own.x[rows], own.y[rows]), parts
                )
                some = [step for steps in found for step in steps.split(max(flow.at_a_time))]
                of_inputs += workers.map(flow.changes, some)
        deltas.append(torch.cat(of_inputs))
        before.append(flow.before)
        of_steps = flow.descriptions
    layers |= {name: f"{layers[name]}; {way}" for name, way in of_steps.items()}
    never = torch.zeros_like(in_float64)
    return Changes(torch.cat(before).double(), torch.cat(deltas, 1), in_float64, never, layers)
