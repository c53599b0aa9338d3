"""Seeds trained together against one after another: python benchmarks/regression_seeds.py

The experiments of the chapter on regression, shortened to 600 steps: ten seeds and five as one
stack, and each of them as a stack of its own, by the same code on one thread; the least of three
rounds, the two taken in turns. Both must give the same numbers. Then settings one after another
against a process for each core.

Then, how often the interval of a break holds what it promises for other seeds: 300 seeds in 30
groups of ten. Each group has its interval, and the truth is the break of the mean over all 300
(whose own error is a fifth of a group's). Prints the tables and writes them, with the environment,
to benchmarks/results/regression_seeds.json. Takes about a minute.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import _results
import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray

from srel_core.book.regression.two_phase_rule import case_of
from srel_core.experiments.provenance import environment
from srel_core.experiments.regression import training
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.side_by_side import run_all
from srel_core.statistics.phases import fit_two_phase

REQUIRED_RATIO = 3.0
ROUNDS = 3
SHORT = RegressionExperiment(n_steps=600, n_points=40)
SETTINGS = {
    "relu 3×50": SHORT,
    "tanh 3×50": replace(SHORT, activation="tanh"),
    "relu 2×20": replace(SHORT, depth=2, width=20),
    "relu 5×50": replace(SHORT, depth=5),
    "gate": replace(SHORT, family="relu_gate"),
}
N_GROUPS, GROUP = 30, 10
N_SETTINGS = 12
Row = dict[str, Any]


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def train(experiment: RegressionExperiment) -> NDArray[np.float64]:
    """The work itself, without files and provenance: S_rel, (rule, seed, step, pair)."""
    return training.train(experiment, experiment.data())["s_rel"]


def speed(name: str, n_seeds: int) -> Row:
    together = replace(SETTINGS[name], seeds=tuple(range(n_seeds)))
    alone = [replace(together, seeds=(seed,)) for seed in together.seeds]
    at_once = train(together)
    for seed, experiment in enumerate(alone):
        np.testing.assert_allclose(train(experiment)[:, 0], at_once[:, seed], rtol=1e-6)
    stacked, sequential = zip(
        *(
            (seconds(lambda: train(together)), sum(seconds(lambda e=e: train(e)) for e in alone))
            for _ in range(ROUNDS)
        ),
        strict=True,
    )
    return {
        "network": name,
        "seeds": n_seeds,
        "one after another, s": min(sequential),
        "together, s": min(stacked),
        "ratio": min(sequential) / min(stacked),
    }


def side_by_side() -> Row:
    """Settings of the usual length, of several rates: one after another, and together."""
    settings = [RegressionExperiment(lr=0.001 * (k + 1)) for k in range(N_SETTINGS)]

    def alone(results_dir: str) -> object:
        return [setting.run(results_dir) for setting in settings]

    taken = {}
    for work in (alone, partial(run_all, settings)):
        with TemporaryDirectory() as folder:
            taken[work] = seconds(lambda work=work, folder=folder: work(results_dir=folder))
    one_by_one, at_once = taken.values()
    return {
        "settings": N_SETTINGS,
        "cores": cpu_count(),
        "one after another, s": one_by_one,
        "side by side, s": at_once,
        "ratio": one_by_one / at_once,
    }


def coverage(name: str, activation: str) -> Row:
    experiment = RegressionExperiment(
        depth=2, width=20, activation=activation, n_points=100, more_rules=("tangent",),
        seeds=tuple(range(1000, 1000 + N_GROUPS * GROUP)),
    )  # fmt: skip
    case = case_of(experiment._compute(torch.device("cpu")), "any")
    truth = fit_two_phase(case.steps, case.curves).break_step
    fits = [fit_two_phase(case.steps, group) for group in np.split(case.curves, N_GROUPS)]
    inside = [fit.interval[0] <= truth <= fit.interval[1] for fit in fits]
    return {
        "network": name,
        "break of all seeds": truth,
        "groups": N_GROUPS,
        "seeds in each": GROUP,
        "intervals that hold it": float(np.mean(inside)),
        "median width": float(np.median([fit.interval[1] - fit.interval[0] for fit in fits])),
    }


def show(rows: list[Row]) -> None:
    print("\n" + " | ".join(rows[0]))
    for row in rows:
        print(" | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))


def main() -> None:
    options = _results.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    here = {**environment(), "load before": round(os.getloadavg()[0], 1)}
    speeds = [speed("relu 3×50", 5), *(speed(name, 10) for name in SETTINGS)]
    show(speeds)
    processes = side_by_side()
    show([processes])
    held = [coverage("relu 2×20", "relu"), coverage("tanh 2×20", "tanh")]
    show(held)
    result = {"environment": here, "speed": speeds, "processes": processes, "other seeds": held}
    _results.save(options.write_to, "regression_seeds", result)
    base = next(row for row in speeds if row["network"] == "relu 3×50" and row["seeds"] == 10)
    if base["ratio"] < REQUIRED_RATIO:
        raise SystemExit(f"seeds together must be at least {REQUIRED_RATIO} times as fast")


if __name__ == "__main__":
    main()
