"""Sphinx extension: every page of a chapter says what made it.

The runner leaves a record of the run in the notebook (record.py). From it come a line under the
title, for the numbers in the text, a line under each figure, with its data, a box at the end of the
page, and the table of the directive `chapter-status`. A notebook that was not executed has no
record, and its page none of these. On the first page the line for the text stands at the end.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import figure_data
import nbformat
from docutils import nodes  # type: ignore[import-untyped]
from docutils.statemachine import StringList  # type: ignore[import-untyped]
from record import VARYING, Record, command, find
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri
from toc import sources

from srel_core.book.text import markup
from srel_core.book.text.markup import code, plain

BOX = "what-made-this-page"


def mark(app: Sphinx, document: nodes.document) -> None:
    """Add the lines and the box to the page of an executed chapter."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    notebook = nbformat.read(path, as_version=4)
    record = find(notebook)
    if record is None:
        return
    files = data_files(app, notebook)
    url = app.config.html_theme_options.get("repository_url", "").rstrip("/")
    for strong in document.findall(nodes.strong):
        if strong.astext() == "STALE.":  # what chapters say of results of code that has changed
            strong["classes"].append("stale")
    for cell in document.findall(is_picture_cell):
        number = cell["exec_count"]
        cell["ids"].append(f"cell-{number}")
        document.ids[f"cell-{number}"] = cell
        cell += figure_line(record, number, files.get(number, []))
    if app.env.docname == app.config.root_doc:
        document[0] += page_line(record)
    else:
        document[0].insert(1, page_line(record))  # after the title
    found = box(record, path.stem, url, command(notebook, path.stem))
    found["ids"].append(BOX)
    document.ids[BOX] = found
    document[0] += found


def is_picture_cell(node: nodes.Node) -> bool:
    """Whether a node is a code cell of a notebook that shows a figure."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return False
    drawn = (raw for raw in node.findall(nodes.raw) if "<svg" in raw.astext())
    return next(node.findall(nodes.image), None) is not None or next(drawn, None) is not None


def data_files(app: Sphinx, notebook: nbformat.NotebookNode) -> dict[int, list[str]]:
    """The addresses of the data of each cell's figures from the page being read; none in print."""
    if app.builder.format != "html":
        return {}
    page = app.env.docname
    found = figure_data.tables(notebook, Path(page).name)
    written = figure_data.write(found, Path(app.outdir))
    return {n: [relative_uri(f"{page}.html", u) for u in uris] for n, uris in written.items()}


def figure_line(record: Record, number: int, data: list[str]) -> nodes.paragraph:
    line = nodes.paragraph(classes=["made-by"])
    line += nodes.Text("Made by ")
    line += nodes.reference("", "this code", internal=True, refid=f"cell-{number}")
    line += nodes.Text(f", profile {record.profile}, {record.seeds}commit ")
    line += [varying(record.commit), nodes.Text(".")]
    for address in data:
        line += nodes.Text(" ")
        line += nodes.reference("", "Data (CSV)", refuri=address, classes=["figure-data"])
    return line


def page_line(record: Record) -> nodes.paragraph:
    """Where the numbers in the text come from."""
    line = nodes.paragraph(classes=["made-by"])
    line += nodes.Text(
        "Numbers in the text are computed: by the code of this page, or in the results that it "
        f"loads and names. Profile {record.profile}, {record.seeds}commit "
    )
    line += [
        varying(record.commit),
        nodes.Text("; "),
        nodes.reference("", "what made this page", internal=True, refid=BOX),
        nodes.Text("."),
    ]
    return line


def box(record: Record, chapter: str, url: str, made_with: str) -> nodes.admonition:
    """All that is known about the run, folded."""
    found = nodes.admonition(classes=["dropdown", "made-by-box"])
    found += nodes.title("", "What made this page")
    table = nodes.field_list()
    for name, content in [
        *facts(record, chapter, url),
        ("command", [nodes.literal("", made_with)]),
    ]:
        field = nodes.field()
        field += nodes.field_name("", name)
        body = nodes.field_body()
        body += nodes.paragraph("", "", *content)
        field += body
        table += field
    found += table
    return found


def facts(record: Record, chapter: str, url: str) -> Iterator[tuple[str, list[nodes.Node]]]:
    """Name and content of each row of the box."""
    file = f"chapters/{chapter}.py"
    address = f"{url}/blob/{record.commit.removesuffix('+changes')}/{file}"
    code = nodes.reference("", file, refuri=address) if url else nodes.literal("", file)
    yield "code", [code, nodes.Text(", commit "), varying(record.commit)]
    yield "profile", [nodes.Text(record.profile)]
    yield (
        "parameters",
        [nodes.Text("; ".join(f"{name} = {value}" for name, value in record.parameters.items()))],
    )
    yield "executed", [varying(record.date), nodes.Text(", in "), varying(record.seconds)]
    yield "device", [nodes.Text(record.device)]
    yield "packages", [nodes.Text(record.versions)]
    for source in record.results:
        parts: list[nodes.Node] = []
        for name, value in source.items():
            shown = varying(value) if name in VARYING else nodes.Text(value)
            parts += [nodes.Text(f"{', ' if parts else ''}{name} "), shown]
        yield "result", parts


def varying(text: str) -> nodes.inline:
    """What differs between two equal runs, marked for whoever compares them."""
    return nodes.inline("", text, classes=["varies"])


class ChapterStatus(SphinxDirective):
    """Tables of all chapters of the book, with what is known about the run of each."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        runs = {}
        for path in sources(root)[0]:
            self.env.note_dependency(str(root / path))
            notebook = nbformat.read(root / path, as_version=4)
            # A link with a formula in it, which {doc} would leave as TeX.
            runs[f"[{title(notebook)}](/{path})"] = find(notebook)
        lines = table("chapter profile run&nbsp;time date commit device", runs, run_of)
        lines += ["", *table("chapter parameters", runs, made_with)]
        users: dict[str, list[str]] = {}
        for chapter, record in runs.items():
            if record:
                users.setdefault(record.versions, []).append(chapter)
        for versions, chapters in users.items():
            of = f" of {', '.join(chapters)}" if len(users) > 1 else ""
            lines += ["", f"Packages{of}: {plain(versions)}."]
        found = nodes.container(classes=["chapter-status"])
        self.state.nested_parse(StringList(lines, self.env.docname), 0, found)
        return [found]


def title(notebook: nbformat.NotebookNode) -> str:
    """The title of a chapter, as Markdown."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return next(line[2:] for text in texts for line in text.split("\n") if line.startswith("# "))


def table(
    header: str, runs: dict[str, Record | None], cells: Callable[[Record], list[str]]
) -> list[str]:
    """Lines of a Markdown table with a row for each chapter."""
    names = header.split()
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for chapter, record in runs.items():
        row = ["not executed", *[""] * (len(names) - 2)] if record is None else cells(record)
        lines.append(f"| {' | '.join([chapter, *row])} |")
    return lines


def run_of(record: Record) -> list[str]:
    run = (record.seconds, record.date, record.commit)
    return [plain(record.profile), *(markup.varying(plain(t)) for t in run), plain(record.device)]


def made_with(record: Record) -> list[str]:
    return [", ".join(code(f"{n} = {v}") for n, v in record.parameters.items())]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapter-status", ChapterStatus)
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
