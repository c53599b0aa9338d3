"""Build the book as one PDF from executed chapters, with every warning an error.

    python tools/build_pdf.py _build/executed/laptop _build/pdf/laptop
    python tools/build_pdf.py --check      exit code 1, and what to install, if LaTeX is not here

The PDF is book.pdf in the second folder, which is emptied first.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import nbformat
import yaml  # type: ignore[import-untyped]
from build_book import assemble, jupyter_book

PROGRAMS = ("latexmk", "xelatex")
PACKAGES = "latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-freefont-otf"
COVER = "cover"
# Of what LaTeX says: a character or a link that the reader would miss.
LOST = re.compile(
    r"^Missing character: .*|^LaTeX Warning: .*(?:undefined|multiply).*", re.MULTILINE
)


def require_latex() -> None:
    """Exit with one line if a program is missing."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        sys.exit(
            f"build_pdf: error: the PDF needs {' and '.join(absent)}: on Debian (100 MB), "
            f"apt-get install --no-install-recommends {PACKAGES}"
        )


def for_print(book: Path) -> None:
    """Change the sources in `book` into those of the printed one.

    The page that the contents begin with gets a cover in its place, or each of its sections would
    be a chapter. Folded code is left out, and so is what only a screen can show.
    """
    contents = yaml.safe_load((book / "_toc.yml").read_text("utf8"))
    contents["chapters"] = [{"file": contents["root"]}, *contents["chapters"]]
    contents["root"] = COVER
    (book / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False), "utf8")
    (book / f"{COVER}.md").write_text("# Contents\n", "utf8")
    for path in book.rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if "hide-input" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("remove-input")
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if not is_script(output)]
        nbformat.write(notebook, path)


def is_script(output: nbformat.NotebookNode) -> bool:
    """Whether an output is HTML that has no other form."""
    return set(output.get("data", {})) == {"text/html", "text/plain"}


def build(root: Path, book: Path) -> list[str]:
    """Run jupyter-book and LaTeX on `book`; returns what is wrong with the PDF."""
    run = jupyter_book(root, book, "--builder", "pdflatex")
    log = book / "_build" / "latex" / "book.log"
    if run.returncode:
        said = log.read_text("utf8", "replace") if log.exists() else ""
        errors = re.findall(r"^! .*", said, re.MULTILINE)
        print(run.stdout, run.stderr, sep="\n", file=sys.stderr)
        return [f"LaTeX: {error} (all of it: {log})" for error in errors] or [
            "jupyter-book reported the problems above"
        ]
    found = sorted(set(LOST.findall(log.read_text("utf8", "replace"))))
    if not found:
        log.with_suffix(".pdf").replace(book / "book.pdf")
    return [f"LaTeX: {line}" for line in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the book as a PDF from executed chapters.")
    parser.add_argument("--check", action="store_true", help="only see whether LaTeX is here")
    parser.add_argument("executed", type=Path, nargs="?", help="folder of the executed notebooks")
    parser.add_argument("book", type=Path, nargs="?", help="folder to build in; emptied first")
    options = parser.parse_args()
    if (options.book is None) != options.check:
        parser.error("give two folders, EXECUTED and BOOK, or --check alone")
    require_latex()
    if options.check:
        return
    root = Path.cwd()
    found = assemble(root, options.executed, options.book)
    if not found:
        for_print(options.book)
        found = build(root, options.book)
    for fault in found:
        print(f"build_pdf: error: {fault}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
