"""The chapter on faults says what the campaign found, the worst of it above all."""

import json

import nbformat
import pytest

from srel_core.book.text.markup import plain
from tests.support.book import ROOT, call

MACHINE = {"device": "Abacus", "commit": "0123abc"}


def said(folder, out, silent, differences):
    """What the chapter prints of such results."""
    rows = [
        {"fault": "a <b>flip</b>", "tried": 7, "refused": 4, "harmless": 3 - silent,
         "silent": silent},
    ]  # fmt: skip
    campaign = {"environment": MACHINE, "seconds": 600, "faults": rows, "all": rows[0]}
    book = {
        "environment": MACHINE, "seconds": 300, "killed after seconds": {"it began": 1.4},
        "files": 123, "differences": differences,
    }  # fmt: skip
    of = {"save": 0.25, "load": 0.125, "list": 0.5, "bytes": 2_000_000}
    seconds = {"a run": {"former": of, "present": {**of, "load": 0.375}}}
    times = {"seconds": seconds, "rounds": 5, "listed": 20, "former": "473b17c0"}
    for name, content in (("faults", campaign), ("killed_book", book), ("file_times", times)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    done = call(
        ROOT, "run_chapter", "chapters/faults.ipynb", out, "-p", "benchmarks_dir", folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(out, 4).cells
    return "\n".join(o.data["text/markdown"] for c in cells for o in c.get("outputs", []))


@pytest.mark.parametrize("silent", [0, 2])
def test_the_tables_are_those_of_the_results(tmp_path, silent):
    differences = ["index.html differs"] if silent else []
    text = said(tmp_path, tmp_path / "out.ipynb", silent, differences)
    assert f"| {plain('a <b>flip</b>')} | 7 | 4 | {3 - silent} | {silent} |" in text
    assert f"| **all** | **7** | **4** | **{3 - silent}** | **{silent}** |" in text
    assert ("**2 faults were silent.**" in text) == bool(silent)
    assert ("Nothing was silent." in text) == (not silent)
    assert ("**in index&#46;html differs**" in text) == bool(silent)
    assert ("in nothing but times, dates and commits" in text) == (not silent)
    assert "killed when it began (after 1 s)" in text.lower() and "took 300 s" in text
    assert "| a run | load | 0.125 | 0.375 |" in text and "| a run | list 20 | 0.500 |" in text


def test_without_results_it_says_what_makes_them(tmp_path):
    (tmp_path / "none").mkdir()
    done = call(
        ROOT, "run_chapter", "chapters/faults.ipynb", tmp_path / "out.ipynb",
        "-p", "benchmarks_dir", tmp_path / "none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out.ipynb").read_text("utf8")
    assert text.count("No measurement is among the results") == 4  # three, and the code
    assert "`make faults` makes one" in text
