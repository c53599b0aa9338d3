"""How much of the variance of a class-level summary comes from samples, probes, pairs and runs.

A class-level summary T averages over pairs of a probe and a sample, and is to first order a sum
over cells (c', c) of means of scores z[j, i], one for each pair of a probe j of class c' and a
sample i of class c (the delta method). In a crossed design a score has a part of its probe, a part
of its sample and a rest, z[j, i] = μ + a_j + b_i + e_ji within each cell, so that with S samples
and P probes per class and R runs

    Var T = (V_runs + V_samples / S + V_probes / P + V_pairs / (S P)) / R,

each V summed over classes or cells: the variance components, estimated from a pilot by the
method of moments (Searle, Casella & McCulloch 1992, chapter 4; a negative estimate counts as 0).
Where the probes are the samples, S = P = n, an input's two parts b_i + a_i vary together, and so
do e_ij and e_ji: then Var T = (V_runs + V_inputs / n + V_mutual / n²) / R.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from srel_core.choices import check_known
from srel_core.scaling import scaled
from srel_core.statistics.by_class import Array, class_matrix, same_and_other, same_class_auc

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
        known = [(np.isfinite(v) & (v >= 0)).all() for v in (self.change, self.own)]
        if not (all(known) and self.own.any()):
            raise ValueError(
                "a pilot needs change and own finite and not negative, and own not all zero"
            )

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
        """Var T for so many samples and probes per class, and runs."""
        both = self.together / samples + self.mutual / samples**2 if paired else 0.0
        within = self.samples / samples + self.probes / probes + self.pairs / (samples * probes)
        return ((self.runs or 0.0) + within + both) / runs


def interval_width(variance: float, level: float = 0.95) -> float:
    """Width of the normal interval of a summary of this variance."""
    return 2 * NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(variance))


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
    mean = _mean([of_run for of_run, _ in parts])
    if len(pilots) > 1:
        noise = float(np.mean([variance for _, variance in parts]))
        mean = replace(mean, runs=max(0.0, float(np.var(values, ddof=1)) - noise))
    return float(np.mean(values)), mean


def _mean(components: list[Components]) -> Components:
    names = [field.name for field in fields(Components) if field.name != "runs"]
    means = {n: float(np.mean([getattr(of, n) for of in components])) for n in names}
    return Components(**means, runs=None)


def _of_run(pilot: Pilot, scores: "Scores") -> tuple[float, tuple[Components, float]]:
    """The summary, its components within a run, and the variance that they give this pilot."""
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
    within = Components(samples, probes, pairs, together, mutual, runs=None)
    sizes = np.array([n_samples]), np.array([n_probes])
    return value, (within, float(within.variance(*sizes, 1, pilot.paired)[0]))


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
    (change, _), (own, _) = scaled(pilot.change), scaled(pilot.own)  # their units cancel
    matrix = class_matrix(
        change, own, probe, sample, exclude=pilot.same_input, reduce="ratio_of_means"
    )
    same, other = same_and_other(matrix)
    if not (np.isfinite(matrix).all() and same > 0 and other > 0):
        raise ValueError("this pilot has a class without change, and so no log preference")
    n = len(labels)
    gain = np.where(np.eye(n, dtype=bool), 1 / (n * same), -1 / (n * (n - 1) * other))
    mean_own = np.array([own[sample == c].mean() for c in range(n)])
    cell = np.ix_(probe, sample)
    excess = change - matrix[cell] * own
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
        first, second = pilot.change[inside, i][:, None], pilot.change[outside, i]
        wins = (first > second) + 0.5 * (first == second)
        z[inside, i] = wins.mean(1) / n_classes
        z[outside, i] = (wins.mean(0) - auc[i]) / (n_classes * (n_classes - 1))
    return float(auc.mean()), z


_SUMMARIES: dict[str, Scores] = {"log_preference": _log_preference, "auc": _auc}
