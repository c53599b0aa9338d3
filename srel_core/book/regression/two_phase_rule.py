"""When regression counts as having two phases: a rule, fixed before the experiments were run.

The claim has three parts: S_rel changes rapidly at first, is nearly constant later, and is large
then. The curve judged is S_rel, averaged over a setting's pairs of one kind, one curve per seed,
against the training step, at evenly spaced steps: "rapidly" means per step. In the order asked:

moves      the mean over seeds has a range of at least MOVES of its largest value
breaks     two lines fit better than one: p ≤ ALPHA in Holm's sense over all cases judged together
           (Holm, Scand. J. Stat. 6, 1979, 65), so that one false "breaks" among them all is as
           rare as ALPHA
rests      the break lies in the first half of the steps, the slope after it is at most REST of
           that before, and S_rel drifts by at most REST of the plateau from the break to the end
own scale  the first half of the steps alone has its break at no less than OWN_SCALE of the break
           of all of them, and that one is at least twice as late as the earliest that the steps
           can hold. A curve such as log(step) has a break wherever one stops looking: half the
           steps give half the break. A break that belongs to the curve stays
large      the plateau, each seed's mean after the break, exceeds the S_rel of a linear model on
           the same pairs (the 95 % interval of the geometric mean of their ratios over seeds lies
           above 1), and is at least LIKE_TANGENT of the tangent-kernel S_rel of the final network

All five: the claim holds. The first four: two phases, but the plateau is not large.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import and_
from typing import TYPE_CHECKING

import numpy as np

from srel_core.statistics.hinge import PHASE_POINTS, Floats
from srel_core.statistics.intervals import mean_interval
from srel_core.statistics.phases import N_BOOTSTRAP, NoBreakError, TwoPhaseFit, fit_two_phase

if TYPE_CHECKING:
    import xarray as xr

ALPHA = 0.05
MOVES = 0.1
REST = 0.1
OWN_SCALE = 2**-0.5  # half-way, in ratio, from a break that stays to one that halves
LIKE_TANGENT = 0.9
CHECKS = ("moves", "breaks", "rests", "own scale", "large")


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged: one setting, one kind of pairs.

    steps     (T,), evenly spaced for a verdict
    curves    (R, T), R ≥ 3 seeds: S_rel averaged over pairs
    linear    (R,), the same average of the S_rel of a linear model
    tangent   (R,), the same average of the tangent-kernel S_rel of the final network
    """

    steps: Floats
    curves: Floats
    linear: Floats
    tangent: Floats


@dataclass(frozen=True)
class Judgement:
    """What was measured of one case, and the answers that follow.

    fit          the two lines; None if the curve is constant or straight up to rounding
    p_value      of two lines against one, 1 without a fit
    p_adjusted   Holm's, over all cases judged together
    moved        range of the mean curve over its largest value
    start, plateau   mean over seeds at step 0, and after the break (the last half without one)
    break_at     break over the last step; this and the next three are NaN without a fit
    slopes       late slope over early slope
    drift        change along the late line, over the plateau
    half_break   break of the first half of the steps over that of all
    resolved     whether the steps are fine enough for this break
    to_linear    (estimate, low, high): geometric mean over seeds of plateau / linear model
    to_tangent   geometric mean over seeds of plateau / tangent kernel of the final network
    rest         REST; another value shows how much hangs on it
    """

    fit: TwoPhaseFit | None
    p_value: float
    p_adjusted: float
    moved: float
    start: float
    plateau: float
    break_at: float
    slopes: float
    drift: float
    half_break: float
    resolved: bool
    to_linear: tuple[float, float, float]
    to_tangent: float
    rest: float = REST

    @property
    def checks(self) -> dict[str, bool]:
        """The answers, in the order of `CHECKS`; False where it was not reached."""
        rests = self.break_at <= 0.5 and abs(self.slopes) <= self.rest and self.drift <= self.rest
        answers = (
            self.moved >= MOVES,
            self.p_adjusted <= ALPHA,
            rests,
            self.resolved and self.half_break >= OWN_SCALE,
            self.to_linear[1] > 1 and self.to_tangent >= LIKE_TANGENT,
        )
        return dict(zip(CHECKS, map(bool, accumulate(answers, and_)), strict=True))

    @property
    def words(self) -> str:
        """The verdict, by the first check that failed."""
        failed = [name for name, passed in self.checks.items() if not passed]
        if failed and failed[0] == "own scale" and self.half_break >= OWN_SCALE:
            return "a break too early to tell"
        return {
            "moves": "does not move",
            "breaks": "one trend, no break",
            "rests": "a break, no rest",
            "own scale": "no scale of its own",
            "large": "two phases, not large",
        }[failed[0]] if failed else "two phases, large"  # fmt: skip

    @property
    def two_phases(self) -> bool:
        return self.checks["own scale"]


