"""S_rel on two spiral arms, in the plane."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import NDArray

from srel_core.book.figures.style import OTHERS
from srel_core.book.spirals import Spirals


def after_one_step(
    axes: Axes, spirals: Spirals, values: NDArray[np.float64], chosen: int, most: float
) -> PathCollection:
    """The points, coloured by S_rel (2n,) after a step on the one with the ring, from 0 to `most`
    and more."""
    x, y = spirals.points.T.numpy()
    drawn = axes.scatter(x, y, c=values, cmap="viridis", s=14, vmin=0, vmax=most)
    ringed = spirals.points[chosen].numpy()
    axes.plot(*ringed, "o", markersize=14, markerfacecolor="none", color=OTHERS[0])
    axes.set_aspect("equal")
    axes.set_axis_off()
    return drawn
