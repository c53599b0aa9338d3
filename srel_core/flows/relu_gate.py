"""A single ReLU gate learning another: the GLM-Tron flow and the Gaussian gradient flow.

f_w(x) = max(w·x, 0), labels y = max(w*·x, 0) from a teacher w*, squared loss ½(f_w(x) − y)².

The infinitesimal S_rel of a gate depends on w through signs alone: it is a step function of
time, which can move only when w(t) crosses the hyperplane of the probe or of the sample.

Source of the GLM-Tron flow: Dan, Mukherjee, Das, Gampa, arXiv 2111.01166, Lemma 4.3.
Proofs, also of the gradient flow: the book's chapter flow_gate, eq-glm,
eq-gate and eq-gate-cross.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from srel_core.choices import check_known
from srel_core.flows import _check
from srel_core.flows._check import FloatArray
from srel_core.scaling import scaled, unscaled


@dataclass(frozen=True, eq=False)
class ReluGateFlow:
    """Flow of one ReLU gate towards a teacher gate.

    Parameters
    ----------
    teacher : (p,), w* ≠ 0.
    w0 : (p,), w(0).
    covariance : (p, p), Σ = E[x xᵀ], symmetric and positive semidefinite; None is the identity.
    flow : "glm_tron", ẇ = −E[(f_w(x) − y) x] for inputs whose law is symmetric under x → −x; or
        "gradient", ẇ = −∇E[½(f_w(x) − y)²] for x ~ N(0, I), which needs Σ = I and w(0) ≠ 0.

    A scalar t gives results without the leading axis T.

    Raises ValueError for a zero teacher, unequal lengths, a covariance that is not symmetric
    positive semidefinite (or not the identity under "gradient"), an unknown flow, entries beyond
    1e300, NaN or Inf, and for results that no float64 holds.
    """

    teacher: FloatArray
    w0: FloatArray
    covariance: FloatArray | None = field(default=None, repr=False)
    flow: Literal["glm_tron", "gradient"] = "glm_tron"
    _rates: FloatArray = field(init=False, repr=False)
    _basis: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        teacher = _check.array("teacher", self.teacher, "(p,)", 1)
        w0 = _check.same_shape("w0", self.w0, "teacher", teacher)
        check_known("flow", self.flow, ("glm_tron", "gradient"))
        if not teacher.any():
            raise ValueError(
                "teacher must not be zero: it gives no labels to learn; pass some w* ≠ 0"
            )
        identity = np.eye(teacher.size)
        covariance = identity if self.covariance is None else self.covariance
        covariance = _check.array("covariance", covariance, "(p, p)", 2)
        rates, basis = _eigenvalues(covariance, teacher.size)
        if self.flow == "gradient":
            if not np.array_equal(covariance, identity):
                raise ValueError(
                    'flow="gradient" is for standard normal inputs, but covariance is not the '
                    "identity: leave covariance out, or whiten the inputs"
                )
            if not w0.any():
                raise ValueError(
                    'w0 must not be zero for flow="gradient": the gate has no gradient there; '
                    "start elsewhere"
                )
        _check.freeze(
            self,
            teacher=teacher,
            w0=w0,
            covariance=covariance,
            _rates=rates,
            _basis=basis,
        )

    def weights(self, t: ArrayLike) -> Any:
        """w(t), (T, p).

        "glm_tron": under the symmetry E[f_w(x) x] = Σw/2, so ẇ = −Σ(w − w*)/2 and
        w(t) = w* + e^{−Σt/2}(w(0) − w*) (Lemma 4.3). Nothing moves along null directions of Σ.

        "gradient": w stays in the plane of w(0) and w*. With r = ‖w‖, θ = ∠(w, w*), B = ‖w*‖,

            ṙ = −r/2 + (B/2π)[(π − θ) cos θ + sin θ],   θ̇ = −(B/2πr)(π − θ) sin θ,

        and v = w/(π − θ) obeys v̇ = −(v − w*/π)/2: so v(t) = e^{−t/2} v(0) + (1 − e^{−t/2}) w*/π,
        whose angle with w* is θ(t), gives w(t) = (π − θ(t)) v(t). From θ = π (up to rounding) the
        gate sees none of the teacher's half-space, and w(t) = e^{−t/2} w(0).
        """
        times = _check.times(t)[:, None]
        with np.errstate(over="ignore"):  # σ t = ∞ is a mode that has ended
            exponent = -0.5 * times * self._rates
        kept, gained = np.exp(exponent), -np.expm1(exponent)
        if self.flow == "glm_tron":
            parts = kept * (self.w0 @ self._basis) + gained * (self.teacher @ self._basis)
            return _check.outcome("w", t, parts @ self._basis.T)
        opening = _angle(self.w0, -self.teacher)  # π − θ(0)
        if opening <= _STRAIGHT:
            return _check.outcome("w", t, kept * self.w0)
        # (π − θ(0)) v: of the direction of v, and of the size of the weights however small π − θ(0)
        v = kept * self.w0 + gained * (opening / np.pi) * self.teacher
        return _check.outcome("w", t, _angle(v, -self.teacher)[:, None] / opening * v)

    def loss(self, t: ArrayLike) -> Any:
        """½ E[(f_w(x) − y)²] for x ~ N(0, Σ), (T,).

        With s = √(wᵀΣw), s* = √(w*ᵀΣw*) and θ the angle of Σ^½w and Σ^½w*, it is
        ¼(s − s*)² + s s* [½ − ((π − θ) cos θ + sin θ)/2π]. The weights of the GLM-Tron flow need
        no normal law; this does. It never rises if Σ = I; under another Σ it may.
        """
        w, teacher = np.atleast_2d(self.weights(t)), self.teacher
        _, unit = scaled(np.concatenate([w, teacher[None]]))
        root, square_unit = scaled(self._rates)
        root = np.sqrt(root)
        w, teacher = (np.ldexp(part, -unit[0]) @ self._basis * root for part in (w, teacher))
        size, full = np.linalg.norm(w, axis=1), np.linalg.norm(teacher)
        angle = _angle(w, teacher)
        # ½ − (…)/2π, with 1 − cos θ = 2 sin²(θ/2) so that it is right for small θ.
        gap = np.sin(angle / 2) ** 2 - (np.sin(angle) - angle * np.cos(angle)) / (2 * np.pi)
        loss = 0.25 * (size - full) ** 2 + size * full * gap
        return _check.outcome(
            "loss", t, unscaled(loss, 2 * int(unit.item()) + int(square_unit.item()))
        )

    def s_rel(self, t: ArrayLike, x_probe: ArrayLike, x_sample: ArrayLike) -> Any:
        """Infinitesimal S_rel(x', x), (T, m), for m pairs x' `x_probe`, x `x_sample` (m, p).

        1[w·x' > 0] |x·x'| / ‖x‖² where the sample is active, w·x > 0. NaN where it is not, or
        is 0: a step on it changes nothing. Count those with `np.isnan(...).sum()`.
        """
        probe, sample = _check.pairs(("x_probe", "x_sample"), x_probe, x_sample, self.w0.size)
        w, _ = scaled(np.atleast_2d(self.weights(t)), axis=1)
        probe, of_probe = scaled(probe, axis=1)
        sample, of_sample = scaled(sample, axis=1)
        square = (sample**2).sum(1)
        kernel = np.divide(
            np.abs((probe * sample).sum(1)), square, out=np.zeros(len(sample)), where=square > 0
        )
        kernel = unscaled(kernel, (of_probe - of_sample)[:, 0])
        crossed, active = w @ probe.T > 0, w @ sample.T > 0
        ratio = np.where(active, np.where(crossed, kernel, 0), np.nan)
        return _check.outcome("S_rel", t, ratio, undefined=True)

    def crossing_times(self, x: ArrayLike) -> FloatArray:
        """When w(t) crosses the hyperplane of each x (m, p), as (m,); NaN if it never does.

        For Σ = I. There is at most one crossing, at which S_rel switches on or off for the probe
        x; it happens if and only if w(0)·x and w*·x have different signs, at

            t_c = 2 ln(1 − w(0)·x / (w*·x))                   "glm_tron"
            t_c = 2 ln(1 − π w(0)·x / ((π − θ(0)) w*·x))      "gradient".
        """
        if not np.array_equal(np.asarray(self.covariance), np.eye(self.w0.size)):
            raise ValueError(
                "crossing_times has a closed form if covariance is the identity alone: look for "
                "changes of sign in weights(t) @ x instead"
            )
        x, _ = scaled(_check.samples("x", x, self.w0.size), axis=1)
        (w0, of_start), (teacher, of_end) = scaled(self.w0), scaled(self.teacher)
        start, end = x @ w0, x @ teacher
        if self.flow == "gradient":
            opening = _angle(self.w0, -self.teacher)
            if opening <= _STRAIGHT:
                return np.full(len(x), np.nan)
            start = start * np.pi / opening
        crosses = np.sign(start) * np.sign(end) < 0
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(np.abs(start)) - np.log(np.abs(end))
        log_ratio = log_ratio + (of_start - of_end)[0] * np.log(2)
        return np.where(crosses, 2 * np.logaddexp(0, log_ratio), np.nan)


_STRAIGHT = 8 * np.finfo(float).eps  # an angle that is rounding alone


def _angle(a: FloatArray, b: FloatArray) -> FloatArray:
    """The angle of vectors (..., p) with b (p,), by Kahan's formula: exact for small ones too."""
    a, b = scaled(a, axis=-1)[0], scaled(b)[0]
    a, b = a * np.linalg.norm(b), b * np.linalg.norm(a, axis=-1, keepdims=True)
    near, far = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    angle: FloatArray = 2 * np.arctan2(near, far)
    return angle


def _eigenvalues(covariance: FloatArray, p: int) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues ≥ 0 and eigenvectors of a covariance (p, p)."""
    if covariance.shape != (p, p):
        raise ValueError(
            f"covariance must have shape ({p}, {p}), as long as teacher, not {covariance.shape}: "
            "pass E[x xᵀ]"
        )
    scale = np.abs(covariance).max()
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-12 * scale):
        raise ValueError("covariance must be symmetric: pass (Σ + Σᵀ)/2 if it is so up to rounding")
    rates, basis = np.linalg.eigh(covariance)
    if rates[0] < -1e-12 * scale * p:
        raise ValueError(
            f"covariance must be positive semidefinite, but has eigenvalue {rates[0]:g}: "
            "pass E[x xᵀ]"
        )
    return np.clip(rates, 0, None), basis
