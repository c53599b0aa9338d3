"""Predictors whose coefficients are powers of the weights: diagonal linear networks.

f_w(x) = ⟨β, x⟩ with β = g(w) = w^{⊙d}, whitened inputs E[x xᵀ] = I, target β*, squared loss
½‖β − β*‖². Dg Dgᵀ = d² diag(|β_i|^{2−2/d}), so the gradient flow of w moves every coordinate
of β on its own:

    β̇_i = d² |β_i|^{2−2/d} (β*_i − β_i).

Source: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, §5, Theorems 5.1–5.3. Proofs: the
book's chapter flow_power, eq-power.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from srel_core.flows import _check
from srel_core.flows._blocks import in_blocks
from srel_core.flows._check import FloatArray
from srel_core.flows._coordinate import coordinate
from srel_core.scaling import scaled, unscaled


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
        to a relative error of about 1e-13 in t or in β.

    A scalar t gives results without the leading axis T.

    Raises ValueError for unequal lengths, β(0) ≤ 0 at even d, a degree that is no integer ≥ 1,
    entries beyond 1e300, NaN or Inf, and for results that no float64 holds.
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
        _check.freeze(self, target=target, beta0=beta0, degree=degree)

    def beta(self, t: ArrayLike) -> Any:
        """β(t), (T, p). As t → ∞, β_i → β*_i if β_i(0) has its sign (or d = 1), else → 0.

        d = 1: β* + (β(0) − β*)e^{−t}.  d = 2: β*/(1 + (β*/β(0) − 1)e^{−4β*t}), for β* = 0 that is
        β(0)/(1 + 4β(0)t).  For every d ≥ 2 and β* = 0: β(0)(1 + 2d(d − 1)|β(0)|^a t)^{−1/a},
        a = 2 − 2/d.
        """
        times = _check.times(t)
        columns = [
            coordinate(float(start), float(target), self.degree, times)
            for start, target in zip(self.beta0, self.target, strict=True)
        ]
        return _check.like_times(t, np.stack(columns, axis=1))

    def weights(self, t: ArrayLike) -> Any:
        """w(t) = sign(β)|β|^{1/d}, (T, p)."""
        beta = self.beta(t)
        return np.sign(beta) * np.abs(beta) ** (1 / self.degree)

    def loss(self, t: ArrayLike) -> Any:
        """½‖β(t) − β*‖², (T,)."""
        return _check.outcome(
            "loss", t, _check.half_square(np.atleast_2d(self.beta(t)) - self.target)
        )

    def s_rel(self, t: ArrayLike, x_probe: ArrayLike, x_sample: ArrayLike) -> Any:
        """Infinitesimal S_rel(x', x) = |x'ᵀA x| / (xᵀA x), A = d² diag(|β_i|^{2−2/d}): (T, m).

        For m pairs x' `x_probe`, x `x_sample`, each (m, p). NaN where xᵀA x = 0, as for x = 0:
        count them with `np.isnan(...).sum()`.
        """
        probe, sample = _check.pairs(("x_probe", "x_sample"), x_probe, x_sample, self.beta0.size)
        root, _ = scaled(np.abs(np.atleast_2d(self.beta(t))) ** (1 - 1 / self.degree), axis=1)
        probe, of_probe = scaled(probe, axis=1)
        sample, of_sample = scaled(sample, axis=1)

        def ratio(root: FloatArray) -> FloatArray:
            """From √A x: where √A is tiny, so may be A x² beside another coordinate's 0."""
            at_sample, of_root = scaled(root[:, None] * sample, axis=2)
            own = (at_sample**2).sum(2)
            change = np.abs((root[:, None] * probe * at_sample).sum(2))
            found = np.divide(change, own, out=np.full(own.shape, np.nan), where=own > 0)
            return unscaled(found, (of_probe - of_sample - of_root)[..., 0])

        return _check.outcome("S_rel", t, in_blocks(ratio, root, 3 * probe.size), undefined=True)
