"""The built pages of this book as a reader's browser shows them, without a network."""

import csv
import os
import re

import nbformat
import numpy as np
import pytest

from tests.support.book import ROOT, page_names
from tests.support.browser import DESK, PHONE, chromium, served, visit
from tests.support.class_experiments import EXPLORED

FIRST = "chapters/intro.html"
ADDED = ["search.html", "genindex.html"]
SHOTS = ROOT / "_build" / "screenshots" if os.environ.get("SREL_SCREENSHOTS") else None
# TeX that is seen as such counts too, as in the contents beside the page.
BROKEN_FORMULAS = r"""() => [
    ...[...document.querySelectorAll("a, p, h1, h2, h3, figcaption")]
        .filter(e => e.checkVisibility() && /\\[(\[]|\{\\rm/.test(e.innerText)),
    ...[...document.querySelectorAll("article .math")].filter(e =>
        !e.querySelector("mjx-container") || e.querySelector("mjx-merror, [data-mjx-error]"))
    ].map(e => e.textContent.slice(0, 80))"""
DIMS = ("step", "rule", "divergence", "probe", "sample")
GROUND = "() => getComputedStyle(document.body).backgroundColor"
BROKEN_IMAGES = """async () => {
    const images = [...document.querySelectorAll("img")].filter(e => e.checkVisibility());
    images.forEach(e => { e.loading = "eager"; });
    await Promise.allSettled(images.map(e => e.decode()));
    return images.filter(e => !e.naturalWidth).map(e => e.src); }"""
