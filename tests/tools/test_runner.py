"""The strict chapter runner: what it refuses, what it writes, what a failure leaves."""

import json
import sys
import warnings
from pathlib import Path

import nbformat
import pytest

from tests.support.book import CHAPTER as CODE
from tests.support.book import call, make_book, program, tool, tree

CHAPTER = "chapters/tiny.ipynb"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return make_book(tmp_path_factory.mktemp("runner") / "book")


def execute(book, out, *parameters):
    return call(book, "run_chapter", CHAPTER, out, *parameters)


def test_parameters_are_hidden_where_the_chapter_hides_its_own(tmp_path):
    script = CODE.replace('tags=["parameters"]', 'tags=["parameters", "remove-cell"]')
    out = tmp_path / "out.ipynb"
    assert execute(make_book(tmp_path / "book", script), out, "-p", "count", 1).returncode == 0
    tags = [cell.metadata.get("tags") for cell in nbformat.read(out, 4).cells]
    assert ["parameters", "remove-cell"] in tags and ["injected-parameters", "remove-cell"] in tags


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((CHAPTER, "out.ipynb", "-p", "profil", "smoke"), ["'profil'", "'profile'", "seeds"]),
        ((CHAPTER, "out.ipynb", "-p", "zzz", "1"), ["'zzz'", "The chapter has"]),
        ((CHAPTER, "out.ipynb", "-p", "count", "three"), ["'count'", "int", "'three'", "-p count"]),
        ((CHAPTER, "out.ipynb", "-p", "count", "-x"), ["'count'", "int", "'-x'"]),
        ((CHAPTER, "out.ipynb", "-p", "count", "[" * 9999), ["'count'", "int", "got '[["]),
        ((CHAPTER, "out.ipynb", "-p", "count", "1", "-p", "count", "2"), ["'count'", "twice"]),
        (("chapters/absent.ipynb", "out.ipynb"), ["absent.ipynb", "No such file"]),
        (("chapters/tiny.py", "out.ipynb"), ["tiny.py", "not a notebook"]),
        (("_config.yml", "out.ipynb"), ["_config.yml", "not a notebook"]),
        ((CHAPTER, "out.html"), ["out.html", ".ipynb"]),
        ((CHAPTER, CHAPTER), ["is the chapter itself"]),
        ((CHAPTER, "intro.md/out.ipynb"), ["intro.md", "folder"]),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_writes_nothing(book, arguments, words):
    before = tree(book)
    done = call(book, "run_chapter", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("run_chapter: error: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
    assert tree(book) == before


def test_an_executed_chapter_has_the_values_and_keeps_its_cells(book, tmp_path):
    out = tmp_path / "new" / "out.ipynb"
    values = {"profile": "smoke", "count": "2", "rate": "-2e-4", "seeds": "[4, 5]"}
    done = execute(book, out, *(word for pair in values.items() for word in ("-p", *pair)))
    assert done.returncode == 0, done.stderr
    assert list(out.parent.iterdir()) == [out]
    result, chapter = nbformat.read(out, 4), nbformat.read(book / CHAPTER, 4)
    (printed,) = [o.text for cell in result.cells for o in cell.get("outputs", []) if "text" in o]
    assert printed == f"smoke: {sum(range(1002))}, -0.0002, [4, 5]\n"  # and no progress bar
    ids = [cell.id for cell in result.cells]
    assert ids.pop(2) == "injected-parameters"
    assert ids == [cell.id for cell in chapter.cells]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("raise", "ValueError: no such sum"), ("warn", "UserWarning: careful"), ("die", "died")],
)
def test_a_failed_chapter_leaves_no_output(book, tmp_path, mode, reason):
    out = tmp_path / "out.ipynb"
    out.write_text("from an earlier run")
    done = execute(book, out, "-p", "mode", mode)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("run_chapter: error: chapters/tiny.ipynb failed: ")
    assert reason in last and "out.failed.ipynb" in last
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed.ipynb"]


def test_the_kernel_is_that_of_this_environment(book, tmp_path, monkeypatch):
    kernel = tmp_path / ".local/share/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(kernel.parents[1]))
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
    out = tmp_path / "out.ipynb"
    assert execute(book, out, "-p", "mode", "interpreter").returncode == 0
    assert json.dumps(sys.prefix)[1:-1] in out.read_text()


def test_bare_papermill_runs_a_chapter_too(book, tmp_path):
    out = Path(tmp_path, "out.ipynb")
    done = program(book, "papermill", CHAPTER, out, "-p", "profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert f"smoke: {sum(range(1003))}" in out.read_text()


def test_what_a_cell_wrote_in_pieces_is_one_output():
    def streams(pieces):
        return [nbformat.v4.new_output("stream", name=name, text=text) for name, text in pieces]

    def notebook(*pieces):
        shown = nbformat.v4.new_output("display_data", {"text/plain": "x"})
        outputs = [*streams(pieces), shown, *streams(pieces)]
        cell = nbformat.v4.new_code_cell("1", outputs=outputs, id="a")
        return nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("b", id="b")])

    cut = notebook(("stdout", "one "), ("stdout", "line\n"), ("stderr", "bar"), ("stdout", "two\n"))
    tool("executed").join_streams(cut)
    whole = notebook(("stdout", "one line\n"), ("stderr", "bar"), ("stdout", "two\n"))
    assert cut == whole


def test_a_chapter_that_waits_for_another_process_is_published_without_a_word_of_it():
    said = "waiting for another process that computes a.nc"
    warned = warnings.formatwarning(said, UserWarning, "/tmp/cell.py", 3, "runs = [run()]\n")
    told = nbformat.v4.new_output("stream", name="stderr", text=warned)
    assert tool("executed").complaint(told) == ""
    told.text += "careful\n"
    assert tool("executed").complaint(told) == "careful"


def test_no_folder_of_this_machine_is_in_an_executed_chapter(book, tmp_path):
    out, place = tmp_path / "out.ipynb", tmp_path / "kept here"
    done = execute(book, out, "-p", "profile", "smoke", "-p", "results_dir", place)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert str(tmp_path) not in text and "results_dir = 'kept here'" in text
