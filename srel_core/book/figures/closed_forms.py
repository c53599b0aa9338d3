"""Figures of the closed-form flows: each function draws a result on axes and computes nothing.

A *band* is (3, T): the low quantile, the median and the high quantile of a quantity at T times.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from srel_core.book.figures.style import OTHERS, RULES, SAME
from srel_core.book.solved.course import Course

COLOURS = (SAME, OTHERS[0], RULES["tangent"], OTHERS[1])
_DASHES = ("-", "--", "-.", ":")
Floats = NDArray[np.float64]


def band(axes: Axes, times: ArrayLike, values: Floats, label: str, index: int = 0) -> Axes:
    """The median against time with its band, (3, T); `index` picks colour and dashes."""
    colour = COLOURS[index]
    axes.fill_between(times, values[0], values[2], color=colour, alpha=0.2, linewidth=0)
    axes.plot(times, values[1], color=colour, linestyle=_DASHES[index], label=label)
    return axes


def family(axes: Axes, times: ArrayLike, curves: Floats, labels: Sequence[str]) -> Axes:
    """Curves (V, T) against time for V values of a parameter, dark for the first of them."""
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(curves)))
    for curve, label, shade in zip(curves, labels, shades, strict=True):
        axes.plot(times, curve, color=shade, label=label)
    return axes


def switches(axes: Axes, times: ArrayLike, s_rel: Floats) -> Axes:
    """S_rel (T, m) of m probes of a gate: a step function of time each."""
    for curve in s_rel.T:
        axes.plot(times, curve, drawstyle="steps-post", linewidth=1.3, alpha=0.8)
    return axes


def crossings(axes: Axes, found: Floats, edges: Floats, times: Floats, density: Floats) -> Axes:
    """A histogram of crossing times between `edges`, with their density (T,) at `times`."""
    axes.hist(found, list(edges), density=True, color=SAME, alpha=0.4, label="probes drawn")
    axes.plot(times, density, color=OTHERS[0], label="law")
    return axes


def portrait(
    axes: Axes, grid: Floats, velocity: Floats, paths: Sequence[Floats], target: ArrayLike
) -> Axes:
    """The plane of a flow: its velocity (2, n, n) at grid × grid, orbits (T, 2) and target (2,).

    velocity[i, a, b] is component i at the point (grid[b], grid[a]).
    """
    u, v = velocity
    axes.streamplot(grid, grid, u, v, color="0.75", linewidth=0.7, density=0.8, arrowsize=0.8)
    for path in paths:
        axes.plot(*path.T, color=SAME)
        axes.plot(*path[0], color=SAME, marker="o", markersize=4)
    axes.plot(*np.asarray(target), color=OTHERS[0], marker="*", markersize=13, linestyle="")
    axes.set(xlim=(grid[0], grid[-1]), ylim=(grid[0], grid[-1]), aspect="equal")
    axes.grid(visible=False)
    return axes


def courses(axes: Axes, found: Mapping[str, Course]) -> Axes:
    """An arrow from the first to the last S_rel of each flow, top down: blue where it has two
    phases and ends larger, orange where it moves otherwise, grey where it does not move."""
    for y, c in zip(range(len(found))[::-1], found.values(), strict=True):
        as_claimed = c.two_phases and c.ends == "larger"
        colour = SAME if as_claimed else OTHERS[0] if c.moves else "#777777"
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 2}
        axes.annotate("", (c.last, y), (c.first, y), arrowprops=arrow)
        axes.plot([c.first, c.last], [y, y], color=colour, linewidth=2)
        axes.plot(c.first, y, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(found))[::-1], list(found))
    ends = [value for c in found.values() for value in (c.first, c.last)]
    axes.set(xscale="log", xlabel="$S_{\\rm rel}$", xlim=(min(ends) / 2, max(ends) * 2))
    return axes
