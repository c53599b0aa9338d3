"""Bootstrap intervals of what several runs measured, and where an interval lies.

Inputs, as samples and as probes, are drawn again within each class, and runs, which differ in their
seed alone, are drawn again as wholes. The estimate itself comes first: a row of ones among the
weights of a bootstrap.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from srel_core.scaling import mean, scaled, unscaled
from srel_core.statistics.by_class import Array, Labels

if TYPE_CHECKING:
    import xarray as xr

BOUNDS = ("low", "high")
Variables = dict[str, tuple[tuple[str, ...], Array]]
Finish = Callable[[Array], Array]
share: Finish = partial(np.clip, a_min=0, a_max=1)


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


def input_weights(
    probe_classes: Labels,
    sample_classes: Labels,
    same_input: NDArray[np.bool_],
    n_resamples: int,
    seed: int,
) -> tuple[Array, Array]:
    """How often each probe counts, (1 + n_resamples, P), and each sample, (1 + n_resamples, S).

    Ones, for the estimate, above bootstrap multiplicities drawn within each class. An input that is
    both, by same_input (P, S), is drawn once, and counts as often as a probe as it does as a
    sample. Where there are such, each resample has two different samples of a class, so that some
    pair with x' ≠ x is left: with two samples in all, it is the data themselves.
    """
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")
    rng = np.random.default_rng(seed)
    least = 2 if same_input.any() else 1
    samples = _multiplicities(sample_classes, n_resamples, rng, least)
    probes = np.ones((1 + n_resamples, len(probe_classes)))
    shared = same_input.any(1)
    probes[:, shared] = samples[:, same_input[shared].argmax(1)]
    probes[:, ~shared] = _multiplicities(probe_classes[~shared], n_resamples, rng, 1)
    return probes, samples


def _multiplicities(
    classes: Labels, n_resamples: int, rng: np.random.Generator, least: int
) -> Array:
    counts = np.ones((1 + n_resamples, len(classes)))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        even = np.full(len(members), 1 / len(members))
        drawn = rng.multinomial(len(members), even, size=n_resamples)
        while (few := (drawn > 0).sum(1) < min(least, len(members))).any():
            drawn[few] = rng.multinomial(len(members), even, size=int(few.sum()))
        counts[1:, members] = drawn
    return counts


def interval_over_seeds(values: Array, seed: int, level: float = 0.95) -> Array:
    """Interval of a statistic's mean over runs, (2, ...), by a hierarchical bootstrap.

    `values` (R, 1 + B, ...) holds for each of R independent runs the estimate T_r and B bootstrap
    values of it. Each resample draws R runs with replacement, and one bootstrap value from each.
    Over few runs such means spread too little. Their quantiles are therefore moved to the mean
    estimate and stretched, so that their standard deviation is

        t / z · SE,   SE² = max(s², v) / R,

    with s² the variance of the T_r (R − 1 in the denominator), v the mean over runs of the
    bootstrap variance, and t and z the `level` quantiles of Student's distribution with R − 1
    degrees of freedom and of the normal one. A single run has no s² and no stretch: its interval
    is over its own inputs, given its network.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    rng = np.random.default_rng(seed)
    values, exponent = scaled(values, (0, 1))
    estimates, resampled = values[:, 0], values[:, 1:]
    n_runs, n_resamples = resampled.shape[:2]
    runs = rng.integers(n_runs, size=(n_resamples, n_runs))
    draws = rng.integers(n_resamples, size=(n_resamples, n_runs))
    means = resampled[runs, draws].mean(1)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):  # a ratio may be infinite, and has no interval then
        spread = np.quantile(means, [tail, 1 - tail], axis=0) - means.mean(0)
        if n_runs > 1:
            wanted = np.maximum(estimates.var(0, ddof=1), resampled.var(1).mean(0)) / n_runs
            stretch = student.ppf(1 - tail, n_runs - 1) / NormalDist().inv_cdf(1 - tail)
            found = means.std(0)
            spread *= stretch * np.sqrt(wanted / np.where(found > 0, found, np.inf) ** 2)
    return unscaled(estimates.mean(0) + spread, exponent[0])


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """The mean of independent values (n,), n ≥ 2, and the bounds of its interval by Student's
    distribution."""
    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    half = student.ppf((1 + level) / 2, n - 1) * found.std(ddof=1) / np.sqrt(n)
    return float(found.mean()), float(found.mean() - half), float(found.mean() + half)


def over_runs(
    name: str,
    values: Array | list[list[Array]],
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    extra: tuple[str, ...],
    level: float,
    finish: Finish = np.asarray,
    positive: bool = False,
) -> Variables:
    """Mean over runs, and its interval, of a quantity: two variables of a dataset.

    values    for each run and each cell of `shape`, the estimate and its B resamples, (1 + B, …)
    finish    is applied to the mean and to the bounds
    positive  the quantity is above 0, and so are its bounds: m e^{d/m} for a bound m + d of the
              mean m, which is to first order the interval of its logarithm
    """
    stacked = np.asarray(values)  # (R, cells, 1 + B, …)
    per_run = np.moveaxis(stacked, 2, 1)  # (R, 1 + B, cells, …)
    tail = per_run.shape[3:]
    estimate = mean(per_run[:, 0], 0)
    interval = interval_over_seeds(per_run, seed=len(values), level=level)
    if positive:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            grown = estimate * np.exp((interval - estimate) / estimate)
        interval = np.where(estimate == 0, interval, grown)
    return {
        name: ((*dims, *extra), finish(estimate).reshape(*shape, *tail)),
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
