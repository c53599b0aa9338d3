"""Images in the order of their S_rel, as a picture."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from srel_core.book.figures.style import OTHERS, SAME


def ranking(
    axes: Axes,
    s_rel: NDArray[np.float64],
    sample: int,
    classes: NDArray[np.int64],
    images: NDArray[np.uint8],
) -> Axes:
    """A bar from 1 to the S_rel of each image but `sample`, the farthest first, blue for its class,
    with the image below. A value of 0 or NaN has no bar.

    s_rel, classes  (P,)      images  (P, 32, 32, 3), 8-bit
    """
    order = [i for i in np.argsort(-np.nan_to_num(s_rel), kind="stable") if i != sample]
    known = np.where(s_rel[order] > 0, s_rel[order], 1)
    colours = [SAME if classes[i] == classes[sample] else OTHERS[0] for i in order]
    axes.bar(range(len(order)), known - 1, bottom=1, color=colours, width=0.8)
    axes.axhline(1, color="black", linewidth=1)
    axes.set(yscale="log", ylabel="$S_{\\rm rel}$", xlim=(-0.7, len(order) - 0.3), xticks=[])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", visible=False)
    for place, image in enumerate(order):
        thumb = OffsetImage(255 - images[image], zoom=0.62)
        below = AnnotationBbox(
            thumb, (place, 0), xycoords=("data", "axes fraction"), box_alignment=(0.5, 1.15),
            frameon=False, pad=0,
        )  # fmt: skip
        axes.add_artist(below)
    return axes
