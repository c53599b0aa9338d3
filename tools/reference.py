"""Sphinx extension: the library's reference, out of its docstrings.

A line `:modules: NAME …` of a page stands for the reference of these modules of srel_core, and
`:modules: *` for that of all public ones that no page of the book names; a line `:packages:` for
the figure of its packages. Our docstrings are plain text, with names in columns, lists, and
formulas set off by four blanks; they become what they look like.
"""

import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import packages
from sphinx.application import Sphinx
from toc import sources

LINE = re.compile(r"^:modules: (.+)$", re.MULTILINE)
PACKAGES = re.compile(r"^:packages:$", re.MULTILINE)
FIGURE = Path("_build/figures/packages")  # below the book's sources, where nothing is a page
WIDTH_ON_SCREEN, WIDTH_IN_PRINT = "480px", "51%"  # as high as a page of A4 has room for
CAPTION = (
    "What imports what: each layer imports from those below it alone. Below the name of a package "
    "stands what it is for and, where it has layers of its own, these from the top."
)
COLUMNS = re.compile(r"(?P<name>\S(?:.*?\S)?) {2,}(?P<text>\S.*)")
TITLE = re.compile(r"(?P<title>[A-Z]\w+):?")
ENTRY = re.compile(r"(?P<name>\w[\w, ]*?) ?: (?P<text>\S.*)")


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace each `:modules:` and `:packages:` line of a page."""
    book = Path(app.srcdir)
    source[0] = LINE.sub(lambda line: sections(line[1].split(), book), source[0])
    width = WIDTH_IN_PRINT if app.builder.format == "latex" else WIDTH_ON_SCREEN
    source[0] = PACKAGES.sub(lambda _: figure(book, width), source[0])


def figure(book: Path, width: str) -> str:
    """The figure of the packages, drawn, as MyST."""
    floors = packages.layers()
    packages.save(floors, book / FIGURE)
    options = f":name: fig-packages\n:width: {width}\n:alt: {packages.alt_text(floors)}"
    return f"```{{figure}} /{FIGURE}.*\n{options}\n\n{CAPTION}\n```"


def sections(names: list[str], book: Path) -> str:
    """The reference of modules, each under a heading of its own."""
    if names == ["*"]:
        texts = [(book / page).read_text("utf8") for page in sources(book)[1]]
        named = {name for text in texts for line in LINE.findall(text) for name in line.split()}
        names = [name for name in public_modules() if name not in named]
    return "\n\n".join(
        f"## `srel_core.{name}`\n\n```{{eval-rst}}\n.. automodule:: srel_core.{name}\n```"
        for name in names
    )


def public_modules() -> list[str]:
    """Names of the public modules and packages of srel_core, below it."""
    spec = find_spec("srel_core")
    assert spec is not None and spec.submodule_search_locations is not None
    found = pkgutil.walk_packages(spec.submodule_search_locations, "srel_core.")
    names = (module.name.removeprefix("srel_core.") for module in found)
    return sorted(name for name in names if "_" not in {part[0] for part in name.split(".")})


def to_rst(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).rstrip("\n"))
    lines[:] = "\n\n".join(rst(block.split("\n")) for block in blocks if block.strip()).split("\n")


def rst(block: list[str]) -> str:
    """One block of a docstring, between blank lines, in reStructuredText."""
    if all(line.startswith("    ") for line in block):
        return "::\n\n" + "\n".join(block)
    heading = TITLE.fullmatch(block[0])
    if heading and len(block) > 1 and block[1].startswith("---"):
        return rubric(heading["title"], block[2:], ENTRY)
    if heading and len(block) > 1 and all(line.startswith("    ") for line in block[1:]):
        return rubric(heading["title"], [line[4:] for line in block[1:]], ENTRY)
    if block[0].startswith("- "):
        return entries(block, re.compile(r"(?P<name>-) (?P<text>.*)"))
    if all(COLUMNS.fullmatch(line) or line.startswith("  ") for line in block):
        return entries(block, COLUMNS)
    return text(block)


def rubric(title: str, block: list[str], pattern: re.Pattern[str]) -> str:
    listed = all(pattern.fullmatch(line) or line.startswith("  ") for line in block)
    return f".. rubric:: {title}\n\n{entries(block, pattern) if listed else text(block)}"


def entries(block: list[str], pattern: re.Pattern[str]) -> str:
    """A list: of definitions, or of points where the name is a dash."""
    found: list[tuple[str, list[str]]] = []
    for line in block:
        start = None if line.startswith(" ") else pattern.fullmatch(line)
        if start:
            found.append((start["name"], [start["text"]]))
        else:
            found[-1][1].append(line)
    return "\n".join(
        f"- {text(lines)}" if name == "-" else f"``{name.replace('`', '')}``\n    {text(lines)}"
        for name, lines in found
    )


def text(lines: list[str]) -> str:
    """Running text in one line: what stands in backticks is code, and nothing else is markup."""
    parts = re.split(r"`([^`]+)`", " ".join(line.strip() for line in lines))
    plain = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts]
    plain[1::2] = [f"\\ ``{part}``\\ " for part in parts[1::2]]
    return "\\ " + "".join(plain)


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", fill_in)
    app.connect("autodoc-process-docstring", to_rst)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
