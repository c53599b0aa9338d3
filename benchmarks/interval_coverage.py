"""Do the intervals hold what they promise? python benchmarks/interval_coverage.py

Made-up changes of which the truth is known: over the inputs j, i of a run r

    log change(x_j, x_i) = δ_r [same class] + p_j + s_i + e_ji,

with every input a sample and a probe, twenty in each of three classes, as published. The same-class
AUC is measured in R runs, and its interval over runs, samples and probes should hold the mean over
all runs 95 times in 100. Three intervals are compared: percentiles over runs and samples, the same
over probes too, and those of `srel_core.statistics.intervals`.

Then there is no preference, δ_r = 0 on average, at each of seven epochs, whose parts are
correlated: how often does the rule "above the line at every epoch" find one, or at some epoch?

Prints the tables and writes them, with the environment, to
benchmarks/results/interval_coverage.json. Takes five minutes or so.
"""

from collections.abc import Sequence
from typing import Any

import _results
import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.provenance import environment
from srel_core.statistics.by_class import mean_of_known, same_class_auc
from srel_core.statistics.intervals import input_weights, interval_over_seeds, side_of

Array = NDArray[np.float64]
LABELS = np.repeat([0, 1, 2], 20)
SAME_INPUT = np.eye(len(LABELS), dtype=bool)
SAME_CLASS = LABELS[:, None] == LABELS
RUNS, SPREADS, PREFERENCE = (3, 5, 10), (0.0, 0.08, 0.25), 0.5
CORRELATIONS, EPOCHS, NULL_SPREAD = (0.0, 0.5, 0.9), 7, 0.15
N_RESAMPLES, TRIALS, NULL_TRIALS, N_TRUTH = 200, 300, 200, 4000


def changes(rng: np.random.Generator, delta: Array, correlation: float = 0.0) -> Array:
    """Of a run at the epochs of `delta`: (E, inputs, inputs)."""

    def part(*shape: int) -> Array:
        common, own = rng.normal(size=(1, *shape)), rng.normal(size=(len(delta), *shape))
        return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own

    n = len(LABELS)
    logs = part(n, 1) + part(1, n) + part(n, n) + delta[:, None, None] * SAME_CLASS
    return np.exp(logs)


def auc(change: Array, probes: Array, samples: Array) -> Array:
    of_samples = same_class_auc(change, LABELS, LABELS, exclude=SAME_INPUT, probe_weights=probes)
    return mean_of_known(of_samples, samples)


def measured(rng: np.random.Generator, change: Array) -> tuple[Array, Array]:
    """The AUC and its bootstrap values at each epoch, (1 + B, E): over samples and probes, and over
    samples alone."""
    seed = int(rng.integers(2**32))
    probes, samples = input_weights(LABELS, LABELS, SAME_INPUT, N_RESAMPLES, seed)
    ones = np.ones_like(probes[:1])
    both, first = (
        np.stack([auc(of_epoch, weights, samples) for of_epoch in change], 1)
        for weights in (probes, ones)
    )
    return both, first


def percentiles(values: Array, seed: int) -> Array:
    """Of the means of a two-level bootstrap, as they are."""
    rng, (n_runs, n) = np.random.default_rng(seed), values[:, 1:].shape
    runs, draws = rng.integers(n_runs, size=(n, n_runs)), rng.integers(n, size=(n, n_runs))
    return np.quantile(values[:, 1:][runs, draws].mean(1), [0.025, 0.975])


def coverage(n_runs: int, spread: float) -> dict[str, Any]:
    rng = np.random.default_rng([n_runs, round(100 * spread)])
    ones = np.ones((1, len(LABELS)))

    def run() -> Array:
        return changes(rng, rng.normal(PREFERENCE, spread, 1))

    alone = np.array([auc(run()[0], ones, ones).item() for _ in range(N_TRUTH)])
    truth, held, widths, within = alone.mean(), np.zeros(3), np.zeros(3), []
    for trial in range(TRIALS):
        both, first = (
            np.stack(of_runs)[..., 0]
            for of_runs in zip(*(measured(rng, run()) for _ in range(n_runs)), strict=True)
        )
        within.append(both[:, 1:].var(1).mean())
        found = (
            percentiles(first, trial), percentiles(both, trial), interval_over_seeds(both, trial)
        )  # fmt: skip
        for which, (low, high) in enumerate(found):
            held[which] += low <= truth <= high
            widths[which] += high - low
    ideal = 2 * 1.96 * alone.std() / np.sqrt(n_runs)
    names = ("samples", "samples and probes", "corrected")
    return {
        "runs": n_runs,
        "share_of_runs": max(0.0, 1 - float(np.mean(within) / alone.var())),
        "covered": dict(zip(names, (held / TRIALS).tolist(), strict=True)),
        "width_over_ideal": dict(zip(names, (widths / TRIALS / ideal).tolist(), strict=True)),
    }


def words(n_runs: int, correlation: float) -> dict[str, Any]:
    """How often a preference is read at every epoch, and at some, where there is none."""
    rng = np.random.default_rng([n_runs, round(100 * correlation), 1])
    every = some = 0
    for trial in range(NULL_TRIALS):
        values = []
        for _ in range(n_runs):
            common, own = rng.normal(size=1), rng.normal(size=EPOCHS)
            delta = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
            values.append(measured(rng, changes(rng, NULL_SPREAD * delta, correlation))[0])
        intervals = interval_over_seeds(np.stack(values), trial).T
        above = [side_of(interval, 0.5) == "above" for interval in intervals]
        every, some = every + all(above), some + any(above)
    return {
        "runs": n_runs,
        "correlation": correlation,
        "every": every / NULL_TRIALS,
        "some": some / NULL_TRIALS,
    }


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(title)
    for row in rows:
        print("  ", row)


def main() -> None:
    options = _results.parser(__doc__ or "").parse_args()
    covered = [coverage(n_runs, spread) for n_runs in RUNS for spread in SPREADS]
    show("How often an interval of 95 % holds the truth, and its width", covered)
    read = [words(n_runs, rho) for n_runs in (RUNS[0], RUNS[-1]) for rho in CORRELATIONS]
    show("How often a preference is read where there is none", read)
    result = {
        "environment": environment("cpu"),
        "inputs_per_class": 20,
        "classes": 3,
        "resamples": N_RESAMPLES,
        "trials": TRIALS,
        "null_trials": NULL_TRIALS,
        "epochs": EPOCHS,
        "coverage": covered,
        "words": read,
    }
    _results.save(options.write_to, "interval_coverage", result)


if __name__ == "__main__":
    main()
