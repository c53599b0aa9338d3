"""The explorer by mouse, keys and touch, in both themes, on a page of its own."""

import re

import numpy as np
import pytest

from tests.book.test_explorer import explorer
from tests.support.browser import PHONE, chromium, served, visit

PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>t</title>
<meta name="viewport" content="width=device-width">
<body style="margin:16px"><main><h1>t</h1>{}</main></body></html>"""
ORDER = """() => [...document.querySelectorAll("[data-part=order] > :not([hidden])")]
    .map(mark => [mark.style.getPropertyValue("--rank"), mark.dataset.kind, mark.title])"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as context:
        yield context


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "index.html").write_text(PAGE.format(explorer().html))
    (folder / "twice.html").write_text(PAGE.format(2 * explorer().html))
    (folder / "favicon.ico").touch()
    with served(folder) as address:
        yield address


@pytest.fixture
def visited(browser, address):
    with visit(browser, address) as visited:
        visited.open("index.html")
        yield visited
        assert (visited.complaints, visited.foreign) == ([], [])


def shown(page):
    """S_rel of each image, as the page has it; NaN for the picked one."""
    tiles = page.get_by_role("radio").filter(has=page.locator(".srel-digit"))
    texts = tiles.evaluate_all("tiles => tiles.map(tile => tile.getAttribute('aria-label'))")
    found = [re.search(r"moved (\S+)( × 10(\S+))? times", text) for text in texts]
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
    return np.array(
        [float(f"{m[1]}e{(m[3] or '0').translate(digits)}") if m else np.nan for m in found]
    )


def of_result(step, rule, divergence, sample):
    s_rel = explorer().explored.s_rel[step, rule, divergence, :, sample].copy()
    s_rel[sample] = np.nan
    return [float(f"{value:.2e}") for value in s_rel]


def tile(page, image):
    return page.locator(".srel-tiles button").nth(image)


def test_the_picture_follows_mouse_switches_and_slider(visited):
    page = visited.page
    step, sample = explorer().explored.start
    np.testing.assert_array_equal(shown(page), of_result(step, 0, 0, sample))
    tile(page, 7).click()
    np.testing.assert_array_equal(shown(page), of_result(step, 0, 0, 7))
    page.get_by_text("step of adam:1e-4").first.click()
    np.testing.assert_array_equal(shown(page), of_result(step, 1, 0, 7))
    page.get_by_text("l2_logits").click()
    np.testing.assert_array_equal(shown(page), of_result(step, 1, 1, 7))
    slider = page.get_by_role("slider")
    slider.fill("3")
    np.testing.assert_array_equal(shown(page), of_result(3, 1, 1, 7))
    assert slider.get_attribute("aria-valuetext") == "step 10, epoch 2"
    assert "step of adam:1e-4 on this 4" in page.locator("[data-part=said]").inner_text()


def test_the_others_stand_in_their_order_with_their_class(visited):
    page = visited.page
    tile(page, 2).click()
    marks = sorted(page.evaluate(ORDER), key=lambda mark: int(mark[0]))
    assert [int(rank) for rank, _, _ in marks] == list(range(8))
    step, _ = explorer().explored.start
    values = np.array(of_result(step, 0, 0, 2))
    order = np.argsort(-values)[:8]
    np.testing.assert_array_equal(np.argsort(-np.nan_to_num(values))[:8], order)
    assert [kind for _, kind, _ in marks] == ["same" if image < 3 else "other" for image in order]
    light = page.locator(".srel-tiles button").evaluate_all(
        "tiles => tiles.map(t => Number(t.style.getPropertyValue('--light')))"
    )
    assert (np.diff(np.array(light)[order]) <= 0).all() and light[order[0]] == 1


