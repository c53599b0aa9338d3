"""How many samples, probes and runs a wanted interval asks for, at the least cost.

A class-level summary T averages over pairs of a probe and a sample, and is to first order a sum
over cells (c', c) of means of scores z[j, i], one for each pair of a probe j of class c' and a
sample i of class c (the delta method). In a crossed design a score has a part of its probe, a part
of its sample and a rest, z[j, i] = μ + a_j + b_i + e_ji within each cell, so that with S samples
and P probes a class and R runs

    Var T = (V_runs + V_samples / S + V_probes / P + V_pairs / (S P)) / R,

each V summed over classes or cells: the variance components, estimated from a pilot by the
method of moments (Searle, Casella & McCulloch 1992, chapter 4; a negative estimate counts as 0).
Where the probes are the samples, S = P = n, an input's two parts b_i + a_i vary together, and so
do e_ij and e_ji: then Var T = (V_runs + V_inputs / n + V_mutual / n²) / R.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from srel_core.classes import class_matrix, same_and_other, same_class_auc
from srel_core.names import check_known

Array = NDArray[np.float64]

# A variance from fewer is worth nothing.
_LEAST_PER_CLASS = 4


@dataclass(frozen=True)
class Pilot:
    """A small measurement of one run, as `Influence` has it for one divergence.

    change (P, S), own (S,), class labels probe_classes (P,) and sample_classes (S,), same_input
    (P, S), True where probe and sample are the same input. Either no input is both, or the probes
    are the samples, in the same order. ValueError for less than 4 samples and probes in each of at
    least two classes, and for no change to speak of.
    """

    change: Array
    own: Array
    probe_classes: NDArray[np.int64]
    sample_classes: NDArray[np.int64]
    same_input: NDArray[np.bool_]

    def __post_init__(self) -> None:
        labels = np.unique(self.sample_classes)
        counts = [
            int((of == label).sum())
            for label in np.union1d(labels, self.probe_classes)
            for of in (self.probe_classes, self.sample_classes)
        ]
        if len(labels) < 2 or min(counts) < _LEAST_PER_CLASS:
            raise ValueError(
                f"a pilot needs at least {_LEAST_PER_CLASS} samples and {_LEAST_PER_CLASS} probes "
                f"in each of two classes or more, but this one has {len(labels)} classes and "
                f"as few as {min(counts)} of a kind: measure more"
            )
        if self.change.shape != self.same_input.shape:
            raise ValueError(
                f"same_input must be {self.change.shape} like change, not {self.same_input.shape}"
            )
        if self.same_input.any() and not self.paired:
            raise ValueError(
                "some probes are samples and some are not: plan from a pilot in which all are, in "
                "the same order, or none"
            )
        if not (np.isfinite(self.change).all() and (self.change >= 0).all() and self.own.any()):
            raise ValueError("a pilot needs changes that are finite and not negative, not all zero")

    @property
    def paired(self) -> bool:
        """Whether the probes are the samples."""
        square = self.same_input.shape[0] == self.same_input.shape[1]
        return bool(square and (self.same_input == np.eye(len(self.same_input), dtype=bool)).all())


@dataclass(frozen=True)
class Components:
    """Variance components of a summary; the variance that they give to a measurement.

    samples, probes, pairs   V_samples, V_probes, V_pairs
    together                 V_inputs − V_samples − V_probes: the parts of an input that is both
    mutual                   V_mutual − V_pairs
    runs                     V_runs, or None from a single run: its variance is then that of one
                             run, given the network
    """

    samples: float
    probes: float
    pairs: float
    together: float
    mutual: float
    runs: float | None

    def variance(self, samples: Array, probes: Array, runs: int, paired: bool) -> Array:
        """Var T for so many samples and probes a class, and runs."""
        both = self.together / samples + self.mutual / samples**2 if paired else 0.0
        within = self.samples / samples + self.probes / probes + self.pairs / (samples * probes)
        return ((self.runs or 0.0) + within + both) / runs


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
        if not (seconds > 0).all():
            raise ValueError("seconds must be positive")
        terms, _ = nnls(rows / seconds[:, None], np.ones(len(rows)))
        return cls(*(float(term) for term in terms))

    def seconds(self, samples: Array, inputs: Array) -> Array:
        """For so many samples and inputs in all."""
        return self.fixed + self.per_sample * samples + self.per_pair * samples * inputs

    def scaled(self, by: float) -> "MeasurementCost":
        """The same for a network of `by` times the operations; `fixed` stays."""
        return replace(self, per_sample=self.per_sample * by, per_pair=self.per_pair * by)


@dataclass(frozen=True)
class MeasurementPlan:
    """What to measure: `runs` runs of so many samples and probes a class.

    `width` is the predicted width of the interval of `summary` at `level`, `seconds` the predicted
    time of all runs on one machine, one after the other; `estimate` is the pilot's own value.
    `paired` says that the probes are the samples.
    """

    samples_per_class: int
    probes_per_class: int
    runs: int
    paired: bool
    width: float
    seconds: float
    summary: str
    level: float
    estimate: float
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

    If the pilot's probes are its samples, so are the plan's. ValueError if no measurement within
    the limits is so precise; the line says how precise the best one is.
    """
    if not 0 < width < np.inf or not 0 < level < 1:
        raise ValueError(f"width must be positive and level between 0 and 1: {width}, {level}")
    if max_per_class < 2 or max_runs < 1:
        raise ValueError(f"nothing to choose from: {max_per_class} a class, {max_runs} runs")
    estimate, components = estimate_components(pilots, summary)
    paired, n_classes = pilots[0].paired, len(np.unique(pilots[0].sample_classes))
    across = interval_width(1.0, level)
    runs = range(1, 1 + (1 if components.runs is None else max_runs))
    sizes = np.arange(2.0, max_per_class + 1)
    wanted = (width / across) ** 2
    best: tuple[float, int, int, int] | None = None
    for r in runs:
        probes = sizes if paired else _probes_needed(components, sizes, r, wanted)
        enough = components.variance(sizes, probes, r, paired) <= wanted * (1 + 1e-12)
        enough &= probes <= max_per_class
        if not enough.any():
            continue
        s, p = n_classes * sizes[enough], n_classes * probes[enough]
        seconds = r * cost.seconds(s, p if paired else p + s)
        at = int(seconds.argmin())
        if best is None or seconds[at] < best[0]:
            best = (float(seconds[at]), r, int(sizes[enough][at]), int(probes[enough][at]))
    if best is None:
        most = float(components.variance(sizes[-1:], sizes[-1:], runs[-1], paired)[0])
        raise ValueError(
            f"no measurement of up to {max_per_class} a class in {runs[-1]} runs has an interval "
            f"of {width:g}: the largest has one of {interval_width(most, level):.3g}"
        )
    seconds_taken, r, s_best, p_best = best
    reached = components.variance(np.array([s_best]), np.array([p_best]), r, paired)[0]
    return MeasurementPlan(
        s_best, p_best, r, paired, interval_width(float(reached), level), seconds_taken,
        summary, level, estimate, components,
    )  # fmt: skip


