"""Inverting a running integral: the time a flow takes, read backwards.

All in logarithms: a time of e^{±1000} is neither infinite nor zero here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from srel_core.flows._check import FloatArray

Function = Callable[[FloatArray], FloatArray]

_EPS = float(np.finfo(float).eps)
_BELOW_ROUNDING = 40.0  # e^{−40} is nothing beside 1
_LONGEST = 4.0  # of a piece to begin with
_HALVINGS = 50  # at most: what is not smooth then is rounding

# Gauss–Legendre nodes of a piece, on [0, 1], and the map from values there to the coefficients of
# the Legendre series through them.
_N = 16
_NODES, _WEIGHTS = legendre.leggauss(_N)
_TO_SERIES = (np.arange(_N) + 0.5) * legendre.legvander(_NODES, _N - 1) * _WEIGHTS[:, None]
_NODES = (_NODES + 1) / 2


@dataclass(frozen=True, eq=False)
class _Pieces:
    """F = exp(log_f) on pieces [left, left + width], side by side: K of them."""

    left: FloatArray  # (K,)
    width: FloatArray  # (K,)
    log_f: FloatArray  # (K, N), at the nodes

    @classmethod
    def of(cls, log_integrand: Function, left: FloatArray, width: FloatArray) -> "_Pieces":
        return cls(left, width, log_integrand(left[:, None] + width[:, None] * _NODES))

    def halved(self, log_integrand: Function, chosen: NDArray[np.bool_]) -> "_Pieces":
        """The same with the chosen pieces in two, in order."""
        half = np.tile(self.width[chosen] / 2, 2)
        left = np.tile(self.left[chosen], 2)
        left[len(left) // 2 :] += half[len(left) // 2 :]
        new, kept = _Pieces.of(log_integrand, left, half), ~chosen
        order = np.argsort(np.concatenate([self.left[kept], left]), kind="stable")
        return _Pieces(
            np.concatenate([self.left[kept], left])[order],
            np.concatenate([self.width[kept], half])[order],
            np.concatenate([self.log_f[kept], new.log_f])[order],
        )

    @property
    def log_scale(self) -> FloatArray:
        """ln(width · max F), (K,): a bound of each integral."""
        return np.log(self.width) + self.log_f.max(1, initial=-np.inf)

    @property
    def series(self) -> FloatArray:
        """Legendre coefficients of F, over its largest value at a node, (K, N)."""
        result: FloatArray = np.exp(self.log_f - self.log_f.max(1, keepdims=True)) @ _TO_SERIES
        return result


def upper_limit(
    log_integrand: Function, first: float, last: float, log_goal: FloatArray, slope: float = 0.0
) -> FloatArray:
    """The x (T,) with ln ∫ F = `log_goal` (T,) from `first` to x, for F = exp(log_integrand).

    F must be positive and smooth, and proportional to e^{slope·x} beyond `last`. Up to there it is
    approximated by Legendre series on pieces, which are halved where a goal can lie until the
    series are exact to float64 relative to the whole integral up to them. So x belongs to a goal
    that differs from the given one by rounding.
    """
    edges = np.linspace(
        first, max(first, last), 1 + max(0, int(np.ceil((last - first) / _LONGEST)))
    )
    pieces = _Pieces.of(log_integrand, edges[:-1], np.diff(edges))
    least = log_goal[log_goal > -np.inf].min(initial=np.inf) - _BELOW_ROUNDING
    for _ in range(_HALVINGS):
        series, log_scale = pieces.series, pieces.log_scale
        log_parts = log_scale + np.log(np.maximum(series[:, 0], _EPS))
        log_total = np.logaddexp.accumulate(np.concatenate([[-np.inf], log_parts]))
        share = np.exp(np.minimum(log_scale - log_total[1:], 0))
        noise = 4 * _EPS * (8 + np.abs(pieces.log_f).max(initial=0))
        rough = share * np.abs(series[:, -2:]).sum(1) > noise
        rough &= np.logaddexp.accumulate(log_scale) > least
        rough &= log_total[:-1] < log_goal.max()
        if not rough.any():
            break
        pieces = pieces.halved(log_integrand, rough)

    index = np.searchsorted(log_total, log_goal, side="right") - 1
    log_rest = log_difference(log_goal, log_total[index])
    inner = index < len(log_parts)
    x = edges[-1] + _beyond(log_rest - log_integrand(edges[-1:]), slope)
    index = index[inner]
    share = np.exp(np.minimum(log_rest[inner] - log_parts[index], 0))
    x[inner] = pieces.left[index] + pieces.width[index] * _inverted(series[index], share)
    return x


def log_difference(a: FloatArray, b: FloatArray | float) -> FloatArray:
    """ln(e^a − e^b), −∞ where b ≥ a."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a = b = −∞ among them
        result = a + np.log(-np.expm1(np.minimum(b - a, 0)))
    return np.where(a > b, result, -np.inf)


def _beyond(log_ratio: FloatArray, slope: float) -> FloatArray:
    """The length on which F, growing as e^{slope·x}, has this integral over its first value."""
    if slope:
        return np.logaddexp(0, log_ratio + np.log(slope)) / slope
    with np.errstate(over="ignore"):
        return np.exp(log_ratio)


def _inverted(series: FloatArray, share: FloatArray) -> FloatArray:
    """Where in [0, 1] the integral of a Legendre series (T, N) is this share (T,) of the whole.

    Newton's method, and bisection where it leaves what is known to hold the solution.
    """
    density = series.T
    running = legendre.legint(density, lbnd=-1, scl=0.5)
    goal = share * density[0]
    low, high, x = np.zeros_like(share), np.ones_like(share), share
    for _ in range(100):
        excess = legendre.legval(2 * x - 1, running, tensor=False) - goal
        low, high = np.where(excess < 0, x, low), np.where(excess > 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x - excess / legendre.legval(2 * x - 1, density, tensor=False)
        before, x = x, np.where((low <= newton) & (newton <= high), newton, (low + high) / 2)
        if np.abs(x - before).max(initial=0) <= _EPS:
            break
    return x
