"""The PDF of a small book: what is in it, what is left out, and what stops it."""

import os
import re
import shutil
import sys

import pytest

from tests.support.book import CHAPTER, ROOT, TOOLS, call, make_book, program, run, tool

SCREEN = """
# %% tags=["hide-input"]
from IPython.display import HTML

HTML("<b>on a screen only</b>")

# %% [markdown]
# :::{prf:proof}
# By hand.
# :::
#
# | narrow | wide |
# |---|---|
"""
ROWS = "".join(f"# | {i} | {'word ' * 60} |\n" for i in range(40))
latex = pytest.mark.skipif(
    shutil.which("latexmk") is None and not os.environ.get("CI"), reason="no latexmk"
)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    book = make_book(tmp_path_factory.mktemp("pdf") / "book", CHAPTER + SCREEN + ROWS)
    done = call(book, "run_chapter", "chapters/tiny.ipynb", "_build/executed/smoke/tiny.ipynb")
    assert done.returncode == 0, done.stderr
    return book


@latex
def test_the_pdf_is_the_book(book):
    done = program(book, "snakemake", "pdf", "--cores", "1", "--quiet", "all",
                   "--config", "profile=smoke")  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = book / "_build/pdf/smoke"
    assert (folder / "book.pdf").read_bytes().startswith(b"%PDF-")
    source = (folder / "_build/latex/book.tex").read_text("utf8")
    assert re.findall(r"\\chapter\{(.*?)\}", source) == [
        "A small book",
        "A small chapter",
        "Bibliography",
    ]
    assert str(sum(range(1003))) in source and "A small book" in source
    assert "on a screen only" not in source and "core.display" not in source
    assert "np.plot" not in source and "Made by this code, profile" in source
    # LaTeX sets what is too wide beyond the edge, and says so.
    log = (folder / "_build/latex/book.log").read_text("utf8", "replace")
    assert [w for w in re.findall(r"Overfull \\hbox \((\d+)\.", log) if int(w) > 15] == []


@latex
def test_a_character_that_no_font_has_is_an_error(book, tmp_path):
    copy = shutil.copytree(book, tmp_path / "book")
    (copy / "intro.md").write_text("# A small book\n\nOne: \N{CJK UNIFIED IDEOGRAPH-4E00}\n")
    done = call(copy, "build_pdf", "_build/executed/smoke", "out")
    assert done.returncode == 1 and not (copy / "out/book.pdf").exists()
    assert "build_pdf: error: LaTeX: Missing character" in done.stderr


def test_without_latex_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments in (["--check"], ["_build/executed/smoke", "out"]):
        done = run(tmp_path, sys.executable, TOOLS / "build_pdf.py", *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "needs latexmk and xelatex" in done.stderr and "apt-get install" in done.stderr
    assert not list(tmp_path.iterdir())


def test_half_a_call_is_an_error(tmp_path):
    for arguments in ([], ["executed"], ["--check", "a", "b"]):
        done = call(tmp_path, "build_pdf", *arguments)
        assert done.returncode == 2 and "give two folders" in done.stderr


def test_make_asks_for_latex_before_it_executes_a_chapter():
    done = run(ROOT, "make", "--dry-run", "pdf", "PROFILE=smoke")
    assert done.returncode == 0
    assert 0 < done.stdout.index("--check") < done.stdout.index("-- pdf")


def test_a_table_shares_its_width_by_its_words():
    from docutils.core import publish_doctree

    text = "==== ====\n" + f"a    {'word ' * 30}\n" + "b    c\n" + "==== ====\n"
    table = next(iter(publish_doctree(text).findall(lambda n: n.tagname == "table")))
    tool("printed").share_width(table)
    narrow, wide = (c["colwidth"] for c in table.findall(lambda n: n.tagname == "colspec"))
    assert narrow < 15 and narrow + wide in range(99, 102)
