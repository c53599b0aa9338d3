"""What a figure draws, as a table: read off the figure itself, so that the two cannot disagree.

Figures made within `style.style()` carry it: wherever IPython shows one, its metadata have CSV, and
the book's pages link it. A row is a point of a line, a point by itself, the interval of a band at
one place, a segment, a bar or a cell; `COLUMNS` says what stands in each column. Columns in which
nothing stands are left out, and numbers have seven digits.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, PathCollection
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from srel_core.experiments.terminal import plain

MEDIA_TYPE = "text/csv"
"""Under which the metadata of an output hold the table."""

COLUMNS = {
    "panel": "number of the axes, from 1; lines with # above the table describe them",
    "slider": "what the slider of the figure is set to, if it has one",
    "mark": "line, point, band, segment, bar, cell, vertical or horizontal",
    "series": "the label in the legend, if there is one",
    "x": "place; the left edge of a bar",
    "y": "place; the lower edge of a bar, the lower end of a band",
    "x_to": "the other end of a segment or a band, the right edge of a bar",
    "y_to": "the other end of a segment or a band, the upper edge of a bar",
    "value": "of a cell",
    "x_name": "what is written at this place on an axis whose ticks have names",
    "y_name": "the same of the other axis",
}
Row = dict[str, Any]


def attach(figure: Figure) -> None:
    """Let IPython find the table beside the picture; matplotlib calls it, a "figure hook"."""

    def bundle(**_: Any) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {MEDIA_TYPE: of(figure)}

    figure._repr_mimebundle_ = bundle  # type: ignore[attr-defined]


def of(figure: Figure) -> str:
    """The CSV of a figure. TypeError for something drawn that it has no row for."""
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    heads = [_head(number, axes) for number, axes in enumerate(panels, start=1)]
    rows = [
        {"panel": number, **row, **_names(axes, row)}
        for number, axes in enumerate(panels, start=1)
        for artist in [*axes.lines, *axes.collections, *axes.patches, *axes.images]
        if artist.get_visible()
        for row in _labelled(axes, artist)
    ]
    return written(heads, rows)


def written(heads: Iterable[str], rows: Sequence[Row]) -> str:
    """Rows as CSV, with those of `COLUMNS` in which something stands, below lines of comment."""
    used = [name for name in COLUMNS if any(row.get(name, "") != "" for row in rows)]
    file = io.StringIO()
    file.writelines(f"# {plain(' '.join(head.split()))}\n" for head in heads)
    writer = csv.DictWriter(file, used, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _text(value: Any) -> str:
    """Of a name in one line, and no formula to a spreadsheet."""
    if isinstance(value, float | np.floating):
        return f"{value:.7g}"
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _head(number: int, axes: Axes) -> str:
    """A panel in one line: its title, and what its axes show."""
    said = {"title": axes.get_title(), "x": axes.get_xlabel(), "y": axes.get_ylabel()}
    words = "; ".join(f"{name}: {text}" for name, text in said.items() if text)
    return f"panel {number}: {words}" if words else f"panel {number}"


def _labelled(axes: Axes, artist: Artist) -> Iterator[Row]:
    """The rows of something drawn, with its label, which it may share with what belongs to it."""
    together: list[Artist | Container] = [artist]
    for container in axes.containers:
        if artist in container.get_children():
            together = [container, *container.get_children()]
    labels = [str(one.get_label()) for one in together]
    series = next((label for label in labels if not label.startswith("_")), "")
    for row in _rows(axes, artist):
        yield {**row, "series": series}


def _rows(axes: Axes, artist: Artist) -> Iterator[Row]:
    match artist:
        case Line2D():
            yield from _line(axes, artist)
        case FillBetweenPolyCollection():
            yield from _band(artist)
        case LineCollection():
            for points in artist.get_segments():
                for (x, y), (x_to, y_to) in pairwise(points):
                    yield {"mark": "segment", "x": x, "y": y, "x_to": x_to, "y_to": y_to}
        case PathCollection():
            for x, y in np.asarray(artist.get_offsets()):
                yield {"mark": "point", "x": x, "y": y}
        case Rectangle():
            yield _bar(axes, artist)
        case AxesImage():
            values: Any = artist.get_array()
            for (y, x), value in np.ndenumerate(np.ma.filled(values, np.nan)):
                yield {"mark": "cell", "x": x, "y": y, "value": value}
        case FancyArrowPatch():  # the head of an arrow, on a line that is there
            return
        case _:
            raise TypeError(
                f"a figure has a {type(artist).__name__}, which its table has no row for: add "
                "one in srel_core.book.figures.table"
            )


def _line(axes: Axes, line: Line2D) -> Iterator[Row]:
    x, y = (np.asarray(values, dtype=float) for values in line.get_data(orig=False))
    if line.get_transform() == axes.get_xaxis_transform(which="grid"):
        yield {"mark": "vertical", "x": x[0]}
    elif line.get_transform() == axes.get_yaxis_transform(which="grid"):
        yield {"mark": "horizontal", "y": y[0]}
    else:
        mark = "point" if line.get_linestyle() == "None" else "line"
        yield from ({"mark": mark, "x": a, "y": b} for a, b in zip(x, y, strict=True))


def _band(band: FillBetweenPolyCollection) -> Iterator[Row]:
    """A path of `fill_between` goes along one side, and back along the other."""
    for path in band.get_paths():
        corners = np.asarray(path.vertices)
        half = (len(corners) - 3) // 2
        there, back = corners[1 : half + 1], corners[half + 2 : 2 * half + 2][::-1]
        for (x, low), (_, high) in zip(there, back, strict=True):
            yield {"mark": "band", "x": x, "y": low, "x_to": x, "y_to": high}


def _bar(axes: Axes, bar: Rectangle) -> Row:
    (x, y), (x_to, y_to) = np.asarray([bar.get_xy(), bar.get_corners()[2]])
    if bar.get_transform() == bar.get_patch_transform() + axes.get_xaxis_transform(which="grid"):
        return {"mark": "bar", "x": x, "x_to": x_to}  # `axvspan` is as high as its axes
    return {"mark": "bar", "x": x, "y": y, "x_to": x_to, "y_to": y_to}


def _names(axes: Axes, row: Row) -> Row:
    """What is written on the axes at the place of a row."""
    given = (("x", axes.xaxis), ("y", axes.yaxis))
    named = ((name, _name(axis, row[name])) for name, axis in given if name in row)
    return {f"{name}_name": text for name, text in named if text}


def _name(axis: Axis, place: float) -> str:
    """The words at the tick beside which a mark stands; "" if ticks are numbers."""
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    words = isinstance(formatter, FixedFormatter | FuncFormatter)
    ticks = np.asarray(locator()) if words and isinstance(locator, FixedLocator) else np.empty(0)
    near = np.flatnonzero(np.abs(ticks - place) <= 0.5)
    return str(formatter(ticks[near[0]], int(near[0]))) if near.size else ""
