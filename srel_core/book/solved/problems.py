"""Problems for the closed-form flows: data or targets, random starts, random pairs of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srel_core.book.published.ridge import published_features
from srel_core.choices import check_known
from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow

Floats = NDArray[np.float64]
Flow = PowerFlow | RadialFlow | ReluGateFlow

N_PAIRS = 20
DIMENSION = 20  # of the inputs of gates and powers
RADIAL_DIMENSION = 10
SPARSE = np.concatenate([[1.0, 0.6, 0.3], np.zeros(DIMENSION - 3)])
EVEN = np.full(DIMENSION, np.linalg.norm(SPARSE) / np.sqrt(DIMENSION))
_SIZES = {"smoke": (4, 40), "laptop": (20, 200), "paper": (100, 400)}


def sizes(profile: str, n_starts: int = 0, n_times: int = 0) -> tuple[int, int]:
    """How many starts and times a profile takes, where 0 is given for them.

    ValueError for an unknown profile, fewer than 3 starts or fewer than 20 times.
    """
    check_known("profile", profile, list(_SIZES))
    starts, times = n_starts or _SIZES[profile][0], n_times or _SIZES[profile][1]
    if starts < 3 or times < 20:
        raise ValueError("n_starts must be at least 3 and n_times at least 20, or 0")
    return starts, times


def band(values: Floats) -> Floats:
    """The 10 % quantile, median and 90 % quantile over starts: (T, R) to (3, T)."""
    return np.asarray(np.quantile(values, [0.1, 0.5, 0.9], axis=1), dtype=np.float64)


def middle(values: Floats) -> Floats:
    """The median over pairs: (T, R, m) to (T, R)."""
    return np.asarray(np.median(values, axis=2), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class RidgeProblem:
    """The published features, R starts, and N_PAIRS pairs: the sample in class 1, the probe in
    class 0 ("between") or in class 1 too ("within")."""

    features: Floats
    labels: NDArray[np.intp]
    w0: Floats
    probes: dict[str, Floats]
    sample: Floats

    @classmethod
    def drawn(cls, seed: int, width: int, starts: int) -> "RidgeProblem":
        """With `width` features."""
        rng = np.random.default_rng([seed, width])
        features, labels = published_features(width, rng)
        near, far = features[labels == 0], features[labels == 1]
        order = rng.permutation(len(far))[: 2 * N_PAIRS]
        probes = {
            "between": near[rng.permutation(len(near))[:N_PAIRS]],
            "within": far[order[N_PAIRS:]],
        }
        w0 = rng.standard_normal((starts, width, 2))
        return cls(features, labels, w0, probes, far[order[:N_PAIRS]])

    @property
    def scaled(self) -> "RidgeProblem":
        """The same with features of mean square norm 1."""
        unit = np.sqrt((self.features**2).sum(1).mean())
        probes = {kind: probe / unit for kind, probe in self.probes.items()}
        return RidgeProblem(self.features / unit, self.labels, self.w0, probes, self.sample / unit)

    def pairs(self, kind: str) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Probes of a kind, samples, and the classes of the samples."""
        return self.probes[kind], self.sample, np.ones(N_PAIRS, dtype=int)

    def flow(self, penalty: float) -> RidgeFlow:
        return RidgeFlow(self.features, self.labels, penalty, self.w0)


@dataclass(frozen=True, eq=False)
class Problem:
    """A flow from each of R starts, with pairs of probes and samples of its own, (m, p) each."""

    flows: Sequence[Flow]
    pairs: Sequence[tuple[Floats, Floats]]

    def loss(self, times: ArrayLike) -> Floats:
        """(T, R)."""
        return np.stack([flow.loss(times) for flow in self.flows], axis=1)

    def s_rel(self, times: ArrayLike) -> Floats:
        """(T, R, m)."""
        found = [flow.s_rel(times, *p) for flow, p in zip(self.flows, self.pairs, strict=True)]
        return np.stack(found, axis=1)


def gates(kind: Literal["glm_tron", "gradient"], starts: int, seed: int) -> Problem:
    """Teacher and starts of norm 1, with samples that are active at both ends of the flow."""
    rng = np.random.default_rng([seed, 1])
    teacher = rng.standard_normal(DIMENSION)
    teacher /= np.linalg.norm(teacher)
    flows, drawn = [], []
    for _ in range(starts):
        w0 = rng.standard_normal(DIMENSION)
        flow = ReluGateFlow(teacher, w0 / np.linalg.norm(w0), flow=kind)
        x = rng.standard_normal((60 * N_PAIRS, DIMENSION))
        active = x[(x @ teacher > 0) & (x @ w0 > 0)][:N_PAIRS]
        flows.append(flow)
        drawn.append((rng.standard_normal(active.shape), active))
    return Problem(flows, drawn)


def powers(target: Floats, degree: int, starts: int, seed: int) -> Problem:
    """Starts near 0, with random pairs."""
    rng = np.random.default_rng([seed, 3])
    flows = [PowerFlow(target, rng.uniform(0.002, 0.02, DIMENSION), degree) for _ in range(starts)]
    return Problem(flows, _random_pairs(rng, starts, DIMENSION))


def radials(degree: int, starts: int, seed: int) -> Problem:
    """A target of norm 1 and starts of norm 1/2, with random pairs."""
    rng = np.random.default_rng([seed, 5])
    target = rng.standard_normal(RADIAL_DIMENSION)
    flows = []
    for _ in range(starts):
        w0 = rng.standard_normal(RADIAL_DIMENSION)
        w0 /= 2 * np.linalg.norm(w0)
        flows.append(RadialFlow(target / np.linalg.norm(target), w0, degree))
    return Problem(flows, _random_pairs(rng, starts, RADIAL_DIMENSION))


def _random_pairs(rng: np.random.Generator, starts: int, size: int) -> list[tuple[Floats, Floats]]:
    return [tuple(rng.standard_normal((2, N_PAIRS, size))) for _ in range(starts)]
