"""Figures of the paper's results, drawn from summaries (`srel_core.book.committed.write`)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from srel_core.book.committed.files import ladder_in
from srel_core.book.figures.style import OTHERS, RULES, SAME
from srel_core.book.figures.words import literal
from srel_core.book.published.numbers import PUBLISHED

if TYPE_CHECKING:
    import xarray as xr

_LINES = {"sgd:1e-4": "-", "sgd:1e-2": ":", "adam:1e-4": "-", "tangent": "--"}


def band(
    axes: Axes, part: "xr.Dataset", name: str, colour: str, label: str, line: str = "-"
) -> Axes:
    """A quantity with its interval against the epoch."""
    low, high = part[f"{name}_interval"].transpose("bound", "epoch").values
    axes.fill_between(part.epoch, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(part.epoch, part[name], color=colour, label=label, linestyle=line)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def plain_ticks(axis: Axis) -> None:
    """On a logarithmic axis, plain numbers, at 1, 2 and 5 where it spans less than two decades."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def same_and_other(axes: Axes, summary: "xr.Dataset", definition: str, rung: str) -> Axes:
    """Same-class and different-class S_rel on one rung of a ladder, with their bands."""
    part = ladder_in(summary, definition).sel(rung=rung)
    band(axes, part, "rung_epoch_same", SAME, "same class")
    band(axes, part, "rung_epoch_other", OTHERS[0], "other classes", "--")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    return axes


def beside_published(axes: Axes, summary: "xr.Dataset", definition: str, dataset: str) -> Axes:
    """Our curves as published, with bands, and published values, if there are any, as markers."""
    same_and_other(axes, summary, definition, "as published")
    if definition == "class-based":
        axes.set_yscale("linear")
    if dataset not in PUBLISHED:
        return axes
    figures = PUBLISHED[dataset]
    for values, colour, name in (
        (figures.same, SAME, "same class"), (figures.other, OTHERS[0], "other classes")
    ):  # fmt: skip
        shown = values[definition]
        epochs = np.arange(1, len(shown) + 1)
        axes.plot(epochs, shown, "o", color=colour, mfc="white", label=f"published, {name}")
    return axes


def by_rule(axes: Axes, part: "xr.Dataset", name: str, threshold: float) -> Axes:
    """A quantity under each step rule, with bands, and a dotted line at the threshold."""
    for rule in map(str, part.rule.values):
        # Two lengths of a gradient step share a colour, and the limit is dashed over them.
        colour, line = RULES.get(rule.split(":")[0], "black"), _LINES.get(rule, "-.")
        band(axes, part.sel(rule=rule), name, colour, literal(rule), line)
    axes.axhline(threshold, color="black", linestyle=":", linewidth=1)
    return axes


def rungs(axes: Axes, ladder: "xr.Dataset", epoch: int) -> Axes:
    """Preference in one epoch on every rung, top down, with its interval; dotted: none."""
    at = ladder.sel(epoch=epoch)
    low, high = at.rung_epoch_preference_interval.transpose("bound", "rung").values
    height = np.arange(at.sizes["rung"])[::-1]
    colours = [SAME if bottom > 1 else OTHERS[0] if top < 1 else "#777777"
               for bottom, top in zip(low, high, strict=True)]  # fmt: skip
    axes.hlines(height, low, high, color=colours, linewidth=3, alpha=0.5)
    axes.scatter(at.rung_epoch_preference, height, color=colours, zorder=3)
    axes.axvline(1, color="black", linestyle=":", linewidth=1)
    axes.set_yticks(height, [literal(name) for name in at.rung.values])
    axes.set(xscale="log", xlabel="preference")
    plain_ticks(axes.xaxis)
    return axes


def without_change(axes: Axes, summary: "xr.Dataset") -> Axes:
    """The published class-based curves, and those of a step that does nothing (markers)."""
    same_and_other(axes, summary, "class-based", "as published")
    axes.set_yscale("linear")
    for name, colour in (("still_same", SAME), ("still_other", OTHERS[0])):
        axes.plot(
            summary.epoch, summary[name].mean("seed"), "x", color=colour,
            label=f"no step, {'same class' if name.endswith('same') else 'other classes'}",
        )  # fmt: skip
    return axes


def distance(axes: Axes, summary: "xr.Dataset", divergence: str, rules: Sequence[str]) -> Axes:
    """How far S_rel is from its tangent limit, against the step: median pair, and 90 % quantile."""
    mean = summary.limit_distance.sel(divergence=divergence).mean("seed")
    for rule, colour in zip(rules, (SAME, OTHERS[0], OTHERS[1]), strict=False):
        for quantile, line in ((0.5, "-"), (0.9, ":")):
            values = mean.sel(rule=rule, quantile=quantile)
            label = f"{literal(rule)}, {'median pair' if quantile == 0.5 else '90 % of pairs'}"
            axes.plot(summary.step, values, color=colour, linestyle=line, label=label)
    axes.set(yscale="log", xlabel="training step")
    return axes
