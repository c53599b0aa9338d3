"""Sphinx extension: mend in the HTML what other extensions leave wrong there."""

import re
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx

# sphinx-proof gives all proofs of a page one id, and the contents of all statements another.
SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)
REPEATED = re.compile(r' id="proof(-content)?"')
PERCENT = re.compile(r"(?<=\d) ?%")
UNNAMED = re.compile("<summary>(?=<span)")  # the theme's button to unfold the contents
AS_TYPED = nodes.literal | nodes.literal_block | nodes.math | nodes.math_block | nodes.raw


def space_percents(app: Sphinx, document: nodes.document) -> None:
    """Set each percent sign apart from its number, by a narrow space at which no line breaks."""
    for text in list(document.findall(nodes.Text)):
        spaced = PERCENT.sub("\u202f%", text)
        if spaced != text and not isinstance(text.parent, AS_TYPED):
            text.parent.replace(text, nodes.Text(spaced))


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        body = REPEATED.sub("", context["body"])
        # docutils calls the entries of a list by a role that stands in no list.
        body = body.replace(' role="doc-biblioentry"', ' role="listitem"')
        context["body"] = SIGNATURE.sub(in_lines, body)

    if listed := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *args, **options: UNNAMED.sub(
            r'<summary aria-label="Pages below the one above">', str(listed(*args, **options))
        )


def in_lines(signature: re.Match[str]) -> str:
    """A signature on several lines without the list that Sphinx makes of it, which has no terms."""
    lines = re.sub(r"<d[ld]>", '<span class="sig-line">', signature[0])
    return re.sub(r"</d[ld]>", "</span>", lines)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", space_percents)
    app.connect("html-page-context", mend, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
