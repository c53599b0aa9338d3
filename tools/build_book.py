"""Build the HTML pages from executed chapters, with every warning an error.

    python tools/build_book.py _build/executed/laptop _build/book/laptop

The book's sources are copied to the second folder, with the executed notebooks of the first one
in place of the bare ones; the pages are written to _build/html below it.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import check_site
import nbformat
from executed import problems
from toc import sources


def assemble(root: Path, executed: Path, book: Path) -> list[str]:
    """Fill `book` with all that the pages are made of; returns what must not be published."""
    notebooks, pages = sources(root)
    shutil.rmtree(book, ignore_errors=True)
    found = []
    quoted = [path.relative_to(root) for path in root.glob("*.cff")]
    for page in [*pages, Path("_toc.yml"), Path("references.bib"), *quoted]:
        copy(root / page, book / page)
    for chapter in notebooks:
        source = executed / chapter.relative_to("chapters")
        if not source.exists():
            found.append(f"{source} is missing: execute {chapter} first")
            continue
        found += [f"{source}: {fault}" for fault in problems(nbformat.read(source, as_version=4))]
        copy(source, book / chapter)
    if (root / "_static").is_dir():
        shutil.copytree(root / "_static", book / "_static")
    return found


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def build(root: Path, book: Path) -> list[str]:
    """Run jupyter-book on `book`; returns what is wrong with the pages."""
    run = jupyter_book(root, book)
    if run.returncode:
        print(run.stdout, run.stderr, sep="\n", file=sys.stderr)
        return ["jupyter-book reported the problems above"]
    return check_site.faults(book / "_build" / "html")


def jupyter_book(root: Path, book: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build `book` in its own folder by the settings of `root`, every warning an error."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(book), "--path-output", str(book)]
    command += ["--config", str(root / "_config.yml"), "-W", "-n", "--keep-going", "--quiet"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the HTML pages from executed chapters.")
    parser.add_argument("executed", type=Path, help="folder of the executed notebooks")
    parser.add_argument("book", type=Path, help="folder to build in; it is emptied first")
    options = parser.parse_args()
    root = Path.cwd()
    found = assemble(root, options.executed, options.book) or build(root, options.book)
    for fault in found:
        print(f"build_book: error: {fault}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
