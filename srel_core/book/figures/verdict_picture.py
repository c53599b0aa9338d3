"""The verdicts at a glance as a picture, for where there is no HTML: readings by data sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from srel_core.book.claims.evidence import Claim, Count, Evidence, Finding, Word
from srel_core.book.figures.style import OTHERS, SAME
from srel_core.book.figures.verdict_grid import SIGNS
from srel_core.book.figures.words import literal
from srel_core.book.published.numbers import title_of

_COLOURS: dict[Word, str] = {
    "holds": SAME, "does not hold": OTHERS[0], "depends": "#666666", "cannot be told": "#666666",
    "not examined": "#666666",
}  # fmt: skip
_LABELS, _CELL = 5.2, 2.2  # widths
# The top of a mark from the middle of its row, its height and its colour.
_MARKS = {
    "above": (-0.24, 0.2, SAME),
    "below": (0.04, 0.2, OTHERS[0]),
    "undecided": (-0.03, 0.06, "#666666"),
}


@dataclass(frozen=True)
class _Row:
    text: str
    cells: tuple[Evidence | Word | None, ...]
    head: bool = False


def verdict_picture(found: Sequence[Claim]) -> Figure:
    """A row for each reading of each claim, and in it a cell for each data set that was run, with a
    sign and a mark for each epoch; one row for all readings of a claim that has no data sets and
    one verdict."""
    shown = list(dict.fromkeys(name for claim in found for name in claim.findings if name))
    rows = [
        row for number, claim in enumerate(found, start=1) for row in _rows(number, claim, shown)
    ]
    width = _LABELS + _CELL * max(1, len(shown))
    figure, axes = plt.subplots(figsize=(width, 0.3 * (len(rows) + 1)), layout="constrained")
    axes.set(xlim=(0, width), ylim=(len(rows), -1))
    axes.axis("off")
    for i, name in enumerate(shown):
        axes.text(
            _LABELS + (i + 0.5) * _CELL, -0.5, literal(title_of(name), 20), ha="center", va="center"
        )
    for y, row in enumerate(rows):
        _draw(axes, y + 0.5, row, len(shown))
    return figure


def _rows(number: int, claim: Claim, shown: Sequence[str]) -> Iterator[_Row]:
    yield _Row(f"{number}. {claim.title}", (claim.word,), head=True)
    alone = claim.findings.get("", ())
    if len({f.word for f in alone}) == 1 < len(alone):
        yield _Row(f"all {len(alone)} readings", (alone[0].word,))
        return
    for reading in claim.readings:
        cells = tuple(
            next((f for f in claim.findings.get(name, ()) if f.reading == reading), None)
            for name in ([""] if alone else shown)
        )
        yield _Row(reading.replace("`", ""), cells)


def _draw(axes: Axes, y: float, row: _Row, columns: int) -> None:
    if row.head:
        axes.axhline(y - 0.5, color="#cccccc", linewidth=0.8)
        axes.text(0, y, row.text, va="center", weight="bold", fontsize=10)
        return
    axes.text(0.2, y, row.text, va="center", fontsize=10)
    width = _CELL * max(1, columns) / len(row.cells)
    for i, cell in enumerate(row.cells):
        if cell is not None:
            _cell(axes, _LABELS + i * width, y, width, cell)


def _cell(axes: Axes, x: float, y: float, width: float, cell: Evidence | Word) -> None:
    word = cell if isinstance(cell, str) else cell.word
    colour = _COLOURS[word]
    ground = Rectangle((x, y - 0.38), width - 0.1, 0.76, color=colour, alpha=0.15, linewidth=0)
    axes.add_patch(ground)
    axes.text(x + 0.3, y, SIGNS[word], ha="center", va="center", color=colour, weight="bold")
    match cell:
        case Finding():
            for epoch, side in enumerate(cell.sides):
                top, height, mark = _MARKS[side]
                place = (x + 0.6 + 0.16 * epoch, y + top)
                axes.add_patch(Rectangle(place, 0.11, height, color=mark))
        case Count():
            said = f"{cell.within} of {cell.of}"
            axes.text(x + 0.6, y, said, va="center", fontsize=9, color=colour)
        case _:
            axes.text(x + 0.6, y, word, va="center", fontsize=9, color=colour)
