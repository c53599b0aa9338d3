"""Figures of the regression experiments: each draws a result on axes and computes nothing."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from srel_core.book.figures.style import OTHERS, SAME
from srel_core.book.regression.rows import Movement
from srel_core.book.regression.two_phase_rule import Judgement
from srel_core.statistics.hinge import Floats
from srel_core.statistics.phases import TwoPhaseFit

COLOURS = {"relu": SAME, "tanh": OTHERS[0]}


def seeds(axes: Axes, steps: Floats, curves: Floats, colour: str, label: str) -> Axes:
    """Curves (R, T) against the step: a thin line per seed, the mean thick."""
    axes.plot(steps, curves.T, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(steps, curves.mean(0), color=colour, label=label)
    return axes


def hinge(axes: Axes, steps: Floats, fit: TwoPhaseFit, interval: bool = True) -> Axes:
    """The two lines fitted, and the break with its interval as a grey band."""
    axes.plot(steps, fit.predict(steps), color="black", linestyle="--", linewidth=1)
    if interval:
        axes.axvspan(*fit.interval, color="0.6", alpha=0.4, linewidth=0)
        axes.axvline(fit.break_step, color="black", linestyle=":", linewidth=1)
    return axes


def against(
    axes: Axes, x: Sequence[float], y: Sequence[float], intervals: Floats, colour: str, label: str
) -> Axes:
    """Estimates y (n,) with their intervals (n, 2) at x (n,)."""
    axes.errorbar(
        x, y, yerr=_arms(y, intervals), color=colour, label=label, marker="o", markersize=4,
        linestyle="", linewidth=0.8,
    )  # fmt: skip
    return axes


def sweep(
    top: Axes, bottom: Axes, points: Sequence[tuple[str, Judgement]], colour: str, label: str,
    shift: float,
) -> None:  # fmt: skip
    """Judgements side by side under their labels: the break above, levels over the linear model's
    below. `shift` moves them sideways, clear of another sweep's."""
    at = np.arange(len(points)) + shift
    judged = [judgement for _, judgement in points]
    for x, judgement in zip(at, judged, strict=True):
        if judgement.fit:
            estimate, interval = judgement.fit.break_step, judgement.fit.interval
            top.errorbar(
                x, estimate, yerr=_arms([estimate], [interval]), color=colour, marker="o",
                markersize=5, markerfacecolor=colour if judgement.checks["breaks"] else "white",
                linewidth=1, label=label if x == at[0] else None,
            )  # fmt: skip
    plateaus = [judgement.to_linear for judgement in judged]
    levels = [level for level, *_ in plateaus]
    bottom.errorbar(
        at, levels, yerr=_arms(levels, [bounds for _, *bounds in plateaus]), color=colour,
        marker="o", markersize=5, linewidth=1,
    )  # fmt: skip
    starts = [v.start / v.plateau * v.to_linear[0] for v in judged]
    bottom.plot(at, starts, color=colour, marker="o", markerfacecolor="white", linestyle=":")
    bottom.set_xticks(range(len(points)), [name for name, _ in points])


def movement(axes: Axes, found: Movement, colour: str, label: str) -> Axes:
    """A gate's movement as measured (seeds and mean), and as its flow has it (dashed)."""
    axes.plot(found.times, found.measured.T, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(found.times, found.measured.mean(0), color=colour, label=label)
    axes.plot(found.times, found.predicted.mean(0), color="black", linestyle="--", label="flow")
    axes.axvspan(*found.fit_measured.interval, color=colour, alpha=0.2, linewidth=0)
    axes.axvline(found.fit_predicted.break_step, color="black", linestyle=":", linewidth=1)
    return axes


def _arms(y: Sequence[float], intervals: Sequence[Sequence[float]] | Floats) -> Floats:
    """The lengths of error bars, (2, n), never negative."""
    bounds = np.array(intervals, dtype=float).reshape(-1, 2)
    return np.clip([np.array(y) - bounds[:, 0], bounds[:, 1] - np.array(y)], 0, None)
