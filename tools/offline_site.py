"""Sphinx extension: serve MathJax from the site itself, so that no page needs a network.

The files come out of the package sphinx-mathjax-offline, whose own extension would copy all 24 MB
of it. They are copied into the built site and not into the book's _static folder, because Jupyter
Book loads every script it finds there on every page.
"""

import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

TARGET = "mathjax"
# The TeX reader and the CSS writer, the fonts, what \boldsymbol and its like load when first used,
# and the context menu with its screen-reader support in English.
WANTED = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2/*.woff",
    "input/tex/extensions/*.js",
    "a11y/*.js",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    config.mathjax_path = f"{TARGET}/tex-chtml.js"


def copy_mathjax(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    package = distribution("sphinx-mathjax-offline")
    source = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    for pattern in WANTED:
        for path in source.glob(pattern):
            copy = Path(app.outdir, "_static", TARGET, path.relative_to(source))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def setup(app: Sphinx) -> dict[str, Any]:
    # Or pages without formulas get no MathJax, and show the formulas in the contents as TeX.
    app.set_html_assets_policy("always")
    app.connect("config-inited", use_local_mathjax)
    app.connect("builder-inited", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
