"""The data behind each figure, as files beside the pages.

A chapter's figures carry what they draw as CSV (`srel_core.book.figures.table`). Each becomes a
file that says in its first lines how it was made, and is called after its figure.
"""

from pathlib import Path

import nbformat
from record import command, find

from srel_core.book.figures.table import MEDIA_TYPE
from srel_core.experiments.terminal import plain

FOLDER = "data"
COMMIT = "# commit: "
"""Begins the line that differs between two equal runs."""


def tables(notebook: nbformat.NotebookNode, chapter: str) -> dict[int, dict[str, str]]:
    """Execution count of a cell → name of a file → its content."""
    record = find(notebook)
    if record is None:
        return {}
    found: dict[int, dict[str, str]] = {}
    for cell in notebook.cells:
        held = [output.get("metadata", {}) for output in cell.get("outputs", [])]
        drawn = [metadata[MEDIA_TYPE] for metadata in held if MEDIA_TYPE in metadata]
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        name = figure.get("name") or f"cell-{cell.get('execution_count')}"
        head = f"# figure: {name} of chapters/{chapter}.ipynb\n"
        head += f"# made by: {plain(command(notebook, chapter))}\n{COMMIT}{record.commit}\n"
        for number, table in enumerate(drawn, start=1):
            last = f"-{number}" if len(drawn) > 1 else ""
            file = f"{chapter}-{name}{last}.csv"
            found.setdefault(cell.execution_count, {})[file] = head + table
    return found


def write(files: dict[int, dict[str, str]], site: Path) -> dict[int, list[str]]:
    """Put the files into the folder of the built pages; their addresses from there, by cell."""
    for content in files.values():
        for name, text in content.items():
            (site / FOLDER).mkdir(parents=True, exist_ok=True)
            (site / FOLDER / name).write_text(text, "utf8")
    return {cell: [f"{FOLDER}/{name}" for name in content] for cell, content in files.items()}
