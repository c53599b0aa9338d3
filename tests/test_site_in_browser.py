"""The built pages of this book as a reader's browser shows them, without a network."""

import json

import nbformat
import pytest

from tests.book import ROOT, page_names
from tests.browser import PHONE, chromium, served, visit

ADDED = ["search.html", "genindex.html"]
SHOTS = ROOT / "_build" / "screenshots"
# TeX that is seen as such counts too, as in the contents beside the page.
BROKEN_FORMULAS = r"""() => [
    ...[...document.querySelectorAll("a, p, h1, h2, h3, figcaption")]
        .filter(e => e.checkVisibility() && /\\[(\[]|\{\\rm/.test(e.innerText)),
    ...[...document.querySelectorAll("article .math")].filter(e =>
        !e.querySelector("mjx-container") || e.querySelector("mjx-merror, [data-mjx-error]"))
    ].map(e => e.textContent.slice(0, 80))"""
BROKEN_IMAGES = """async () => {
    const images = [...document.querySelectorAll("img")].filter(e => e.checkVisibility());
    images.forEach(e => { e.loading = "eager"; });
    await Promise.allSettled(images.map(e => e.decode()));
    return images.filter(e => !e.naturalWidth).map(e => e.src); }"""
TOO_WIDE = """() => {
    const scrolls = e => e != document.body &&
        (getComputedStyle(e).overflowX != "visible" || scrolls(e.parentElement));
    return document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll("article *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .filter(e => !scrolls(e.parentElement)).slice(0, 5)
            .map(e => e.outerHTML.slice(0, 120)).concat("the page is too wide"); }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as context:
        yield context


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


def shot(page, name, kind, **how):
    path = SHOTS / f"{name.removesuffix('.html').replace('/', '-')}-{kind}.png"
    page.screenshot(path=path, full_page=True, **how)


@pytest.mark.parametrize("name", [*page_names(), *ADDED])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_is_whole_silent_and_accessible(browser, address, name, mode):
    with visit(browser, address, mode=mode, theme=mode) as visited:
        page = visited.open(name)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        faults = {
            "formulas": page.evaluate(BROKEN_FORMULAS),
            "images": page.evaluate(BROKEN_IMAGES),
            "axe-core": visited.violations(),
            "from elsewhere": visited.foreign,
            "complaints": visited.complaints,
        }
        shot(page, name, mode)
    assert {kind: found for kind, found in faults.items() if found} == {}


@pytest.mark.parametrize("name", [*page_names(), *ADDED])
def test_a_page_fits_a_phone(browser, address, name):
    with visit(browser, address, PHONE) as visited:
        page = visited.open(name)
        wide = page.evaluate(TOO_WIDE)
        shot(page, name, "phone")
        assert page.evaluate("innerWidth") == PHONE["width"]
    assert wide == []


def test_every_slider_moves_its_figure(browser, address):
    moved = 0
    for name in page_names():
        with visit(browser, address) as visited:
            page = visited.open(name)
            for figure in page.locator("figure:has(input[type=range])").all():
                slider, shown = figure.locator("input"), figure.locator("output")
                before = shown.inner_text(), figure.locator("svg").first.inner_html()
                slider.press("ArrowLeft")
                after = shown.inner_text(), figure.locator("svg").first.inner_html()
                assert before[0] != after[0] and before[1] != after[1], name
                assert slider.get_attribute("aria-valuetext") == after[0]
                moved += 1
            assert visited.complaints == []
    assert moved >= 1


def find(page, word):
    """Search for a word as a reader does; the texts of the links that are found."""
    page.keyboard.press("Control+k")
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results ul.search li a")
    return page.locator("#search-results ul.search li a").all_inner_texts()


def test_search_finds_a_word_and_leads_to_its_page(browser, address):
    with visit(browser, address) as visited:
        page = visited.open("intro.html")
        assert "Class-based" in " ".join(find(page, "Kullback"))
        page.locator("#search-results ul.search li a").first.click()
        page.wait_for_load_state()
        assert "Kullback" in page.locator("article").inner_text()
        assert (visited.foreign, visited.complaints) == ([], [])


def test_the_pages_work_from_the_disk_without_a_server(browser, site):
    with visit(browser, f"{site.as_uri()}/") as visited:
        page = visited.open("chapters/class_srel.html")
        assert page.evaluate(BROKEN_FORMULAS) == page.evaluate(BROKEN_IMAGES) == []
        assert (visited.foreign, visited.complaints) == ([], [])
        assert find(page, "elasticity")  # by name alone: a browser reads no file for an excerpt


def test_a_chapter_can_be_downloaded_as_an_executed_notebook(browser, address):
    chapters = [name for name in page_names() if (ROOT / name).with_suffix(".ipynb").exists()]
    for name in chapters:
        with visit(browser, address) as visited:
            page = visited.open(name)
            page.locator(".dropdown-download-buttons > button").click()
            with page.expect_download() as started:
                page.locator(".btn-download-source-button").first.click()
            text = started.value.path().read_text("utf8")
        notebook = nbformat.reads(text, 4)
        assert json.loads(text)["metadata"]["papermill"]["exception"] is None
        assert any(cell.get("outputs") for cell in notebook.cells), name


def test_no_launch_button_without_a_repository_to_launch_from(browser, address):
    """_config.yml names no repository: a button would lead nowhere."""
    with visit(browser, address) as visited:
        page = visited.open("chapters/class_srel.html")
        assert page.locator(".dropdown-launch-buttons").count() == 0
