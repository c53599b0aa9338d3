"""Penalised least squares on fixed features: the gradient flow, its loss and its S_rel.

K classes, N features h_i ∈ ℝᵖ with labels k_i, heads W = (w_1, …, w_K), one-hot targets e_k:

    L(W) = 1/(2N) Σ_i ‖Wᵀh_i − e_{k_i}‖² + λ/(2K) Σ_l ‖w_l‖².

The gradient in w_l is M w_l − μ_l, with H = (1/N) Σ h hᵀ, M = H + (λ/K) I and
μ_l = (1/N) Σ_{i: k_i = l} h_i; so the flow Ẇ = −∇L is linear, and one symmetric
eigendecomposition of M solves it for every time at once.

Source: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, Theorem 3.2 and eq. 8. Proofs:
the book's chapter flow_ridge, eq-ridge-flow for the weights, eq-ridge-srel for S_rel,
eq-ridge-bound for how far it can move.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srel_core.flows import _check
from srel_core.flows._blocks import in_blocks
from srel_core.flows._check import FloatArray
from srel_core.scaling import scaled, unscaled

LARGEST_FEATURE = 1e150  # the rates are squares of features


@dataclass(frozen=True, eq=False)
class RidgeFlow:
    """Gradient flow of penalised least squares on features ("classification by features").

    Parameters
    ----------
    features : (N, p), the vectors h_i.
    labels : (N,) integers in 0..K − 1, the class k_i of each.
    penalty : λ ≥ 0.
    w0 : (p, K), the heads W(0) as columns; or (R, p, K), R starts that share one
        eigendecomposition. With R starts every result has an axis R after that of time.

    Attributes
    ----------
    rates : (p,) eigenvalues m of M, ascending; 1/m are the time scales of the flow.
    basis : (p, p) eigenvectors of M, as columns.
    limit : (p, K) or (R, p, K), the weights as t → ∞.

    Times are those of Ẇ = −∇L: s steps of gradient descent of size η reach t ≈ sη. A scalar t
    gives results without the leading axis T.

    H may be singular. Along its null directions, which are those whose eigenvalue is at most
    p ε times the largest (ε = 2.2e-16), μ has no component: the weights there decay with
    e^{−λt/K}, and stay as they are if λ = 0.

    Raises ValueError for λ < 0, labels out of range, unequal shapes, features beyond 1e150, other
    entries beyond 1e300, NaN or Inf, and for results that no float64 holds.
    """

    features: FloatArray = field(repr=False)
    labels: NDArray[np.intp] = field(repr=False)
    penalty: float
    w0: FloatArray = field(repr=False)
    rates: FloatArray = field(init=False, repr=False)
    basis: FloatArray = field(init=False, repr=False)
    limit: FloatArray = field(init=False, repr=False)
    _unit: int = field(init=False, repr=False)  # M = 4^unit V diag(_rates) Vᵀ, _rates near 1
    _rates: FloatArray = field(init=False, repr=False)
    _pull: FloatArray = field(init=False, repr=False)  # (VᵀMV)⁻¹ Vᵀμ, (p, K); 0 where nothing moves

    def __post_init__(self) -> None:
        features = _check.array("features", self.features, "(N, p)", 2, LARGEST_FEATURE)
        w0 = _check.array("w0", self.w0, "(p, K) or (R, p, K)", (2, 3))
        n, p = features.shape
        if w0.shape[-2] != p:
            raise ValueError(
                f"w0 must have {p} rows, one per feature, but has shape {w0.shape}: "
                "pass (p, K) or (R, p, K)"
            )
        n_classes = w0.shape[-1]
        labels = _check.labels("labels", self.labels, n, n_classes)
        penalty = float(_check.array("penalty", self.penalty, "()", 0))
        if penalty < 0:
            raise ValueError(f"penalty must be ≥ 0, not {penalty:g}: pass the λ of the loss")

        near_one, exponent = scaled(features)
        of_features, shrink = int(exponent.item()), penalty / n_classes
        unit = max(of_features, (int(np.frexp(shrink)[1]) + 1) // 2) if shrink else of_features
        rates, basis = np.linalg.eigh(near_one.T @ near_one / n)
        null = rates <= p * np.finfo(float).eps * rates[-1]
        rates = np.ldexp(np.where(null, 0.0, rates), 2 * (of_features - unit))
        rates = rates + np.ldexp(shrink, -2 * unit)
        # Along a null direction Vᵀμ is 0, in floats not quite: at large t that would count.
        mean = basis.T @ (near_one.T @ one_hot(labels, n_classes) / n)
        mean = np.where(null[:, None], 0.0, mean)
        moving = rates[:, None] > 0
        pull = mean / np.where(moving, rates[:, None], 1.0)
        pull = unscaled(pull, of_features - 2 * unit)
        if not np.isfinite(pull).all():
            raise ValueError(
                "the weights as t → ∞ are beyond the largest float64, 1.8e+308: "
                "take features in another unit"
            )
        _check.freeze(
            self,
            features=features,
            labels=labels,
            penalty=penalty,
            w0=w0,
            rates=np.ldexp(rates, 2 * unit),
            basis=basis,
            limit=basis @ np.where(moving, pull, basis.T @ w0),
            _unit=unit,
            _rates=rates,
            _pull=pull,
        )

    @property
    def n_classes(self) -> int:
        """K."""
        return self.w0.shape[-1]

    def weights(self, t: ArrayLike) -> Any:
        """W(t), (T, p, K) or (T, R, p, K), with w_l(t) = e^{−Mt} w_l(0) + M⁻¹(1 − e^{−Mt}) μ_l.

        In the eigenbasis both are diagonal, e^{−mt} of the start and 1 − e^{−mt} of the limit.
        """
        kept, gained = self._modes(_check.times(t))
        shape = (-1, *(1 for _ in self.w0.shape[:-2]), self.rates.size, 1)
        start = kept.reshape(shape) * (self.basis.T @ self.w0)
        weights = self.basis @ (start + gained.reshape(shape) * self._pull)
        return _check.outcome("w", t, weights)

    def outputs(self, t: ArrayLike, h: ArrayLike) -> Any:
        """The predictions W(t)ᵀh, (T, m, K) or (T, R, m, K), for m feature vectors h (m, p).

        Two matrix products, (T, p) by (p, m K R) and (T, p) by (p, m K): no weights are formed.
        """
        predict, width = self._predictor(_check.samples("h", h, self.rates.size))

        def last_classes(times: FloatArray) -> FloatArray:
            return np.moveaxis(predict(times), 0, -1)

        result = in_blocks(last_classes, _check.times(t), width)
        return _check.outcome("the prediction", t, self._drop_start(result))

    def loss(self, t: ArrayLike) -> Any:
        """L(W(t)), (T,) or (T, R): L(∞) + ½ Σ_j m_j e^{−2 m_j t} ‖v_jᵀ(W(0) − W(∞))‖².

        v_j are the eigenvectors of M. Every term falls with t, and nothing cancels.
        """
        residual = self.features @ self.limit - one_hot(self.labels, self.n_classes)
        floor = _check.half_square(residual).sum(-1) / len(self.features)
        shrunk = np.sqrt(self.penalty / self.n_classes) * self.limit
        floor = floor + _check.half_square(shrunk).sum(-1)
        distance = self.basis.T @ (self.w0 - self.limit)  # (p, K) or (R, p, K)
        distance, exponent = scaled(np.sqrt(self._rates)[:, None] * distance)
        kept = self._modes(_check.times(t))[0] ** 2
        moved = kept @ (0.5 * (distance**2).sum(-1)).T
        moved = unscaled(moved, 2 * (int(exponent.item()) + self._unit))
        return _check.outcome("loss", t, floor + moved)

    def s_rel(
        self, t: ArrayLike, h_probe: ArrayLike, h_sample: ArrayLike, y_sample: ArrayLike
    ) -> Any:
        """S_rel(h', h) of one SGD step on (h, e_k), (T, m) or (T, R, m), for m pairs.

        `h_probe` h' and `h_sample` h are (m, p), `y_sample` k is (m,). The loss of one sample
        is ½‖Wᵀh − e_k‖² + (λ_s/2) Σ_l ‖w_l‖², λ_s = λ/K, whose mean over the samples is L; the
        discrepancy is l2. A step of any size η changes the prediction at h' by −η δ(h'),

            δ_l(h') = (h·h')(w_l·h − [l = k]) + λ_s w_l·h',     S_rel = ‖δ(h')‖ / ‖δ(h)‖,

        the square root of eq. 8, in which η cancels. NaN where δ(h) = 0, as it is for h = 0:
        count them with `np.isnan(...).sum()`.
        """
        return self._s_rel(t, h_probe, h_sample, y_sample, 1.0)

    def _s_rel(
        self,
        t: ArrayLike,
        h_probe: ArrayLike,
        h_sample: ArrayLike,
        y_sample: ArrayLike,
        probe_scale: float,
    ) -> Any:
        """s_rel, with the w_l·h of δ(h') times `probe_scale`: 1, or 1/N as published."""
        probe, sample = _check.pairs(("h_probe", "h_sample"), h_probe, h_sample, self.rates.size)
        classes = _check.labels("y_sample", y_sample, len(sample), self.n_classes)
        target = one_hot(classes, self.n_classes).T[:, None, None]  # (K, 1, 1, m)
        probe, of_probe = scaled(probe, axis=1)
        sample, of_sample = scaled(sample, axis=1)
        inner, square = (probe * sample).sum(1), (sample**2).sum(1)
        # δ of rows near 1, over 2^{largest}: the error's part weighs `fit`, the penalty's `shrink`.
        up, down = of_probe[:, 0], of_sample[:, 0]
        penalty, of_penalty = np.frexp(self.penalty / self.n_classes)
        largest = np.maximum(down, of_penalty) if self.penalty else down
        fit, shrink = np.ldexp(1.0, down - largest), np.ldexp(penalty, of_penalty - largest)
        predict, width = self._predictor(np.concatenate([probe, sample]))

        def ratio(times: FloatArray) -> FloatArray:
            at_probe, at_sample = np.split(predict(times), 2, axis=-1)
            prediction = np.ldexp(at_sample, down)
            change = fit * inner * (probe_scale * prediction - target) + shrink * at_probe
            own = fit * square * (prediction - target) + shrink * at_sample
            above, below = _norm(change), _norm(own)
            found = np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)
            found[~np.isfinite(above + below)] = np.inf
            return np.ldexp(found, up - down)

        with np.errstate(over="ignore", invalid="ignore"):
            result = in_blocks(ratio, _check.times(t), width)
        return _check.outcome("S_rel", t, self._drop_start(result), undefined=True)

    def _modes(self, times: FloatArray) -> tuple[FloatArray, FloatArray]:
        """e^{−mt} and 1 − e^{−mt}, each (T, p)."""
        with np.errstate(over="ignore"):  # m t = ∞ is a mode that has ended
            times = np.minimum(unscaled(times, 2 * self._unit), np.finfo(float).max)
            exponent = -times[:, None] * self._rates
        return np.exp(exponent), -np.expm1(exponent)

    def _predictor(self, h: FloatArray) -> tuple[Callable[[FloatArray], FloatArray], int]:
        """The map from times to W(t)ᵀh, (K, T, R, m), and the numbers it needs for each time."""
        h = h @ self.basis
        starts = (self.basis.T @ self.w0).reshape(-1, *self._pull.shape)
        moved = np.einsum("mj,rjk->kjrm", h, starts)
        pulled = np.einsum("mj,jk->kjm", h, self._pull)[:, :, None]

        def predict(times: FloatArray) -> FloatArray:
            kept, gained = self._modes(times)
            return _product(kept, moved) + _product(gained, pulled)

        return predict, 3 * len(h.T) + 3 * moved[:, 0].size

    def _drop_start(self, result: FloatArray) -> FloatArray:
        """(T, R, ...) without the axis R if W(0) came without one."""
        return result[:, 0] if self.w0.ndim == 2 else result


def _norm(vectors: FloatArray) -> FloatArray:
    """‖·‖ along the first axis, at one pass where no square is near the ends of float64."""
    square = (vectors**2).sum(0)
    if square.min() > 1e-280 and square.max() < 1e280:
        return np.sqrt(square)
    vectors, exponent = scaled(vectors, axis=0)
    return np.ldexp(np.sqrt((vectors**2).sum(0)), exponent[0])


def _product(modes: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Σ_j modes[t, j] coefficients[k, j, ...], (K, T, ...)."""
    n_classes, n_modes, *rest = coefficients.shape
    flat = modes @ coefficients.reshape(n_classes, n_modes, -1)
    return flat.reshape(n_classes, -1, *rest)


def one_hot(labels: NDArray[np.intp], n_classes: int) -> FloatArray:
    """(N,) labels as rows e_k, (N, K)."""
    result: FloatArray = np.eye(n_classes)[labels]
    return result
