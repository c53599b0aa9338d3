"""Figures lose bytes, and nothing that one sees."""

import base64
from io import BytesIO

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from PIL import Image

from srel_core.book.figures.style import OTHERS, SAME, style
from tests.support.book import tool


def drawn(**how):
    with style():
        figure, axes = plt.subplots(layout="constrained")
        for i, colour in enumerate((SAME, *OTHERS)):
            axes.plot(np.arange(50), np.sin(np.arange(50) / (i + 3)), color=colour, label=f"{i}")
            axes.fill_between(np.arange(50), -0.1 * i, 0.1 * i, color=colour, alpha=0.2)
        axes.legend()
        file = BytesIO()
        figure.savefig(file, format="png", **how)
        plt.close(figure)
    return file.getvalue()


def shrunk(png):
    output = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(png).decode()})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    tool("pictures").shrink(notebook)
    return base64.b64decode(notebook.cells[0].outputs[0].data["image/png"])


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=float)


def test_a_figure_shrinks_and_looks_the_same():
    before = drawn()
    after = shrunk(before)
    assert len(after) < len(before) / 2
    assert pixels(after).shape == pixels(before).shape
    difference = np.abs(pixels(after) - pixels(before))
    assert difference.mean() < 1 and np.quantile(difference, 0.999) < 24
    assert shrunk(before) == after


def test_a_transparent_figure_stands_on_white():
    assert pixels(shrunk(drawn(transparent=True)))[0, 0].tolist() == [255, 255, 255]
