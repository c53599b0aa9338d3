"""Data that come from elsewhere are never markup on a page."""

import json

import numpy as np
import pytest
import xarray as xr
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from srel_core.book.committed import standing
from srel_core.book.figures.matrix_slider import slider_heatmap
from srel_core.book.text import result_tables
from srel_core.book.text.markup import code, folded, plain, varying, without_folders
from srel_core.book.text.sources import Sources
from tests.support.book import tool

HOSTILE = (
    "<svg onload=alert(1)>", "<script>alert(1)</script>", "a | b", "`x` *y* **z** __w__", "$x$",
    "[a](javascript:alert(1))", "![a](https://example.org/x.png)", "one\n\n# two\n- three",
    "&lt;script&gt;", "{doc}`intro`", "\x1b[31mred\x1b[0m", "<!-- ", "</span><img src=x>",
    "https://example.org", "www.example.org", "//localhost:80/x", "mailto:a@b", "a@example.org",
    "ftp://1.1.1.1", "http://a.5com@[::1]/", "example.org", "a..b.org", "javascript://%0aalert(1)",
)  # fmt: skip
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "p", "ul", "li", "code", "span", "strong"}


def page(markdown):
    """As myst reads it, which makes links of addresses."""
    reader = MarkdownIt("commonmark", {"linkify": True}).enable(["table", "linkify"])
    return BeautifulSoup(reader.render(markdown), "html.parser")


def harmless(markdown):
    """The page of some Markdown, once it holds nothing but text and tables."""
    found = page(markdown)
    assert {tag.name for tag in found.find_all()} <= TAGS
    assert all(set(tag.attrs) <= {"class", "style"} for tag in found.find_all())
    return found


@given(st.text() | st.sampled_from(HOSTILE))
def test_any_text_is_shown_as_it_is(text):
    shown = "".join(c for c in " ".join(text.split()) if c.isprintable())
    for made in (plain, lambda t: varying(plain(t))):
        cells = harmless(f"| a | b |\n|---|---|\n| x{made(text)}x | y |").find_all("td")
        assert [cell.get_text() for cell in cells] == [f"x{shown}x", "y"]


@given(st.text(min_size=1) | st.sampled_from(HOSTILE))
def test_any_text_can_be_code(text):
    cells = harmless(f"| a | b |\n|---|---|\n| {code(text)} | y |").find_all("td")
    assert len(cells) == 2 and cells[1].get_text() == "y"


def test_what_is_harmless_stays_readable():
    assert plain("Intel(R) Xeon(R) @ 2.20GHz, 3.5 s") == "Intel(R) Xeon(R) @ 2.20GHz, 3.5 s"
    assert code("0123abc+changes") == "`0123abc+changes`"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_result_is_a_page_of_text(text, monkeypatch):
    monkeypatch.setattr(standing, "present_code", lambda _: "new")
    run = {
        "config": json.dumps({
            "seed": text, "images_per_class": text, "probes_per_class": text,
            "schedule": {"batch_size": text, "epochs": text},
        }),
        "wall_seconds": 1, "data_checksum": text,
    } | dict.fromkeys(("commit", "device", "threads", "created", "torch"), text)  # fmt: skip
    attributes = {
        "kind": "class_srel_summary", "runs": json.dumps([run]), "code_digest": "old",
        "created": text, "commit": text, "verified_on": text, "verified_commit": text,
    }  # fmt: skip
    names = [text, "b"]
    summary = xr.Dataset(coords={"step": [1], "probe_class": names}, attrs=attributes)
    for digest in ("old", "new"):
        shown = summary.assign_attrs(verified_code_digest=digest)
        assert len(harmless(result_tables.badges({"svhn": shown}, shown)).find_all("li")) == 2
    for table in (result_tables.provenance_table, result_tables.settings_table):
        found = harmless(table({"svhn": summary}))
        assert len({len(row.find_all(["td", "th"])) for row in found.find_all("tr")}) == 1
    result = xr.Dataset(attrs=run | {"config": json.dumps({"seed": text}), "data_source": text})
    assert len(harmless(Sources.of([result]).markdown).find_all("td")) == 8
    figure = slider_heatmap(
        np.ones((2, 2, 2)), names, [text, "2"], parameter=text, title=text, labels=(text, text),
        quantity=text, start=0,
    )  # fmt: skip
    html = BeautifulSoup(figure.html, "html.parser")
    assert len(html.find_all("script")) == len(html.find_all("svg")) == 1
    assert html.find_all("img") == html.find_all(onload=True) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_run_of_a_chapter_is_text_in_the_tables_of_all_chapters(text):
    tools = tool("made_by")
    record = tool("record").Record(
        profile=text, parameters={"dataset": repr(text)}, commit=text, date=text, seconds=text,
        device=text, versions=text, results=[],
    )  # fmt: skip
    for header, cells in (
        ("chapter profile run time date commit device", tools.run_of),
        ("chapter parameters", tools.made_with),
    ):
        found = harmless("\n".join(tools.table(header, {"a": record}, cells)))
        (row,) = [row for row in found.find_all("tr") if row.find("td")]
        assert row.find("td").get_text() == "a"


def test_folders_of_a_machine_are_left_out():
    assert without_folders("folder:/home/me/birds") == "folder:birds"
    assert without_folders("/home/me/results/") == "results"
    assert without_folders("~/results") == "results"
    for kept in ("folder:birds", "digits", "some/where", "", 3, None, [1]):
        assert without_folders(kept) == kept


def test_folded_content_keeps_its_lines():
    assert folded("All", "| a |\n|---|") == ":::{dropdown} All\n\n| a |\n|---|\n\n:::"
