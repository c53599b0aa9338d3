"""The look of the figures: one colour a meaning throughout the book, from Okabe and Ito's
colour-blind-safe set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt

from srel_core.book.figures import table

SAME = "#0072B2"

OTHERS = ("#D55E00", "#CC79A7", "#E69F00", "#F0E442")

RULES = {"sgd": "#0072B2", "adam": "#D55E00", "tangent": "#009E73", "optimizer": "#CC79A7"}

_STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.hooks": [f"{table.__name__}:{table.attach.__name__}"],  # the data behind each
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.bbox": "tight",
}


@contextmanager
def style() -> Iterator[None]:
    """The book's figure style, for the figures made within."""
    with plt.rc_context(_STYLE):
        yield
