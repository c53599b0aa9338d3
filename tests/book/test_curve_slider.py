"""The slider figure is deterministic, complete, safe to embed, and small."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from srel_core.book.figures.curve_slider import slider_figure
from tests.support.book import call
from tests.support.sliders import check_text_follows_arguments, data

X = np.geomspace(0.01, 100, 50)
CURVES = {"one": np.outer([1, 2, 3], np.sqrt(X)), "two": np.outer([3, 2, 1], X)}
VALUES = ["0", "0.5", "1"]
TEXTS = {"parameter": "λ", "title": "A figure", "labels": ("time", "S")}


def figure(x=X, curves=CURVES, values=VALUES, **changes):
    return slider_figure(x, curves, values, **{**TEXTS, "log_x": True, **changes}).html


def test_equal_arguments_give_equal_text_and_others_another_id():
    check_text_follows_arguments(figure)


def test_every_curve_of_every_value_is_there():
    html = figure(start=2)
    paths = data(html)["paths"]
    assert data(html)["values"] == VALUES
    assert [len(family) for family in paths] == [3, 3]
    assert all(path.count("L") == len(X) - 1 for family in paths for path in family)
    for family in paths:
        assert f'd="{family[2]}"' in html  # shown without any script
    assert 'value="2"' in html and "<output>1</output>" in html


def test_curves_are_where_their_numbers_say():
    html = figure(np.array([0.0, 1.0]), {"a": [[0.0, 4.0], [2.0, 4.0]]}, ["p", "q"], log_x=False)
    (first, second), = data(html)["paths"]  # fmt: skip
    start, end = (re.findall(r"[\d.]+ [\d.]+", path) for path in (first, second))
    low, high = (float(point.split()[1]) for point in start)
    assert float(end[0].split()[1]) == pytest.approx((low + high) / 2, abs=0.06)


def test_a_missing_value_leaves_a_gap():
    curves = np.ones((3, 5))
    curves[0, 2] = np.nan
    paths = data(figure(np.arange(1.0, 6), {"a": curves}))["paths"][0]
    assert [path.count("M") for path in paths] == [2, 1, 1]
    assert "nan" not in figure(np.arange(1.0, 6), {"a": curves})


def test_texts_are_escaped():
    bad = '<b>&"</script>'
    html = figure(
        curves={bad: CURVES["one"]}, values=[bad, "1", "2"], parameter=bad, title=bad,
        labels=(bad, bad),
    )  # fmt: skip
    assert "<b>" not in html and html.count("</script>") == 1
    assert data(html)["values"][0] == bad


def test_it_can_be_used_by_keyboard_and_heard():
    class Tags(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found, self.open = {}, []

        def handle_starttag(self, tag, attrs):
            self.found.setdefault(tag, dict(attrs))
            if tag == "input":
                assert "label" in self.open
            else:
                self.open.append(tag)

        def handle_endtag(self, tag):
            while self.open.pop() != tag:
                pass

    tags = Tags()
    tags.feed(figure())
    assert not tags.open
    assert tags.found["input"]["type"] == "range"
    assert tags.found["input"]["aria-valuetext"] == "0"
    assert tags.found["svg"]["role"] == "img" and tags.found["svg"]["aria-label"] == "A figure"
    assert tags.found["svg"]["stroke"] == "currentColor" and tags.found["svg"]["width"] == "100%"


def test_it_fetches_nothing_and_is_small(tmp_path):
    curves = {str(i): np.random.default_rng(i).random((20, 200)) for i in range(3)}
    html = figure(np.geomspace(1, 2, 200), curves, [str(i) for i in range(20)])
    assert len(html) < 200_000
    (tmp_path / "index.html").write_text(html)
    assert call(tmp_path, "check_site", ".").returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": X[::-1]}, "x must be increasing"),
        ({"x": X - 1}, "x must be finite, and positive where log_x"),
        ({"curves": {}}, "curves must be 1 to 4, not 0"),
        ({"curves": {str(i): CURVES["one"] for i in range(5)}}, "curves must be 1 to 4, not 5"),
        ({"curves": {"a": np.ones((2, 50))}}, r"curve 'a' must have shape \(3, 50\)"),
        ({"curves": {"a": np.full((3, 50), np.nan)}}, "curve 'a' must be finite somewhere"),
        ({"curves": {"a": np.full((3, 50), np.inf)}}, "nowhere infinite"),
        ({"values": ["1"]}, "values must be at least 2"),
        ({"start": 3}, r"start must be in 0\.\.2, not 3"),
    ],
)
def test_bad_input_is_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        figure(**changes)
    assert "\n" not in str(error.value)
