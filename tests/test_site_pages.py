"""The built pages of this book, read as files."""

import functools
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from tests.book import ROOT, call, page_names, tool

HOME = "http://site/"
COMPLAINT = re.compile(r"Traceback \(most recent call last\)|\b\w*Warning: |\bTODO\b|\bFIXME\b")
MEGABYTE = 1_000_000


@functools.cache
def parsed(path):
    return BeautifulSoup(path.read_text("utf8"), "html.parser")


@functools.cache
def ids(path):
    """How often each id stands in a page."""
    return Counter(tag["id"] for tag in parsed(path).find_all(id=True))


def text_part(path):
    """What a page says, without what stands around it on each page."""
    return parsed(path).find("article") or parsed(path)


def pages(site):
    """The pages of the site by name, those included that Sphinx adds."""
    found = {str(path.relative_to(site)): path for path in site.rglob("*.html")}
    return {name: path for name, path in found.items() if not name.startswith("_static")}


def test_every_page_of_the_contents_is_there(site):
    assert set(page_names()) <= set(pages(site))


def test_every_internal_link_and_anchor_resolves(site):
    broken, followed = [], 0
    for name, path in pages(site).items():
        for link in parsed(path).find_all("a", href=True):
            address = urlsplit(urljoin(HOME + name, link["href"]))
            if f"{address.scheme}://{address.netloc}/" != HOME:
                continue
            target = site / (unquote(address.path).lstrip("/") or "index.html")
            followed += 1
            if not target.is_file() or (
                address.fragment and unquote(address.fragment) not in ids(target)
            ):
                broken.append(f"{name}: {link['href']}")
    assert broken == []
    assert followed > 100


def test_no_page_uses_an_id_twice(site):
    for name, path in pages(site).items():
        assert [i for i, times in ids(path).items() if times > 1] == [], name


def test_every_figure_says_in_words_what_it_shows(site):
    seen = 0
    for name, path in pages(site).items():
        for image in text_part(path).find_all("img"):
            alt = image.get("alt", "")
            assert len(alt.split()) >= 5, f"{name}: {image['src']} has the alt text {alt!r}"
            assert not re.search(r"\.(png|svg|jpe?g)\b", alt), f"{name}: {alt!r} is a file's name"
            seen += 1
    assert seen > 10


def test_no_page_shows_a_traceback_a_warning_or_an_open_end(site):
    for name, path in pages(site).items():
        text = text_part(path).get_text()
        assert COMPLAINT.findall(text) == [], name
        assert parsed(path).select(".output.stderr, .output.traceback") == [], name


def test_pages_are_under_a_megabyte_with_their_figures(site):
    for name, path in pages(site).items():
        shown = {image["src"] for image in parsed(path).find_all("img", src=True)}
        files = [path, *((path.parent / src).resolve() for src in shown if "://" not in src)]
        size = sum(file.stat().st_size for file in files if file.is_file())
        assert size < MEGABYTE, f"{name}: {size} bytes"


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The site, from chapters executed once more."""
    folder = tmp_path_factory.mktemp("again")
    notebooks, _ = tool("toc").sources(ROOT)

    def execute(notebook):
        out = folder / "executed" / notebook.relative_to("chapters")
        return call(ROOT, "run_chapter", notebook, out, "-p", "profile", "smoke")

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(execute, notebooks):
            assert done.returncode == 0, done.stderr
    done = call(ROOT, "build_book", folder / "executed", folder / "book")
    assert done.returncode == 0, done.stderr
    return folder / "book/_build/html"


def test_a_book_built_twice_is_the_same_but_for_times(site, again):
    first, second = ({name.relative_to(s): name for name in s.rglob("*.*")} for s in (site, again))
    assert set(first) == set(second)
    assert [str(n) for n in first if timeless(first[n]) != timeless(second[n])] == []


def timeless(path):
    """The content of a file of the site without what is meant to change from run to run, also if
    the first site was made at an earlier commit. The words of the index have times among them."""
    if path.name == "searchindex.js":
        return None
    if path.suffix == ".ipynb":
        notebook = nbformat.read(path, 4)
        notebook.metadata.pop("papermill")
        notebook.metadata.srel_core.environment.pop("commit")
        return json.dumps(notebook, sort_keys=True)
    if path.suffix == ".html":
        return re.sub(r'<span class="varies">.*?</span>', "", path.read_text("utf8"))
    return path.read_bytes() if path.is_file() else None
