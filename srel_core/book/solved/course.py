"""What S_rel does along a flow: whether it moves, whether early and then no more, where it ends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srel_core.statistics.phases import NoBreakError, fit_two_phase

Floats = NDArray[np.float64]

MOVES = 0.1  # range of S_rel over its largest value
ALPHA = 0.05  # of two lines against one
REST = 0.1  # slope after the break over the slope before
MOST = 0.9  # share of the starts


@dataclass(frozen=True)
class Course:
    """S_rel from R starts, watched until a time.

    first, last   median over starts, at the beginning and the end
    reach         median over starts of its range over its largest value
    stop          the break of two lines fitted to the distance from the beginning; NaN for none
    rests         whether that break parts an early change from a late rest
    higher        share of the starts from which it ends above its beginning
    """

    until: float
    first: float
    last: float
    reach: float
    stop: float
    rests: bool
    higher: float

    @property
    def moves(self) -> bool:
        return self.reach > MOVES

    @property
    def two_phases(self) -> bool:
        return self.moves and self.rests

    @property
    def ends(self) -> str:
        """larger, smaller or either."""
        if self.higher >= MOST:
            return "larger"
        return "smaller" if self.higher <= 1 - MOST else "either"


def course(times: Floats, s_rel: Floats, reduce: Callable[..., Floats] = np.median) -> Course:
    """Of S_rel (T, R, m) at even times (T,), pairs summarised by `reduce`."""
    moved = reduce(np.abs(s_rel - s_rel[0]), axis=2)
    first, last = (reduce(s_rel[i], axis=1) for i in (0, -1))
    reach = np.median(reduce(np.ptp(s_rel, axis=0), axis=1) / reduce(s_rel.max(0), axis=1))
    stop, rests = np.nan, False
    try:
        fit = fit_two_phase(times, (first + moved).T)
    except NoBreakError:
        pass
    else:
        stop = fit.break_step
        rests = (
            fit.p_value < ALPHA
            and fit.break_step <= times[-1] / 2
            and abs(fit.slope_late) <= REST * abs(fit.slope_early)
        )
    return Course(
        float(times[-1]), float(np.median(first)), float(np.median(last)), float(reach),
        float(stop), bool(rests), float(np.mean(last > first)),
    )  # fmt: skip


def until(loss: Callable[[Floats], Floats]) -> float:
    """Ten times the time at which the median excess of the loss (T, R) is 1 % of its beginning."""
    times = np.geomspace(1e-3, 1e4, 800)
    values = loss(np.concatenate([[0], times, [1e8]]))
    excess = np.median(values[:-1] - values[-1], axis=1)
    return float(10 * times[np.argmax(excess[1:] <= 0.01 * excess[0])])
