"""From S_rel as published to S_rel as defined, one change at a time.

Each rung is a full recipe (step rule, quantity, pairs, aggregate) that differs from the rung
before it in one respect, and all are computed from the same runs, whose kept predictions
give every quantity. So the difference between two neighbours is the effect of that one change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.published.definitions import QUANTITIES, Quantity, published_l2
from srel_core.statistics import by_class
from srel_core.statistics.intervals import (
    BOUNDS,
    input_weights,
    log_ratio,
    mean_over_epochs,
    over_runs,
)

if TYPE_CHECKING:
    import xarray as xr

_KEPT = ("", "epoch_")  # at each step, and as the mean over the steps of an epoch


@dataclass(frozen=True)
class Rung:
    """One way to get class curves, and the one `change` that sets it apart from the rung before,
    which `after` names."""

    name: str
    change: str
    after: str
    rule: str
    quantity: Quantity
    self_pairs: bool
    reduce: by_class.Reduce

    def next(self, name: str, change: str, **settings: Any) -> "Rung":
        """The rung after this one: the same but for `settings`."""
        return replace(self, name=name, change=change, after=self.name, **settings)


def _class_based() -> tuple[Rung, ...]:
    published = QUANTITIES["class-based"]
    first = Rung("as published", "", "", "adam:1e-4", published, True, "mean")
    no_epsilon = first.next(
        "without ε", "nothing is added to the denominator", quantity=replace(published, epsilon=0.0)
    )
    others = no_epsilon.next("without self-pairs", "x' = x is left out", self_pairs=False)
    true_kl = others.next(
        "true KL", "KL(new‖old) in place of kl_div on probabilities", quantity=Quantity.named("kl")
    )
    return first, no_epsilon, others, true_kl, *_to_the_limit(true_kl)


def _original() -> tuple[Rung, ...]:
    published = QUANTITIES["original"]
    first = Rung("as published", "", "", "adam:1e-4", published, True, "mean")
    one_norm = first.next(
        "one norm",
        "the root mean square above and below",
        quantity=replace(published, probe=published_l2),
    )
    no_epsilon = one_norm.next(
        "without ε", "nothing is added to the denominator",
        quantity=replace(one_norm.quantity, epsilon=0.0),
    )  # fmt: skip
    others = no_epsilon.next("without self-pairs", "x' = x is left out", self_pairs=False)
    logits = others.next(
        "logits", "the network's output in place of probabilities",
        quantity=Quantity.named("l2_logits"),
    )  # fmt: skip
    return first, one_norm, no_epsilon, others, logits, *_to_the_limit(logits)


def _to_the_limit(last: Rung) -> tuple[Rung, ...]:
    """The rungs that both ladders end with."""
    gradient = last.next(
        "gradient step", "SGD in place of a fresh Adam, at the same rate", rule="sgd:1e-4"
    )
    ratio_of_means = gradient.next(
        "ratio of means", "mean change over mean own change, not the mean of ratios",
        reduce="ratio_of_means",
    )  # fmt: skip
    limit = ratio_of_means.next(
        "tangent limit", "the limit of a vanishing gradient step", rule="tangent"
    )
    median = gradient.next(
        "median of ratios", "beside the ratio of means: the median ratio", reduce="median"
    )
    return gradient, ratio_of_means, limit, median


LADDERS = MappingProxyType({"class-based": _class_based(), "original": _original()})
"""The rungs of either definition, in order; "median of ratios" stands beside "ratio of means"."""


def ladders(
    runs: "Sequence[xr.Dataset]", *, n_resamples: int = 500, level: float = 0.95
) -> "xr.Dataset":
    """Same-class against different-class S_rel on every rung of both ladders, with intervals.

    runs: results of `ClassExperiment.run` that belong together (`check_comparable`) and hold the
    rules adam:1e-4, sgd:1e-4 and tangent. Each quantity is the mean over runs and has an interval,
    …_interval (bound, …), by the bootstrap of `class_summary`, over runs and over samples and
    probes within each class.

    rung_same, rung_other (rung, step)     means of the class matrix on its diagonal and off it
    rung_preference (rung, step)           same / other of each run, averaged on the log scale
    rung_epoch_same, rung_epoch_other (rung, epoch)   means over the checkpoints of an epoch
    rung_epoch_preference (rung, epoch)    their ratio, averaged likewise
    rung_undefined (rung, step)            fraction of samples with own = 0, whose ratio has no
                                           value
    published_gain (epoch)                 how much more the class-based S_rel prefers the sample's
                                           class than the original, both as published: the ratio of
                                           their preferences, averaged likewise, on the same
                                           resamples

    Coordinates of rung: its name, `ladder` (the definition), `change` and `after`. The published KL
    is negative; its ratios are those of its absolute values. ValueError for a rule that was not
    measured.
    """
    import xarray as xr

    first = runs[0]
    rungs = [(ladder, rung) for ladder, of_one in LADDERS.items() for rung in of_one]
    names = [f"{kept}{name}" for kept in _KEPT for name in ("same", "other", "preference")]
    # for each run, one (1 + n_resamples,) array for each rung and step or epoch
    values: dict[str, list[list[by_class.Array]]] = {name: [[] for _ in runs] for name in names}
    gains: list[list[by_class.Array]] = []
    undefined = np.zeros((len(runs), len(rungs), first.sizes["step"]))
    for r, run in enumerate(runs):
        labels = run.probe_class.values, run.sample_class.values
        weights = input_weights(*labels, run.same_input.values, n_resamples, seed=r)
        as_published: dict[str, by_class.Array] = {}
        for k, (ladder, rung) in enumerate(rungs):
            same, other, undefined[r, k] = _same_and_other(run, rung, weights)
            by_epoch = [mean_over_epochs(run, v) for v in (same, other)]
            for kept, pair in zip(_KEPT, ((same, other), by_epoch), strict=True):
                values[f"{kept}same"][r].extend(pair[0])
                values[f"{kept}other"][r].extend(pair[1])
                values[f"{kept}preference"][r].extend(log_ratio(*pair))
            as_published.setdefault(ladder, log_ratio(*by_epoch))  # of the first rung
        gains.append(list(as_published["class-based"] - as_published["original"]))
    data: dict[str, Any] = {"rung_undefined": (("rung", "step"), undefined.mean(0))}
    for name in names:
        along = "epoch" if name.startswith("epoch_") else "step"
        is_log = name.endswith("preference")
        finish = np.exp if is_log else np.asarray
        shape = (len(rungs), first.sizes[along])
        data |= over_runs(
            f"rung_{name}", values[name], ("rung", along), shape, (), level, finish, not is_log
        )
    data |= over_runs(
        "published_gain", gains, ("epoch",), (first.sizes["epoch"],), (), level, np.exp
    )
    coords = {
        "rung": [rung.name for _, rung in rungs],
        "ladder": ("rung", [ladder for ladder, _ in rungs]),
        "change": ("rung", [rung.change for _, rung in rungs]),
        "after": ("rung", [rung.after for _, rung in rungs]),
        "step": first.step.values, "epoch_of_step": ("step", first.epoch_of_step.values),
        "epoch": first.epoch.values, "bound": list(BOUNDS),
    }  # fmt: skip
    return xr.Dataset(data, coords, {"level": level, "runs": len(runs)})


def _same_and_other(
    run: "xr.Dataset", rung: Rung, weights: tuple[by_class.Array, by_class.Array]
) -> tuple[by_class.Array, by_class.Array, by_class.Array]:
    """same and other (step, B) for the weights of probes (B, P) and samples (B, S), and undefined
    (step,)."""
    change, own = (np.abs(part) for part in rung.quantity.of(run, rung.rule))
    labels = run.probe_class.values, run.sample_class.values
    exclude = None if rung.self_pairs else run.same_input.values
    matrices = [
        by_class.class_matrix(
            *at_step, *labels, exclude=exclude, reduce=rung.reduce,
            weights=weights[1], probe_weights=weights[0],
        )
        for at_step in zip(change, own, strict=True)
    ]  # fmt: skip
    return *by_class.same_and_other(np.stack(matrices)), (own == 0).mean(1)