def interval_width(variance: float, level: float = 0.95) -> float:
    """Width of the normal interval of a summary of this variance."""
    return 2 * NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(variance))


def _probes_needed(components: Components, samples: Array, runs: int, wanted: float) -> Array:
    """The fewest probes a class for each number of samples; infinite where none are enough."""
    left = wanted * runs - (components.runs or 0.0) - components.samples / samples
    per_probe = components.probes + components.pairs / samples
    needed = np.divide(per_probe, left, out=np.full_like(left, np.inf), where=left > 0)
    return np.maximum(2, np.ceil(needed * (1 - 1e-12)))


def estimate_components(
    pilots: Sequence[Pilot], summary: str = "log_preference"
) -> tuple[float, Components]:
    """The mean of a summary over the pilots' runs, and its variance components."""
    check_known("summary", summary, _SUMMARIES)
    if not pilots:
        raise ValueError("no pilot: measure at least one run")
    layouts = {(p.paired, *np.unique(p.sample_classes), p.change.shape) for p in pilots}
    if len(layouts) > 1:
        raise ValueError("these pilots differ in classes, sizes or layout: measure all alike")
    values, parts = zip(*(_of_run(pilot, _SUMMARIES[summary]) for pilot in pilots), strict=True)
    samples, probes, pairs, together, mutual, noise = np.mean(parts, axis=0).tolist()
    between = None if len(pilots) == 1 else max(0.0, float(np.var(values, ddof=1)) - noise)
    return float(np.mean(values)), Components(samples, probes, pairs, together, mutual, between)


