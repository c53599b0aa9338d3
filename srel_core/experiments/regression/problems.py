"""Regression problems: inputs, scalar targets, and held-out pairs, all drawn from one seed.

Inputs, ℝ^10:
    gaussian  x ~ N(0, I)
    mixture   one half N(0, I) ("near"), one half N(μ, I/4) ("far"), ‖μ‖ = 4, μ along the diagonal
Targets:
    teacher   a network of the student's own kind with other weights: realisable
    noisy_teacher  the same, with noise added to the labels
    smooth    sin(2 u·x) + ½ (v·x)², u and v random unit vectors
    diabetes  the 442 patients, 10 measurements and disease progression, that ship with scikit-learn
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.training import stream

INPUTS = ("gaussian", "mixture")
TARGETS = ("teacher", "noisy_teacher", "smooth", "diabetes")
DIMENSION = 10  # of the diabetes data, and so of the others
NOISE = 0.3  # standard deviation of the label noise; targets have 1
N_HELD = 142  # held-out points, enough for all 442 patients with 300 to train on
_FAR_DISTANCE, _FAR_SD = 4.0, 0.5
Floats = NDArray[np.float64]
Predictor = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class RegressionData:
    """One seed's problem.

    x, y            (N, 10), (N,): to train on
    x_held, y_held  (M, 10), (M,): of the same law, never trained on
    sample, probe   (P,): the pairs, x and x' of S_rel(x', x), as rows of x_held, always different
    kind            (P,): "within" or "across" clusters; "any" where inputs have none
    """

    x: Floats
    y: Floats
    x_held: Floats
    y_held: Floats
    sample: NDArray[np.intp]
    probe: NDArray[np.intp]
    kind: NDArray[np.str_]


def draw(
    inputs: str,
    target: str,
    n_train: int,
    n_pairs: int,
    seed: int,
    teacher: Predictor,
    standardise: bool = True,
) -> RegressionData:
    """A problem with n_pairs pairs of each kind.

    teacher      (n, 10) → (n,), asked for the teacher targets alone
    standardise  shift and scale a synthetic target to mean 0 and variance 1 on the training inputs,
                 which a last layer with a bias can make up for

    The diabetes inputs and target are always standardised; `inputs` does not matter there.
    """
    n = n_train + N_HELD
    rng = np.random.default_rng(stream(seed, "inputs"))
    if target == "diabetes":
        x, y = _diabetes()
        order = rng.permutation(len(x))[:n]
        x, y, far = x[order], y[order], np.zeros(n, dtype=bool)
        x = _standardised(x, n_train)
    else:
        x, far = _inputs(inputs, n, rng)
        y = _smooth(x, stream(seed, "target")) if target == "smooth" else teacher(x)
    if target == "diabetes" or standardise:
        y = _standardised(y, n_train)
    if target == "noisy_teacher":
        y = y + NOISE * np.random.default_rng(stream(seed, "noise")).standard_normal(n)
    clusters = far[n_train:] if inputs == "mixture" and target != "diabetes" else None
    sample, probe, kind = _pairs(clusters, n_pairs, np.random.default_rng(stream(seed, "pairs")))
    return RegressionData(x[:n_train], y[:n_train], x[n_train:], y[n_train:], sample, probe, kind)


def _inputs(name: str, n: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """(n, 10) inputs, and which of them are of the far cluster."""
    x = rng.standard_normal((n, DIMENSION))
    far = np.zeros(n, dtype=bool)
    if name == "mixture":
        far = rng.permutation(n) % 2 == 1
        x[far] = _FAR_DISTANCE / np.sqrt(DIMENSION) + _FAR_SD * x[far]
    return x, far


def _smooth(x: Floats, seed: int) -> Floats:
    u, v = np.random.default_rng(seed).standard_normal((2, DIMENSION))
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    y: Floats = np.sin(2 * x @ u) + 0.5 * (x @ v) ** 2
    return y


def _diabetes() -> tuple[Floats, Floats]:
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return bunch.data, bunch.target


def _standardised(values: Floats, n_train: int) -> Floats:
    train = values[:n_train]
    result: Floats = (values - train.mean(0)) / train.std(0)
    return result


def _pairs(
    clusters: NDArray[np.bool_] | None, n_pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.str_]]:
    """n_pairs different ordered pairs of different held-out points, of each kind there is."""
    sample, probe = (~np.eye(N_HELD, dtype=bool)).nonzero()
    if clusters is None:
        kinds = np.full(len(sample), "any")
    else:
        kinds = np.where(clusters[sample] == clusters[probe], "within", "across")
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(kinds == k), n_pairs, replace=False) for k in np.unique(kinds)]
    )
    return sample[chosen], probe[chosen], kinds[chosen]
