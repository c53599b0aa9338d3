"""The engine: one-sample updates and what they do to the predictions at all probes.

For each sample (x_i, y_i) take one step w⁺ = U(w; x_i, y_i) from the same weights w, and compare
the predictions before and after at every probe x'_j and at x_i itself:

    change[j, i] = D(f_{w⁺(x_i)}(x'_j), f_w(x'_j))      own[i] = D(f_{w⁺(x_i)}(x_i), f_w(x_i))
    S_rel[j, i]  = change[j, i] / own[i]

How the changes are computed, and which way is the definition, is in `srel_core.engine.methods`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srel_core.choices import check_known
from srel_core.divergence import find_divergences
from srel_core.engine.methods import METHODS, Changes, measure
from srel_core.engine.setup import checks
from srel_core.engine.setup.memory import memory_bound
from srel_core.engine.setup.problem import Loss, Problem, measuring
from srel_core.rules import Rule
from srel_core.statistics import by_class


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
    were computed in float64; `method` is the one that ran, and `layers` says by the name of each
    linear or convolution layer how it was computed (nothing for the "loop", which knows no layers).
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
    layers: Mapping[str, str]

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
        reduce: by_class.Reduce = "ratio_of_means",
    ) -> Tensor:
        """The class matrix S[c', c], (C, C): S_rel over probes of class c', samples of class c.

        Pairs with x' = x are left out. See `srel_core.statistics.by_class.class_matrix`.
        """
        change, own = self._of(divergence)
        probe_labels, sample_labels = (t.cpu().numpy() for t in (probe_classes, sample_classes))
        matrix = by_class.class_matrix(
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
            by_class.same_class_auc(change, probe_labels, sample_labels, exclude=exclude)
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
    max_bytes: int | None = None,
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
    method  "auto", "loop" (the oracle), "shared", "vmap", or, for SGD, "low_rank": the ways of
            `srel_core.engine.methods`; that which ran is in the result
    chunk_size  samples stacked at a time by "vmap"; None fits them into `max_bytes`
    max_bytes   bound on the memory, in bytes and on all threads together, of the activations,
            slopes and stacked weights that are worked on at a time; the result and about 6 copies
            of the weights, and one for each thread, come on top. None: 2 GiB on a CPU; on a GPU
            four fifths of what is free

    A float32 model is measured in float32 with gradients from float64. Under "low_rank" the change
    itself is computed, to about 1e-6 of its size whatever that is. The other ways subtract
    predictions, and do those samples again in float64 whose change would drown in rounding: results
    are within 1e-3 relative of a float64 computation.

    On a GPU, "auto" stacks samples. That path is tested for equality on a CPU; it has not been
    measured on a GPU.

    Errors: ValueError, one line, for anything that has no meaning: wrong shapes, labels out of
    range, NaN or infinite values, unknown names, a module that mixes the samples of a batch; and
    for `max_bytes` below what one sample and one input need.
    """
    check_known("method", method, METHODS)
    if not isinstance(rule, Rule):
        raise ValueError(
            f"rule must be a step such as SGD(lr=1e-4), not {rule!r}; for the limit of a vanishing "
            "step use tangent_influence"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")
    with measuring(model):
        problem = Problem.make(model, x, y, probes, loss)
        wanted = find_divergences(divergences, problem.before.shape[1])
        bound = memory_bound(max_bytes, problem.before.device)
        found = measure(problem, rule, method, chunk_size, bound)
        measures = {d.name: d.finite for d in wanted}
        return summarise(problem, found, measures)


def summarise(
    problem: Problem, found: Changes, measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
) -> Influence:
    """From predictions before a step and their changes to an `Influence`."""
    checks.require_step(found.delta)
    n_probes, samples = problem.n_probes, torch.arange(len(found.delta))
    change, own = {}, {}
    for name, measured in measures.items():
        values = measured(found.before, found.delta).cpu()  # (S, I)
        change[name] = values[:, :n_probes].T.contiguous()
        own[name] = values[samples, problem.own_row]
    before, delta = found.before.cpu(), found.delta.cpu()
    return Influence(
        change, own,
        before=before[:n_probes].clone(),
        own_before=before[problem.own_row],
        delta=delta[:, :n_probes].transpose(0, 1).contiguous(),
        own_delta=delta[samples, problem.own_row],
        same_input=problem.same_input, in_float64=found.in_float64, method=found.method,
        layers=found.layers,
    )  # fmt: skip
