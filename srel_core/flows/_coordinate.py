"""One coordinate of a power flow, β̇ = d²|β|^{2−2/d}(β* − β), at any times, in logarithms.

For d ≥ 2 the unit of β is |β*|, y = β/|β*|, and that of time 1/(d²|β*|^a), a = 2 − 2/d.
"""

import numpy as np

from srel_core.flows._check import FloatArray
from srel_core.flows._inverse import log_difference, upper_limit


def coordinate(start: float, target: float, degree: int, times: FloatArray) -> FloatArray:
    """β(t), (T,), from β(0) = start."""
    if start == target:
        return np.full(times.shape, start)
    if degree == 1:
        return target * -np.expm1(-times) + start * np.exp(-times)
    if start < 0:
        return -coordinate(-start, -target, degree, times)
    if start == 0:
        return np.zeros(times.shape)
    log_start = float(np.log(start))
    if target == 0:
        return start * np.exp(log_decay(log_start, degree, times))
    log_y0 = log_start - float(np.log(abs(target)))
    with np.errstate(divide="ignore"):  # t = 0
        log_times = (2 - 2 / degree) * np.log(abs(target)) + 2 * np.log(degree) + np.log(times)
    # y(0) − 1 keeps its digits here, where y(0) is near 1.
    log_gap = float(np.log(abs(start - target))) - float(np.log(abs(target)))
    log_y = log_size(log_y0, np.sign(target), degree, log_times, log_gap)
    # From the nearer of the two: the other may be e^{1400} away.
    near_start = np.abs(log_y - log_y0) < np.abs(log_y)
    with np.errstate(under="ignore"):
        return np.where(
            near_start,
            start * np.exp(np.where(near_start, log_y - log_y0, 0)),
            abs(target) * np.exp(np.where(near_start, 0, log_y)),
        )


def log_decay(log_start: float, degree: int, times: FloatArray) -> FloatArray:
    """ln(β(t)/β(0)) for β* = 0: β(0)^{−a} grows by 2d(d − 1) t."""
    power = 2 - 2 / degree
    with np.errstate(divide="ignore"):
        log_growth = 2 * np.log(degree) + np.log(power) + power * log_start + np.log(times)
    return -np.logaddexp(0, log_growth) / power


def log_size(
    log_y0: float,
    sign: float,
    degree: int,
    log_times: FloatArray,
    log_gap: float | None = None,
) -> FloatArray:
    """ln y(t), (T,), from y(0) > 0 under ẏ = y^a(±1 − y), ± the sign of β*, d ≥ 2.

    `log_gap` is ln |y(0) − 1|, for more digits of it than ln y(0) has.

    d ≥ 3 inverts ∫_{x(0)}^{x} F = t with

        0 < y < 1 = β*:  x = ln(y/(1 − y)),  F = (1 + e^{−x})^{1−2/d}
        y > 1 = β*:      x = −ln(y − 1),     F = (1 + e^{−x})^{−2+2/d}
        y > 0, β* < 0:   x = −ln y,          F = e^{(1−2/d)x}/(1 + e^{−x}).

    In these variables ln F has no singularity within π of the real line, and is linear beyond ±40.
    """
    if degree == 2:
        return _logistic(log_y0, sign, log_times)
    if log_gap is None:
        with np.errstate(divide="ignore"):
            log_gap = float(max(log_y0, 0) + np.log(-np.expm1(-abs(log_y0))))
    if sign > 0 and log_gap == -np.inf:
        return np.zeros(log_times.shape)
    shape, last = 1 - 2 / degree, 40.0
    if sign < 0:
        return -upper_limit(
            lambda x: shape * x - np.logaddexp(0, -x), -log_y0, last, log_times, slope=shape
        )
    if log_y0 > 0:
        power = -1 - shape
        x = upper_limit(lambda x: power * np.logaddexp(0, -x), -log_gap, last, log_times)
        return np.logaddexp(0, -x)
    x = upper_limit(lambda x: shape * np.logaddexp(0, -x), log_y0 - log_gap, last, log_times)
    return -np.logaddexp(0, -x)


def _logistic(log_y0: float, sign: float, log_times: FloatArray) -> FloatArray:
    """d = 2: 1/y = e^{−t}/y(0) + 1 − e^{−t}, or y(0)e^{−t}/(1 + y(0)(1 − e^{−t})) if β* < 0."""
    with np.errstate(over="ignore"):
        decay = -np.exp(log_times)
    log_rise = np.where(  # ln(1 − e^{−t}), also where t itself is below float64
        log_times < -40, log_times, log_difference(np.zeros_like(decay), decay)
    )
    if sign > 0:
        return -np.logaddexp(decay - log_y0, log_rise)
    return log_y0 + decay - np.logaddexp(0, log_y0 + log_rise)
