"""Pairs of a script and its notebook: what is noticed, and that no edit is lost."""

import nbformat
import pytest

from tests.support.book import call, make_book, tree

NOTEBOOK = "chapters/tiny.ipynb"
SCRIPT = "chapters/tiny.py"


@pytest.fixture
def book(tmp_path):
    return make_book(tmp_path / "book")


def change(book, edit):
    """Apply `edit` to the notebook, as Jupyter would write it."""
    notebook = nbformat.read(book / NOTEBOOK, 4)
    edit(notebook)
    nbformat.write(notebook, book / NOTEBOOK)


def ids(book):
    return [cell.id for cell in nbformat.read(book / NOTEBOOK, 4).cells]


def edit_source(notebook):
    notebook.cells[2].source += "\nprint('edited')"


def add_cell(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("more = 1"))


def edit_metadata(notebook):
    notebook.cells[3].metadata["mystnb"]["image"]["alt"] = "another text"


def execute(notebook):
    cell = notebook.cells[2]
    cell.execution_count = 1
    cell.outputs = [nbformat.v4.new_output("stream", text="1")]
    cell.metadata["execution"] = {"shell.execute_reply": "now"}


def test_a_fresh_pair_is_in_step_and_sync_changes_nothing(book):
    before = tree(book)
    assert call(book, "pairs", "check").returncode == 0
    assert call(book, "pairs", "sync").returncode == 0
    assert tree(book) == before


def test_a_mark_of_the_encoding_before_a_script_is_no_part_of_it(book):
    before = (book / NOTEBOOK).read_bytes()
    (book / SCRIPT).write_bytes(b"\xef\xbb\xbf" + (book / SCRIPT).read_bytes())
    assert call(book, "pairs", "check").returncode == 0
    assert call(book, "pairs", "sync").returncode == 0
    assert (book / NOTEBOOK).read_bytes() == before


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (edit_source, "cell 3 differs"),
        (add_cell, "6 cells"),
        (edit_metadata, "cell 4 differs"),
        (execute, "cell 3 holds outputs"),
        (lambda notebook: notebook.metadata.update(title="x"), "metadata or cell ids differ"),
    ],
)
def test_check_names_what_differs(book, edit, words):
    change(book, edit)
    before = tree(book)
    done = call(book, "pairs", "check")
    assert done.returncode == 1
    assert words in done.stderr and "pairs.py sync" in done.stderr
    assert tree(book) == before


@pytest.mark.parametrize("edit", [edit_source, add_cell, edit_metadata])
def test_sync_does_not_overwrite_what_was_edited_in_the_notebook(book, edit):
    change(book, edit)
    before = tree(book)
    done = call(book, "pairs", "sync")
    assert done.returncode == 1
    assert "was edited in the notebook" in done.stderr and "jupytext --to py:percent" in done.stderr
    assert tree(book) == before


def test_sync_strips_outputs(book):
    before = tree(book)
    change(book, execute)
    assert call(book, "pairs", "sync").returncode == 0
    assert tree(book) == before


def test_sync_follows_the_script_and_leaves_the_ids_of_other_cells(book):
    before = ids(book)
    script = book / SCRIPT
    script.write_text(script.read_text() + "\n# %%\nlast = 1\n\n# %%\nlast = 1\n")
    assert call(book, "pairs", "check").returncode == 1
    assert call(book, "pairs", "sync").returncode == 0
    assert call(book, "pairs", "check").returncode == 0
    assert ids(book)[: len(before)] == before
    assert len(set(ids(book))) == len(before) + 2


def test_a_notebook_without_a_script_and_a_script_without_a_notebook_are_errors(book):
    (book / SCRIPT).rename(book / "chapters/other.py")
    done = call(book, "pairs", "check")
    assert done.returncode == 1
    assert "tiny.ipynb has no tiny.py" in done.stderr and "other.ipynb is missing" in done.stderr
