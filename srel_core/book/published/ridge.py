"""The ridge experiment exactly as the published notebooks compute it, factors and all.

The notebooks (repository Anirbit-AI/Dynamics-of-Local-Elasticity-During-Training-of-Neural-Nets,
Scripts/Srel_Ridge_Feature*.ipynb, companions of arXiv 2111.01166) differ from the definitions
that `RidgeFlow` follows: the trajectory decays weights at Nλ/K where the printed loss has λ/K,
S_rel does so too and has a 1/N in its numerator alone, and the sum over m pairs is divided
by m². So S_rel(h, h) ≠ 1. This module computes those numbers, to be plotted beside the others.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from srel_core.flows import _check
from srel_core.flows._blocks import in_blocks
from srel_core.flows._check import FloatArray
from srel_core.flows.ridge import RidgeFlow, one_hot

THETA = 1e-3
N_ITERATIONS = 8001


def published_times() -> FloatArray:
    """(8001,) flow times t = θ² · iteration, θ = 0.001."""
    return THETA**2 * np.arange(N_ITERATIONS, dtype=np.float64)


def published_features(
    width: int, rng: Generator, n_per_class: int = 1000
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Random ReLU features of two Gaussians in ℝ^100: (N, width) and labels (N,), N = 2n.

    h = max(Gx, 0) with G standard normal, (width, 100); x has mean 1 and sd 2 on each axis in
    class 0, mean 9 and sd 1 in class 1. `n_per_class` is n; 1000 was published.
    """
    dimension = 100
    gaussian = rng.standard_normal((width, dimension))
    near = 1 + 2 * rng.standard_normal((n_per_class, dimension))
    far = 9 + rng.standard_normal((n_per_class, dimension))
    features = np.maximum(np.concatenate([near, far]) @ gaussian.T, 0)
    return features, np.repeat([0, 1], n_per_class)


def published_average(s_rel: FloatArray) -> FloatArray:
    """(..., m) → (...): the sum over the m pairs divided by m², the mean divided by m again."""
    return np.asarray(s_rel.sum(-1) / s_rel.shape[-1] ** 2, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class PublishedRidgeFlow:
    """What the published notebooks call the ridge flow and its S_rel.

    Takes the arguments of `RidgeFlow` and has its methods. The weights follow
    `RidgeFlow(features, labels, N λ, w0)`, kept as `trajectory`.
    """

    features: FloatArray = field(repr=False)
    labels: NDArray[np.intp] = field(repr=False)
    penalty: float
    w0: FloatArray = field(repr=False)
    trajectory: RidgeFlow = field(init=False, repr=False)

    def __post_init__(self) -> None:
        defined = RidgeFlow(self.features, self.labels, self.penalty, self.w0)
        scaled = len(defined.features) * defined.penalty
        followed = RidgeFlow(defined.features, defined.labels, scaled, defined.w0)
        _check.freeze(
            self,
            features=defined.features,
            labels=defined.labels,
            penalty=defined.penalty,
            w0=defined.w0,
            trajectory=followed,
        )

    def weights(self, t: ArrayLike) -> Any:
        """W(t) as published, (T, p, K) or (T, R, p, K)."""
        return self.trajectory.weights(t)

    def loss(self, t: ArrayLike, labels: ArrayLike | None = None) -> Any:
        """The printed loss, with λ/(2K) Σ‖w_l‖², at the published weights: (T,) or (T, R).

        `labels` (N,) replaces the labels in this formula alone: the "intra-class" notebook is
        this one with every label 1 here, and neither another flow nor other pairs.
        """
        times = _check.times(t)
        flow, (n, p) = self.trajectory, self.features.shape
        if labels is None:
            labels = self.labels
        target = one_hot(_check.labels("labels", labels, n, flow.n_classes), flow.n_classes)
        mean = self.features.T @ target / n
        second_moment = self.features.T @ self.features / n
        shrink = self.penalty / flow.n_classes

        def printed(block: FloatArray) -> FloatArray:
            weights = flow.weights(block)
            gradient = (second_moment + shrink * np.eye(p)) @ weights - 2 * mean
            return 0.5 + 0.5 * (weights * gradient).sum((-2, -1))

        return _check.like_times(t, in_blocks(printed, times, 4 * self.w0.size))

    def s_rel(
        self, t: ArrayLike, h_probe: ArrayLike, h_sample: ArrayLike, y_sample: ArrayLike
    ) -> Any:
        """The published ratio, (T, m) or (T, R, m), for m pairs given as to `RidgeFlow.s_rel`.

        With Λ = Nλ/K it is ‖a‖/‖b‖,  a_l = (h·h')((w_l·h)/N − [l = k]) + Λ w_l·h',
        b_l = ‖h‖²(w_l·h − [l = k]) + Λ w_l·h. NaN where b = 0.
        """
        scale = 1 / len(self.features)
        return self.trajectory._s_rel(t, h_probe, h_sample, y_sample, scale)
