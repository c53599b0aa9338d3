"""Regression problems: inputs, scalar targets, and held-out pairs, all drawn from one seed.

Inputs, in ten dimensions:
    gaussian  x ~ N(0, I)
    mixture   one half N(0, I) ("near"), one half N(μ, I/4) ("far"), ‖μ‖ = 4, μ along the diagonal
Targets:
    teacher   a network of the student's own kind with other weights: realisable
    noisy_teacher  the same, with noise added to the labels
    smooth    sin(2 u·x) + ½ (v·x)², u and v random unit vectors
    diabetes, nuclei, wine  real data that ship with scikit-learn, with inputs of their own (`REAL`)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.training import stream

INPUTS = ("gaussian", "mixture")
DIMENSION = 10  # of inputs that are drawn
NOISE = 0.3  # standard deviation of the label noise; targets have 1
N_HELD = 142  # held-out points
_FAR_DISTANCE, _FAR_SD = 4.0, 0.5
Floats = NDArray[np.float64]
Predictor = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class RegressionData:
    """One seed's problem.

    x, y            (N, D), (N,): to train on, D = 10 but for some real data
    x_held, y_held  (M, D), (M,): of the same law, never trained on
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


@dataclass(frozen=True)
class RealData:
    """N points that a package ships: `load` gives (N, dimension) and (N,); `n_held` of them are
    never trained on."""

    load: Callable[[], tuple[Floats, Floats]]
    n: int
    dimension: int
    n_held: int = N_HELD

    @property
    def n_train(self) -> int:
        """How many there are to train on, at most."""
        return self.n - self.n_held


def _diabetes() -> tuple[Floats, Floats]:
    """Ten measurements on each patient, and how far the disease had gone a year later."""
    from sklearn.datasets import load_diabetes

    return load_diabetes(return_X_y=True)


def _nuclei() -> tuple[Floats, Floats]:
    """Ten properties of the cell nuclei of a breast mass, averaged over the nuclei of an image, and
    the compactness of those in which it is largest."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = bunch.feature_names.tolist()
    return bunch.data[:, :10], bunch.data[:, names.index("worst compactness")]


def _wine() -> tuple[Floats, Floats]:
    """The twelve other measurements on each wine, and its alcohol."""
    from sklearn.datasets import load_wine

    bunch = load_wine()
    alcohol = bunch.feature_names.index("alcohol")
    return np.delete(bunch.data, alcohol, axis=1), bunch.data[:, alcohol]


REAL = {
    "diabetes": RealData(_diabetes, 442, 10),
    "nuclei": RealData(_nuclei, 569, 10),
    "wine": RealData(_wine, 178, 12, n_held=58),
}
TARGETS = ("teacher", "noisy_teacher", "smooth", *REAL)


def dimension_of(target: str) -> int:
    """Of the inputs that come with a target."""
    return REAL[target].dimension if target in REAL else DIMENSION


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

    Real inputs and targets are always standardised; `inputs` does not matter there.
    """
    n = n_train + (REAL[target].n_held if target in REAL else N_HELD)
    rng = np.random.default_rng(stream(seed, "inputs"))
    if target in REAL:
        x, y = REAL[target].load()
        order = rng.permutation(len(x))[:n]
        x, y, far = x[order], y[order], np.zeros(n, dtype=bool)
        x = _standardised(x, n_train)
    else:
        x, far = _inputs(inputs, n, rng)
        y = _smooth(x, stream(seed, "target")) if target == "smooth" else teacher(x)
    if target in REAL or standardise:
        y = _standardised(y, n_train)
    if target == "noisy_teacher":
        y = y + NOISE * np.random.default_rng(stream(seed, "noise")).standard_normal(n)
    clusters = far[n_train:] if inputs == "mixture" and target not in REAL else None
    pairs_rng = np.random.default_rng(stream(seed, "pairs"))
    sample, probe, kind = _pairs(n - n_train, clusters, n_pairs, pairs_rng)
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


def _standardised(values: Floats, n_train: int) -> Floats:
    train = values[:n_train]
    result: Floats = (values - train.mean(0)) / train.std(0)
    return result


def _pairs(
    n_held: int, clusters: NDArray[np.bool_] | None, n_pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.str_]]:
    """n_pairs different ordered pairs of different held-out points, of each kind there is."""
    sample, probe = (~np.eye(n_held, dtype=bool)).nonzero()
    if clusters is None:
        kinds = np.full(len(sample), "any")
    else:
        kinds = np.where(clusters[sample] == clusters[probe], "within", "across")
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(kinds == k), n_pairs, replace=False) for k in np.unique(kinds)]
    )
    return sample[chosen], probe[chosen], kinds[chosen]
