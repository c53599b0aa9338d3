"""The pages of the book, as _toc.yml lists them."""

from pathlib import Path

from sphinx_external_toc.parsing import parse_toc_yaml


def sources(root: Path) -> tuple[list[Path], list[Path]]:
    """(executed notebooks, written pages), relative to `root`, each in the order of _toc.yml."""
    notebooks: list[Path] = []
    pages: list[Path] = []
    for name in parse_toc_yaml(root / "_toc.yml"):
        found = [path for ext in (".ipynb", ".md") if (root / (path := Path(name + ext))).exists()]
        if len(found) != 1:
            what = " and ".join(map(str, found)) or "no such file"
            raise FileNotFoundError(
                f"_toc.yml names {name}: expected one .ipynb or .md, got {what}"
            )
        (notebooks if found[0].suffix == ".ipynb" else pages).append(found[0])
    return notebooks, pages
