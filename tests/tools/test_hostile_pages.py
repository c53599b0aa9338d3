"""A book of results that were written to harm its readers: all of it is shown, none of it runs."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import hostile
from tests.support.book import ROOT, call, tool
from tests.support.browser import chromium, served, visit

CHAPTERS = {
    "class_srel": ("results_dir",), "audit": ("results_dir", "committed_dir"),
    "audit_rest": ("results_dir", "committed_dir"), "intro": ("results_dir", "committed_dir"),
    "paper_scale": ("committed_dir",), "verdicts": ("committed_dir",),
    "other_choices": ("committed_dir",),
}  # fmt: skip
PAGES = [f"chapters/{name}.html" for name in (*CHAPTERS, "status")]
HARM = """() => [
    ...(window.harmed ? ["a script ran: " + window.harmed] : []),
    ...[...document.querySelectorAll("*")].filter(e => [...e.attributes].some(a =>
        (a.name.startsWith("on") && a.value.includes("harmed")) ||
        (["href", "src", "action", "xlink:href"].includes(a.name) &&
            /harm\\.example|javascript:.*harmed/.test(a.value)))).map(e => e.outerHTML),
    // The explorer's script has the names of classes among its data.
    ...[...document.querySelectorAll("script")].filter(e => e.text.includes("harmed") &&
        !e.text.trim().startsWith("// The explorer")).map(e => e.outerHTML),
    ...[...document.querySelectorAll("iframe, mjx-merror")].map(e => e.outerHTML),
    ...[...document.querySelectorAll("article h1, article h2, article li")]
        .filter(e => /^(lines|and a list)/.test(e.innerText.trim())).map(e => e.outerHTML),
]"""


@pytest.fixture(scope="module")
def hostile_site(site, tmp_path_factory):
    """The pages of this book, with those chapters executed on hostile results."""
    folder = tmp_path_factory.mktemp("hostile")
    executed = shutil.copytree(ROOT / "_build/executed/smoke", folder / "executed")
    given = {
        "results_dir": hostile.kept_runs(folder / "results"),
        "committed_dir": hostile.committed(folder / "committed"),
    }

    def execute(name):
        wanted = [word for key in CHAPTERS[name] for word in ("-p", key, given[key])]
        return call(
            ROOT, "run_chapter", f"chapters/{name}.ipynb", executed / f"{name}.ipynb",
            "-p", "profile", "smoke", *wanted,
        )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(execute, CHAPTERS):
            assert done.returncode == 0, done.stderr
            assert all(line.isprintable() for line in done.stderr.split("\n"))
    done = call(ROOT, "build_book", executed, folder / "book")
    assert done.returncode == 0, done.stderr
    return folder / "book/_build/html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as context:
        yield context


def test_nothing_of_a_hostile_result_runs_or_becomes_an_element(browser, hostile_site):
    with served(hostile_site) as address:
        for name in PAGES:
            with visit(browser, address) as visited:
                page = visited.open(name)
                for image in page.locator(".srel-explorer [role=radio]").all()[::3]:
                    image.click()  # what is said of it has the name of its class
                    assert page.evaluate(HARM) == [], name
                assert page.evaluate(HARM) == [], name
                assert (visited.foreign, visited.complaints) == ([], []), name
                text = page.locator("article").inner_text()
                if name != "chapters/status.html":
                    assert "window.harmed=" in text, name


def test_the_other_pages_are_those_of_the_book(site, hostile_site):
    """Made twice, they are the same."""
    of_results = {*CHAPTERS, "status"}
    others = [
        line
        for line in tool("compare_books").differences(site, hostile_site)
        if not any(re.search(rf"\b{name}\b", line) for name in of_results)
    ]
    assert [line for line in others if not re.match("_images/.* alone$", line)] == []


def test_nor_where_a_reader_searches_for_it(browser, hostile_site):
    with served(hostile_site) as address, visit(browser, address) as visited:
        page = visited.open("chapters/intro.html")
        page.keyboard.press("Control+k")
        page.keyboard.type("harmed <svg onload=window.harmed=1>")
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-results p.search-summary")
        assert page.evaluate(HARM) == [] and visited.foreign == []


def test_what_a_chapter_hands_on_is_text(hostile_site):
    """Notebooks that are downloaded have no control characters for whoever prints them."""
    import nbformat

    for name in CHAPTERS:
        notebook = nbformat.read(hostile_site.parents[2] / f"executed/{name}.ipynb", 4)
        rows = [row for rows in tool("record").displayed(notebook) for row in rows]
        assert all(value.isprintable() for row in rows for value in row.values())
