"""The published ridge experiment against the published algorithm: python benchmarks/ridge_flow.py

8001 times × 10 starts × 20 pairs at p = 10 and 100 features, S_rel as published. The published
algorithm calls a matrix inverse and a matrix exponential for each head at each time of each
start of each pair. It is timed at every STRIDE-th time, spread over the whole run since its cost
depends on t, and extrapolated by the number of times; there the two are also held to the same
numbers. The loss is left out on both sides, and both have one thread. Then `RidgeFlow` alone,
with starts shared by the pairs, for p up to 2000. Prints the tables and writes them, with the
environment, to benchmarks/results/ridge_flow.json. Takes about half a minute.
"""

import time
from collections.abc import Callable
from typing import Any

import _results
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import expm, inv
from threadpoolctl import threadpool_limits

from srel_core.book.published.ridge import (
    PublishedRidgeFlow,
    published_features,
    published_times,
)
from srel_core.experiments.provenance import environment
from srel_core.flows import RidgeFlow

N_PAIRS, N_STARTS, PENALTY = 20, 10, 1.0
STRIDE = {10: 200, 100: 1000}
WIDTHS = (10, 30, 100, 300, 1000, 2000)
REQUIRED_RATIO = 1000
Floats = NDArray[np.float64]
Row = dict[str, Any]


def experiment(width: int) -> tuple[Floats, NDArray[np.intp], Floats, Floats, Floats]:
    """Features, labels, probes of class 0, samples of class 1, and starts (pairs, R, p, K)."""
    rng = np.random.default_rng([5, width])
    features, labels = published_features(width, rng)
    half = len(features) // 2
    probe = features[rng.choice(half, N_PAIRS, replace=False)]
    sample = features[half + rng.choice(half, N_PAIRS, replace=False)]
    starts = rng.standard_normal((N_PAIRS, N_STARTS, width, 2))
    return features, labels, probe, sample, starts


def published_algorithm(
    features: Floats,
    labels: NDArray[np.intp],
    probe: Floats,
    sample: Floats,
    starts: Floats,
    times: Floats,
) -> Floats:
    """S_rel (T, R, pairs), one matrix exponential for each head, time, start and pair."""
    n, p = features.shape
    big = n * PENALTY / 2
    matrix = big * np.eye(p) + features.T @ features / n
    means = [features[labels == k].sum(0) / n for k in (0, 1)]
    result = np.empty((len(times), N_STARTS, len(probe)))
    for j, (h_probe, h) in enumerate(zip(probe, sample, strict=True)):
        turned = (big * np.eye(p) + np.outer(h, h) / n) @ h_probe
        inner, square = h @ h_probe, h @ h
        for r, start in enumerate(starts[j]):
            for i, t in enumerate(times):
                heads = []
                for k in (0, 1):
                    rest = inv(matrix) @ means[k]
                    heads.append(expm(-t * matrix) @ (start[:, k] - rest) + rest)
                at_probe = np.array([w @ turned for w in heads])
                at_sample = np.array([w @ h for w in heads])
                above = inner**2 - 2 * inner * at_probe[1] + (at_probe**2).sum()
                below = square**2 - 2 * square * (big + square) * at_sample[1]
                below = below + (big + square) ** 2 * (at_sample**2).sum()
                result[i, r, j] = np.sqrt(above / below)
    return result


def closed_form(
    features: Floats,
    labels: NDArray[np.intp],
    probe: Floats,
    sample: Floats,
    starts: Floats,
    times: Floats,
) -> Floats:
    """The same (T, R, pairs) by `PublishedRidgeFlow`; every pair has starts of its own."""
    columns = [
        PublishedRidgeFlow(features, labels, PENALTY, w0).s_rel(times, h_probe[None], h[None], [1])
        for w0, h_probe, h in zip(starts, probe, sample, strict=True)
    ]
    return np.concatenate(columns, axis=-1)


def seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Wall time of one call, the least of `repeats`."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def compare(width: int) -> Row:
    problem, times = experiment(width), published_times()
    few = times[:: STRIDE[width]]
    slow: list[Floats] = []
    slow_seconds = seconds(lambda: slow.append(published_algorithm(*problem, few)))
    fast_seconds = seconds(lambda: closed_form(*problem, times), repeats=5)
    fast = closed_form(*problem, few)
    extrapolated = slow_seconds * len(times) / len(few)
    return {
        "p": width,
        "times_measured_of_published": len(few),
        "times": len(times),
        "published_seconds_extrapolated": extrapolated,
        "closed_form_seconds": fast_seconds,
        "ratio": extrapolated / fast_seconds,
        "largest_relative_difference": float(np.abs(fast / slow[0] - 1).max()),
    }


def scale(width: int) -> Row:
    features, labels, probe, sample, starts = experiment(width)
    made: list[RidgeFlow] = []
    setup = seconds(lambda: made.append(RidgeFlow(features, labels, PENALTY, starts[0])))
    target = np.ones(N_PAIRS, dtype=int)
    s_rel = seconds(lambda: made[0].s_rel(published_times(), probe, sample, target))
    matrix = features.T @ features / len(features)
    one = seconds(lambda: expm(-published_times()[-1] / 2 * matrix))
    return {
        "p": width,
        "setup_seconds": setup,
        "s_rel_seconds": s_rel,
        "one_matrix_exponential_seconds": one,
    }


def main() -> None:
    options = _results.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    print("   p   published, s   closed form, s      ratio   largest relative difference")
    published = []
    for width in STRIDE:
        row = compare(width)
        published.append(row)
        print(
            f"{row['p']:4d} {row['published_seconds_extrapolated']:14.0f}"
            f" {row['closed_form_seconds']:16.3f} {row['ratio']:10.0f}"
            f"   {row['largest_relative_difference']:.1e}"
            f"   (published: {row['times_measured_of_published']} of {row['times']} times,"
            " extrapolated)"
        )
    print("\n   p    set-up, s    S_rel, s   one matrix exponential, s")
    scaling = []
    for width in WIDTHS:
        row = scale(width)
        scaling.append(row)
        print(
            f"{row['p']:4d} {row['setup_seconds']:12.4f} {row['s_rel_seconds']:11.3f}"
            f" {row['one_matrix_exponential_seconds']:12.5f}"
        )
    result = {"environment": environment(), "published": published, "scaling": scaling}
    _results.save(options.write_to, "ridge_flow", result)
    if min(row["ratio"] for row in published) < REQUIRED_RATIO:
        raise SystemExit(f"the closed form must be at least {REQUIRED_RATIO} times faster")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
