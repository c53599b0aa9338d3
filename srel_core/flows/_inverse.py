"""Inverting a running integral: the time a flow takes, read backwards."""

from collections.abc import Callable

import numpy as np

from srel_core.flows._check import FloatArray

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def upper_limit(
    log_integrand: Callable[[FloatArray], FloatArray],
    edges: FloatArray,
    goal: FloatArray,
    slope: float = 0.0,
) -> FloatArray:
    """The x (T,) with ∫ F = `goal` (T,) from edges[0] to x, for F = exp(log_integrand).

    F must have no singularity in the complex plane nearer to an interval between two edges than
    about that interval's length: ten Gauss–Legendre nodes are then exact to float64, and
    Newton's method finds x in its interval, which the running integral brackets. Beyond the
    last edge F must be e^{slope·x}.
    """
    steps = np.diff(edges) * _mean(log_integrand, edges[:-1], np.diff(edges))
    total = np.concatenate([[0.0], np.cumsum(steps)])
    index = np.searchsorted(total, goal, side="right") - 1
    left, rest = edges[index], goal - total[index]

    with np.errstate(over="ignore"):
        growth = rest * np.exp(-slope * left)
    x = left + (np.log1p(slope * growth) / slope if slope else growth)

    inner = index < len(steps)
    left, rest, index = left[inner], rest[inner], index[inner]
    length = edges[index + 1] - left
    width = length * rest / steps[index]
    for _ in range(7):
        excess = width * _mean(log_integrand, left, width) - rest
        width = np.clip(width - excess * np.exp(-log_integrand(left + width)), 0, length)
    x[inner] = left + width
    return x


def _mean(
    log_integrand: Callable[[FloatArray], FloatArray], left: FloatArray, width: FloatArray
) -> FloatArray:
    """The mean of F on each interval [left, left + width], (n,)."""
    result: FloatArray = np.exp(log_integrand(left[:, None] + width[:, None] * _NODES)) @ _WEIGHTS
    return result
