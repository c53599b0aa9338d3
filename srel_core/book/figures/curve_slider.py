"""A figure that the reader moves: curves for several values of a parameter behind one slider.

All curves are computed beforehand and rounded to a tenth of a pixel.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from srel_core.book.figures import table
from srel_core.book.figures.slider import Interactive, check_slider, slider_page

_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 10, 44
_STROKES = (("#2a8fd0", ""), ("#d55e00", "7 4"), ("#109a73", "2 3"), ("#c06a9e", "9 3 2 3"))


def slider_figure(
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    values: Sequence[str],
    *,
    parameter: str,
    title: str,
    labels: tuple[str, str],
    log_x: bool = False,
    start: int = 0,
) -> Interactive:
    """One set of axes whose curves follow a slider over `values`.

    x          (T,), increasing; positive if `log_x`
    curves     by label, at most four: (V, T), a curve for each value; NaN leaves a gap
    values     V texts, those of the parameter, in the slider's order
    parameter  its name, beside the slider
    title      says what the figure shows, to those who cannot see it
    labels     of the two axes
    log_x      whether the horizontal axis is logarithmic
    start      index of the value shown first

    Equal arguments give equal text. Raises ValueError for shapes that do not fit.
    """
    check_slider(values, start)
    grid, families = _checked(x, curves, len(values), log_x)
    position = np.log10(grid) if log_x else grid
    everything = np.concatenate([family.ravel() for family in families.values()])
    finite = everything[np.isfinite(everything)]
    low, high = min(0.0, float(finite.min())), float(finite.max())
    high = high if high > low else low + 1
    across = _LEFT + (position - position[0]) / np.ptp(position) * (_WIDTH - _LEFT - _RIGHT)
    down = _HEIGHT - _BOTTOM
    paths = [
        [_path(across, down - (curve - low) / (high - low) * (down - _TOP)) for curve in family]
        for family in families.values()
    ]
    styles = [f'stroke="{c}" stroke-width="2" stroke-dasharray="{d}"' for c, d in _STROKES]
    drawn = [
        f'<path data-mark d="{path[start]}" {style}/>'
        for path, style in zip(paths, styles, strict=False)
    ]
    legend = " ".join(
        '<span style="white-space:nowrap;margin-right:1em"><svg viewBox="0 0 30 8" '
        f'width="30" height="8" aria-hidden="true"><path d="M0 4H30" {style}/></svg> '
        f"{escape(label)}</span>"
        for label, style in zip(families, styles, strict=False)
    )
    axes = _axes((float(position[0]), float(position[-1])), (low, high), labels, log_x)
    page = slider_page(
        values,
        start,
        parameter=parameter,
        title=title,
        size=(_WIDTH, _HEIGHT),
        drawn="\n".join([axes, *drawn]),
        below=f'<div style="font-size:0.9em">{legend}</div>',
        data={"paths": paths},
        draw='mark.setAttribute("d", data.paths[k][i]);',
    )
    rows = [
        {"panel": 1, "slider": value, "mark": "line", "series": label, "x": h, "y": v}
        for label, family in families.items()
        for value, curve in zip(values, family, strict=True)
        for h, v in zip(grid, curve, strict=True)
        if np.isfinite(v)
    ]
    head = f"panel 1: {title}; x: {labels[0]}; y: {labels[1]}; slider: {parameter}"
    return Interactive(page, table.written([head], rows))


def _checked(
    x: ArrayLike, curves: Mapping[str, ArrayLike], n_values: int, log_x: bool
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    grid = np.asarray(x, dtype=np.float64)
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0).all():
        raise ValueError(f"x must be increasing, (T,) with T ≥ 2, not of shape {grid.shape}")
    if not np.isfinite(grid).all() or (log_x and grid[0] <= 0):
        raise ValueError("x must be finite, and positive where log_x: leave other points out")
    if not 1 <= len(curves) <= len(_STROKES):
        raise ValueError(f"curves must be 1 to {len(_STROKES)}, not {len(curves)}: draw fewer")
    families = {}
    for label, value in curves.items():
        family = families[label] = np.asarray(value, dtype=np.float64)
        if family.shape != (n_values, grid.size):
            raise ValueError(
                f"curve {label!r} must have shape ({n_values}, {grid.size}), a row for each "
                f"value, not {family.shape}"
            )
        if np.isinf(family).any() or not np.isfinite(family).any():
            raise ValueError(f"curve {label!r} must be finite somewhere, and nowhere infinite")
    return grid, families


def _path(across: NDArray[np.float64], down: NDArray[np.float64]) -> str:
    """An SVG path through the points (T,), with a gap at each NaN."""
    parts, pen = [], "M"
    for h, v in zip(across, down, strict=True):
        if np.isfinite(v):
            parts.append(f"{pen}{h:.1f} {v:.1f}")
        pen = "L" if np.isfinite(v) else "M"
    return "".join(parts)


def _axes(
    x: tuple[float, float], y: tuple[float, float], labels: tuple[str, str], log_x: bool
) -> str:
    """Both axes with their ticks and names; x in the units of the axis, log10 if `log_x`."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines, texts = [f"M{_LEFT} {_TOP}V{bottom}H{right}"], []
    for tick in _ticks(*x, whole=log_x):
        h = _LEFT + (tick - x[0]) / (x[1] - x[0]) * (right - _LEFT)
        lines.append(f"M{h:.1f} {bottom}v4")
        text = f"{10**tick:g}" if log_x else f"{tick:g}"
        texts.append((f'x="{h:.1f}" y="{bottom + 17}"', "middle", text))
    for tick in _ticks(*y, whole=False):
        v = bottom - (tick - y[0]) / (y[1] - y[0]) * (bottom - _TOP)
        lines.append(f"M{_LEFT} {v:.1f}h-4")
        texts.append((f'x="{_LEFT - 7}" y="{v + 4:.1f}"', "end", f"{tick:g}"))
    texts.append((f'x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}"', "middle", labels[0]))
    turned = f'transform="translate(12 {(bottom + _TOP) / 2}) rotate(-90)"'
    texts.append((turned, "middle", labels[1]))
    words = [f'<text {at} text-anchor="{side}">{escape(t)}</text>' for at, side, t in texts]
    body = "\n".join(words)
    return f'<path d="{"".join(lines)}"/>\n<g stroke="none" fill="currentColor">\n{body}\n</g>'


def _ticks(low: float, high: float, whole: bool) -> list[float]:
    """Round numbers in [low, high], about five; integers if `whole`."""
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)
    room = 1e-9 * (high - low)
    return [round(float(t), 12) for t in ticks if low - room <= t <= high + room]
