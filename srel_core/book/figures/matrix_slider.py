"""A class matrix that the reader moves through training: a heat map behind one slider.

All steps share one logarithmic colour scale. A cell's number is black or white, whichever stands
out more on its colour; on any colour one of the two has a contrast of 4.58 : 1 or more, above the
4.5 that WCAG 2 asks for. So it does in light and dark mode alike: cells have grounds of their own.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import ArrayLike, NDArray

from srel_core.book.figures import table
from srel_core.book.figures.slider import Interactive, check_slider, slider_page
from srel_core.book.figures.words import shortened

_GRID = 270
_BAR_GAP, _BAR_WIDTH, _BAR_STEPS = 16, 14, 32
_LETTER = 6.8  # width of a letter at font size 12, on the large side
_LONGEST = 24  # letters of a name
_UNDEFINED = "#6b6b6b"
_MAP = colormaps["viridis"]


def slider_heatmap(
    matrices: ArrayLike,
    names: Sequence[str],
    values: Sequence[str],
    *,
    parameter: str,
    title: str,
    labels: tuple[str, str],
    quantity: str,
    start: int = 0,
) -> Interactive:
    """A class matrix S[c', c] whose colours and numbers follow a slider over `values`.

    matrices   (V, C, C), ≥ 0: a matrix for each value, rows c', columns c. NaN is undefined, and
               shown as a dash on grey
    names      C texts, those of the classes; long ones are shown with a gap
    values     V texts, those of the parameter, in the slider's order
    parameter  its name, beside the slider
    title      says what the figure shows, to those who cannot see it
    labels     of columns and rows
    quantity   what the colours mean
    start      index of the value shown first

    Equal arguments give equal text. Raises ValueError for shapes that do not fit.
    """
    check_slider(values, start)
    given = _checked(matrices, len(values), len(names))
    positive = given[given > 0]  # not NaN either
    low, high = float(positive.min()), float(positive.max())
    fills = _fills(given, low, high)
    texts = [[f"{v:.2g}" if np.isfinite(v) else "–" for v in matrix.ravel()] for matrix in given]
    inks = [[ink(fill) for fill in row] for row in fills]
    shown = [shortened(name, _LONGEST) for name in names]
    frame, origin, size = _frame(shown, labels, quantity, (low, high))
    cell = _GRID / len(names)
    drawn = [
        f'<g data-mark><rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
        f'fill="{fill}"/><text x="{x + cell / 2:.1f}" y="{y + 0.57 * cell:.1f}" fill="{colour}">'
        f"{text}</text></g>"
        for (row, column), fill, colour, text in zip(
            np.ndindex(given.shape[1:]), fills[start], inks[start], texts[start], strict=True
        )
        for x, y in [(origin[0] + column * cell, origin[1] + row * cell)]
    ]
    group = f'<g stroke="none" text-anchor="middle" font-size="{min(14, cell / 4):.1f}">'
    page = slider_page(
        values,
        start,
        parameter=parameter,
        title=title,
        size=size,
        drawn="\n".join([frame, group, *drawn, "</g>"]),
        below="",
        data={"fills": fills, "inks": inks, "texts": texts},
        draw=(
            "const [ground, number] = mark.children; "
            'ground.setAttribute("fill", data.fills[i][k]); '
            'number.setAttribute("fill", data.inks[i][k]); '
            "number.textContent = data.texts[i][k];"
        ),
    )
    rows = [
        {"panel": 1, "slider": step, "mark": "cell", "x": column, "y": row, "value": value,
         "x_name": names[column], "y_name": names[row]}
        for step, matrix in zip(values, given, strict=True)
        for (row, column), value in np.ndenumerate(matrix)
    ]  # fmt: skip
    head = f"panel 1: {title}; x: {labels[0]}; y: {labels[1]}; slider: {parameter}"
    return Interactive(page, table.written([f"{head}; value: {quantity}"], rows))


def ink(fill: str) -> str:
    """Black or white, as hex: the one that has more contrast with `fill`, also hex."""
    return max("#000000", "#ffffff", key=lambda colour: contrast(colour, fill))


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, 1 to 21, by WCAG 2."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _checked(matrices: ArrayLike, n_values: int, n_classes: int) -> NDArray[np.float64]:
    given = np.asarray(matrices, dtype=np.float64)
    wanted = (n_values, n_classes, n_classes)
    if not n_classes or given.shape != wanted:
        raise ValueError(
            f"matrices must have shape {wanted}, a row and a column for each name, "
            f"not {given.shape}"
        )
    if (given < 0).any() or np.isinf(given).any() or not (given > 0).any():
        raise ValueError("matrices must be finite or NaN, nowhere negative and somewhere positive")
    return given


def _fills(given: NDArray[np.float64], low: float, high: float) -> list[list[str]]:
    """The colour of each cell, a row of C·C for each value; zeros have the lowest colour."""
    span = np.log(high / low) or 1.0
    heights = np.log(np.maximum(given, low) / low) / span
    return [
        [_UNDEFINED if np.isnan(h) else to_hex(_MAP(h)) for h in row.ravel()] for row in heights
    ]


def _frame(
    names: Sequence[str], labels: tuple[str, str], quantity: str, scale: tuple[float, float]
) -> tuple[str, tuple[float, float], tuple[float, float]]:
    """What does not move: names, labels and colour bar; where the grid begins; the size of all."""
    longest = _LETTER * max(map(len, names))
    cell = _GRID / len(names)
    turned = longest > cell
    left, top = 30 + longest, 8.0
    below = top + _GRID + (14 + 0.75 * longest if turned else 20)
    texts = []
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        texts.append((f'x="{left - 6:.1f}" y="{top + middle + 4:.1f}"', "end", name))
        x, y = left + middle, top + _GRID + 15
        place = f'transform="translate({x:.1f} {y:.1f}) rotate(-45)"'
        upright = (f'x="{x:.1f}" y="{y:.1f}"', "middle", name)
        texts.append((place, "end", name) if turned else upright)
    texts.append((f'x="{left + _GRID / 2:.1f}" y="{below + 14:.1f}"', "middle", labels[0]))
    upward = f'transform="translate(14 {top + _GRID / 2:.1f}) rotate(-90)"'
    texts.append((upward, "middle", labels[1]))
    bar = left + _GRID + _BAR_GAP
    ticks = np.geomspace(*scale, 3) if scale[1] > scale[0] else np.array(scale[:1])
    for tick, y in zip(ticks, np.linspace(top + _GRID, top, 3), strict=False):
        near = np.clip(y + 4, top + 10, top + _GRID)
        texts.append((f'x="{bar + _BAR_WIDTH + 5:.1f}" y="{near:.1f}"', "start", f"{tick:.2g}"))
    sideways = f"translate({bar + _BAR_WIDTH + 62:.1f} {top + _GRID / 2:.1f}) rotate(-90)"
    texts.append((f'transform="{sideways}"', "middle", quantity))
    part = _GRID / _BAR_STEPS
    rectangles = [
        f'<rect x="{bar:.1f}" y="{top + _GRID - (i + 1) * part:.1f}" width="{_BAR_WIDTH}" '
        f'height="{part + 0.5:.1f}" fill="{to_hex(_MAP(i / (_BAR_STEPS - 1)))}"/>'
        for i in reversed(range(_BAR_STEPS))
    ]
    words = [f'<text {at} text-anchor="{side}">{escape(t)}</text>' for at, side, t in texts]
    body = "\n".join([*rectangles, *words])
    size = (round(bar + _BAR_WIDTH + 70), round(below + 22))
    return f'<g stroke="none" fill="currentColor">\n{body}\n</g>', (left, top), size
