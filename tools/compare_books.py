"""Compare two builds of the book: they may differ in times, dates and commits alone.

python tools/compare_books.py _build/book/laptop/_build/html _build/again/book/laptop/_build/html
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat
from figure_data import COMMIT
from record import KEY, VARYING

MARKED = re.compile(r'<span class=\\?"varies\\?">.*?</span>')  # the quotes as in HTML or in JSON


def timeless(path: Path) -> str | bytes | None:
    """The content of a file without what changes from run to run."""
    if path.name == "searchindex.js":  # the words of the pages, and times are among them
        return None
    if path.suffix == ".ipynb":
        return MARKED.sub("", json.dumps(without_run(path), sort_keys=True))
    if path.suffix == ".csv":
        lines = path.read_text("utf8").splitlines()
        return "\n".join(line for line in lines if not line.startswith(COMMIT))
    if path.suffix == ".html":
        return MARKED.sub("", path.read_text("utf8"))
    return path.read_bytes()


def without_run(path: Path) -> nbformat.NotebookNode:
    """An executed notebook without the record of its run, and of those of its results."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill")
    notebook.metadata[KEY].environment.pop("commit")
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        for row in output.get("metadata", {}).get(KEY, []):
            for name in VARYING:
                row.pop(name, None)
        if "text/markdown" in output.get("data", {}):
            output.data.pop("text/plain", None)  # the same again, unmarked
    return notebook


def differences(first: Path, second: Path) -> list[str]:
    """One line for each file that is in one of two sites alone, or not the same in both."""
    ours, theirs = (
        {path.relative_to(site): path for path in site.rglob("*") if path.is_file()}
        for site in (first, second)
    )
    found = [f"{name} is in one of the two alone" for name in sorted(set(ours) ^ set(theirs))]
    both = sorted(set(ours) & set(theirs))
    return found + [f"{n} differs" for n in both if timeless(ours[n]) != timeless(theirs[n])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two builds of the book.")
    parser.add_argument("first", type=Path, help="folder of the pages of one build")
    parser.add_argument("second", type=Path, help="folder of the pages of the other")
    options = parser.parse_args()
    for site in (options.first, options.second):
        if not (site / "index.html").is_file():
            sys.exit(f"compare_books: error: {site} has no index.html: expected a built book")
    found = differences(options.first, options.second)
    for difference in found:
        print(f"compare_books: error: {difference}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
