"""Figures of what a measurement costs: each function draws numbers on axes and computes none."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

METHOD_COLOURS = {
    "shared": "#D55E00",
    "stacked": "#CC79A7",
    "low_rank": "#0072B2",
    "tangent": "#009E73",
}
_KINDS = ("#0072B2", "#56B4E9", "#E69F00", "#999999", "#D55E00")


def stacked_shares(axes: Axes, shares: Mapping[str, Mapping[str, float]]) -> Axes:
    """A bar for each method, made up of the shares of its time by kind of operation."""
    kinds = sorted({kind for of in shares.values() for kind, share in of.items() if share > 0})
    for row, of_method in enumerate(shares.values()):
        left = 0.0
        for kind, colour in zip(kinds, _KINDS, strict=False):
            share = of_method.get(kind, 0.0)
            axes.barh(row, share, left=left, color=colour, label=kind if row == 0 else None)
            left += share
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set(xlabel="share of the time", xlim=(0, 1))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)
    return axes


def growth(axes: Axes, rows: Sequence[Mapping[str, Any]], varied: str, quantity: str) -> Axes:
    """`quantity` of measurements that differ in `varied`, a line for each method, in log-log."""
    for method, colour in METHOD_COLOURS.items():
        own = [row for row in rows if row["method"] == method and row["varied"] == varied]
        axes.plot(
            [row[varied] for row in own], [row[quantity] for row in own],
            color=colour, marker="o", markersize=4, label=method,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=varied)
    sizes = sorted({row[varied] for row in rows if row["varied"] == varied})
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [str(size) for size in sizes])
    return axes


def widths(
    axes: Axes, sizes: Sequence[float], by_label: Mapping[str, Sequence[float]], at: float
) -> Axes:
    """Widths of intervals against the number of images per class; dotted: the present number."""
    for (label, values), colour in zip(by_label.items(), METHOD_COLOURS.values(), strict=False):
        axes.plot(sizes, values, color=colour, label=label)
    axes.axvline(at, color="black", linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="images per class")
    return axes
