"""Predictors whose coefficients are a radial power of the weights.

f_w(x) = ⟨β, x⟩ with β = g(w) = ‖w‖^{d−1} w, whitened inputs E[x xᵀ] = I, target β*, squared
loss ½‖β − β*‖². With ŵ = w/‖w‖, A = Dg Dgᵀ = ‖w‖^{2d−2}(I + (d² − 1) ŵŵᵀ). The gradient flow
of w stays in the plane of w(0) and β*; with ρ = ‖w‖, B = ‖β*‖ and u = ŵ·β*/B it is

    u̇ = ρ^{d−2} B (1 − u²),    ρ̇ = d ρ^{d−1}(B u − ρ^d).

Let z = artanh u. Then ż = ρ^{d−2} B, and ρ^{−d} obeys a linear equation in z: so the orbit is
explicit for every d,

    ρ^{−d} cosh^{d²} z = ρ(0)^{−d} cosh^{d²} z(0) + (d²/B) ∫_{z(0)}^{z} cosh^{d²},

and time is one integral, t = (1/B) ∫ ρ^{2−d} dz, which for d = 2 is z = z(0) + Bt.

Source: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, §5, Theorems 5.1–5.3. Proofs: the
book's chapter closed_form_flows, eq-radial-orbit.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln

from srel_core.flows import _check
from srel_core.flows._check import FloatArray
from srel_core.flows._inverse import upper_limit
from srel_core.flows.power import coordinate


@dataclass(frozen=True, eq=False)
class RadialFlow:
    """Gradient flow of f_w(x) = ⟨‖w‖^{d−1} w, x⟩ on whitened inputs.

    Parameters
    ----------
    target : (p,), β*; it may be 0.
    w0 : (p,), w(0) ≠ 0.
    degree : d ≥ 1. d = 1 and d = 2 are in closed form; d ≥ 3 inverts the integral above, to a
        relative error of about 1e-12. The work grows with d² times the number of terms, d².

    A scalar t gives results without the leading axis T.

    Raises ValueError for w(0) = 0, unequal lengths, a degree that is no integer ≥ 1, NaN or Inf.
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
        radius, cosine, sine = self._polar(_check.times(t))
        return _check.like_times(t, self._vectors(radius * cosine, radius * sine))

    def beta(self, t: ArrayLike) -> Any:
        """β(t) = ρ^d ŵ, (T, p)."""
        radius, cosine, sine = self._polar(_check.times(t))
        size = radius**self.degree
        return _check.like_times(t, self._vectors(size * cosine, size * sine))

    def loss(self, t: ArrayLike) -> Any:
        """½‖β(t) − β*‖² = ½[(ρ^d − B u)² + B²(1 − u²)], (T,)."""
        radius, cosine, sine = self._polar(_check.times(t))
        full = np.linalg.norm(self.target)
        along = radius**self.degree - full * cosine
        return _check.like_times(t, 0.5 * (along**2 + (full * sine) ** 2))

    def s_rel(self, t: ArrayLike, x_probe: ArrayLike, x_sample: ArrayLike) -> Any:
        """Infinitesimal S_rel(x', x) = |x'ᵀA x| / (xᵀA x), (T, m): a function of ŵ alone,

            |x'·x + (d² − 1)(ŵ·x')(ŵ·x)| / (‖x‖² + (d² − 1)(ŵ·x)²),

        for m pairs x' `x_probe`, x `x_sample`, each (m, p). NaN for x = 0: count them with
        `np.isnan(...).sum()`.
        """
        probe, sample = _check.pairs(("x_probe", "x_sample"), x_probe, x_sample, self.w0.size)
        _, cosine, sine = self._polar(_check.times(t))
        at_probe, at_sample = (
            np.outer(cosine, x @ self._axis) + np.outer(sine, x @ self._normal)
            for x in (probe, sample)
        )
        extra = self.degree**2 - 1
        own = (sample**2).sum(1) + extra * at_sample**2
        change = np.abs((probe * sample).sum(1) + extra * at_probe * at_sample)
        ratio = np.divide(change, own, out=np.full(own.shape, np.nan), where=own > 0)
        return _check.like_times(t, ratio)

    def _vectors(self, along: FloatArray, across: FloatArray) -> FloatArray:
        """(T, p) vectors with these coordinates (T,) in the plane."""
        return np.outer(along, self._axis) + np.outer(across, self._normal)

    def _polar(self, times: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """ρ, u and √(1 − u²), each (T,)."""
        along, across = float(self._axis @ self.w0), float(self._normal @ self.w0)
        full, degree = float(np.linalg.norm(self.target)), self.degree
        if degree == 1:
            x, y = coordinate(along, full, 1, times), coordinate(across, 0.0, 1, times)
            radius = np.hypot(x, y)
            safe = np.where(radius > 0, radius, 1.0)  # w may pass through 0, where u jumps
            return radius, x / safe, y / safe
        start = np.hypot(along, across)
        if across == 0:
            sign = np.sign(along)
            size = coordinate(start**degree, sign * full, degree, times)
            return size ** (1 / degree), np.full(times.shape, sign), np.zeros(times.shape)
        # sinh z = u/√(1 − u²) keeps its digits for |u| near 1, where artanh u has none.
        z0 = np.arcsinh(along / across)
        with np.errstate(over="ignore"):
            scaled = full ** (2 - 2 / degree) * times
        moved, log_size = _orbit(z0, np.log(start) - np.log(full) / degree, degree, scaled)
        radius, z = full ** (1 / degree) * np.exp(log_size), z0 + moved
        return radius, np.tanh(z), 1 / np.cosh(np.minimum(z, 700))


def _plane(target: FloatArray, w0: FloatArray) -> tuple[FloatArray, FloatArray]:
    """β̂* (or ŵ(0) if β* = 0) and v̂, each (p,); v̂ = 0 where w(0) is parallel to β*."""
    axis = target if target.any() else w0
    axis = axis / np.linalg.norm(axis)
    along = axis @ w0
    sideways = w0 - along * axis
    sideways = sideways - (axis @ sideways) * axis  # once more: the first leaves rounding
    size = np.linalg.norm(sideways)
    if size <= 8 * np.finfo(float).eps * abs(along):
        return axis, np.zeros_like(axis)
    return axis, sideways / size


def _orbit(
    start: float, log_start: float, degree: int, times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """z − z(0) and ln σ, each (T,), for d ≥ 2, in the units σ = ρ/B^{1/d} and B^{2−2/d} t."""
    square = degree**2
    # From here on σ = 1 to float64: the memory of σ(0) fades as e^{−d² z}, 1 − tanh z as e^{−2z}.
    settled = max(20.0, abs(start) + 1 + (40 + max(0.0, -degree * log_start)) / square) - start
    k = np.arange(square + 1)
    binomials = -betaln(square - k + 1, k + 1) - np.log(square + 1)

    def log_size(moved: FloatArray) -> FloatArray:
        """ln σ = −(1/d) ln(σ^{−d}) at z − z(0), by the orbit.

        cosh^{d²} is the sum of C(d², k) e^{nz}/2^{d²}, n = d² − 2k, and the integral of each
        term is positive: nothing cancels, and in logarithms nothing overflows.
        """
        moved = np.minimum(moved, settled)
        z = start + moved
        total = -degree * log_start + square * np.logaddexp(start, -start)
        with np.errstate(divide="ignore"):  # the integral is 0, its logarithm −∞, at the start
            for n, binomial in zip(square - 2.0 * k, binomials, strict=True):
                length = -np.expm1(-abs(n) * moved) / abs(n) if n else moved
                top = n * (z if n > 0 else start)
                total = np.logaddexp(total, np.log(square * length) + binomial + top)
        return (square * np.logaddexp(z, -z) - total) / degree

    if degree == 2:
        return times, log_size(times)
    # σ^{−d} vanishes in the complex plane at distances of about π/d², and, if σ(0) is large, of
    # σ(0)^{−d}/d² from the start.
    step = 1 / square
    near = step * np.exp(-np.clip(degree * log_start, 0, 700))
    graded = near * 2.0 ** np.arange(np.ceil(np.log2(step / near)) + 1)
    even = np.arange(graded[-1] + step, settled + step, step)
    edges = np.concatenate([[0.0], graded, even])
    moved = upper_limit(lambda moved: (2 - degree) * log_size(moved), edges, times)
    return moved, log_size(moved)
