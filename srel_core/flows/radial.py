"""Predictors whose coefficients are a radial power of the weights.

f_w(x) = ⟨β, x⟩ with β = g(w) = ‖w‖^{d−1} w, whitened inputs E[x xᵀ] = I, target β*, squared
loss ½‖β − β*‖². With ŵ = w/‖w‖, A = Dg Dgᵀ = ‖w‖^{2d−2}(I + (d² − 1) ŵŵᵀ). The gradient flow
of w stays in the plane of w(0) and β*; with ρ = ‖w‖, B = ‖β*‖ and u = ŵ·β*/B it is

    u̇ = ρ^{d−2} B (1 − u²),    ρ̇ = d ρ^{d−1}(B u − ρ^d).

Let z = artanh u. Then ż = ρ^{d−2} B, and ρ^{−d} obeys a linear equation in z: so the orbit is
explicit for every d,

    ρ^{−d} cosh^{d²} z = ρ(0)^{−d} cosh^{d²} z(0) + (d²/B) ∫_{z(0)}^{z} cosh^{d²},

and time is one integral, t = (1/B) ∫ ρ^{2−d} dz, which for d = 2 is z = z(0) + Bt. With
q = Bρ^{−d} and τ = B^{2−2/d} t, which have no unit: dq/dz = d²(1 − q tanh z), τ = ∫ q^{1−2/d} dz.

Source: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, §5, Theorems 5.1–5.3. Proofs: the
book's chapter flow_radial, eq-radial-orbit.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from srel_core.flows import _check
from srel_core.flows._check import FloatArray
from srel_core.flows._coordinate import coordinate, log_decay, log_size
from srel_core.flows._cosh_power import log_memory
from srel_core.flows._inverse import log_difference, upper_limit
from srel_core.scaling import scaled, unscaled


@dataclass(frozen=True, eq=False)
class RadialFlow:
    """Gradient flow of f_w(x) = ⟨‖w‖^{d−1} w, x⟩ on whitened inputs.

    Parameters
    ----------
    target : (p,), β*; it may be 0.
    w0 : (p,), w(0) ≠ 0.
    degree : d ≥ 1. d = 1 and d = 2 are in closed form; d ≥ 3 inverts the integral above, to a
        relative error of about 1e-12 in t or in w, times d/100 for larger d.

    A scalar t gives results without the leading axis T.

    Raises ValueError for w(0) = 0, unequal lengths, a degree that is no integer ≥ 1, entries beyond
    1e300, NaN or Inf, and for results that no float64 holds.
    """

    target: FloatArray
    w0: FloatArray
    degree: int = 2
    _axis: FloatArray = field(init=False, repr=False)
    _normal: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        target = _check.array("target", self.target, "(p,)", 1)
        w0 = _check.same_shape("w0", self.w0, "target", target)
        degree = _check.degree(self.degree)
        if not w0.any():
            raise ValueError(
                "w0 must not be zero: it has no direction, and for degree ≥ 2 never moves; "
                "start elsewhere"
            )
        axis, normal = _plane(target, w0)
        _check.freeze(self, target=target, w0=w0, degree=degree, _axis=axis, _normal=normal)

    def weights(self, t: ArrayLike) -> Any:
        """w(t) = ρ(u β̂* + √(1 − u²) v̂), (T, p); v̂ is the part of ŵ(0) orthogonal to β*.

        d = 1: w = β* + e^{−t}(w(0) − β*).  d = 2: u = tanh(Bt + c), c = artanh u(0), and
        ρ² = cosh⁴(Bt + c) / (cosh⁴(c)/ρ(0)² + (4/B) ∫_c^{Bt+c} cosh⁴).  A w(0) parallel to β* up
        to rounding stays so, and ρ^d moves as a coordinate of `PowerFlow` does.
        """
        return _check.outcome("w", t, self._vectors(1, t))

    def beta(self, t: ArrayLike) -> Any:
        """β(t) = ρ^d ŵ, (T, p)."""
        return _check.outcome("β", t, self._vectors(self.degree, t))

    def loss(self, t: ArrayLike) -> Any:
        """½‖β(t) − β*‖², (T,)."""
        difference = self._vectors(self.degree, t) - self.target
        return _check.outcome("loss", t, _check.half_square(difference))

    def s_rel(self, t: ArrayLike, x_probe: ArrayLike, x_sample: ArrayLike) -> Any:
        """Infinitesimal S_rel(x', x) = |x'ᵀA x| / (xᵀA x), (T, m): a function of ŵ alone,

            |x'·x + (d² − 1)(ŵ·x')(ŵ·x)| / (‖x‖² + (d² − 1)(ŵ·x)²),

        for m pairs x' `x_probe`, x `x_sample`, each (m, p). NaN for x = 0: count them with
        `np.isnan(...).sum()`.
        """
        probe, sample = _check.pairs(("x_probe", "x_sample"), x_probe, x_sample, self.w0.size)
        probe, of_probe = scaled(probe, axis=1)
        sample, of_sample = scaled(sample, axis=1)
        _, cosine, sine = self._polar(_check.times(t))
        at_probe, at_sample = (
            np.outer(cosine, x @ self._axis) + np.outer(sine, x @ self._normal)
            for x in (probe, sample)
        )
        extra = self.degree**2 - 1
        own = (sample**2).sum(1) + extra * at_sample**2
        change = np.abs((probe * sample).sum(1) + extra * at_probe * at_sample)
        ratio = np.divide(change, own, out=np.full(own.shape, np.nan), where=own > 0)
        return _check.outcome(
            "S_rel", t, unscaled(ratio, (of_probe - of_sample)[:, 0]), undefined=True
        )

    def _vectors(self, power: int, t: ArrayLike) -> FloatArray:
        """ρ^power ŵ, (T, p), infinite where that is beyond float64."""
        log_radius, cosine, sine = self._polar(_check.times(t))
        with np.errstate(over="ignore"):
            size = np.exp(power * log_radius)[:, None]
        beyond = np.isinf(size)
        size[beyond] = 0
        along, across = cosine[:, None] * self._axis, sine[:, None] * self._normal
        return np.where(beyond, np.inf, size * along + size * across)

    def _polar(self, times: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """ln ρ, u and √(1 − u²), each (T,)."""
        w0, exponent = scaled(self.w0)
        along, across = float(self._axis @ w0), float(self._normal @ w0)
        degree, log_full = self.degree, _log_norm(self.target)
        if degree == 1:
            return _straight(unscaled(np.array([along, across]), exponent), np.exp(log_full), times)
        log_start = _log_norm(self.w0)
        sign = np.sign(along) if self.target.any() else 1.0
        constant = np.full(times.shape, sign), np.zeros(times.shape)
        if not self.target.any():
            log_radius = log_start + log_decay(degree * log_start, degree, times) / degree
            return log_radius, *constant
        with np.errstate(divide="ignore"):  # t = 0
            log_times = (2 - 2 / degree) * log_full + np.log(times)
        log_q0 = log_full - degree * log_start
        if across == 0:
            log_y = log_size(-log_q0, sign, degree, 2 * np.log(degree) + log_times)
            return (log_full + log_y) / degree, *constant
        # sinh z = u/√(1 − u²) keeps its digits for |u| near 1, where artanh u has none.
        z0 = float(np.arcsinh(along / across))
        moved, log_q = _orbit(z0, log_q0, degree, log_times)
        z = z0 + moved
        return (log_full - log_q) / degree, np.tanh(z), 1 / np.cosh(np.minimum(z, 700))


def _straight(
    start: FloatArray, full: float, times: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ln ρ, u and √(1 − u²) for d = 1, from the parts of w(0) along and across β*."""
    x = coordinate(float(start[0]), full, 1, times)
    y = coordinate(float(start[1]), 0.0, 1, times)
    radius = np.hypot(x, y)
    safe = np.where(radius > 0, radius, 1.0)  # w may pass through 0, where u jumps
    with np.errstate(divide="ignore"):
        return np.log(radius), x / safe, y / safe


