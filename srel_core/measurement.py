"""One-sample updates and what they do to the predictions at all probes.

For each sample (x_i, y_i) take one step w⁺ = U(w; x_i, y_i) from the same weights w, and compare
the predictions before and after at every probe x'_j and at x_i itself:

    change[j, i] = D(f_{w⁺(x_i)}(x'_j), f_w(x'_j))      own[i] = D(f_{w⁺(x_i)}(x_i), f_w(x_i))
    S_rel[j, i]  = change[j, i] / own[i]

Which ways there are to compute them, and which is the definition, is in `srel_core.engine.methods`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srel_core.choices import check_known
from srel_core.engine.methods import Measured, Options, measure
from srel_core.engine.setup.inputs import Given
from srel_core.engine.setup.losses import Loss
from srel_core.engine.setup.outputs import Pick
from srel_core.optimizer_step import OptimizerStep
from srel_core.rules import Rule, require_rule
from srel_core.statistics import by_class
from srel_core.statistics.by_class import Reduce


@dataclass(frozen=True)
class Influence:
    """What one step on each of S samples does to the predictions at P probes.

    `change[D]` (P, S) and `own[D]` (S,), float64, for each divergence D; with `by_position=True`
    (P, S, ...) and (S, ...). `before` (P, ..., C) are the predictions before the step at the
    probes, and `own_before` (S, ..., C) at the samples; `delta` (P, S, ..., C) and `own_delta`
    (S, ..., C) their changes δf, from which any other divergence can be had, or None where they
    were not kept. All in float64 on the CPU; for the limit of a vanishing step, changes are per
    unit of learning rate.

    same_input      (P, S), True where probe and sample are the same input (x' = x)
    in_float64      (S,), True for samples that were computed in float64 though the model is not in
                    it, because float32 would have drowned their change in rounding, or because
                    that cost little
    by_derivative   (S,), True where float64 would have drowned a change too, or the model was too
                    large for it: there it is the derivative along the step at its middle
    method          the way that ran; `layers` says by the name of each linear or convolution layer
                    how it was computed, where the way looks at layers at all
    gradients       "float64", "float32" of a model in half precision, or "model" for those in the
                    model's own precision
    checked         how the numbers were held to the definition
    cause           what spoke against a fast way, in words; empty where one was taken or none asked
                    for
    """

    change: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    before: Tensor
    own_before: Tensor
    delta: Tensor | None
    own_delta: Tensor | None
    same_input: Tensor
    in_float64: Tensor
    by_derivative: Tensor
    method: str
    gradients: str
    checked: str
    layers: Mapping[str, str]
    cause: str

    @classmethod
    def of(cls, measured: Measured) -> "Influence":
        """The result of a finished measurement."""
        task, found, before = measured.task, measured.collected, measured.before.cpu()
        return cls(
            found.change, found.own,
            before=before[: task.n_probes].clone(),
            own_before=before[task.own_row],
            delta=found.delta, own_delta=found.own_delta,
            same_input=task.same_input,
            in_float64=found.in_float64, by_derivative=found.by_derivative,
            method=measured.method, gradients=measured.gradients, checked=measured.checked,
            layers=measured.layers, cause=measured.cause,
        )  # fmt: skip

    def s_rel(self, divergence: str) -> Tensor:
        """S_rel = change / own, (P, S); NaN where own(x) = 0, the ratio being undefined."""
        change, own = self._of(divergence)
        return torch.where(own > 0, change / own, torch.nan)

    def undefined(self, divergence: str) -> int:
        """For how many samples S_rel is undefined: own(x) is 0, or no number."""
        own = self._of(divergence)[1]
        return int((~(own > 0)).sum())

    def by_class(
        self,
        divergence: str,
        probe_classes: Tensor,
        sample_classes: Tensor,
        reduce: Reduce = "ratio_of_means",
    ) -> Tensor:
        """The class matrix S[c', c], (C, C): S_rel over probes of class c', samples of class c.

        Pairs with x' = x are left out. See `srel_core.class_matrix`.
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
    x: Given,
    y: Tensor | None,
    probes: Given,
    *,
    rule: Rule | OptimizerStep,
    loss: Loss = "cross_entropy",
    divergences: Sequence[str] = ("kl", "l2_logits"),
    method: str = "auto",
    chunk_size: int | None = None,
    max_bytes: int | None = None,
    output: Pick | None = None,
    check: bool = True,
    gradients: str = "auto",
    keep_delta: bool | None = None,
    by_position: bool = False,
    weights: Tensor | None = None,
) -> Influence:
    """Measure change and own of one step on each sample, at every probe.

    model   maps a batch (B, ...) to predictions (B, ..., C), each input's its own; left exactly as
            it was: values, identity and `.grad` of its parameters, buffers, attributes, modes; but
            for weights that its own forward pass writes to, as `max_norm` of an embedding does.
            Where processes train together, each measures by itself: `ddp.module` by the fast ways
    x, y    S samples and their targets. x: a tensor or NumPy array (S, ...), or a tuple or mapping
            of these, with which the model is called by position or by name; or a Dataset or
            DataLoader, with its own targets where y is None. y: class labels (S,), or (S, ...) of
            every position, for "cross_entropy", C numbers each for "mse", what a callable expects
    probes  P inputs of the same kind, at which the change is measured
    rule    the step: `SGD(lr)`, `Adam(lr)`, `OptimizerStep(optimizer)`, or any `srel_core.Rule`
    loss    "cross_entropy" (mean over positions, without labels of −100), "mse" (mean over outputs,
            as in torch), or a callable (prediction (..., C), target) → scalar for one sample
    divergences  names from `srel_core.DIVERGENCES`; all come from the same steps. They act on the
            last dimension of the predictions, and are averaged over positions: own(x) over those
            with a label, change over those that `weights` (P, ...) counts, or all. `by_position`
            keeps them apart
    method  "auto", "loop" (the definition), "direct", "shared", "stacked", or, for SGD, "low_rank":
            the ways of `srel_core.engine.methods`; that which ran is in the result
    chunk_size  samples stacked at a time by "stacked"; None fits them into `max_bytes`
    max_bytes   bound on the memory, in bytes and on all threads together, of what is worked on at a
            time: activations, gradients, stacked weights; the result and a few copies of the
            weights come on top. None: by what is free, and never less than one sample and input
            need
    output  picks the predictions out of what the model gives; None: the tensor itself, the first of
            a tuple, `logits` of a mapping
    check   whether a fast way is held to the definition at a few samples, and the measurement made
            again by the definition, with a warning, where they differ
    gradients   "float64", "model" (its own precision), or "auto": float64 where that is cheap, and
            elsewhere float32 for a model in half precision. Where processes train together, "model"
            but for the fast ways
    keep_delta  whether the changes δf are kept in the result; None: if they take at most 1 GiB

    With gradients in float64, results for a float32 model are within 1e-3 relative of a computation
    in float64: what rounding would drown is computed in float64, or as a derivative along the
    step. In the model's precision the gradient itself is as exact as training has it.

    A model computes in half precision if its weights or anything that it computes is in it, as
    under an autocast of its own. Then it is measured without that rounding, which a small step
    would be lost in; with a warning where that cannot be, and changes off by percents.

    On a GPU, "auto" stacks samples. That path is tested for equality on a CPU; it has not been
    measured on a GPU.

    Errors: ValueError, one line, for anything that has no meaning: wrong shapes, labels out of
    range, NaN or infinite values, unknown names, a model that mixes the inputs of a batch or cannot
    be called; and for `max_bytes` below what one sample and one input need.
    """
    require_rule(rule)
    options = Options(
        method, chunk_size, max_bytes, check, gradients, keep_delta, by_position, weights
    )
    return Influence.of(measure(model, x, y, probes, rule, loss, divergences, output, options))