def case_of(
    result: "xr.Dataset",
    kind: str,
    rule: str | None = None,
    average: Callable[..., Floats] = np.mean,
    log_steps: bool = False,
) -> Case:
    """The case of one kind of pairs ("any", "within", "across") in a `RegressionExperiment`'s
    result, under one step rule (None: the SGD step of the training). `log_steps` takes the
    logarithm of all measured steps but 0, in place of the even ones.

    Only pairs whose S_rel is defined at every step count: were they to come and go, their average
    would move though no pair does. A seed without such a pair is left out. ValueError if fewer
    than 3 seeds are left.
    """
    values = result.s_rel.sel(rule=[rule or result.rule.values[0], "tangent"])
    values = values.transpose("seed", "pair", "rule", "step").values
    count = (result.kind.values == kind) & np.isfinite(values).all((2, 3))  # (seed, pair)
    seeds = np.flatnonzero(count.any(1))
    if len(seeds) < 3:
        raise ValueError(f"S_rel of {kind!r} pairs is defined in {len(seeds)} seeds: 3 are needed")
    means = np.stack([average(values[r, count[r]], axis=0) for r in seeds])  # (seed, rule, step)
    linear = [average(result.s_rel_linear.values[r, count[r]]) for r in seeds]
    steps = result.step.values.astype(float)
    taken = steps > 0 if log_steps else result.even.values
    steps = np.log(steps[taken]) if log_steps else steps[taken]
    return Case(steps, means[:, 0, taken], np.array(linear), means[:, 1, -1])


def judge(cases: Mapping[str, Case]) -> dict[str, Judgement]:
    """Apply the rule to all cases at once: p-values are adjusted for their number.

    ValueError for so many cases that the smallest p-value there is would not do.
    """
    most = int(ALPHA * (N_BOOTSTRAP + 1))
    if len(cases) > most:
        raise ValueError(
            f"{len(cases)} cases are too many to judge together: with {N_BOOTSTRAP} bootstrap "
            f"curves no p-value can be small enough for more than {most}"
        )
    fits = {name: _fit(case.steps, case.curves) for name, case in cases.items()}
    adjusted = holm([_p_value(fit) for fit in fits.values()])
    return {
        name: _judgement(case, fits[name], p)
        for (name, case), p in zip(cases.items(), adjusted, strict=True)
    }


def holm(p_values: list[float]) -> Floats:
    """Holm's adjusted p-values: reject where they are at most the family's error rate."""
    p = np.array(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _judgement(case: Case, fit: TwoPhaseFit | None, p_adjusted: float) -> Judgement:
    steps, mean = case.steps, case.curves.mean(0)
    last, first_half = steps[-1], steps <= steps[-1] / 2
    plateaus = case.curves[:, steps >= (fit.break_step if fit else last / 2)].mean(1)
    plateau = float(plateaus.mean())
    break_at = slopes = drift = half_break = np.nan
    if fit:
        break_at, slopes = fit.break_step / last, fit.slope_late / fit.slope_early
        gone = abs(fit.slope_late) * (last - fit.break_step)
        drift = gone / plateau if plateau > 0 else np.inf
        half = _fit(steps[first_half], case.curves[:, first_half])
        half_break = half.break_step / fit.break_step if half else np.nan
    return Judgement(
        fit=fit,
        p_value=_p_value(fit),
        p_adjusted=float(p_adjusted),
        moved=float(np.ptp(mean) / mean.max()),
        start=float(mean[0]),
        plateau=plateau,
        break_at=break_at,
        slopes=slopes,
        drift=drift,
        half_break=half_break,
        resolved=fit is not None and bool(fit.break_step >= 2 * steps[PHASE_POINTS - 1]),
        to_linear=_ratio(plateaus, case.linear),
        to_tangent=_ratio(plateaus, case.tangent)[0],
    )


def _p_value(fit: TwoPhaseFit | None) -> float:
    return fit.p_value if fit else 1.0


def _fit(steps: Floats, curves: Floats) -> TwoPhaseFit | None:
    try:
        return fit_two_phase(steps, curves)
    except NoBreakError:
        return None


def _ratio(above: Floats, below: Floats) -> tuple[float, float, float]:
    """Geometric mean over seeds of above / below, with Student's 95 % interval."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a plateau of 0: no interval
        centre, low, high = np.exp(mean_interval(np.log(above / below)))
    return float(centre), float(low), float(high)
