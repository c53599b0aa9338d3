"""The closed-form flows against numerical integration and explicit steps: in seconds, anew.

The tests hold the flows to this over many random problems (tests/flows); here are a few, for the
book's table of verdicts.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow

Array = NDArray[np.float64]
Velocity = Callable[[Array], Array]
Predict = Callable[[Array, Array], float]

TOLERANCE = 1e-6  # what finite differences of the predictor leave of float64, with room to spare
_TIMES = np.array([0.02, 0.1, 0.4, 1.0, 2.5])
_PAIRS = 4


def flow_errors(seed: int = 0) -> dict[str, float]:
    """For each flow the largest relative difference of weights and of S_rel at five times.

    Weights are integrated numerically from the gradient of the loss (DOP853, rtol 1e-11); S_rel
    comes from one explicit step there (ridge) or central differences of the predictor.
    """
    rng = np.random.default_rng(seed)
    errors = {"ridge": _ridge(rng), "ReLU gate (GLM-Tron)": _gate(rng)}
    for d in (2, 3):
        errors[f"power, d = {d}"] = _power(rng, d)
        errors[f"radial, d = {d}"] = _radial(rng, d)
    return errors


def _ridge(rng: np.random.Generator) -> float:
    features, labels = rng.standard_normal((12, 3)), np.repeat([0, 1], 6)
    penalty, w0, targets = 0.7, rng.standard_normal((3, 2)), np.eye(2)[labels]
    flow = RidgeFlow(features, labels, penalty, w0)

    def velocity(w: Array) -> Array:
        return -features.T @ (features @ w - targets) / len(features) - penalty / 2 * w

    weights = _integrate(velocity, w0)
    probe, sample, k = *rng.standard_normal((2, _PAIRS, 3)), np.array([0, 1, 1, 0])
    want = np.empty((len(_TIMES), _PAIRS))
    for t, m in np.ndindex(want.shape):
        w = weights[t]
        gradient = np.outer(sample[m], sample[m] @ w - np.eye(2)[k[m]]) + penalty / 2 * w
        change, own = (np.linalg.norm(x @ gradient) for x in (probe[m], sample[m]))
        want[t, m] = change / own
    return max(
        _relative(flow.weights(_TIMES), weights),
        _relative(flow.s_rel(_TIMES, probe, sample, k), want),
    )


def _gate(rng: np.random.Generator) -> float:
    """On finite data, each point with its mirror image: the formula needs no more."""
    half = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 3))
    x = np.concatenate([half, -half])
    teacher, w0 = rng.standard_normal((2, 3))
    flow = ReluGateFlow(teacher, w0, covariance=x.T @ x / len(x))

    def velocity(w: Array) -> Array:
        return -(np.maximum(x @ w, 0) - np.maximum(x @ teacher, 0)) @ x / len(x)

    return _compare(flow, velocity, w0, lambda w, point: max(float(w @ point), 0.0), rng)


def _power(rng: np.random.Generator, d: int) -> float:
    flow = PowerFlow(rng.standard_normal(3), rng.uniform(0.1, 2, 3), d)
    return _compare(
        flow,
        lambda w: -d * w ** (d - 1) * (w**d - flow.target),
        flow.weights(0),
        lambda w, point: float(w**d @ point),
        rng,
    )


def _radial(rng: np.random.Generator, d: int) -> float:
    target, w0 = rng.standard_normal((2, 3))
    flow = RadialFlow(target, w0, d)

    def velocity(w: Array) -> Array:
        size = float(np.linalg.norm(w))
        jacobian = size ** (d - 1) * np.eye(3) + (d - 1) * size ** (d - 3) * np.outer(w, w)
        return -jacobian @ (size ** (d - 1) * w - flow.target)

    def predict(w: Array, point: Array) -> float:
        return float(np.linalg.norm(w) ** (d - 1) * (w @ point))

    return _compare(flow, velocity, w0, predict, rng)


def _compare(
    flow: ReluGateFlow | PowerFlow | RadialFlow,
    velocity: Velocity,
    w0: Array,
    predict: Predict,
    rng: np.random.Generator,
) -> float:
    weights = _integrate(velocity, w0)
    probe, sample = rng.standard_normal((2, _PAIRS, len(w0)))
    want = np.array(
        [[_s_rel(predict, w, *p) for p in zip(probe, sample, strict=True)] for w in weights]
    )
    return max(
        _relative(flow.weights(_TIMES), weights),
        _relative(flow.s_rel(_TIMES, probe, sample), want),
    )


def _s_rel(predict: Predict, w: Array, probe: Array, sample: Array) -> float:
    """|∇f(x')·∇f(x)| / ‖∇f(x)‖², NaN where no weight moves f(x)."""
    at_probe, at_sample = _gradient(predict, w, probe), _gradient(predict, w, sample)
    square = float(at_sample @ at_sample)
    return abs(float(at_probe @ at_sample)) / square if square else np.nan


def _gradient(predict: Predict, w: Array, point: Array, h: float = 1e-5) -> Array:
    rows = h * np.eye(len(w))
    return np.array([predict(w + r, point) - predict(w - r, point) for r in rows]) / (2 * h)


def _integrate(velocity: Velocity, w0: Array) -> Array:
    solution = solve_ivp(
        lambda _, w: velocity(w.reshape(w0.shape)).ravel(), (0, _TIMES[-1]), w0.ravel(),
        method="DOP853", rtol=1e-11, atol=1e-13, t_eval=_TIMES,
    )  # fmt: skip
    return solution.y.T.reshape(-1, *w0.shape)


def _relative(got: Array, want: Array) -> float:
    """Largest difference relative to the largest value; inf where only one of them is NaN."""
    if not np.array_equal(np.isnan(got), np.isnan(want)):
        return np.inf
    return float(np.nanmax(np.abs(got - want)) / np.nanmax(np.abs(want)))
