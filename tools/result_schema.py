"""Sphinx extension: the directive `result-schema` shows a table of what stands in files of results.

It takes the kind of the files: `attributes` for what all have in common, `figures` for the data
behind figures.
"""

from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.statemachine import StringList  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ResultSchema(SphinxDirective):
    """The table of one kind of file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        from schema_tables import TABLES  # not above: what checks results takes seconds to load

        header, *rows = TABLES[self.arguments[0]]()
        lines = [header, ["---"] * len(header), *rows]
        text = [f"| {' | '.join(cells)} |" for cells in lines]
        found = nodes.container()
        self.state.nested_parse(StringList(text, self.env.docname), 0, found)
        return [found]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("result-schema", ResultSchema)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
