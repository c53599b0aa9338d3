"""Sphinx extension: the first page has no contents beside it, so that its figure has room."""

from typing import Any

from sphinx.application import Sphinx


def without_contents(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    if page == app.config.root_doc:
        meta = context.get("meta") or {}
        context["meta"] = {**meta, "html_theme.sidebar_secondary.remove": "true"}


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", without_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
