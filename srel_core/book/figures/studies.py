"""Figures of studies: a row of a study is a row of the figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from srel_core.book.figures.paper import band
from srel_core.book.figures.style import OTHERS, SAME
from srel_core.book.figures.words import literal

if TYPE_CHECKING:
    import xarray as xr


def in_order(study: "xr.Dataset", rule: str) -> list[str]:
    """The rows by their AUC (KL) in the last epoch under a rule, the smallest first."""
    last = study.auc.sel(rule=rule, divergence="kl").isel(epoch=-1)
    return [str(row) for row in study.row.values[np.argsort(last.values)]]


def rows(
    axes: Axes, study: "xr.Dataset", rule: str, order: Sequence[str], marked: Sequence[str] = ()
) -> Axes:
    """The same-class AUC (KL) of each row under a rule, from below in this order: in the last epoch
    with its interval, and in the first, hollow. Rows that are `marked`, the published ones, have
    another colour."""
    at = study.sel(rule=rule, divergence="kl")
    others = [row for row in order if row not in marked]
    for kind, chosen in (("", others), (", as published", list(marked))):
        if not chosen:
            continue
        colour = OTHERS[0] if kind else SAME
        heights = [order.index(row) for row in chosen]
        of = at.sel(row=chosen)
        low, high = of.auc_interval.isel(epoch=-1).transpose("bound", "row").values
        axes.hlines(heights, low, high, color=colour)
        axes.plot(of.auc.isel(epoch=-1), heights, "o", color=colour, label=f"last epoch{kind}")
        axes.plot(
            of.auc.isel(epoch=0), heights, "o", color=colour, markerfacecolor="none",
            label=f"first epoch{kind}",
        )  # fmt: skip
    axes.axvline(0.5, color="grey", linestyle=":")
    axes.set_yticks(range(len(order)), [literal(row) for row in order])
    axes.set(title=literal(rule), xlabel="same-class AUC")
    return axes


def seeds(axes: Axes, study: "xr.Dataset", row: str, rule: str) -> Axes:
    """The same-class AUC (KL) of each run of a row against the epoch, and of the row with its
    interval."""
    at = study.sel(rule=rule, divergence="kl")
    of_runs = at.run_auc.isel(run=np.flatnonzero(study.row_of_run.values == row))
    for run in of_runs.transpose("run", "epoch"):
        axes.plot(study.epoch, run, color=SAME, alpha=0.25, linewidth=0.8)
    band(axes, at.sel(row=row), "auc", SAME, literal(rule))
    axes.axhline(0.5, color="grey", linestyle=":")
    return axes