def test_what_is_said_is_what_was_measured(visited):
    page, found = visited.page, explorer().explored
    tile(page, 4).click()
    said = page.locator("[data-part=said]").inner_text()
    step, _ = found.start
    same, other = found.others(4)
    s_rel = found.s_rel[step, 0, 0, :, 4]
    wins = (s_rel[same][:, None] > s_rel[other]).sum()
    assert f"in {wins} of {same.sum() * other.sum()} comparisons" in said
    assert page.locator(
        "[data-part=mean]"
    ).inner_text() == f"{found.auc[step, 0, 0].mean():.0%}".replace("%", " %")
    page.get_by_text("The numbers").click()
    rows = page.locator("[data-part=numbers] tr")
    assert rows.count() == 8
    farthest = np.argmax(np.where(np.arange(9) == 4, -1, s_rel))
    assert rows.first.inner_text().split("\t")[1] == str(farthest + 1)


def test_keys_alone_will_do(visited):
    page = visited.page
    tile(page, 0).click()
    for key, picked in (
        ("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0), ("ArrowUp", 0),
        ("End", 8), ("ArrowRight", 8), ("Home", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        checked = page.locator('.srel-tiles [aria-checked="true"]')
        assert checked.evaluate_all(
            "tiles => tiles.map(t => t.style.getPropertyValue('--at'))"
        ) == [str(picked)]
        assert checked.evaluate("tile => tile === document.activeElement")
        assert checked.evaluate("tile => getComputedStyle(tile).outlineStyle") == "solid"
    reached = []
    for _ in range(8):
        page.keyboard.press("Shift+Tab")
        reached.append(
            page.evaluate("document.activeElement.type || document.activeElement.tagName")
        )
    assert reached[:2] == ["radio", "radio"]  # one stop for each switch, one for the images
    tile(page, 0).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"


def test_on_a_phone_everything_can_be_hit_and_nothing_lies_outside(browser, address):
    with visit(browser, address, PHONE) as visited:
        page = visited.open("index.html")
        sizes = page.locator(
            ".srel-tiles button, .srel-switches label, input[type=range]"
        ).evaluate_all(
            "found => found.map(e => e.getBoundingClientRect()).map(box => [box.width, box.height])"
        )
        assert min(min(size) for size in sizes) >= 32
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        tile(page, 5).tap() if page.evaluate("navigator.maxTouchPoints") else tile(page, 5).click()
        assert tile(page, 5).get_attribute("aria-checked") == "true"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_accessible_in_both_themes(visited, theme):
    visited.page.add_style_tag(
        content="[data-theme=dark] body { background: #121212; --pst-color-text-base: #ced6dd; "
        "--pst-color-text-muted: #9ca4af; --pst-color-background: #121212; }"
    )
    visited.turn(theme)
    assert visited.violations() + visited.pale() == []


def test_who_wants_less_motion_gets_none(browser, address):
    with visit(browser, address) as visited:
        visited.page.emulate_media(reduced_motion="reduce")
        visited.page.goto(visited.site + "index.html")
        moving = (
            "() => getComputedStyle(document.querySelector('.srel-order i')).transitionDuration"
        )
        assert visited.page.evaluate(moving) == "0s"
        visited.page.emulate_media(reduced_motion="no-preference")
        assert visited.page.evaluate(moving) != "0s"


def test_print_shows_the_picture_in_place_of_the_controls(visited):
    page = visited.page
    assert not page.locator(".srel-picture").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".srel-picture").is_visible()
    assert not page.locator(".srel-live").is_visible()
    page.emulate_media(media="screen")


def test_two_on_a_page_move_each_by_itself(browser, address):
    with visit(browser, address) as visited:
        page = visited.open("twice.html")
        first, second = page.locator(".srel-explorer").all()
        before = second.locator("[data-part=said]").inner_text()
        first.get_by_text("step of adam:1e-4").first.click()
        first.locator(".srel-tiles button").nth(3).click()
        assert second.locator("[data-part=said]").inner_text() == before
        assert second.locator("[data-part=rule] input").first.is_checked()
        assert visited.complaints == []
