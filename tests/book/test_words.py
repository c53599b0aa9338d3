"""Words of others are drawn as they are."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import LogNorm

from srel_core.book.figures.classification import class_curves, class_heatmap
from srel_core.book.figures.paper import by_rule
from srel_core.book.figures.words import literal, shortened

HOSTILE = (
    "long " * 50, "猫" * 30, r"$\frac$", "$$", "a $ b", "$x", "$a$ and $b", r"\$x\$", "$" * 7, "__",
    r"$\sqrt{", "_hidden", "猫", "\U0001f600", "\x1b[31m", "two\nlines", "\u202e", "\udcff", "",
    "<svg onload=alert(1)>",
)  # fmt: skip


def drawn(text):
    """What a text is shown as, every warning an error."""
    figure, axes = plt.subplots()
    axes.set_title(text)
    axes.plot([0, 1], label=text)
    axes.legend()
    figure.canvas.draw()  # a letter that no font has is a warning, and that an error
    (entry,) = axes.get_legend().get_texts()
    plt.close(figure)
    shown, is_formula = entry._preprocess_math(entry.get_text())
    assert not is_formula
    return shown


@given(st.text(max_size=20) | st.text(r"$\{}^_ab", max_size=8) | st.sampled_from(HOSTILE))
def test_any_text_is_drawn_without_a_formula_or_a_warning(text):
    shown = drawn(literal(text))
    assert shown.isprintable()
    assert len(shown) <= 31
    if len(text) <= 30 and text.isascii() and text.isprintable():
        assert shown == (f" {text}" if text[:1] in ("", "_") else text)


def test_long_texts_have_a_gap():
    assert shortened("short", 5) == "short" and literal("$" * 40) == r"\$" * 15 + "…" + r"\$" * 14
    assert shortened("abcdefgh", 5) == "ab…gh" and shortened("abcdefgh", 6) == "abc…gh"


def test_what_the_font_has_no_sign_for_is_named():
    assert literal("a 猫 é $") == r"a \u732b é \$"


@pytest.mark.parametrize("name", HOSTILE)
def test_figures_of_classes_and_rules_take_any_names(name):
    names = [name, "b", "c"]
    matrix = np.ones((1, 1, 2, 3, 3))
    dims = ("rule", "divergence", "step", "probe_class", "sample_class")
    summary = xr.Dataset(
        {
            "matrix": (dims, matrix),
            "matrix_interval": (("bound", *dims), np.stack([matrix, matrix])),
            "auc": (("rule", "epoch"), np.ones((1, 2))),
            "auc_interval": (("bound", "rule", "epoch"), np.ones((2, 1, 2))),
        },
        {"rule": [name], "divergence": ["kl"], "step": [1, 2], "probe_class": names,
         "sample_class": names, "epoch": [1, 2], "bound": ["low", "high"]},
    )  # fmt: skip
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    class_curves(left, summary, name, "kl", name)
    class_heatmap(middle, summary, name, "kl", 2, LogNorm(0.5, 2))
    by_rule(right, summary, "auc", 0.5)
    right.legend()
    figure.canvas.draw()
    assert len(left.get_legend().get_texts()) == 3 and len(right.get_legend().get_texts()) == 1
    plt.close(figure)
