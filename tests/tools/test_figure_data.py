"""The data behind figures: from a chapter's outputs to files that say how they were made."""

import csv

import matplotlib.pyplot as plt
import nbformat
from IPython.core.formatters import DisplayFormatter

from srel_core.book.figures import table
from srel_core.book.figures.style import style
from tests.support.book import tool

ENVIRONMENT = {"commit": "c0ffee", "device": "a CPU", "machine": "Linux"} | dict.fromkeys(
    ("python", "srel-core", "torch", "numpy", "scipy", "xarray"), "1"
)


def notebook(*cells, commit="c0ffee", **given):
    """An executed chapter; each cell is given by the name of its figure and what it shows."""
    made = [
        nbformat.v4.new_code_cell(
            "draw()",
            execution_count=number,
            outputs=[
                nbformat.v4.new_output("display_data", {}, metadata={"text/csv": text})
                for text in shown
            ],
            metadata={"mystnb": {"figure": {"name": name}}} if name else {},
        )
        for number, (name, *shown) in enumerate(cells, start=1)
    ]
    run = {"start_time": "2026-01-02T", "duration": 3.0, "parameters": given}
    kept = {"parameters": {"profile": "'smoke'"}, "environment": {**ENVIRONMENT, "commit": commit}}
    return nbformat.v4.new_notebook(
        cells=made, metadata={"papermill": run, tool("record").KEY: kept}
    )


def test_ipython_shows_the_table_beside_the_picture():
    with style():
        figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    plt.close(figure)
    shown, metadata = DisplayFormatter().format(figure)
    assert "text/plain" in shown and metadata == {"text/csv": table.of(figure)}


def test_a_file_says_how_it_was_made():
    given = {"profile": "smoke", "classes": ["a b"], "epochs": 3}
    files = tool("figure_data").tables(notebook(("fig-a", "x\n1\n"), **given), "tiny")
    assert files == {
        1: {
            "tiny-fig-a.csv": (
                "# figure: fig-a of chapters/tiny.ipynb\n"
                "# made by: python tools/run_chapter.py chapters/tiny.ipynb out.ipynb -p profile "
                """smoke -p classes '['"'"'a b'"'"']' -p epochs 3\n"""
                "# commit: c0ffee\nx\n1\n"
            )
        }
    }


def test_every_figure_has_a_file_of_its_own():
    made = notebook(("fig-a", "1", "2"), (None, "3"), ("fig-b",))
    files = tool("figure_data").tables(made, "tiny")
    assert [list(names) for names in files.values()] == [
        ["tiny-fig-a-1.csv", "tiny-fig-a-2.csv"], ["tiny-cell-2.csv"],
    ]  # fmt: skip


def test_a_chapter_that_was_not_executed_has_none(tmp_path):
    bare = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("draw()")])
    assert tool("figure_data").tables(bare, "tiny") == {}


def test_two_builds_may_differ_in_the_commit_alone(tmp_path):
    sites = []
    for commit, number in (("a", 1), ("b", 1), ("b", 2)):
        files = tool("figure_data").tables(notebook(("f", f"x\n{number}\n"), commit=commit), "t")
        sites.append(tmp_path / f"{commit}{number}")
        assert tool("figure_data").write(files, sites[-1]) == {1: ["data/t-f.csv"]}
    differences = tool("compare_books").differences
    assert differences(sites[0], sites[1]) == []
    assert differences(sites[1], sites[2]) == ["data/t-f.csv differs"]
    lines = (sites[0] / "data/t-f.csv").read_text().splitlines()
    assert list(csv.DictReader(line for line in lines if line[0] != "#")) == [{"x": "1"}]