def _of_run(pilot: Pilot, scores: "Scores") -> tuple[float, list[float]]:
    """The summary, its five components within a run, and the variance they give this pilot."""
    value, z = scores(pilot)
    kept = ~pilot.same_input
    labels = np.unique(pilot.sample_classes)
    at_probe = [pilot.probe_classes == label for label in labels]
    at_sample = [pilot.sample_classes == label for label in labels]
    of_sample, of_probe = np.zeros(z.shape[1]), np.zeros(z.shape[0])
    rest, pairs = np.zeros_like(z), 0.0
    noise_of_sample, noise_of_probe = np.zeros(z.shape[1]), np.zeros(z.shape[0])
    for rows in at_probe:
        for columns in at_sample:
            cell = np.ix_(rows, columns)
            mask = kept[cell]
            to_sample, to_probe, rest[cell] = _parts(z[cell], mask)
            variance = float((rest[cell] ** 2).sum() / (mask.sum() - sum(mask.shape) + 1))
            of_sample[columns] += to_sample
            of_probe[rows] += to_probe
            pairs += variance
            noise_of_sample[columns] += variance / mask.sum(0)
            noise_of_probe[rows] += variance / mask.sum(1)
    samples = _variance([(of_sample[c], noise_of_sample[c]) for c in at_sample])
    probes = _variance([(of_probe[c], noise_of_probe[c]) for c in at_probe])
    together = mutual = 0.0
    n_probes, n_samples = (size / len(labels) for size in z.shape)
    if pilot.paired:
        mutual = pairs * float((rest * rest.T).sum() / (rest**2).sum()) if pairs else 0.0
        covariance = sum(np.cov(of_sample[c], of_probe[c])[0, 1] for c in at_sample)
        together = 2 * float(covariance - mutual / n_samples)
        together = max(together, -(samples + probes))
    sizes = np.array([n_samples]), np.array([n_probes])
    components = Components(samples, probes, pairs, together, mutual, None)
    noise = components.variance(*sizes, 1, pilot.paired)[0]
    return value, [samples, probes, pairs, together, mutual, float(noise)]


def _parts(z: Array, kept: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """The parts of a cell's samples (S,) and probes (P,) by least squares, and what is left.

    By removing column and row means in turn: without a missing pair one turn is exact, and with a
    missing diagonal each leaves 1/(n − 1)² of the error.
    """
    left, parts = np.where(kept, z, 0.0), [np.zeros(size) for size in z.shape[::-1]]
    for _ in range(1 if kept.all() else 20):
        for axis in (0, 1):
            means = left.sum(axis) / kept.sum(axis)
            parts[axis] += means
            left = np.where(kept, left - np.expand_dims(means, axis), 0.0)
    return parts[0], parts[1], left


def _variance(by_class: list[tuple[Array, Array]]) -> float:
    """The sum over classes of the variance of some parts beyond that of their noise."""
    beyond = sum(np.var(parts, ddof=1) - noise.mean() for parts, noise in by_class)
    return max(0.0, float(beyond))


Scores = Callable[[Pilot], tuple[float, Array]]


def _log_preference(pilot: Pilot) -> tuple[float, Array]:
    """The derivative of log(mean same / mean other) by each pair's change and own, M = A / O."""
    labels, probe = np.unique(pilot.probe_classes, return_inverse=True)
    sample = np.searchsorted(labels, pilot.sample_classes)
    matrix = class_matrix(
        pilot.change, pilot.own, probe, sample, exclude=pilot.same_input, reduce="ratio_of_means"
    )
    same, other = same_and_other(matrix)
    if not (np.isfinite(matrix).all() and same > 0 and other > 0):
        raise ValueError("this pilot has a class without change, and so no log preference")
    n = len(labels)
    gain = np.where(np.eye(n, dtype=bool), 1 / (n * same), -1 / (n * (n - 1) * other))
    mean_own = np.array([pilot.own[sample == c].mean() for c in range(n)])
    cell = np.ix_(probe, sample)
    excess = pilot.change - matrix[cell] * pilot.own
    return float(np.log(same / other)), gain[cell] * excess / mean_own[sample]


def _auc(pilot: Pilot) -> tuple[float, Array]:
    """The parts that each probe has in the AUC of a sample (Hoeffding's projections)."""
    kept, n_classes = ~pilot.same_input, len(np.unique(pilot.sample_classes))
    same = pilot.probe_classes[:, None] == pilot.sample_classes
    auc = same_class_auc(
        pilot.change, pilot.probe_classes, pilot.sample_classes, exclude=pilot.same_input
    )
    z = np.zeros_like(pilot.change)
    for i in range(len(auc)):
        inside, outside = same[:, i] & kept[:, i], ~same[:, i]
        difference = pilot.change[inside, i][:, None] - pilot.change[outside, i]
        wins = (difference > 0) + 0.5 * (difference == 0)
        z[inside, i] = wins.mean(1) / n_classes
        z[outside, i] = (wins.mean(0) - auc[i]) / (n_classes * (n_classes - 1))
    return float(auc.mean()), z


_SUMMARIES: dict[str, Scores] = {"log_preference": _log_preference, "auc": _auc}
