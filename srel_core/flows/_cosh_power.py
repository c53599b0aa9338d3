"""Running integrals of cosh^n, for n to 1e12: the memory of a radial flow.

q' = n(1 − q tanh z), q(z(0)) = q(0), has the solution

    q(z) = [q(0) cosh^n z(0) + n ∫_{z(0)}^{z} cosh^n] / cosh^n z.

Every part is positive, and taken relative to where cosh is largest: nothing cancels, and in
logarithms nothing overflows.
"""

import numpy as np

from srel_core.flows._check import FloatArray

# exp(−κ) to a relative 1e-17 on pieces in which it falls by e^{10}, four of them.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2
_FALLS = np.array([10.0, 20.0, 30.0, 40.0])


def log_memory(
    start: float, log_q0: float, n: int, moved: FloatArray, log_moved: FloatArray
) -> FloatArray:
    """ln q (...) at z = start + `moved`, from `moved` ≥ 0 and its logarithm, which may be −1000."""
    log_kept = log_q0 - n * _log_cosh_ratio(start, moved)
    if start < 0:  # up to z = 0 the integral is largest at its start
        before = _log_integral(np.full(moved.shape, -start), n, moved, log_moved)
        log_kept = np.logaddexp(log_kept, before - n * _log_cosh_ratio(start, moved))
    if start >= 0:
        return np.logaddexp(log_kept, _log_integral(start + moved, n, moved, log_moved))
    z = np.maximum(start + moved, 0)
    with np.errstate(divide="ignore"):
        after = _log_integral(z, n, z, np.log(z))
    return np.logaddexp(log_kept, after)


def _log_cosh_ratio(start: float, moved: FloatArray) -> FloatArray:
    """ln(cosh(start + moved)/cosh(start)), to rounding for small `moved` too."""
    up, down = 1 / (1 + np.exp(-2 * start)), 1 / (1 + np.exp(2 * start))  # (1 ± tanh)/2
    small = np.minimum(moved, 1)
    near = np.log1p(up * np.expm1(small) + down * np.expm1(-small))
    far = np.logaddexp(np.log(up) + moved, np.log(down) - moved)
    return np.where(moved <= 1, near, far)


def _log_integral(x: FloatArray, n: int, length: FloatArray, log_length: FloatArray) -> FloatArray:
    """ln of n ∫ (cosh(x − s)/cosh x)^n ds over 0 ≤ s ≤ min(length, x), for x ≥ 0: (...)."""
    length, log_length = (
        np.minimum(length, x),
        np.minimum(log_length, np.log(np.maximum(x, 1e-300))),
    )
    return np.log(n) + log_length + np.log(_mean(x, n, np.maximum(length, 1e-300)))


def _mean(x: FloatArray, n: int, length: FloatArray) -> FloatArray:
    """The mean of (cosh(x − s)/cosh x)^n over 0 ≤ s ≤ length, (...)."""
    up, down = (part[..., None] for part in (1 / (1 + np.exp(2 * x)), 1 / (1 + np.exp(-2 * x))))
    # Where the integrand has fallen by each of _FALLS: beyond the last there is nothing.
    rest = np.arccosh(np.maximum(np.cosh(x)[..., None] * np.exp(-_FALLS / n), 1))
    ends = np.minimum(x[..., None] - rest, length[..., None])
    ends = np.concatenate([np.zeros_like(ends[..., :1]), ends], axis=-1)
    total = np.zeros_like(x)
    for left, right in zip(
        np.moveaxis(ends, -1, 0)[:-1], np.moveaxis(ends, -1, 0)[1:], strict=True
    ):
        s = left[..., None] + (right - left)[..., None] * _NODES
        log_ratio = np.log1p(up * np.expm1(s) + down * np.expm1(-s))
        total += (right - left) / length * (np.exp(n * log_ratio) @ _WEIGHTS)
    return total