def _log_norm(vector: FloatArray) -> float:
    """ln ‖·‖, −∞ for 0."""
    if not vector.any():
        return -np.inf
    mantissas, exponent = scaled(vector)
    return float(np.log(np.linalg.norm(mantissas)) + exponent[0] * np.log(2))


def _plane(target: FloatArray, w0: FloatArray) -> tuple[FloatArray, FloatArray]:
    """β̂* (or ŵ(0) if β* = 0) and v̂, each (p,); v̂ = 0 where w(0) is parallel to β*."""
    w0, _ = scaled(w0)
    axis, _ = scaled(target) if target.any() else (w0, None)
    axis = axis / np.linalg.norm(axis)
    along = axis @ w0
    sideways = w0 - along * axis
    sideways = sideways - (axis @ sideways) * axis  # once more: the first leaves rounding
    size = np.linalg.norm(sideways)
    if size <= 8 * np.finfo(float).eps * abs(along):
        return axis, np.zeros_like(axis)
    return axis, sideways / size


_HEAD = -41.0  # ln q, and ln d²(z − z(0)): below it q = q(0) + d²(z − z(0)) to float64


def _orbit(
    start: float, log_q0: float, degree: int, log_times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """z − z(0) and ln q, each (T,), at times τ for d ≥ 2."""
    n, shape, log_n = degree**2, 1 - 2 / degree, 2 * np.log(degree)
    # From here on q = 1 to float64: the memory of q(0) fades as e^{−d² z}, 1 − tanh z as e^{−2z}.
    settled = max(20.0, abs(start) + 1 + (40 + max(0.0, log_q0)) / n) - start

    def log_q(log_moved: FloatArray) -> FloatArray:
        log_moved = np.minimum(log_moved, np.log(settled))
        return log_memory(start, log_q0, n, np.exp(log_moved), log_moved)

    if degree == 2:
        with np.errstate(over="ignore"):
            return np.exp(log_times), log_q(log_times)
    # In x, d²(z − z(0)) = c(e^x − 1): so the pieces are short at the start, where q rises in a
    # time of q(0)/d² from q(0), and long at the end.
    log_c, first, log_head = min(max(log_q0, _HEAD), 0.0), 0.0, -np.inf
    power = shape + 1
    if log_q0 < _HEAD:
        first = np.log(2)
        end = np.logaddexp(log_q0, _HEAD)
        log_head = float(log_difference(power * end, power * log_q0)) - log_n - np.log(power)

    def log_moved(x: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):  # ln 0 at the start
            return log_c - log_n + np.where(x > 30, x, np.log(np.expm1(np.minimum(x, 30))))

    last = float(np.logaddexp(0, log_n + np.log(settled) - log_c))
    x = upper_limit(
        lambda x: shape * log_q(log_moved(x)) + log_c - log_n + x,
        first, last, log_difference(log_times, log_head), slope=1.0,
    )  # fmt: skip
    log_z = log_moved(x)
    log_result = log_q(log_z)
    early = log_times < log_head
    head = np.logaddexp(power * log_q0, log_n + np.log(power) + log_times[early]) / power
    log_result[early] = head
    log_z[early] = log_difference(head, log_q0) - log_n
    with np.errstate(over="ignore"):
        return np.exp(log_z), log_result
