"""Sphinx extension: mend in the HTML what other extensions leave wrong there."""

import re
from typing import Any

from sphinx.application import Sphinx

# sphinx-proof gives all proofs of a page one id, and the contents of all statements another.
SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)
REPEATED = re.compile(r' id="proof(-content)?"')


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        body = REPEATED.sub("", context["body"])
        # docutils calls the entries of a list by a role that stands in no list.
        body = body.replace(' role="doc-biblioentry"', ' role="listitem"')
        context["body"] = SIGNATURE.sub(in_lines, body)


def in_lines(signature: re.Match[str]) -> str:
    """A signature on several lines without the list that Sphinx makes of it, which has no terms."""
    lines = re.sub(r"<d[ld]>", '<span class="sig-line">', signature[0])
    return re.sub(r"</d[ld]>", "</span>", lines)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
