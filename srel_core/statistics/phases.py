"""Two phases: a continuous line of two segments fitted to a curve, such as S_rel against step.

    y(s) = y_b + k_early (s − b)   for s ≤ b,        y(s) = y_b + k_late (s − b)   for s ≥ b

with the break b, the slopes k and the level y_b by least squares. Two traps, and the ways out:

- *Is there a break at all?* On a straight line b means nothing, so the usual F tables, which
  count it as one more parameter, reject too often (Davies, Biometrika 74, 1987, 33). The p-value
  here is that of the largest F over all breaks, against its own simulated distribution.
- *How well is it known?* The interval holds every b that fits nearly as well as the best one:
  SSE(b) − SSE(best) ≤ q, with q the 95 % quantile of that same difference over bootstrap curves.
  Bootstrap quantiles of the break itself cover as often on clear curves, but are wider on noisy
  ones, and pretend to an answer where the break may lie off the end of the curve.

A bootstrap curve is the observed one plus noise of the size of its error: with χ² of the noise's
degrees of freedom in the denominator, linear quantities get exactly their Student intervals, so
that five seeds are enough. `benchmarks/phases.py` measures all of this.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from srel_core.scaling import scaled, unscaled
from srel_core.statistics.hinge import Floats, Hinges, Knot

LEVEL = 0.95  # of the interval
N_BOOTSTRAP = 1999
N_NULL = 9999  # simulated straight lines: a test at 5 % is then one at 4.6 to 5.4 %
MIN_STEPS = 8
MIN_CURVES = 3
# Values this close to a straight line, relative to the largest, differ from it by rounding only.
ROUNDING = 1e-12
# Of a squared hinge on steps scaled to [0, 1]: its square is still a float64.
LEAST_NORM = 1e-140


class NoBreakError(ValueError):
    """The curve is constant, or a straight line without noise: it has no break to find."""


@dataclass(frozen=True)
class TwoPhaseFit:
    """What `fit_two_phase` found. `break_step` means something only where `p_value` is small.

    break_step                the break b, in steps
    interval                  (lo, hi), its 95 % bootstrap interval; it reaches the first or last
                              step where the curve does not bound the break on that side
    slope_early, slope_late   per step, before and after b; of log(values) if `log`
    break_value               the fitted value at b
    plateau                   level after b: the fitted line averaged from b to the last step
                              (a geometric average if `log`)
    p_value                   of the test against one straight line. Small: not one line. That is
                              not yet "two": a smooth bend is no line either
    residual_autocorrelation  of the residuals, from each step to the next. Near 0 (within about
                              2/√T) for independent noise about a true hinge; large if the curve
                              bends smoothly where the hinge has its corner, or if the noise is
                              dependent, and then a single curve's p-value and interval are too
                              optimistic. 0 if the fit is exact
    log                       whether log(values) was fitted
    """

    break_step: float
    interval: tuple[float, float]
    slope_early: float
    slope_late: float
    break_value: float
    plateau: float
    p_value: float
    residual_autocorrelation: float
    log: bool

    def predict(self, steps: ArrayLike) -> Floats:
        """The fitted curve at any steps, in the units of the values."""
        since = np.asarray(steps, dtype=np.float64) - self.break_step
        rise = self.slope_early * np.minimum(since, 0) + self.slope_late * np.maximum(since, 0)
        return self.break_value * np.exp(rise) if self.log else self.break_value + rise


def fit_two_phase(
    steps: ArrayLike, values: ArrayLike, *, log: bool = False, seed: int = 0
) -> TwoPhaseFit:
    """Fit a continuous line of two segments, with the interval of its break and a test.

    steps   (T,), finite, increasing, T ≥ 8; spaced in any way but for three within 1e-70 of their
            range. Each point counts alike, so pass log(steps) for phases that are straight in the
            logarithm of the step
    values  (T,), one curve, or (R, T), R ≥ 3 curves of independent seeds on the same steps; their
            mean is fitted (that of the logarithms if `log`)
    log     fit log(values), which must be positive
    seed    of the bootstrap: the same seed gives the same numbers

    What the interval and the p-value assume:

    - *one curve*: independent Gaussian noise of one size about the hinge. Under it the p-value
      is exact. Noise that is correlated from step to step breaks both;
    - *several curves*: independent seeds, and nothing about the noise along the steps: it may be
      correlated, and larger here than there, and each seed may have a level and a slope of its
      own. The interval is that of the break in the mean over all possible seeds (not of the next
      seed's own break), also where that mean is no exact hinge. The p-value is on the safe side.

    Units do not matter: steps and values times powers of two give the same bits, times them. The
    break is looked for where it leaves three points on each side. On a curve that bends
    smoothly the fit is the best hinge, no more: see `residual_autocorrelation`.

    Raises NoBreakError (a ValueError) for a constant or exactly straight curve, ValueError for
    anything else that cannot be fitted.
    """
    s, curves = _checked(steps, values, log)
    # The fit does not depend on the units: the grid is on [0, 1], and the largest value near 1.
    (s, of_steps), (curves, of_values) = scaled(s), scaled(curves)
    step_unit, value_unit = int(of_steps.item()), int(of_values.item())
    y = curves.mean(axis=0)
    start, length = s[0], s[-1] - s[0]
    x = (s - start) / length
    hinges = Hinges.on_grid(x)
    if hinges.norm.min() < LEAST_NORM:
        raise ValueError(
            "steps are spaced too unevenly: three of them lie within 1e-70 of their whole range; "
            "pass their logarithm, or leave some out"
        )
    bend = hinges.off_line(y)
    # A relative error ε of a value is an absolute error ε of its logarithm, however small that is.
    largest = np.abs(curves).max()
    rounding = ROUNDING * (max(largest, np.ldexp(1.0, -value_unit)) if log else largest)
    if np.ptp(y) <= rounding:
        raise NoBreakError("all values are equal: no change at all, so no break to find")
    if np.abs(bend).max() <= rounding:
        raise NoBreakError("the values lie on one straight line: no break to find")
    if len(curves) > 1 and np.abs(curves - y).max() <= rounding:
        raise ValueError(
            f"all {len(curves)} curves are equal, so they do not show how seeds vary: "
            "pass one of them as (T,)"
        )

    v = hinges.products(bend)
    knot = hinges.best(v)
    rng = np.random.default_rng(seed)
    if len(curves) == 1:
        noise = _noise_of_one_curve(hinges, bend, knot, rng)
        p_value = _share_as_large(_null_ratios(x.tobytes()), knot.gain / (bend @ bend))
    else:
        noise = _noise_of_the_mean(hinges, curves - y, rng)
        p_value = _share_as_large(hinges.best(noise).gain, knot.gain)

    kappa = float(hinges.position(knot))
    excess = hinges.best(v + noise).gain - hinges.gain_at(v + noise, knot)
    lo, hi = hinges.span_above(v, float(knot.gain - np.quantile(excess, LEVEL)))
    interval = (max(min(lo, kappa), 0.0), min(max(hi, kappa), 1.0))

    shape = np.stack([np.ones_like(x), np.minimum(x - kappa, 0), np.maximum(x - kappa, 0)], axis=1)
    (break_value, early, late), *_ = np.linalg.lstsq(shape, y, rcond=None)
    plateau = break_value + late * (1 - kappa) / 2
    residuals = y - shape @ (break_value, early, late)
    exact = np.abs(residuals).max() <= rounding
    at_break, level = (float(unscaled(v, value_unit)) for v in (break_value, plateau))
    slopes = [float(unscaled(slope / length, value_unit - step_unit)) for slope in (early, late)]
    if not np.isfinite([*slopes, at_break, level]).all():
        raise ValueError(
            "the values change by more than 1.8e+308, the largest float64, in a step or beyond the "
            "data: take another unit of values or steps"
        )
    return TwoPhaseFit(
        break_step=float(np.ldexp(start + length * kappa, step_unit)),
        interval=(
            float(np.ldexp(start + length * interval[0], step_unit)),
            float(np.ldexp(start + length * interval[1], step_unit)),
        ),
        slope_early=slopes[0],
        slope_late=slopes[1],
        break_value=float(np.exp(at_break)) if log else at_break,
        plateau=float(np.exp(level)) if log else level,
        p_value=p_value,
        residual_autocorrelation=0.0 if exact else _autocorrelation(residuals),
        log=log,
    )


def _noise_of_one_curve(
    hinges: Hinges, bend: Floats, knot: Knot, rng: np.random.Generator
) -> Floats:
    """The products with the hinges, (N_BOOTSTRAP, K), of independent noise of one size."""
    z = rng.standard_normal((N_BOOTSTRAP, bend.size))
    chi2 = rng.chisquare(bend.size - 4, N_BOOTSTRAP)  # the hinge has four parameters
    sse = max(float(bend @ bend - knot.gain), 0.0)
    return hinges.products(z) * np.sqrt(sse / chi2)[:, None]


def _noise_of_the_mean(hinges: Hinges, deviations: Floats, rng: np.random.Generator) -> Floats:
    """The same of the noise of a mean of R curves, from their deviations from it, (R, T).

    Each noise is a random combination of the deviations: so it has their correlation and size
    along the steps, whatever these are.
    """
    n = len(deviations)
    weights = rng.standard_normal((N_BOOTSTRAP, n))
    weights /= np.sqrt(n * rng.chisquare(n - 1, N_BOOTSTRAP))[:, None]
    return weights @ hinges.products(deviations)


@lru_cache(maxsize=32)
def _null_ratios(grid: bytes) -> Floats:
    """max gain / SSE(line) of straight lines with Gaussian noise on the grid x, (N_NULL,).

    It orders curves as the largest F does, and depends neither on the line nor on the size of
    the noise: so standard normal curves have its exact distribution.
    """
    x = np.frombuffer(grid)
    hinges, rng = Hinges.on_grid(x), np.random.default_rng(0)
    ratios = []
    for done in range(0, N_NULL, 1000):  # in parts, to bound the memory
        z = rng.standard_normal((min(1000, N_NULL - done), x.size))
        ratios.append(hinges.best(hinges.products(z)).gain / (hinges.off_line(z) ** 2).sum(1))
    return np.concatenate(ratios)


def _share_as_large(simulated: Floats, observed: float | Floats) -> float:
    """The Monte Carlo p-value, which counts the observed value among the simulated ones."""
    return float((1 + (simulated >= observed).sum()) / (1 + simulated.size))


def _autocorrelation(residuals: Floats) -> float:
    return float(residuals[1:] @ residuals[:-1] / (residuals @ residuals))


def _checked(steps: ArrayLike, values: ArrayLike, log: bool) -> tuple[Floats, Floats]:
    """steps (T,) and the curves to fit (R, T), R = 1 for a single one."""
    s = np.asarray(steps, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    if s.ndim != 1 or y.ndim not in (1, 2) or y.shape[-1] != s.size:
        raise ValueError(
            "steps must have shape (T,) and values (T,) or (R, T): "
            f"steps has {s.shape}, values {y.shape}"
        )
    if s.size < MIN_STEPS:
        raise ValueError(f"two phases need at least {MIN_STEPS} steps: there are {s.size}")
    if y.ndim == 2 and len(y) < MIN_CURVES:
        raise ValueError(
            f"values (R, T) need at least {MIN_CURVES} curves to compare: there are {len(y)}; "
            "pass a single curve as (T,)"
        )
    if not np.isfinite(s).all() or (np.diff(s) <= 0).any():
        raise ValueError("steps must be finite and increasing, each larger than the one before")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite: {np.sum(~np.isfinite(y))} of {y.size} are not")
    if log and (y <= 0).any():
        raise ValueError(
            f"log=True needs positive values: {np.sum(y <= 0)} of {y.size} are not positive"
        )
    return s, np.log(np.atleast_2d(y)) if log else np.atleast_2d(y)
