"""The table of a figure holds what was drawn, all of it, where it was drawn."""

import csv

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Circle

from srel_core.book.figures import table
from srel_core.book.figures.style import style

X = np.array([0.5, 1.0, 2.0])


@pytest.fixture
def axes():
    with style():
        figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def rows(axes):
    lines = table.of(axes.figure).splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def numbers(found, *columns):
    return np.array([[float(row[name]) for name in columns] for row in found])


def test_a_line_and_its_band(axes):
    axes.fill_between(X, X - 1, X + 1, label="_not in the legend")
    axes.plot(X, X**2, label="square")
    found = rows(axes)
    assert [(row["mark"], row["series"]) for row in found] == [("line", "square")] * 3 + [
        ("band", "")
    ] * 3
    assert (numbers(found[:3], "x", "y") == np.stack([X, X**2], 1)).all()
    assert (numbers(found[3:], "x", "y", "x_to", "y_to") == np.stack([X, X - 1, X, X + 1], 1)).all()


def test_a_band_with_a_gap_keeps_both_parts(axes):
    low = np.array([0.0, 1.0, np.nan, 3.0, 4.0])
    axes.fill_between(range(5), low, low + 1)
    assert (numbers(rows(axes), "x", "y_to") == [[0, 1], [1, 2], [3, 4], [4, 5]]).all()


def test_points_are_no_line(axes):
    axes.plot(X, X, "o", label="a")
    axes.scatter(X, 2 * X, label="b")
    found = rows(axes)
    assert [(row["mark"], row["series"]) for row in found] == [("point", s) for s in "aaabbb"]
    assert (numbers(found, "x", "y") == np.stack([[*X, *X], [*X, *2 * X]], 1)).all()


def test_error_bars_belong_to_their_points(axes):
    axes.errorbar(X, X, yerr=[X / 2, X / 4], label="c", linestyle="", marker="o")
    found = rows(axes)
    assert {row["series"] for row in found} == {"c"}
    ends = numbers([row for row in found if row["mark"] == "segment"], "y", "y_to")
    assert (ends == np.stack([X / 2, 1.25 * X], 1)).all()


def test_what_crosses_the_whole_panel(axes):
    axes.axvline(3)
    axes.axhline(0.25)
    axes.axvspan(1, 2)
    assert [{k: v for k, v in row.items() if v} for row in rows(axes)] == [
        {"panel": "1", "mark": "vertical", "x": "3"},
        {"panel": "1", "mark": "horizontal", "y": "0.25"},
        {"panel": "1", "mark": "bar", "x": "1", "x_to": "2"},
    ]


def test_bars_with_names(axes):
    axes.barh([0, 1], [3, 4], left=[0, 1], label="d")
    axes.set_yticks([0, 1], ["no", "yes"])
    found = rows(axes)
    assert [(row["series"], row["y_name"]) for row in found] == [("d", "no"), ("d", "yes")]
    assert (numbers(found, "x", "x_to", "y", "y_to") == [[0, 3, -0.4, 0.4], [1, 5, 0.6, 1.4]]).all()


def test_a_histogram(axes):
    axes.hist([0.1, 0.2, 1.5], [0, 1, 2], label="e")
    assert (numbers(rows(axes), "x", "x_to", "y_to") == [[0, 1, 2], [1, 2, 1]]).all()
    assert [row["series"] for row in rows(axes)] == ["e", "e"]


def test_cells_have_the_names_on_the_axes(axes):
    values = np.array([[1.0, np.nan], [3.0, 4.0]])
    image = axes.imshow(values)
    axes.set_xticks([0, 1], ["cat", "ship"])
    axes.figure.colorbar(image)
    found = rows(axes)
    assert [row["x_name"] for row in found] == ["cat", "ship", "cat", "ship"]
    cells = numbers(found, "y", "x", "value")
    assert (cells[:, :2] == [[0, 0], [0, 1], [1, 0], [1, 1]]).all()
    np.testing.assert_array_equal(cells[:, 2], values.ravel())


def test_each_panel_is_described_in_a_line_above():
    with style():
        figure, (left, right) = plt.subplots(1, 2)
    left.plot([1], [2])
    right.plot([3], [4])
    left.set(title="A\nB", xlabel="step", ylabel="$S$")
    lines = table.of(figure).splitlines()
    plt.close(figure)
    assert lines == [
        "# panel 1: title: A B; x: step; y: $S$", "# panel 2", "panel,mark,x,y", "1,line,1,2",
        "2,line,3,4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("=HYPERLINK(0)", "'=HYPERLINK(0)"), ("+cmd", "'+cmd"), ("@x", "'@x"), ("-1e-4", "-1e-4"),
        ("\x1b[2J\n# x", r"\x1b[2J\n# x"), ("größe", "größe"),
    ],
)  # fmt: skip
def test_a_name_of_others_is_one_cell_and_no_formula(label, written):
    text = table.written(["panel 1: \x1b[2J"], [{"panel": 1, "series": label, "x": 1.0}])
    head, *rows = text.splitlines()
    assert head == r"# panel 1: \x1b[2J" and len(rows) == 2
    assert [row["series"] for row in csv.DictReader(rows)] == [written]


def test_what_has_no_row_is_named(axes):
    axes.add_patch(Circle((0, 0), 1))
    with pytest.raises(TypeError, match="a figure has a Circle, which its table has no row for"):
        table.of(axes.figure)


def test_what_is_drawn_after_the_figure_was_made_counts(axes):
    axes.plot(X, X)
    assert axes.figure._repr_mimebundle_() == ({}, {"text/csv": table.of(axes.figure)})
    before = table.of(axes.figure)
    axes.plot(X, -X)
    assert axes.figure._repr_mimebundle_()[1]["text/csv"] != before
