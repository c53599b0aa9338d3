"""The engine: one-sample updates and what they do to the predictions at all probes.

For each sample (x_i, y_i) take one step w⁺ = U(w; x_i, y_i) from the same weights w, and compare
the predictions before and after at every probe x'_j and at x_i itself:

    change[j, i] = D(f_{w⁺(x_i)}(x'_j), f_w(x'_j))      own[i] = D(f_{w⁺(x_i)}(x_i), f_w(x_i))
    S_rel[j, i]  = change[j, i] / own[i]

`method="loop"` does just this with a copy of the model and a `torch.optim` step, one pair at a
time: it is the definition, and the oracle of the tests. The other methods compute each sample's
step once and share it among all probes and all divergences: "shared" a sample at a time (on a CPU,
one on each thread), "vmap" several samples at once with stacked weights. Both leave out weights
that no step can move (`srel_core.compact`).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import vmap

from srel_core import checks, classes
from srel_core.chunking import Footprint
from srel_core.compact import compact
from srel_core.divergence import find_divergences
from srel_core.gradients import loss_slopes
from srel_core.names import check_known
from srel_core.problem import Loss, Problem, measuring
from srel_core.rules import Rule
from srel_core.workers import Workers

METHODS = ("auto", "loop", "shared", "vmap")

# A float32 prediction's change is trusted where it is this many times the rounding error measured
# on the model itself: 1e-3 of KL, which is of second order, asks for 5e-4 of the change; the
# rounding of the stepped weights adds to that of the predictions, hence the 4.
_ROUNDING_MARGIN = 4 / 5e-4


@dataclass(frozen=True)
class Influence:
    """What one step on each of S samples does to the predictions at P probes.

    `change[D]` (P, S) and `own[D]` (S,), float64, for each divergence D. What they were computed
    from is there too, so that any other divergence can be had without another measurement: the
    predictions before the step at the probes, `before` (P, C), and at the samples, `own_before`
    (S, C), and their changes δf, `delta` (P, S, C) and `own_delta` (S, C), float64 on the CPU; for
    the limit of a vanishing step, the changes per unit of learning rate.

    `same_input` (P, S) is True where probe and sample are the same input (x' = x); `in_float64`
    (S,) is True for the samples whose change float32 would have drowned in rounding, so that they
    were computed in float64; `method` is the one that ran.
    """

    change: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    before: Tensor
    own_before: Tensor
    delta: Tensor
    own_delta: Tensor
    same_input: Tensor
    in_float64: Tensor
    method: str

    def s_rel(self, divergence: str) -> Tensor:
        """S_rel = change / own, (P, S); NaN where own(x) = 0, the ratio being undefined."""
        change, own = self._of(divergence)
        return torch.where(own > 0, change / own, torch.nan)

    def undefined(self, divergence: str) -> int:
        """For how many samples own(x) = 0, so that S_rel is undefined."""
        return int((self._of(divergence)[1] == 0).sum())

    def by_class(
        self,
        divergence: str,
        probe_classes: Tensor,
        sample_classes: Tensor,
        reduce: classes.Reduce = "ratio_of_means",
    ) -> Tensor:
        """The class matrix S[c', c], (C, C): S_rel over probes of class c', samples of class c.

        Pairs with x' = x are left out. See `srel_core.classes.class_matrix`.
        """
        change, own = self._of(divergence)
        probe_labels, sample_labels = (t.cpu().numpy() for t in (probe_classes, sample_classes))
        matrix = classes.class_matrix(
            change.numpy(), own.numpy(), probe_labels, sample_labels,
            exclude=self.same_input.numpy(), reduce=reduce,
        )  # fmt: skip
        return torch.from_numpy(matrix)

    def same_class_auc(
        self, divergence: str, probe_classes: Tensor, sample_classes: Tensor
    ) -> Tensor:
        """(S,): for each sample, P(change at a same-class probe > at another class's probe)."""
        probe_labels, sample_labels = (t.cpu().numpy() for t in (probe_classes, sample_classes))
        change = self._of(divergence)[0].numpy()
        exclude = self.same_input.numpy()
        return torch.from_numpy(
            classes.same_class_auc(change, probe_labels, sample_labels, exclude=exclude)
        )

    def _of(self, divergence: str) -> tuple[Tensor, Tensor]:
        check_known("divergence of this result", divergence, self.change)
        return self.change[divergence], self.own[divergence]


def influence(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    probes: Tensor,
    *,
    rule: Rule,
    loss: Loss = "cross_entropy",
    divergences: Sequence[str] = ("kl", "l2_logits"),
    method: str = "auto",
    chunk_size: int | None = None,
    max_bytes: int = 2 * 2**30,
) -> Influence:
    """Measure change and own of one step on each sample, at every probe.

    model   maps a batch (B, ...) to predictions (B, C); left exactly as it was
    x, y    (S, ...) samples and their targets: (S,) class labels for "cross_entropy", C numbers
            each for "mse", what it expects for a callable
    probes  (P, ...) inputs at which the change is measured
    rule    the step: `SGD(lr)`, `Adam(lr)`, or any `srel_core.rules.Rule`
    loss    "cross_entropy", "mse" (mean over outputs, as in torch), or a callable
            (prediction (C,), target) → scalar for one sample
    divergences  names from `srel_core.DIVERGENCES`; all come from the same steps
    method  "auto", "loop" (the oracle), "shared" or "vmap"
    chunk_size  samples stacked at a time by "vmap"; None fits them into `max_bytes`
    max_bytes   bound on the memory of stacked weights and activations, in bytes

    A float32 model is measured in float32 with gradients from float64, and those samples again in
    float64 whose change would drown in rounding: results are within 1e-3 relative of a float64
    computation.

    Errors: ValueError, one line, for anything that has no meaning: wrong shapes, labels out of
    range, NaN or infinite values, unknown names, a module that mixes the samples of a batch.
    """
    check_known("method", method, METHODS)
    if not isinstance(rule, Rule):
        raise ValueError(
            f"rule must be a step such as SGD(lr=1e-4), not {rule!r}; for the limit of a vanishing "
            "step use tangent_influence"
        )
    asked = method
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")
    with measuring(model):
        problem = Problem.make(model, x, y, probes, loss)
        wanted = find_divergences(divergences, problem.before.shape[1])
        in_float64 = torch.zeros(len(x), dtype=torch.bool)
        before = problem.before.double()
        if method == "loop":
            delta = _loop(problem, rule)
        else:
            fast = compact(problem, rule).with_precise_gradients()
            plan = Plan.make(fast, method, chunk_size, max_bytes)
            try:
                delta = _changes(fast, rule, plan, fast.x, fast.y)
            except RuntimeError as error:
                if plan.method != "vmap":
                    raise
                if asked == "vmap":
                    raise ValueError(
                        "this model cannot be run with stacked weights "
                        f"({str(error).splitlines()[0]}): use method='shared'"
                    ) from error
                plan = replace(plan, method="shared")
                delta = _changes(fast, rule, plan, fast.x, fast.y)
            method = plan.method
            if fast.precise is not None:
                in_float64 = _drowned(delta, fast.rounding())
            if fast.precise is not None and in_float64.any():
                exact = fast.precise.with_own_predictions()
                before, redo = exact.before, in_float64.to(delta.device)
                plan = Plan.make(exact, method, chunk_size, max_bytes)
                delta[redo] = _changes(exact, rule, plan, exact.x[redo], exact.y[redo])
        measures = {d.name: d.finite for d in wanted}
        return summarise(problem, before, delta, measures, in_float64, method)


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
    def make(cls, problem: Problem, method: str, chunk_size: int | None, max_bytes: int) -> "Plan":
        size = Footprint.of(problem)
        inputs = size.inputs_within(max_bytes, len(problem.inputs))
        stacked = chunk_size or size.stacked_within(max_bytes, inputs)
        if method == "auto":
            method = "vmap" if size.gains_from_stacking(problem, stacked) else "shared"
        samples = stacked if method == "vmap" else size.samples_within(max_bytes)
        return cls(method, samples, inputs)


def _changes(problem: Problem, rule: Rule, plan: Plan, x: Tensor, y: Tensor) -> Tensor:
    """f_{w⁺(x_i)} − f_w at all inputs, (S, I, C) in float64, each step computed once."""
    if plan.method == "vmap":
        return vmap(partial(_stacked, problem, rule, plan), chunk_size=plan.samples)(x, y)
    return _side_by_side(problem, rule, plan, x, y)


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
        self.weights = {name: own[name].data for name in problem.weights}

    def predict(self, inputs: Tensor) -> Tensor:
        for name, buffer in self.model.named_buffers():  # which a model may write to in passing
            buffer.copy_(self.problem.buffers[name])
        return self.model(inputs)

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

    def of_some(own: _Stepped, start: int) -> list[Tensor]:
        rows = slice(start, start + plan.samples)
        return own.after_steps(rule, x[rows], y[rows], plan)

    with Workers(problem, _Stepped) as workers:
        # In the same way as after a step, so that what does not move changes by exactly 0.
        (before,) = workers.map(lambda own, _: _in_parts(own.predict, problem, plan), [None])
        parts = workers.map(of_some, range(0, len(x), plan.samples))
    return torch.stack([after for part in parts for after in part]) - before


def _drowned(delta: Tensor, rounding: Tensor) -> Tensor:
    """(S,): samples with a change, at any input, too small for its prediction's rounding (I,)."""
    # A shift common to all outputs changes no probability: it must not hide a drowned change.
    seen = delta - delta.mean(2, keepdim=True) if delta.shape[2] > 1 else delta
    return (seen.abs().amax(2) < _ROUNDING_MARGIN * rounding).any(1).cpu()


def summarise(
    problem: Problem,
    before: Tensor,
    delta: Tensor,
    measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    in_float64: Tensor,
    method: str,
) -> Influence:
    """From predictions before (I, C) and their changes delta (S, I, C) to an `Influence`."""
    checks.require_step(delta)
    n_probes, samples = problem.n_probes, torch.arange(len(delta))
    change, own = {}, {}
    for name, measure in measures.items():
        values = measure(before, delta).cpu()  # (S, I)
        change[name] = values[:, :n_probes].T.contiguous()
        own[name] = values[samples, problem.own_row]
    before, delta = before.cpu(), delta.cpu()
    return Influence(
        change, own,
        before=before[:n_probes].clone(),
        own_before=before[problem.own_row],
        delta=delta[:, :n_probes].transpose(0, 1).contiguous(),
        own_delta=delta[samples, problem.own_row],
        same_input=problem.same_input, in_float64=in_float64, method=method,
    )  # fmt: skip
