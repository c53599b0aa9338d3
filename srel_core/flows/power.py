"""Predictors whose coefficients are powers of the weights: diagonal linear networks.

f_w(x) = ⟨β, x⟩ with β = g(w) = w^{⊙d}, whitened inputs E[x xᵀ] = I, target β*, squared loss
½‖β − β*‖². Dg Dgᵀ = d² diag(|β_i|^{2−2/d}), so the gradient flow of w moves every coordinate
of β on its own:

    β̇_i = d² |β_i|^{2−2/d} (β*_i − β_i).

Source: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, §5, Theorems 5.1–5.3. Proofs: the
book's chapter closed_form_flows, eq-power.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from srel_core.flows import _check
from srel_core.flows._check import FloatArray
from srel_core.flows._inverse import upper_limit


@dataclass(frozen=True, eq=False)
class PowerFlow:
    """Gradient flow of f_w(x) = ⟨w^{⊙d}, x⟩ on whitened inputs, each coordinate by itself.

    Parameters
    ----------
    target : (p,), β*, of any signs.
    beta0 : (p,), β(0). Even d: β = w^d > 0, so β(0) must be positive; both signs of w(0) give
        one β(t), and `weights` are the positive ones. Odd d: any sign. For d ≥ 2 a coordinate
        keeps its sign for all t, and one that starts at 0 stays there.
    degree : d ≥ 1. d = 1 and d = 2 are in closed form; d ≥ 3 inverts t as an integral over β,
        to a relative error of about 1e-13 in β.

    A scalar t gives results without the leading axis T.

    Raises ValueError for unequal lengths, β(0) ≤ 0 at even d, a degree that is no integer ≥ 1,
    NaN or Inf.
    """

    target: FloatArray
    beta0: FloatArray
    degree: int = 2

    def __post_init__(self) -> None:
        target = _check.array("target", self.target, "(p,)", 1)
        beta0 = _check.same_shape("beta0", self.beta0, "target", target)
        degree = _check.degree(self.degree)
        if degree % 2 == 0 and beta0.min() <= 0:
            raise ValueError(
                f"beta0 must be positive at even degree {degree}, where β = w^{degree}, but its "
                f"least entry is {beta0.min():g}: start above 0, or use an odd degree"
            )
        _check.freeze(
            self,
            target=target,
            beta0=beta0,
        )

    def beta(self, t: ArrayLike) -> Any:
        """β(t), (T, p). As t → ∞, β_i → β*_i if β_i(0) has its sign (or d = 1), else → 0.

        d = 1: β* + (β(0) − β*)e^{−t}.  d = 2: β*/(1 + (β*/β(0) − 1)e^{−4β*t}), for β* = 0 that is
        β(0)/(1 + 4β(0)t).  For every d ≥ 2 and β* = 0: β(0)(1 + 2d(d − 1)|β(0)|^a t)^{−1/a},
        a = 2 − 2/d.
        """
        times = _check.times(t)
        columns = [
            coordinate(start, target, self.degree, times)
            for start, target in zip(self.beta0, self.target, strict=True)
        ]
        return _check.like_times(t, np.stack(columns, axis=1))

    def weights(self, t: ArrayLike) -> Any:
        """w(t) = sign(β)|β|^{1/d}, (T, p)."""
        beta = self.beta(t)
        return np.sign(beta) * np.abs(beta) ** (1 / self.degree)

    def loss(self, t: ArrayLike) -> Any:
        """½‖β(t) − β*‖², (T,)."""
        return 0.5 * ((self.beta(t) - self.target) ** 2).sum(-1)

    def s_rel(self, t: ArrayLike, x_probe: ArrayLike, x_sample: ArrayLike) -> Any:
        """Infinitesimal S_rel(x', x) = |x'ᵀA x| / (xᵀA x), A = d² diag(|β_i|^{2−2/d}): (T, m).

        For m pairs x' `x_probe`, x `x_sample`, each (m, p). NaN where xᵀA x = 0, as for x = 0:
        count them with `np.isnan(...).sum()`.
        """
        probe, sample = _check.pairs(("x_probe", "x_sample"), x_probe, x_sample, self.beta0.size)
        size = np.abs(np.atleast_2d(self.beta(t)))
        # A scale common to all coordinates cancels; without it small β would underflow.
        largest = size.max(axis=1, keepdims=True)
        kernel = (size / np.where(largest > 0, largest, 1.0)) ** (2 - 2 / self.degree)
        own = kernel @ (sample**2).T
        change = np.abs(kernel @ (probe * sample).T)
        ratio = np.divide(change, own, out=np.full(own.shape, np.nan), where=own > 0)
        return _check.like_times(t, ratio)


def coordinate(start: float, target: float, degree: int, times: FloatArray) -> FloatArray:
    """β(t), (T,), of β̇ = d²|β|^{2−2/d}(target − β), β(0) = start."""
    if degree == 1:
        return target + np.exp(-times) * (start - target)
    if start < 0:
        return -coordinate(-start, -target, degree, times)
    # A target so near 0 is out of reach of any time whose inverse is a float.
    if abs(target) < 1e-100 * start:
        power = 2 - 2 / degree
        return start * (1 + degree**2 * power * start**power * times) ** (-1 / power)
    if start in (0, target):
        return np.full(times.shape, start)
    if degree == 2:
        return _logistic(start, target, times)
    return _inverted(start, target, degree, times)


def _logistic(start: float, target: float, times: FloatArray) -> FloatArray:
    """d = 2, with the sign of the exponent such that nothing overflows."""
    with np.errstate(over="ignore"):
        exponent = -4 * abs(target) * times
    decay, growth = np.exp(exponent), -start / abs(target) * np.expm1(exponent)
    return start / (decay + growth) if target > 0 else start * decay / (1 + growth)


_LINEAR = 40.0  # e^{−40} is below float64: from here on the ln F of `_inverted` is linear


def _inverted(start: float, target: float, degree: int, times: FloatArray) -> FloatArray:
    """d ≥ 3 and start > 0: x(t) from ∫_{x(0)}^{x} F = d²|β*|^{2−2/d} t, with y = β/|β*| and

        0 < β < β*:  x = ln(y/(1 − y)),  F = (1 + e^{−x})^{1−2/d}
        β > β* > 0:  x = −ln(y − 1),     F = (1 + e^{−x})^{−2+2/d}
        β* < 0 < β:  x = −ln y,          F = e^{(1−2/d)x}/(1 + e^{−x}).

    In these variables ln F has no singularity within π of the real line.
    """
    shape = 1 - 2 / degree
    with np.errstate(over="ignore"):
        goal = degree**2 * abs(target) ** (2 - 2 / degree) * times
    above = start > target
    first = np.log(abs(target) if above else start)
    first = first - np.log(start if target < 0 else abs(target - start))
    edges = first + np.arange(max(0, np.ceil(_LINEAR - first)) + 1)
    if target < 0:
        x = upper_limit(lambda x: shape * x - np.logaddexp(0, -x), edges, goal, slope=shape)
        return -target * np.exp(-x)
    power = -1 - shape if above else shape
    x = upper_limit(lambda x: power * np.logaddexp(0, -x), edges, goal)
    return target * (1 + np.exp(-x)) if above else target * expit(x)
