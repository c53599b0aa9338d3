"""The class matrix with a slider: every number is where it belongs, readable, and moves."""

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.colors import to_hex

from srel_core.book.figures.matrix_slider import contrast, ink, slider_heatmap
from tests.support.book import call
from tests.support.browser import chromium, served, visit
from tests.support.sliders import check_text_follows_arguments, data

NAMES, VALUES = ["cat", "ship"], ["1", "10", "100"]
MATRICES = np.array([[[1, 0.1], [0.01, 0]], [[2, 0.3], [np.nan, 1]], [[3, 0.2], [0.02, 100]]])
TEXTS = {
    "parameter": "training step", "title": "A matrix", "labels": ("step on c", "probes of c'"),
    "quantity": "S[c', c]",
}  # fmt: skip


def figure(matrices=MATRICES, names=NAMES, values=VALUES, **changes):
    return slider_heatmap(matrices, names, values, **{**TEXTS, **changes}).html


def cells(html):
    """(fill, text, colour of the text) of each cell, as shown without any script."""
    marks = BeautifulSoup(html, "html.parser").select("svg [data-mark]")
    return [(m.rect["fill"], m.find("text").text, m.find("text")["fill"]) for m in marks]


def test_equal_arguments_give_equal_text_and_others_another_id():
    check_text_follows_arguments(figure)


def test_every_number_of_every_step_is_there():
    html = figure(start=1)
    kept = data(html)
    assert kept["values"] == VALUES
    assert kept["texts"] == [
        ["1", "0.1", "0.01", "0"], ["2", "0.3", "–", "1"], ["3", "0.2", "0.02", "1e+02"],
    ]  # fmt: skip
    shown = zip(kept["fills"][1], kept["texts"][1], kept["inks"][1], strict=True)
    assert cells(html) == list(shown)
    assert 'value="1"' in html and "<output>10</output>" in html


def test_cells_lie_in_rows_of_probes_and_columns_of_steps():
    marks = BeautifulSoup(figure(), "html.parser").select("svg [data-mark] rect")
    x, y = ([float(mark[name]) for mark in marks] for name in "xy")
    assert x[0] == x[2] < x[1] == x[3] and y[0] == y[1] < y[2] == y[3]


def test_equal_values_have_equal_colours_at_every_step_and_the_scale_is_logarithmic():
    fills = data(figure())["fills"]
    assert fills[0][0] == fills[1][3]  # both 1
    assert fills[0][3] == fills[0][2]  # zero, and the smallest positive value
    assert fills[1][2] == "#6b6b6b"  # undefined
    # 1 is the geometric middle of 0.01 and 100.
    assert fills[0][0] == to_hex(colormaps["viridis"](0.5))


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_number_stands_out_on_any_colour(channels):
    fill = "#" + bytes(channels).hex()
    assert contrast(ink(fill), fill) >= 4.5


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ffffff", "#777777") == contrast("#777777", "#ffffff")


def test_the_legend_names_both_ends_of_the_scale():
    texts = [t.text for t in BeautifulSoup(figure(), "html.parser").select("svg > g > text")]
    assert {"0.01", "1", "1e+02", "S[c', c]", "step on c", "probes of c'"} <= set(texts)
    assert [texts.count(name) for name in NAMES] == [2, 2]
    alone = BeautifulSoup(figure(np.full((3, 2, 2), 7.0)), "html.parser")
    assert "7" in [t.text for t in alone.select("svg > g > text")]


@pytest.mark.parametrize("names", [["a"], [f"a class with a long name {i}" for i in range(12)]])
def test_nothing_lies_outside_the_drawing(names):
    c = len(names)
    html = figure(np.full((3, c, c), 0.012), names=names)
    svg = BeautifulSoup(html, "html.parser").svg
    width, height = map(float, svg["viewbox"].split()[2:])
    for shape in svg.find_all(["rect", "text"]):
        if shape.get("x"):
            assert 0 <= float(shape["x"]) <= width and 0 <= float(shape["y"]) <= height


def test_texts_are_escaped():
    bad = '<b>&"</script>'
    html = figure(
        names=[bad, "x"], values=[bad, "1", "2"], parameter=bad, title=bad, labels=(bad, bad),
        quantity=bad,
    )  # fmt: skip
    assert "<b>" not in html and html.count("</script>") == 1
    assert data(html)["values"][0] == bad


def test_it_can_be_used_by_keyboard_and_heard():
    page = BeautifulSoup(figure(), "html.parser")
    assert page.select_one("label > input[type=range]")["aria-valuetext"] == "1"
    assert page.svg["role"] == "img" and page.svg["aria-label"] == "A matrix"
    assert page.svg["width"] == "100%" and page.svg["stroke"] == "currentColor"


def test_it_fetches_nothing_and_is_small(tmp_path):
    matrices = np.random.default_rng(0).random((50, 3, 3))
    html = figure(matrices, names=["a", "b", "c"], values=[str(i) for i in range(50)])
    assert len(html) < 30_000
    (tmp_path / "index.html").write_text(html)
    assert call(tmp_path, "check_site", ".").returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrices": MATRICES[:2]}, r"matrices must have shape \(3, 2, 2\)"),
        ({"names": []}, r"matrices must have shape \(3, 0, 0\)"),
        ({"matrices": -MATRICES}, "nowhere negative"),
        ({"matrices": np.full((3, 2, 2), np.inf)}, "must be finite or NaN"),
        ({"matrices": np.full((3, 2, 2), np.nan)}, "somewhere positive"),
        ({"values": ["1"]}, "values must be at least 2"),
        ({"start": 3}, r"start must be in 0\.\.2, not 3"),
    ],
)
def test_bad_input_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        figure(**changes)
    assert "\n" not in str(error.value)


def test_in_a_browser_each_figure_of_a_page_moves_by_itself(tmp_path):
    """Also where one page holds the same figure twice."""
    html = figure(start=2)
    page = f'<!DOCTYPE html><html lang="en"><title>t</title><body>{html}{html}</body></html>'
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "favicon.ico").touch()
    with chromium() as browser, served(tmp_path) as address, visit(browser, address) as visited:
        opened = visited.open("index.html")
        first, second = opened.locator("figure").all()
        untouched = second.inner_html()
        first.locator("input").press("ArrowLeft")
        assert first.locator("output").inner_text() == "10"
        assert first.locator("input").get_attribute("aria-valuetext") == "10"
        assert cells(first.inner_html()) == cells(figure(start=1))
        assert second.inner_html() == untouched
        assert (visited.complaints, visited.foreign) == ([], [])