# What reaches beyond the edge of the screen and cannot be moved into it.
OUT_OF_REACH = """() => {
    const scrolls = e => e != document.body &&
        (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const found = [...document.querySelectorAll("article *")]
        .filter(e => !e.closest(".visually-hidden, mjx-assistive-mml") && e.checkVisibility())
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .filter(e => !scrolls(e.parentElement)).slice(0, 5).map(e => e.outerHTML.slice(0, 120));
    const wide = document.documentElement.scrollWidth > innerWidth;
    return wide ? found.concat("the page is too wide") : found; }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as context:
        yield context


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


def shot(visited, name, kind):
    """For whoever wants to look at the pages: SREL_SCREENSHOTS=1."""
    if SHOTS is None:
        return
    path = SHOTS / f"{name.removesuffix('.html').replace('/', '-')}-{kind}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(visited.picture())


@pytest.mark.parametrize("name", [*page_names(), *ADDED])
def test_a_page_is_whole_silent_accessible_and_fits_a_phone(browser, address, name):
    with visit(browser, address) as visited:
        page = visited.open(name)
        faults = {
            "formulas": page.evaluate(BROKEN_FORMULAS),
            "images": page.evaluate(BROKEN_IMAGES),
        }
        shot(visited, name, "light")
        visited.turn("dark")
        shot(visited, name, "dark")
        visited.turn("light")
        visited.resize(PHONE)
        assert page.evaluate("innerWidth") == PHONE["width"]
        shot(visited, name, "phone")
        faults["on a phone"] = page.evaluate(OUT_OF_REACH)
        visited.resize(DESK)
        faults["axe-core"] = visited.violations() + visited.pale()
        visited.turn("dark")
        faults["axe-core, dark"] = visited.pale()
        faults |= {"from elsewhere": visited.foreign, "complaints": visited.complaints}
    assert {kind: found for kind, found in faults.items() if found} == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_theme_that_a_reader_has_chosen_is_kept(browser, address, mode):
    with visit(browser, address, mode=mode, theme=mode) as visited:
        page = visited.open(FIRST)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        before = page.evaluate(GROUND)
        visited.turn({"light": "dark", "dark": "light"}[mode])
        assert page.evaluate(GROUND) != before


def test_every_slider_moves_its_figure(browser, address, site):
    moved = 0
    for name in page_names():
        if 'type="range"' not in (site / name).read_text("utf8"):
            continue
        with visit(browser, address) as visited:
            page = visited.open(name)
            for figure in page.locator("figure[data-id]:has(input[type=range])").all():
                slider, shown = figure.locator("input"), figure.locator("output")
                before = shown.inner_text(), figure.locator("svg").first.inner_html()
                slider.press("ArrowLeft")
                after = shown.inner_text(), figure.locator("svg").first.inner_html()
                assert before[0] != after[0] and before[1] != after[1], name
                assert slider.get_attribute("aria-valuetext") == after[0]
                moved += 1
            assert visited.complaints == []
    assert moved >= 1


def downloaded(page, link):
    """The rows of the data that a click on a link brings."""
    with page.expect_download() as started:
        link.click()
    lines = started.value.path().read_text("utf8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def cell_with(visited, site, kind):
    """The code cell of the figure with a slider that shows a `kind` of mark, on its page."""
    name = next(n for n in page_names() if f"<{kind} data-mark" in (site / n).read_text("utf8"))
    page = visited.open(name)
    return page.locator(".cell", has=page.locator(f"figure svg {kind}[data-mark]"))


def test_a_click_brings_the_numbers_that_the_moving_matrix_shows(browser, address, site):
    with visit(browser, address) as visited:
        cell = cell_with(visited, site, "g")
        rows = downloaded(visited.page, cell.locator("a.figure-data"))
        settings = list(dict.fromkeys(row["slider"] for row in rows))
        assert len(settings) > 2
        for setting in reversed(settings):
            assert cell.locator("output").inner_text() == setting
            shown = cell.locator("svg g[data-mark] text").all_text_contents()
            values = [float(row["value"]) for row in rows if row["slider"] == setting]
            assert shown == [f"{v:.2g}" if np.isfinite(v) else "–" for v in values]
            cell.locator("input").press("ArrowLeft")


def test_a_click_brings_the_curves_that_the_slider_moves(browser, address, site):
    """Each path is the data in other units: a straight line takes one to the other."""
    with visit(browser, address) as visited:
        cell = cell_with(visited, site, "path")
        rows = downloaded(visited.page, cell.locator("a.figure-data"))
        cell.locator("input").press("End")
        setting = cell.locator("output").inner_text()
        paths = [path.get_attribute("d") for path in cell.locator("path[data-mark]").all()]
        labels = list(dict.fromkeys(row["series"] for row in rows))
        assert len(paths) == len(labels) > 1
        places, heights = [], []
        for path, label in zip(paths, labels, strict=True):
            places += [float(v) for v in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
            own = [row for row in rows if (row["slider"], row["series"]) == (setting, label)]
            heights += [float(row["y"]) for row in own]
        slope, start = np.polyfit(heights, places, 1)
        assert slope < 0
        np.testing.assert_allclose(slope * np.array(heights) + start, places, atol=0.11)


def test_the_explorer_shows_the_numbers_of_its_result(browser, address):
    """At ten random clicks; all else about it is tried on a page of its own (tests/book)."""
    result = EXPLORED.run(device="cpu", progress=False)
    s_rel = (result.change / result.own).transpose(*DIMS)
    draw = np.random.default_rng()
    with visit(browser, address) as visited:
        page = visited.open(FIRST)
        for _ in range(10):
            step, rule, divergence, _, sample = place = [int(draw.integers(n)) for n in s_rel.shape]
            page.get_by_role("slider").fill(str(step))
            page.locator("[data-part=rule] label").nth(rule).click()
            page.locator("[data-part=divergence] label").nth(divergence).click()
            page.locator(".srel-tiles button").nth(sample).click()
            shown = page.locator(".srel-tiles button").evaluate_all(
                "tiles => tiles.map(tile => Number(tile.dataset.value))"
            )
            wanted = s_rel.values[step, rule, divergence, :, sample]
            assert shown == [float(f"{value:.2e}") for value in wanted], place
            tile = page.locator(".srel-tiles button").nth(sample)
            assert tile.get_attribute("aria-checked") == "true"
        assert (visited.foreign, visited.complaints) == ([], [])


def test_a_click_brings_the_numbers_of_the_explorer(browser, address):
    with visit(browser, address) as visited:
        page = visited.open(FIRST)
        rows = downloaded(
            page, page.locator(".cell", has=page.locator(".srel-explorer")).locator("a.figure-data")
        )
        step = list(dict.fromkeys(row["slider"] for row in rows))[2]
        page.get_by_role("slider").fill("2")
        for part in ("rule", "divergence"):  # the last panel of four
            page.locator(f"[data-part={part}] label").nth(1).click()
        page.locator(".srel-tiles button").nth(5).click()
        shown = page.locator(".srel-tiles button").evaluate_all(
            "tiles => tiles.map(tile => Number(tile.dataset.value))"
        )
        own = [r for r in rows if (r["panel"], r["slider"], r["x"]) == ("4", step, "5")]
        assert [float(row["value"]) for row in own] == shown


def test_the_explorer_stands_above_the_fold(browser, address):
    with visit(browser, address) as visited:
        page = visited.open(FIRST)
        for part in (".srel-tiles", ".srel-order", ".srel-said"):
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] <= DESK["height"], part


def find(page, word):
    """Search for a word as a reader does; the texts of the links that are found."""
    page.keyboard.press("Control+k")
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results ul.search li a")
    return page.locator("#search-results ul.search li a").all_inner_texts()


def test_search_finds_a_word_and_leads_to_its_page(browser, address):
    with visit(browser, address) as visited:
        page = visited.open(FIRST)
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


def test_a_chapter_can_be_downloaded(browser, address):
    with visit(browser, address) as visited:
        page = visited.open("chapters/class_srel.html")
        page.locator(".dropdown-download-buttons > button").click()
        with page.expect_download() as started:
            page.locator(".btn-download-source-button").first.click()
        assert nbformat.reads(started.value.path().read_text("utf8"), 4).cells


def test_no_launch_button_without_a_repository_to_launch_from(browser, address):
    """_config.yml names no repository: a button would lead nowhere."""
    with visit(browser, address) as visited:
        page = visited.open("chapters/class_srel.html")
        assert page.locator(".dropdown-launch-buttons").count() == 0
