"""Bootstrap intervals of what several runs measured, and where an interval lies.

Samples are drawn again within each class, and runs, which differ in their seed alone, are drawn
again as wholes. The estimate itself comes first: a row of ones among the weights of a bootstrap.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from srel_core.scaling import mean
from srel_core.statistics.by_class import Array, Labels

if TYPE_CHECKING:
    import xarray as xr

BOUNDS = ("low", "high")
Variables = dict[str, tuple[tuple[str, ...], Array]]
Finish = Callable[[Array], Array]


def check_comparable(runs: "Sequence[xr.Dataset]") -> None:
    """ValueError for no runs, or runs that differ in more than their seeds."""
    if not runs:
        raise ValueError("no runs to summarise: at least one is needed")
    for run in runs[1:]:
        for name in ("step", "rule", "divergence", "class_name", "sample_class"):
            if not np.array_equal(run[name].values, runs[0][name].values):
                raise ValueError(
                    f"these runs do not belong together: they differ in {name}, "
                    "and only their seeds may differ"
                )


def resample_samples(sample_classes: Labels, n_resamples: int, seed: int) -> Array:
    """Bootstrap multiplicities of the samples, drawn within each class: (n_resamples, S)."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_resamples, len(sample_classes)))
    for label in np.unique(sample_classes):
        members = np.flatnonzero(sample_classes == label)
        even = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), even, size=n_resamples)
    return counts


def sample_weights(sample_classes: Labels, n_resamples: int, seed: int) -> Array:
    """Ones, for the estimate, above the multiplicities of its bootstrap: (1 + n_resamples, S)."""
    resampled = resample_samples(sample_classes, n_resamples, seed)
    return np.concatenate([np.ones((1, len(sample_classes))), resampled])


def interval_over_seeds(resampled: Array, seed: int, level: float = 0.95) -> Array:
    """Percentile interval of a statistic's mean over runs, (2, ...), by a two-level bootstrap.

    `resampled` (R, B, ...) holds B bootstrap values of the statistic for each of R independent
    runs. Each two-level resample draws R runs with replacement, one bootstrap value from each.
    With few runs the percentile interval is somewhat too short: the spread over R runs is
    estimated with R in the denominator, not R − 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    rng = np.random.default_rng(seed)
    n_runs, n_resamples = resampled.shape[:2]
    runs = rng.integers(n_runs, size=(n_resamples, n_runs))
    draws = rng.integers(n_resamples, size=(n_resamples, n_runs))
    means = mean(resampled[runs, draws], 1)
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


def over_runs(
    name: str,
    values: Array | list[list[Array]],
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    extra: tuple[str, ...],
    level: float,
    finish: Finish = np.asarray,
) -> Variables:
    """Mean over runs, and its interval, of a quantity: two variables of a dataset.

    values   for each run and each cell of `shape`, the estimate and its B resamples, (1 + B, …)
    finish   is applied to the mean and to the bounds
    """
    stacked = np.asarray(values)  # (R, cells, 1 + B, …)
    per_run = np.moveaxis(stacked, 2, 1)  # (R, 1 + B, cells, …)
    tail = per_run.shape[3:]
    estimate = finish(mean(per_run[:, 0], 0)).reshape(*shape, *tail)
    interval = interval_over_seeds(per_run[:, 1:], seed=len(values), level=level)
    return {
        name: ((*dims, *extra), estimate),
        f"{name}_interval": (
            ("bound", *dims, *extra),
            finish(interval).reshape(2, *shape, *tail),
        ),
    }


def mean_over_epochs(run: "xr.Dataset", values: Array, axis: int = 0) -> Array:
    """Means over the checkpoints of each epoch, along an axis of values that holds the steps."""
    epochs = [np.flatnonzero(run.epoch_of_step.values == epoch) for epoch in run.epoch.values]
    return np.stack([mean(np.take(values, steps, axis), axis) for steps in epochs], axis)


def log_ratio(same: Array, other: Array) -> Array:
    """log(same / other), NaN or infinite where there is nothing to divide."""
    with np.errstate(divide="ignore", invalid="ignore"):  # no change at all: the ratio is NaN
        return np.log(same) - np.log(other)


def side_of(interval: Sequence[float], threshold: float) -> str:
    """Where an interval (low, high) lies: "above", "below", or "undecided" if it holds both."""
    low, high = (float(bound) for bound in interval)
    if low > threshold:
        return "above"
    return "below" if high < threshold else "undecided"
