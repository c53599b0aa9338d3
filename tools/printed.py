"""Sphinx extension: what only the printed book needs. The HTML pages are as they are without it."""

from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx_proof.nodes import unenumerable_node  # type: ignore[import-untyped]

PADDING = 4  # letters that the space between two columns takes
LONG = 45  # letters: a text beyond this takes more lines, and no more of the other columns


def for_print(app: Sphinx, document: nodes.document, page: str) -> None:
    """Let the cells of tables wrap, follow no link to code that is not printed, and begin a proof
    with its word alone: it would have a box with an empty title."""
    if app.builder.format != "latex":
        return
    for table in document.findall(nodes.table):
        share_width(table)
    for line in document.findall(nodes.paragraph):
        for link in list(line.findall(nodes.reference)) if "made-by" in line["classes"] else ():
            link.replace_self(nodes.Text(link.astext()))
    for proof in list(document.findall(unenumerable_node)):
        proof.replace_self(proof.children)


def share_width(table: nodes.table) -> None:
    """Give each column of `table` a share by its words: the longest has room, and long text has
    more. LaTeX would set each cell of a long table in one line, beyond the edge of the page."""
    columns = list(table.findall(nodes.colspec))
    needs = [1.0] * len(columns)
    rows = [[entry.astext() for entry in row] for row in table.findall(nodes.row)]
    for i, texts in enumerate(zip(*rows, strict=True)):
        longest = max((len(word) for text in texts for word in text.split()), default=1)
        needs[i] = max(longest + PADDING, min(LONG, sum(map(len, texts)) / len(texts)))
    for column, need in zip(columns, needs, strict=True):
        column["colwidth"] = max(1, round(100 * need / sum(needs)))
    table["classes"] += ["colwidths-given"]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", for_print)  # when each reference has its words
    return {"parallel_read_safe": True, "parallel_write_safe": True}
