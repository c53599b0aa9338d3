"""Figures of class-based experiments: each draws a result on axes and computes nothing."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from srel_core.book.figures.style import OTHERS, SAME
from srel_core.book.figures.words import literal

if TYPE_CHECKING:
    import xarray as xr


def class_curves(
    axes: Axes, summary: "xr.Dataset", rule: str, divergence: str, sample_class: str
) -> Axes:
    """S[c', c] against the training step for one sampled class c: a curve and band for each c'.

    summary: from `summaries.class_summary`; the band is its interval. The sampled class's own
    curve is blue and solid.
    """
    chosen = summary.sel(rule=rule, divergence=divergence, sample_class=sample_class)
    others = iter(OTHERS * len(chosen.probe_class))
    for probe_class in chosen.probe_class.values:
        own = probe_class == sample_class
        colour = SAME if own else next(others)
        label = f"{literal(probe_class)}{' (same)' if own else ''}"
        low, high = chosen.matrix_interval.sel(probe_class=probe_class).values
        axes.fill_between(chosen.step, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            chosen.step, chosen.matrix.sel(probe_class=probe_class), color=colour,
            linestyle="-" if own else "--", label=label,
        )  # fmt: skip
    axes.set(xlabel="training step", title=f"step on: {literal(sample_class)}", yscale="log")
    axes.legend(title="probes of class")
    return axes


def class_heatmap(
    axes: Axes, summary: "xr.Dataset", rule: str, divergence: str, step: int, norm: Normalize
) -> AxesImage:
    """The class matrix S[c', c] after one training step, coloured by `norm`."""
    matrix = summary.matrix.sel(rule=rule, divergence=divergence, step=step)
    image = axes.imshow(matrix, norm=norm, cmap="viridis")
    names = [literal(name, 14) for name in matrix.sample_class.values]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    for row, column in ((r, c) for r in range(len(names)) for c in range(len(names))):
        value = float(matrix[row, column])
        dark = norm(value) < 0.6
        axes.text(
            column, row, f"{value:.2g}", ha="center", va="center",
            color="white" if dark else "black", fontsize=9,
        )  # fmt: skip
    axes.set_title(f"step {step}")
    return image


def over_training(
    axes: Axes, summary: "xr.Dataset", quantity: str, rule: str, divergence: str, label: str,
    colour: str,
) -> Axes:  # fmt: skip
    """A quantity of `class_summary` ("auc" or "preference") against the step, with its band."""
    chosen = summary.sel(rule=rule, divergence=divergence)
    low, high = chosen[f"{quantity}_interval"].values
    axes.fill_between(chosen.step, low, high, color=colour, alpha=0.2, linewidth=0)
    # The limit is dashed: a short gradient step lies under it.
    line = "--" if rule == "tangent" else "-"
    axes.plot(chosen.step, chosen[quantity], color=colour, label=label, linestyle=line)
    axes.set_xlabel("training step")
    return axes


def learning(axes: Axes, curves: "xr.Dataset", quantity: str) -> Axes:
    """Training and test "accuracy" or "loss" against the epoch: a thin line for each seed."""
    for split, colour in (("train", SAME), ("test", OTHERS[0])):
        values = curves[f"{split}_{quantity}"]
        for run in values.values:
            axes.plot(curves.epoch, run, color=colour, alpha=0.35, linewidth=1)
        mean = values.mean("seed")
        axes.plot(curves.epoch, mean, color=colour, marker="o", markersize=4, label=split)
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.legend()
    return axes
