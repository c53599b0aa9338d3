"""Two builds of the book are compared: what is marked may differ, and nothing else."""

import nbformat
import pytest

from srel_core.book.text.markup import varying
from tests.support.book import call, tool


def site(folder, seconds="3 s", value="0.5", threads="1"):
    """A book of one page and its notebook."""
    folder.mkdir()
    said = f"It took {varying(seconds)} and gave {value}."
    (folder / "index.html").write_text(f"<p>{said}</p>")
    (folder / "searchindex.js").write_text(seconds)
    output = nbformat.v4.new_output(
        "display_data",
        {"text/markdown": said, "text/plain": seconds},
        metadata={"srel_core": [{"seed": "0", "threads": threads, "run time": seconds}]},
    )
    cell = nbformat.v4.new_code_cell("1", outputs=[output], execution_count=1, id="a")
    run = {"papermill": {"duration": seconds}, "srel_core": {"environment": {"commit": seconds}}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=run), folder / "page.ipynb")
    return folder


def test_what_is_marked_may_differ(tmp_path):
    first, second = site(tmp_path / "a"), site(tmp_path / "b", seconds="4 s", threads="2")
    assert tool("compare_books").differences(first, second) == []
    assert call(tmp_path, "compare_books", first, second).returncode == 0


def test_everything_else_is_named(tmp_path):
    first, second = site(tmp_path / "a"), site(tmp_path / "b", value="0.6")
    (second / "figure.png").write_bytes(b"new")
    done = call(tmp_path, "compare_books", first, second)
    assert done.returncode == 1
    assert done.stderr.split("\n") == [
        "compare_books: error: figure.png is in one of the two alone",
        "compare_books: error: index.html differs",
        "compare_books: error: page.ipynb differs",
        "",
    ]


@pytest.mark.parametrize("missing", ["a", "b"])
def test_a_folder_without_a_book_is_an_error(tmp_path, missing):
    for name in {"a", "b"} - {missing}:
        site(tmp_path / name)
    done = call(tmp_path, "compare_books", "a", "b")
    assert done.returncode == 1 and f"error: {missing} has no index.html" in done.stderr
