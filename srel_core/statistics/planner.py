"""How many samples, probes and runs a wanted interval asks for, at the least cost.

A pilot gives the variance components of a class-level summary
(`srel_core.statistics.variance_components`), and with them the variance of a measurement of any
size; timings give its seconds. The cheapest size of a wanted precision is found by trying every
number of samples and of runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from srel_core.scaling import scaled, unscaled
from srel_core.statistics.by_class import Array
from srel_core.statistics.variance_components import (
    Components,
    Pilot,
    estimate_components,
    interval_width,
)


@dataclass(frozen=True)
class MeasurementCost:
    """Seconds of one run's measurement, a + b S + c S I: S samples, looked at at I inputs.

    `fixed` is a, with the training if that is to count, `per_sample` b and `per_pair` c. All in
    seconds, not negative. The I inputs are the probes and the samples that are not among them.
    """

    fixed: float
    per_sample: float
    per_pair: float

    def __post_init__(self) -> None:
        terms = (self.fixed, self.per_sample, self.per_pair)
        if min(terms) < 0 or not 0 < sum(terms) < np.inf:
            raise ValueError(
                f"a cost needs terms that are not negative, nor all zero, not {terms}: measure "
                "seconds again, over a wider range of sizes"
            )

    @classmethod
    def fit(cls, timings: Sequence[tuple[int, int, float]]) -> "MeasurementCost":
        """From (samples, inputs, seconds) of at least three measurements, none of them negative.

        Least squares relative to the seconds, so that small measurements count too.
        """
        rows = np.array([(1, s, s * i) for s, i, _ in timings], dtype=float)
        seconds = np.array([t for _, _, t in timings], dtype=float)
        if len(rows) < 3 or np.linalg.matrix_rank(rows) < 3:
            raise ValueError(
                "fixed, per_sample and per_pair need three timings or more that tell them apart: "
                "vary the number of samples and, at one of them, the number of inputs"
            )
        if not ((seconds > 0) & np.isfinite(seconds)).all():
            raise ValueError("seconds must be positive and finite")
        seconds, exponent = scaled(seconds)
        terms, _ = nnls(rows / seconds[:, None], np.ones(len(rows)))
        return cls(*(float(term) for term in unscaled(terms, exponent)))

    def seconds(self, samples: Array, inputs: Array) -> Array:
        """For so many samples and inputs in all."""
        return self.fixed + self.per_sample * samples + self.per_pair * samples * inputs

    def scaled(self, by: float) -> "MeasurementCost":
        """The same for a network of `by` times the operations; `fixed` stays."""
        return replace(self, per_sample=self.per_sample * by, per_pair=self.per_pair * by)


@dataclass(frozen=True)
class MeasurementPlan:
    """What to measure: `runs` runs of so many samples and probes per class.

    `width` is the predicted width of the summary's interval at `level`, `seconds` the predicted
    time of all runs on one machine, one after the other. `paired` says that the probes are the
    samples.
    """

    samples_per_class: int
    probes_per_class: int
    runs: int
    paired: bool
    width: float
    level: float
    seconds: float
    components: Components


def plan_measurement(
    pilots: Sequence[Pilot],
    cost: MeasurementCost,
    width: float,
    *,
    summary: str = "log_preference",
    level: float = 0.95,
    max_per_class: int = 1000,
    max_runs: int = 20,
) -> MeasurementPlan:
    """The cheapest measurement whose interval of a summary is at most `width` wide.

    pilots   one for each run, of the same classes and the same layout. From one run nothing is
             known about the others: the plan is then for one run, and `components.runs` is None
    cost     seconds of one run's measurement, see `MeasurementCost.fit`
    width    of the normal interval at `level`: in units of log preference, or of AUC
    summary  "log_preference" (log of mean S[c, c] over mean S[c' ≠ c, c], ratio of means) or "auc"
    max_per_class, max_runs  what there is to measure

    If the pilot's probes are its samples, so are the plan's. The variance is that of the first
    order: where a few samples with large changes rule the means, as they do late in training, log
    preference spreads more than planned; AUC, made of ranks, does not.

    ValueError if no measurement within the limits is so precise; the line says how precise the best
    one is.
    """
    _, components = estimate_components(pilots, summary)
    n_classes = len(np.unique(pilots[0].sample_classes))
    return cheapest(
        components, cost, width, n_classes, pilots[0].paired,
        level=level, max_per_class=max_per_class, max_runs=max_runs,
    )  # fmt: skip


def cheapest(
    components: Components,
    cost: MeasurementCost,
    width: float,
    n_classes: int,
    paired: bool,
    *,
    level: float = 0.95,
    max_per_class: int = 1000,
    max_runs: int = 20,
) -> MeasurementPlan:
    """The same from variance components that are known: every number of samples and of runs is
    tried, each with the fewest probes that do."""
    if not 0 < width < np.inf or not 0 < level < 1:
        raise ValueError(f"width must be positive and level between 0 and 1: {width}, {level}")
    if max_per_class < 2 or max_runs < 1:
        raise ValueError(f"nothing to choose from: {max_per_class} per class, {max_runs} runs")
    wanted = (width / interval_width(1.0, level)) ** 2
    runs = range(1, 1 + (1 if components.runs is None else max_runs))
    samples, best = np.arange(2.0, max_per_class + 1), None
    for r in runs:
        probes = samples if paired else _probes_needed(components, samples, r, wanted)
        variance = components.variance(samples, probes, r, paired)
        enough = (variance <= wanted * (1 + 1e-12)) & (probes <= max_per_class)
        inputs = n_classes * (probes if paired else probes + samples)
        seconds = np.where(enough, r * cost.seconds(n_classes * samples, inputs), np.inf)
        at = int(seconds.argmin())
        if enough[at] and (best is None or seconds[at] < best.seconds):
            best = MeasurementPlan(
                int(samples[at]), int(probes[at]), r, paired,
                interval_width(float(variance[at]), level), level, float(seconds[at]), components,
            )  # fmt: skip
    if best is None:
        most = float(components.variance(samples[-1:], samples[-1:], runs[-1], paired)[0])
        raise ValueError(
            f"no measurement of up to {max_per_class} per class in {runs[-1]} runs has an interval "
            f"of {width:g}: the largest has one of {interval_width(most, level):.3g}"
        )
    return best


def _probes_needed(components: Components, samples: Array, runs: int, wanted: float) -> Array:
    """The fewest probes per class for each number of samples; infinite where none are enough."""
    left = wanted * runs - (components.runs or 0.0) - components.samples / samples
    per_probe = components.probes + components.pairs / samples
    needed = np.divide(per_probe, left, out=np.full_like(left, np.inf), where=left > 0)
    return np.maximum(2, np.ceil(needed * (1 - 1e-12)))
