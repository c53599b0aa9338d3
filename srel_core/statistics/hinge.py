"""Least squares of a straight line plus one hinge, with the knot solved for, not searched for.

The model at the points x is  a + b x + c (x − κ)₊.  Let M project onto what no straight line can
fit, and u(κ) = M (x − κ)₊. Leaving out a and b, the best c is ⟨y, u⟩/‖u‖², and it takes

    gain(κ) = ⟨y, u(κ)⟩² / ‖u(κ)‖²

off the sum of squares that a straight line leaves. Between two neighbouring points x_i, x_{i+1}
the vector (x − κ)₊ is linear in κ, so u(κ) = (1 − τ) u_i + τ u_{i+1}: the maximum of the gain there
and the places where it crosses a threshold have closed forms, in which a curve y enters by its
products v_i = ⟨y, u_i⟩ alone. That makes thousands of curves as cheap as one matrix product.
(Hudson, JASA 61, 1966, 1097: the join point inside an interval of the data.)
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PHASE_POINTS = 3  # at least as many on each side of a knot; one that lies on it counts twice


class Knot(NamedTuple):
    """Where the gain is largest: κ = (1 − τ) knots[segment] + τ knots[segment + 1]."""

    segment: NDArray[np.intp]
    tau: Floats
    gain: Floats


@dataclass(frozen=True, eq=False)
class Hinges:
    """The hinges of one grid x, (T,). Made by `on_grid`; K = T − 4 points may hold the knot."""

    line: Floats  # (T, 2), an orthonormal basis of the straight lines
    knots: Floats  # (K,)
    u: Floats  # (K, T)
    norm: Floats  # (K,), ‖u_i‖²
    overlap: Floats  # (K − 1,), ⟨u_i, u_{i+1}⟩

    @classmethod
    def on_grid(cls, x: Floats) -> "Hinges":
        line = np.linalg.qr(np.stack([np.ones_like(x), x], axis=1)).Q
        knots = x[PHASE_POINTS - 1 : 1 - PHASE_POINTS]
        right = np.maximum(x - knots[:, None], 0)
        left = np.maximum(knots[:, None] - x, 0)
        # They differ by a straight line, so M maps both to the same u: the smaller one keeps
        # the digits of a knot that has all but a few points on one side.
        hinge = np.where((right.sum(1) < left.sum(1))[:, None], right, left)
        u = hinge - hinge @ line @ line.T
        return cls(line, knots, u, (u**2).sum(1), (u[:-1] * u[1:]).sum(1))

    def off_line(self, y: Floats) -> Floats:
        """M y: what the best straight line leaves of the curves y, (..., T)."""
        return y - y @ self.line @ self.line.T

    def products(self, y: Floats) -> Floats:
        """v = ⟨y, u_i⟩ of the curves y: (..., T) → (..., K)."""
        return y @ self.u.T

    def best(self, v: Floats) -> Knot:
        """The least-squares knot of each curve: (..., K) → three arrays (...)."""
        v0, v1, n0, n1 = v[..., :-1], v[..., 1:], self.norm[:-1], self.norm[1:]
        # Project y onto the plane of u_i and u_{i+1}: the weights of the two, up to a factor.
        # Of one sign, they name the maximum inside the segment; else it is at one of its ends.
        w0, w1 = n1 * v0 - self.overlap * v1, n0 * v1 - self.overlap * v0
        inside = w0 * w1 > 0
        end = np.where(v1**2 * n0 > v0**2 * n1, 1.0, 0.0)
        tau = np.where(inside, w1 / np.where(inside, w0 + w1, 1), end)
        gain = self._gain(v0, v1, n0, n1, self.overlap, tau)
        segment = gain.argmax(-1)
        pick = segment[..., None]
        return Knot(
            segment,
            np.take_along_axis(tau, pick, -1)[..., 0],
            np.take_along_axis(gain, pick, -1)[..., 0],
        )

    def gain_at(self, v: Floats, knot: Knot) -> Floats:
        """The gain of the curves v, (..., K), with their knot where one given curve has it."""
        i, j = knot.segment, knot.segment + 1
        return self._gain(
            v[..., i], v[..., j], self.norm[i], self.norm[j], self.overlap[i], knot.tau
        )

    def position(self, knot: Knot) -> Floats:
        """κ, on the scale of x."""
        return (1 - knot.tau) * self.knots[knot.segment] + knot.tau * self.knots[knot.segment + 1]

    def span_above(self, v: Floats, threshold: float) -> tuple[float, float]:
        """The first and the last κ with gain(κ) ≥ threshold, for one curve v, (K,).

        −inf or inf where the gain is still as large at the end of the range of knots: then the
        curve gives no bound on that side. (inf, −inf) if the gain stays below everywhere.
        """
        v0, v1, n0, n1 = v[:-1], v[1:], self.norm[:-1], self.norm[1:]
        # gain(τ) = threshold is a τ² + 2 b τ + c = 0
        a = (v1 - v0) ** 2 - threshold * (n0 - 2 * self.overlap + n1)
        b = v0 * (v1 - v0) - threshold * (self.overlap - n0)
        c = v0**2 - threshold * n0
        root = np.sqrt(np.where(b**2 >= a * c, b**2 - a * c, np.nan))
        big = -(b + np.copysign(root, b))  # the form that does not cancel
        with np.errstate(divide="ignore", invalid="ignore"):
            tau = np.stack([big / a, c / big])
        kappa = self.knots[:-1] + tau * np.diff(self.knots)
        crossings = kappa[(tau >= 0) & (tau <= 1)]
        above = v**2 >= threshold * self.norm
        lo = -np.inf if above[0] else crossings.min(initial=np.inf)
        hi = np.inf if above[-1] else crossings.max(initial=-np.inf)
        return float(lo), float(hi)

    @staticmethod
    def _gain(v0: Floats, v1: Floats, n0: Floats, n1: Floats, n01: Floats, tau: Floats) -> Floats:
        norm = (1 - tau) ** 2 * n0 + 2 * tau * (1 - tau) * n01 + tau**2 * n1
        return ((1 - tau) * v0 + tau * v1) ** 2 / norm
