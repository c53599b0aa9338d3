"""The picture of the verdicts has each finding in its row and column, with its sign and marks."""

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex

from srel_core.book.claims.evidence import Claim, Count, Exactness, Finding
from srel_core.book.figures.style import OTHERS, SAME
from srel_core.book.figures.verdict_picture import verdict_picture


def test_signs_and_marks_stand_in_their_rows():
    first = Finding("a", (2.0, 0.7), ((1.5, 3.0), (0.5, 0.8)), 1.0)
    second = Finding("b", (1.0, 2.0), ((0.5, 2.0), (1.5, 4.0)), 1.0)
    found = [
        Claim("C", "page", "label", {"cifar10": (first, second), "svhn": (second,)}),
        Claim("D", "page", "label", {"": (Count("n", 1, 4), Exactness("e", 1e-9, 1e-6))}),
        Claim("E", "page", "label", {"": (Exactness("e", 1e-9, 1e-6), Exactness("f", 0, 1e-6))}),
    ]
    (axes,) = verdict_picture(found).axes
    texts = {}
    for text in axes.texts:
        x, y = text.get_position()
        texts.setdefault(y, []).append((x, text.get_text()))
    rows = [[word for _, word in sorted(texts[y])] for y in sorted(texts)]
    assert rows == [
        ["CIFAR-10", "SVHN"], ["1. C"], ["a", "±"], ["b", "±", "±"], ["2. D"],
        ["n", "±", "1 of 4"], ["e", "✓", "holds"], ["3. E"], ["all 2 readings", "✓", "holds"],
    ]  # fmt: skip
    marks = [patch for patch in axes.patches if patch.get_alpha() is None]
    middle = sorted(texts)[2]
    in_first = [mark for mark in marks if abs(mark.get_y() - middle) < 0.5]
    assert [to_hex(mark.get_facecolor()) for mark in in_first] == [SAME.lower(), OTHERS[0].lower()]
    up, down = in_first
    assert up.get_y() + up.get_height() < middle < down.get_y()  # the axis points down
    plt.close("all")
