"""Docstrings become what they look like, and the reference has every public module."""

import re
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree
from docutils.nodes import literal_block

from tests.support.book import ROOT, tool

CASES = {
    "text with `code`, w* and |x|_2": "<literal>code</literal>, w* and |x|_2",
    "rule    the step\nlr      its rate,\n        positive": "<definition_list_item>",
    "- one\n  goes on\n- two": "<bullet_list",
    "    S_rel  = a / b\n    own    = c": "<literal_block",
    "Args:\n    x: (N,) numbers\n        in a row\n    y: others": "<rubric>Args</rubric>",
    "Parameters\n----------\nx : (N,), the `x_i`.": "<rubric>Parameters</rubric>",
    "K.": "<paragraph>K.</paragraph>",
    "d = 1: a.  d = 2: b and\nmore": "<paragraph>d = 1: a.  d = 2: b and more</paragraph>",
}


@pytest.mark.parametrize("docstring", CASES)
def test_a_block_becomes_what_it_looks_like(docstring):
    lines = docstring.split("\n")
    tool("reference").to_rst(None, "function", "f", None, None, lines)
    found = publish_doctree("\n".join(lines), settings_overrides={"report_level": 1})
    assert not list(found.findall(lambda n: n.tagname == "system_message"))
    # docutils keeps the escapes as NUL until the text is written
    assert CASES[docstring] in re.sub("\0 ?", "", str(found))


def test_a_formula_keeps_its_layout():
    lines = ["Before.", "", "    a   = b", "      + c", "", "After."]
    tool("reference").to_rst(None, "function", "f", None, None, lines)
    (block,) = publish_doctree("\n".join(lines)).findall(literal_block)
    assert block.astext() == "a   = b\n  + c"


def test_the_pages_have_every_public_module_once():
    found = []
    for page in (ROOT / "chapters").glob("reference*.md"):
        source = [page.read_text()]
        app = SimpleNamespace(srcdir=ROOT, builder=SimpleNamespace(format="html"))
        tool("reference").fill_in(app, page.stem, source)
        found += re.findall(r"automodule:: (\S+)", source[0])
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
               for p in (ROOT / "srel_core").rglob("*.py")]  # fmt: skip
    public = [m for m in modules if "._" not in m and m != "srel_core"]
    assert sorted(found) == sorted(public)
